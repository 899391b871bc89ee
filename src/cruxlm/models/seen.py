"""What a model reads, watched from outside: the tokens of a pass, padding, what came before."""

import inspect
from typing import Any

from jaxtyping import Bool, Int
from torch import Tensor

from cruxlm.models.load import LoadedModel
from cruxlm.models.locate import input_embedding
from cruxlm.models.patch import Arguments, Patch
from cruxlm.runtime.errors import ModelError


class Seen:
    """The pass that is under way, as long as the patch lasts."""

    def __init__(self, model: LoadedModel, patch: Patch) -> None:
        """Begin to watch.

        Raises:
            ModelError: When the model has no single module that embeds tokens.
        """
        embedding, self._tower = input_embedding(model.module), model.blocks.tower
        if embedding is None:
            raise ModelError(f"{model.name} has no one module that embeds tokens")
        self._tokens: Tensor | None = None
        self._mask: Tensor | None = None
        self._held = 0
        patch.change_arguments(embedding, self._see_tokens)
        patch.change_arguments(self._tower, self._see_mask)

    @property
    def tokens(self) -> Int[Tensor, "batch tokens"]:
        """The tokens that this pass reads."""
        if self._tokens is None:
            raise ModelError("what a model reads without token ids cannot be told apart")
        return self._tokens

    @property
    def past(self) -> int:
        """Columns that passes before this one read, and that a KV cache holds."""
        return self._held if self._flat is None else self._flat.shape[1] - self.tokens.shape[1]

    @property
    def real(self) -> Bool[Tensor, "batch tokens"]:
        """Which of the tokens are not padding."""
        tokens = self.tokens
        if self._flat is None:
            return tokens.new_ones(tokens.shape).bool()
        return (self._flat[:, self.past :] != 0).to(tokens.device)

    @property
    def places(self) -> Int[Tensor, "batch tokens"]:
        """Place of each token in its own sequence, padding not counted; -1 or more."""
        if self._flat is None:
            return self.tokens.new_ones(self.tokens.shape).cumsum(dim=1) - 1 + self._held
        counted = (self._flat != 0).long().cumsum(dim=1) - 1
        return counted[:, self.past :].to(self.tokens.device)

    @property
    def _flat(self) -> Tensor | None:
        """The mask, where there is one of a token each."""
        return self._mask if self._mask is not None and self._mask.dim() == 2 else None

    def _see_tokens(self, *args: Any, **kwargs: Any) -> Arguments:
        self._tokens = args[0] if args else kwargs["input"]
        return args, kwargs

    def _see_mask(self, *args: Any, **kwargs: Any) -> Arguments:
        given = inspect.signature(self._tower.forward).bind_partial(*args, **kwargs).arguments
        given = {**given.get("kwargs", {}), **given}
        self._mask = given.get("attention_mask")
        # Without padding, transformers may drop the mask: then the cache says how much it holds.
        length = getattr(given.get("past_key_values"), "get_seq_length", None)
        self._held = 0 if length is None else int(length())
        return args, kwargs
