"""Spectra: the principal components of every block's states, and where a block's shift lies."""

import time
from collections.abc import Sequence
from typing import Any, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from cruxlm.criteria.descriptor import Measured
from cruxlm.data.tokens import FEWEST
from cruxlm.models.batches import Pooling
from cruxlm.models.load import load_model
from cruxlm.numerics.attribution import CLEAR, Attribution, attribute
from cruxlm.numerics.decomposition import Decomposition, decompose
from cruxlm.numerics.outliers import energy_share, largest_dimensions
from cruxlm.numerics.subspace import random_subspace
from cruxlm.numerics.subspaces import mean_correlations
from cruxlm.results.plan import listed
from cruxlm.results.scores import plain
from cruxlm.results.spectra import BlockSpectrum, Spectra
from cruxlm.runtime.errors import OptionError
from cruxlm.runtime.progress import progress
from cruxlm.testbed.home import resolve
from cruxlm.workflows.components import Describe
from cruxlm.workflows.measure import Reading, measure, tokenised
from cruxlm.workflows.planned import Planner
from cruxlm.workflows.provenance import provenance_of, run_of
from cruxlm.workflows.request import ProbeSpec, one_of, requested_probes, whole_number
from cruxlm.workflows.scan import DEFAULT_BATCH, DEFAULT_N, DEFAULT_PROBE, TEMPLATES

TOKENS = 1024
"""Tokens that pooling ``all`` keeps: every set of directions has a Gram of them."""
DRAWS = 5
"""Draws of the random directions that stand beside the components."""
FEW, HALF = 3, 0.5
"""Components that the finding is about, and the share of a shift that is most of it."""
REACH = 2
"""Blocks either side whose leading components are compared with a block's."""


def spectra(
    model: Any = None,
    *,
    probe: ProbeSpec = DEFAULT_PROBE,
    field: str | None = None,
    n: int = DEFAULT_N,
    pooling: str = "last",
    template: str = "auto",
    k: int = 10,
    blocks: str = "dynamics:5",
    show_prompts: bool | None = None,
    tokenizer: Any = None,
    dtype: str | None = None,
    device: str | None = None,
    batch_size: int = DEFAULT_BATCH,
    seed: int = 0,
    show_progress: bool = False,
) -> Spectra:
    """Decompose the states of every block, and say where in them its shift lies.

    Args:
        model: A hub id, a folder, a live module (with ``tokenizer``), or None for the embedded one.
        probe: What is read; see ``scan``.
        field: Field of a row that holds the prompt.
        n: Prompts that are read.
        pooling: Which tokens give a prompt's state.
        template: Chat template or raw text.
        k: Most components that are looked at together.
        blocks: The blocks whose components are described, in the block grammar.
        show_prompts: Whether prompts are shown; unless told, those of built-in probes are.
        tokenizer: The tokenizer of a live module.
        dtype: As for ``scan``.
        device: As for ``scan``.
        batch_size: Prompts in one forward pass.
        seed: Seed of the deal into groups, data-free probes and random directions.
        show_progress: Whether to show a bar on a terminal.

    Raises:
        CruxError: For anything outside Crux that is wrong; naming the block where the states of one
            are constant or have fewer than ``k`` components.
    """
    started = time.perf_counter()
    reading = Reading(
        n=whole_number(n, "n", FEWEST),
        pooling=one_of(pooling, get_args(Pooling), "pooling"),
        tokens=TOKENS,
        template=one_of(template, TEMPLATES, "template"),
        within_groups=False,
        batch_size=whole_number(batch_size, "batch_size", 1),
        padding="right",
        seed=whole_number(seed, "seed", 0),
    )
    whole_number(k, "k", 1)
    probes = requested_probes(probe, field)
    if len(probes) > 1:
        raise OptionError("spectra read one probe: name one")
    loaded = load_model(resolve(model), tokenizer=tokenizer, dtype=dtype, device=device)
    planner = Planner(loaded, model, show_progress=show_progress)
    chosen = planner.choose(blocks)
    (read,) = tokenised(probes, loaded, reading)
    with progress("reading", len(read.prompts), show=show_progress) as tick:
        measured, record = measure(loaded, read, reading, tick)
    with progress("decomposing", len(loaded.blocks.modules), show=show_progress) as tick:
        layers = _decomposed(measured, k)
        found = []
        for block in range(len(loaded.blocks.modules)):
            found.append(_spectrum(measured, layers, block, k, reading.seed))
            tick(1)
    describe = Describe(loaded, read, measured, show_prompts=_shown(show_prompts, probe))
    components = {
        b: describe.block(b, own, k, found[b])
        for b in chosen.blocks
        if (own := layers[b + 1]) is not None
    }
    return Spectra(
        model=planner.ref.name,
        blocks=loaded.blocks.names,
        k=k,
        spectra=tuple(found),
        components=components,
        probe={"name": read.name, **plain(record)},
        finding=finding(found, chosen.blocks, k),
        warnings=describe.warnings,
        provenance=provenance_of(loaded, seed=reading.seed, blocks=chosen.why),
        run=run_of(started),
    )


def finding(found: Sequence[BlockSpectrum], blocks: Sequence[int], k: int) -> str:
    """Whether the shift of some blocks lies in few components: it then goes away without them."""
    few = min(FEW, k)
    held = [b for b in blocks if found[b].shares[few - 1] is not None]
    if not held:
        return "At none of these blocks is there a shift that is clear of zero."
    what = f"the leading {'component' if few == 1 else f'{few} components'}"
    inside = [b for b in held if _lies_in(found[b], few)]
    outside = [b for b in held if _clearly(found[b], few, 1) < 0]
    said = []
    if inside:
        shares = ", ".join(f"{found[b].shares[few - 1]:.0%}" for b in inside)
        said.append(
            f"Most of the shift of {listed(inside)} lies in {what}: {shares} go away without."
        )
    if outside:
        said.append(
            f"The shift of {listed(outside)} does not lie in {what}: without them what enters and "
            "what leaves is less alike, so they are what stays."
        )
    rest = [b for b in held if b not in inside and b not in outside]
    if rest:
        said.append(f"Of the shift of {listed(rest)}, less than half or none lies in {what}.")
    return " ".join(said)


def _lies_in(found: BlockSpectrum, few: int) -> bool:
    """Whether more than half of a shift goes away, surely, and not with random directions too."""
    least = _clearly(found, few, -1)
    return least > HALF and least > (found.random or 0.0)


def _clearly(found: BlockSpectrum, few: int, side: int) -> float:
    """An end of the interval of a share: the lower, or with side 1 the upper."""
    share, error = found.shares[few - 1], found.shares_stderr[few - 1]
    assert share is not None
    return share + side * CLEAR * (error or 0.0)


def _shown(asked: bool | None, probe: Any) -> bool:
    """Whether prompts may be shown: a user's own only on request."""
    from cruxlm.data.probes import BUILTIN

    return str(probe) in BUILTIN if asked is None else asked


def _decomposed(measured: Measured, k: int) -> list[Decomposition | None]:
    """Every layer's components; None for what enters block 0 where it is constant."""
    layers: list[Decomposition | None] = []
    for number, states in enumerate(measured.states):
        where = "what enters block 0" if number == 0 else f"block {number - 1}"
        try:
            found = decompose(states)
        except ValueError as error:
            if number == 0:
                layers.append(None)  # the last token of a chat
                continue
            raise OptionError(f"{where}: {error}; read other prompts") from error
        if found.rank < k and number:
            raise OptionError(
                f"{where}: {k} components of states that have {found.rank}: read more prompts or "
                f"take k of {found.rank} or fewer"
            )
        layers.append(found)
    return layers


def _spectrum(
    measured: Measured, layers: Sequence[Decomposition | None], block: int, k: int, seed: int
) -> BlockSpectrum:
    own = layers[block + 1]
    assert own is not None  # only what enters block 0 may be constant
    states = measured.states[block + 1]
    entering = layers[block]
    shifted = None if entering is None else _attributed(measured, block, own, entering, k, seed)
    outputs = layers[1:]
    near = [
        other
        for place in range(block - REACH, block + REACH + 1)
        if place != block and 0 <= place < len(outputs) and (other := outputs[place]) is not None
    ]
    following = outputs[block + 1] if block + 1 < len(outputs) else None
    nothing: tuple[float | None, ...] = (None,) * k
    around = torch.stack([mean_correlations(own, other, k) for other in near]) if near else None
    dimension = largest_dimensions(states, 1)
    return BlockSpectrum(
        rank=own.rank,
        effective_rank=own.effective_rank,
        participation=own.participation_ratio,
        energy=tuple(own.energy[:k].cumsum(0).tolist()),
        largest_dimension=energy_share(states, dimension),
        next_block=nothing if following is None else _known(mean_correlations(own, following, k)),
        neighbours=nothing if around is None else _known(around.mean(0)),
        shift=None if shifted is None else shifted.shift,
        shift_stderr=None if shifted is None else shifted.stderr,
        shares=nothing if shifted is None else _known(shifted.shares[:k]),
        shares_stderr=nothing if shifted is None else _errors(shifted, slice(k)),
        before=nothing if shifted is None else _known(shifted.shares[k : 2 * k]),
        smallest=None if shifted is None else _known(shifted.shares[2 * k : 2 * k + 1])[0],
        random=None if shifted is None else _known([shifted.shares[2 * k + 1 :].mean()])[0],
    )


def _attributed(
    measured: Measured, block: int, own: Decomposition, entering: Decomposition, k: int, seed: int
) -> Attribution:
    """The leading components of what leaves, of what enters; the smallest; random directions."""
    sets: list[Float[Tensor, "_ width"]] = [own.right[:count] for count in range(1, k + 1)]
    sets += [entering.right[:count] for count in range(1, k + 1)]
    sets.append(own.right[-k:])
    sets += [random_subspace(k, own.mean, seed + draw).directions for draw in range(DRAWS)]
    before, after = measured.states[block], measured.states[block + 1]
    return attribute(before, after, sets, resampling=measured.resampling)


def _errors(found: Attribution, places: slice) -> tuple[float | None, ...]:
    if found.shares_stderr is None:
        return (None,) * len(found.shares[places])
    return _known(found.shares_stderr[places])


def _known(values: Any) -> tuple[float | None, ...]:
    """Numbers, None for what is not finite."""
    return tuple(float(v) if np.isfinite(v) else None for v in np.asarray(values, dtype=float))
