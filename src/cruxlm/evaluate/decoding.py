"""Let a model write: greedily, or drawn at random, several prompts at a time.

Both are exact: a prompt's continuation is the one that it has on its own, whatever it is batched
with. Prompts are padded on the left under an explicit mask, and a random continuation is drawn
with random numbers of its own, which are no one else's state.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor, nn
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from cruxlm.evaluate.causal import causal_model, inputs, pad_token, padded, tokenizer_of
from cruxlm.models.load import LoadedModel
from cruxlm.models.locate import text_config
from cruxlm.models.patch import evaluation_mode
from cruxlm.runtime.errors import NotFiniteError, OptionError, ProbeError

Tokens = tuple[int, ...]


@dataclass(frozen=True)
class Continuation:
    """What a model wrote after a prompt."""

    tokens: Tokens
    """Its tokens, without the one that ended it."""
    ended: bool
    """Whether the model ended it; if not, the limit did."""


def greedy(
    model: Any,
    prompts: Sequence[Tokens],
    *,
    max_new_tokens: int,
    ends: Collection[int] | None = None,
    batch_size: int = 32,
    use_cache: bool = True,
) -> list[Continuation]:
    """The most likely token, again and again, until one of ``ends`` or the limit.

    ``ends`` are the model's own ``end_tokens`` unless given. The limit is ``max_new_tokens`` or the
    end of the model's context. Penalties and the like in the model's own generation settings are
    left aside. Raises ``NotFiniteError`` for logits that are not finite.
    """
    loaded = causal_model(model)
    stops = end_tokens(loaded) if ends is None else frozenset(ends)
    return _continue(loaded, prompts, max_new_tokens, stops, batch_size, use_cache=use_cache)


def sample(
    model: Any,
    prompts: Sequence[Tokens],
    *,
    max_new_tokens: int,
    temperature: float = 1.0,
    seed: int = 0,
    samples: int = 1,
    ends: Collection[int] | None = None,
    tokenizer: Any = None,
    batch_size: int = 32,
) -> list[str]:
    """Random texts, ``samples`` of them after each prompt: all of the first prompt's, and so on.

    Prompts are tokens, such as ``Example.prompt``; texts are without the marks of the chat.
    Each is drawn with numbers that belong to ``seed``, its prompt's place and its own. So it is the
    same in any batch and with more samples, and the global random state is neither read nor moved.
    ``ends`` and the limit as for ``greedy``.
    """
    if not temperature > 0:
        raise OptionError(f"temperature {temperature}: give more than 0, or decode greedily")
    if samples < 1 or seed < 0:
        raise OptionError(f"samples {samples} and seed {seed}: give 1 or more, and 0 or more")
    loaded = causal_model(model, tokenizer)
    tokenizer_of(loaded)  # before the work rather than after it
    stops = end_tokens(loaded) if ends is None else frozenset(ends)
    places = [(place, own) for place in range(len(prompts)) for own in range(samples)]
    written = _continue(
        loaded,
        [prompts[place] for place, _ in places],
        max_new_tokens,
        stops,
        batch_size,
        seeds=[(seed, *place) for place in places],
        temperature=temperature,
    )
    return [text_of(loaded, continuation) for continuation in written]


def end_tokens(model: LoadedModel) -> frozenset[int]:
    """The tokens that end a text by the model's settings, its configuration or its tokenizer."""
    holders = (getattr(model.module, "generation_config", None), text_config(model.module))
    named = [getattr(holder, "eos_token_id", None) for holder in (*holders, model.tokenizer)]
    every = [end for held in named for end in (held if isinstance(held, list) else [held])]
    return frozenset(end for end in every if end is not None)


def text_of(model: LoadedModel, continuation: Continuation) -> str:
    """A continuation as text, without the marks of the chat and without space at its ends."""
    text: str = tokenizer_of(model).decode(
        list(continuation.tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    return text.strip()


def _continue(
    model: LoadedModel,
    prompts: Sequence[Tokens],
    max_new_tokens: int,
    ends: frozenset[int],
    batch_size: int,
    *,
    use_cache: bool = True,
    seeds: Sequence[tuple[int, ...]] | None = None,
    temperature: float = 1.0,
) -> list[Continuation]:
    """Every prompt continued: greedily, or as random numbers from its seed say, one a token."""
    if max_new_tokens < 1:
        raise OptionError(f"max_new_tokens {max_new_tokens}: give 1 or more")
    room = [_room(model, prompt, max_new_tokens) for prompt in prompts]
    found: dict[int, Continuation] = {}
    with evaluation_mode(model.module), _settings_aside(model.module), torch.no_grad():
        # Prompts with less room than others are not batched with them: what they can write must
        # not depend on company, and positions past the context may not exist.
        for limit in sorted(set(room)):
            members = [index for index, own in enumerate(room) if own == limit]
            nothing_read: list[Tokens] = [()] * len(members)
            same = [prompts[index] for index in members]
            for batch in padded(model, same, nothing_read, batch_size, "left"):
                rows = [members[index] for index in batch.prompts]
                given = inputs(model, batch)
                numbers = None
                if seeds is not None:
                    drawn = [np.random.default_rng(seeds[row]).random(limit) for row in rows]
                    numbers = torch.from_numpy(np.stack(drawn))
                output = model.module.generate(  # type: ignore[operator]
                    **given,
                    generation_config=GenerationConfig(
                        max_new_tokens=limit,
                        do_sample=False,
                        use_cache=use_cache,
                        eos_token_id=sorted(ends) or None,
                        pad_token_id=pad_token(model),
                    ),
                    logits_processor=LogitsProcessorList(
                        [_Choose(batch.tokens.shape[1], numbers, temperature)]
                    ),
                )
                written = output[:, batch.tokens.shape[1] :].tolist()
                found |= {row: _cut(new, ends) for row, new in zip(rows, written, strict=True)}
    return [found[index] for index in range(len(prompts))]


def _room(model: LoadedModel, prompt: Tokens, max_new_tokens: int) -> int:
    """Tokens that may be written after a prompt."""
    if not prompt:
        raise ProbeError("a prompt of no tokens: there is nothing to go on from")
    context = model.context
    if context is None:
        return max_new_tokens
    if len(prompt) >= context:
        raise ProbeError(
            f"a prompt of {len(prompt)} tokens fills the model's context of {context}: leave it out"
        )
    return min(max_new_tokens, context - len(prompt))


def _cut(tokens: list[int], ends: frozenset[int]) -> Continuation:
    end = next((place for place, token in enumerate(tokens) if token in ends), None)
    return Continuation(tuple(tokens[:end]), end is not None)


class _Choose(LogitsProcessor):
    """Refuses logits that are not finite; with random numbers, leaves one token possible."""

    def __init__(
        self, start: int, numbers: Float64[Tensor, "batch steps"] | None, temperature: float
    ) -> None:
        self.start = start
        self.numbers = numbers
        self.temperature = temperature

    def __call__(
        self, input_ids: Int[Tensor, "batch tokens"], scores: Float[Tensor, "batch vocabulary"]
    ) -> Float[Tensor, "batch vocabulary"]:
        if not bool(scores.amax(dim=-1).isfinite().all()):
            raise NotFiniteError("the model gives logits that are not finite: try float32")
        if self.numbers is None:
            return scores
        # An accelerator of Apple's has no float64.
        precise = torch.float32 if scores.device.type == "mps" else torch.float64
        number = self.numbers[:, input_ids.shape[1] - self.start, None].to(scores.device, precise)
        reached = (scores.float() / self.temperature).softmax(-1).cumsum(-1, dtype=precise)
        # Each token owns a part of [0, 1) as wide as it is likely; the sum misses 1 by rounding.
        token = torch.searchsorted(reached, number * reached[:, -1:], right=True)
        token = token.clamp_max(scores.shape[-1] - 1)
        return torch.full_like(scores, -torch.inf).scatter(1, token, 0.0)


@contextmanager
def _settings_aside(module: nn.Module) -> Iterator[None]:
    """Give a model plain generation settings for a while.

    ``generate`` fills what is left open from the model's own: Qwen's, for one, penalise repetition.
    """
    owners: list[Any] = [part for part in module.modules() if "generation_config" in vars(part)]
    own = [owner.generation_config for owner in owners]
    try:
        for owner in owners:
            owner.generation_config = GenerationConfig()
        yield
    finally:
        for owner, settings in zip(owners, own, strict=True):
            owner.generation_config = settings
