"""From a model and a probe to the states that criteria of states are given."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from cruxlm.criteria.descriptor import Measured
from cruxlm.data.probes import Probe
from cruxlm.data.tokens import Template, TokenisedProbe, tokenise
from cruxlm.models.batches import Batch, PaddingSide, Pooling, batches, chosen_positions
from cruxlm.models.capture import capture
from cruxlm.models.load import LoadedModel
from cruxlm.models.locate import text_config
from cruxlm.numerics.outliers import variance_between
from cruxlm.numerics.resampling import deal
from cruxlm.numerics.states import PooledStates, StatesAccumulator
from cruxlm.runtime.errors import OptionError
from cruxlm.runtime.progress import Tick


@dataclass(frozen=True)
class Reading:
    """How probes are read."""

    n: int
    """Prompts of each probe."""
    pooling: Pooling
    """Which tokens give a prompt's state."""
    tokens: int
    """Tokens that pooling ``all`` keeps."""
    template: Template
    """Chat template or raw text."""
    within_groups: bool
    """Whether the mean of each group of prompts is removed."""
    batch_size: int
    """Prompts in one forward pass."""
    padding: PaddingSide
    """The side that batches are padded on."""
    seed: int
    """Seed of the data-free probes, the token sample and the deal into groups."""


def tokenised(
    probes: Sequence[Probe], model: LoadedModel, reading: Reading
) -> list[TokenisedProbe]:
    """Every probe in this model's tokens."""
    vocabulary = getattr(text_config(model.module), "vocab_size", None)
    read = [
        tokenise(
            probe,
            model.tokenizer,
            n=reading.n,
            template=reading.template,
            context=model.context,
            vocabulary=vocabulary,
            seed=reading.seed,
        )
        for probe in probes
    ]
    if reading.within_groups:
        for probe in read:
            if probe.groups is None:
                raise OptionError(f"--within-groups: probe {probe.name!r} has no field of groups")
    return read


def measure(
    model: LoadedModel, probe: TokenisedProbe, reading: Reading, tick: Tick
) -> tuple[Measured, dict[str, Any]]:
    """Run one probe through the model: its pooled states, and what the probe was."""
    bos = getattr(model.tokenizer, "bos_token_id", None)
    positions = chosen_positions(
        [len(prompt) for prompt in probe.prompts],
        reading.pooling,
        skip_first=[bos is not None and prompt[0] == bos for prompt in probe.prompts],
        limit=reading.tokens,
        seed=reading.seed,
    )
    owner = _sample_owners(probe, positions, reading.pooling)
    pad = getattr(text_config(model.module), "pad_token_id", None)
    by_prompt: dict[int, list[str]] = {}
    for name, index in owner.items():
        by_prompt.setdefault(index, []).append(name)
    accumulator: StatesAccumulator | None = None
    most_padded, padding = 0, 0

    def receive(batch: Batch, states: torch.Tensor) -> None:
        nonlocal accumulator, most_padded, padding
        if accumulator is None:  # the first batch tells how wide states are
            accumulator = StatesAccumulator(list(owner), states.shape[0], states.shape[2])
        ids = [name for index in batch.prompts for name in by_prompt.get(index, ())]
        accumulator.update(ids, states)
        added = batch.tokens.shape[1] - len(probe.prompts[batch.prompts[-1]])
        if added > padding and batch.prompts[-1] in by_prompt:
            most_padded, padding = batch.prompts[-1], added

    prepared = batches(
        probe.prompts,
        positions,
        pooling=reading.pooling,
        batch_size=reading.batch_size,
        padding=reading.padding,
        pad_token=pad if isinstance(pad, int) and pad >= 0 else 0,
    )
    capture(model.blocks, prepared, receive, tick)
    assert accumulator is not None  # a probe has prompts
    pooled = accumulator.compute()
    padding_error = None
    if padding:
        rows = [pooled.ids.index(name) for name in by_prompt[most_padded]]
        prompt, read = probe.prompts[most_padded], positions[most_padded]
        alone = _alone(model, prompt, read, reading.pooling)
        padding_error = _largest_difference(pooled.values[:, rows], alone)
    measured, groups = _grouped(pooled, owner, probe, reading)
    measured = replace(measured, prompt=torch.tensor([owner[name] for name in pooled.ids]))
    if reading.pooling != "mean":
        tokens = _tokens(pooled.ids, owner, probe, positions, reading.pooling)
        labels = {**measured.labels, "token": tokens}
        if reading.pooling == "all" and probe.template == "chat":
            labels["part"] = _parts(pooled.ids, owner, probe)
        measured = replace(measured, labels=labels)
    record = {
        "n": len(probe.prompts),
        "samples": len(pooled.ids),
        "ids_sha256": probe.ids_sha256,
        "pooling": reading.pooling,
        "template": probe.template,
        "left_out": probe.left_out,
        "groups": groups,
        "padding_error": padding_error,
    }
    return measured, record


def _alone(
    model: LoadedModel, prompt: Sequence[int], positions: Sequence[int], pooling: Pooling
) -> torch.Tensor:
    """The states of one prompt in a batch of its own: what padding must not change."""
    states: list[torch.Tensor] = []
    single = batches([prompt], [positions], pooling=pooling, batch_size=1)
    capture(model.blocks, single, lambda _batch, found: states.append(found.clone()))
    return states[0]


def _largest_difference(padded: torch.Tensor, alone: torch.Tensor) -> float:
    """Relative difference of states at the layer where it is largest."""
    apart = (padded - alone).flatten(1).norm(dim=1)
    return float((apart / alone.flatten(1).norm(dim=1).clamp_min(1e-30)).max())


def _sample_owners(
    probe: TokenisedProbe, positions: Sequence[Sequence[int]], pooling: Pooling
) -> dict[str, int]:
    """Sample id to the index of its prompt: a prompt, or with pooling ``all`` one of its tokens."""
    if pooling != "all":
        return {name: index for index, name in enumerate(probe.ids)}
    return {
        f"{name}:{position:06d}": index
        for index, name in enumerate(probe.ids)
        for position in positions[index]
    }


def _grouped(
    pooled: PooledStates, owner: Mapping[str, int], probe: TokenisedProbe, reading: Reading
) -> tuple[Measured, dict[str, Any] | None]:
    """The states with their resampling, and how much of their variance lies between groups."""
    resampling = deal([owner[name] for name in pooled.ids], seed=reading.seed)
    if probe.groups is None:
        return Measured(pooled.values, resampling), None
    names = sorted(set(probe.groups))
    number = {name: place for place, name in enumerate(names)}
    strata = torch.tensor([number[probe.groups[owner[name]]] for name in pooled.ids])
    shares = [variance_between(layer, strata) for layer in pooled.values[1:]]
    record = {
        "names": names,
        "sizes": torch.bincount(strata, minlength=len(names)).tolist(),
        "variance_between": shares,
        "removed": reading.within_groups,
    }
    removed = strata if reading.within_groups else None
    return Measured(pooled.values, resampling, removed, {"group": strata}), record


def _parts(
    ids: Sequence[str], owner: Mapping[str, int], probe: TokenisedProbe
) -> Int[Tensor, " samples"]:
    """Which part of the chat each token is of: 0 before what varies, 1 in it, 2 after it.

    What a template writes is what all prompts begin and end with.
    """
    shortest = min(map(len, probe.prompts))
    before = _shared(probe.prompts, shortest)
    after = _shared([prompt[::-1] for prompt in probe.prompts], shortest - before)

    def part(name: str) -> int:
        place = int(name.rpartition(":")[2])
        return 0 if place < before else 1 + (place >= len(probe.prompts[owner[name]]) - after)

    return torch.tensor([part(name) for name in ids])


def _shared(sequences: Sequence[Sequence[int]], most: int) -> int:
    """How many tokens all sequences begin with, up to ``most``."""
    first = sequences[0]
    return next(
        (place for place in range(most) if any(own[place] != first[place] for own in sequences)),
        most,
    )


def _tokens(
    ids: Sequence[str],
    owner: Mapping[str, int],
    probe: TokenisedProbe,
    positions: Sequence[Sequence[int]],
    pooling: Pooling,
) -> Int[Tensor, " samples"]:
    """The token that each sample is the state of."""
    places = {
        name: int(name.rpartition(":")[2]) if pooling == "all" else positions[index][-1]
        for name, index in owner.items()
    }
    return torch.tensor([probe.prompts[owner[name]][places[name]] for name in ids])
