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
        self._cache: Any = None
        self._columns = 0
        self._counts: Tensor | int = 0
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
        if self._flat is None:
            return self._columns
        return self._flat.shape[1] - self.tokens.shape[1]

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
            return self.tokens.new_ones(self.tokens.shape).cumsum(dim=1) - 1 + self._counts
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
        held = (given.get(name) for name in ("past_key_values", "cache_params"))
        cache = next((one for one in held if one is not None), None)
        # Once nothing of it is padding, transformers leaves the mask out: then what was read before
        # into the same cache is counted, or the cache says how much it holds.
        columns = _held(cache)
        counts: Tensor | int = columns
        if cache is not None and cache is self._cache and self._tokens is not None:
            counts, columns = self.places[:, -1:] + 1, self.past + self._tokens.shape[1]
        self._mask, self._cache = given.get("attention_mask"), cache
        self._counts, self._columns = counts, columns
        return args, kwargs


def _held(cache: Any) -> int:
    """How many places a cache holds; 0 for one that does not count them (of a recurrent model)."""
    length = getattr(cache, "get_seq_length", None)
    try:
        return 0 if length is None else int(length())
    except ValueError:
        return 0
