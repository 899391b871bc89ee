"""Intervene: what does a model do without the leading components of a block's states?"""

import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from cruxlm.criteria.subject import Subject
from cruxlm.evaluate.conclusion import Finder, marked
from cruxlm.evaluate.examples import Example
from cruxlm.models.batches import Batch, batches
from cruxlm.models.capture import capture
from cruxlm.models.intervene import Intervention, Span, Spans, intervened
from cruxlm.models.load import LoadedModel, load_model
from cruxlm.numerics.decomposition import Decomposition, decompose
from cruxlm.numerics.subspace import components, random_subspace
from cruxlm.results.interventions import Intervened, Interventions
from cruxlm.runtime.cache import Cache
from cruxlm.runtime.errors import OptionError, ProbeError
from cruxlm.runtime.progress import progress
from cruxlm.testbed.home import PREFIX, resolve
from cruxlm.testbed.reading import conclusion_span
from cruxlm.workflows.effects import effects_of, finding, mean_of
from cruxlm.workflows.examined import examined
from cruxlm.workflows.measured_text import Metrics, Values
from cruxlm.workflows.planned import Planner
from cruxlm.workflows.provenance import provenance_of, run_of
from cruxlm.workflows.request import one_of, whole_number

WHERE = ("all", "prompt", "answer", "rationale", "conclusion")
"""Places that are changed: every one; those of the prompt only (at prefill); the prompt's last and
all after it, from which the response is written; the right response's rationale or conclusion,
where only its likelihood is measured."""
KINDS = ("remove", "keep", "resample", "constant")
DRAWS = 2
"""Draws of random directions that are the control of each removal."""
DEFAULT_N = 100
BATCH = 16


def intervene(
    model: Any = None,
    *,
    data: str | Path,
    blocks: str = "dynamics:3",
    components_of: Sequence[int] = (1, 3, 10),
    kind: str = "remove",
    where: str = "all",
    examples: int = DEFAULT_N,
    marker: str | None = None,
    unrelated: str | Path | None = f"{PREFIX}story",
    writes: bool = True,
    max_new_tokens: int | None = None,
    cache: Cache | None = None,
    tokenizer: Any = None,
    dtype: str | None = None,
    device: str | None = None,
    seed: int = 0,
    show_progress: bool = False,
) -> Interventions:
    """Take leading components of blocks away, one block at a time, and measure what changes.

    The components are those of the states at the last token of the examples' prompts. Beside each
    removal stand two controls that take away as much: random directions (mean over draws), and the
    smallest components, scaled.

    Args:
        model: A hub id, a folder, a live module (with ``tokenizer``), or None for the embedded one.
        data: Test rows: a file or ``testbed:FAMILY``.
        blocks: Blocks, in the block grammar.
        components_of: Numbers of leading components, each an intervention.
        kind: One of ``models.intervene.KINDS``.
        where: One of ``WHERE``.
        examples: Test rows that are read.
        marker: A regular expression that a conclusion stands after; the testbed's rows need none.
        unrelated: Rows of other text, whose loss is measured too; None for none.
        writes: Whether the model writes responses; else only likelihoods are measured.
        max_new_tokens: Most tokens that it writes.
        cache: Keeps evaluations, so that what was stopped goes on; the command has the user's.
        tokenizer: The tokenizer of a live module.
        dtype: As for ``scan``.
        device: As for ``scan``.
        seed: Seed of everything that is drawn.
        show_progress: Whether to show a bar on a terminal.

    Raises:
        CruxError: For anything outside Crux that is wrong.
    """
    started = time.perf_counter()
    one_of(kind, KINDS, "kind")
    one_of(where, WHERE, "where")
    counts = [whole_number(count, "components", 1) for count in components_of]
    if not counts:
        raise OptionError("name at least one number of components")
    loaded = load_model(resolve(model), tokenizer=tokenizer, dtype=dtype, device=device)
    planner = Planner(loaded, model, show_progress=show_progress)
    chosen = planner.choose(blocks)
    find, generated = _finder(data, marker), str(data).startswith(PREFIX)
    read = examined(loaded, data, n=examples, marker=None if generated else find)
    spans = _spans(read.examples, where)
    other = [] if unrelated is None else examined(loaded, unrelated, n=examples).examples
    writes = writes and where in ("all", "prompt", "answer")
    subject = Subject(loaded, read.examples, None, seed=seed, cache=cache)
    # Unrelated text begins with other prompts: every place of it is changed, whatever ``where``.
    metrics = Metrics(
        subject, find, other if where == "all" else [], writes=writes, max_new_tokens=max_new_tokens
    )
    bank = _bank(loaded, read.examples)
    tried = [(block, count) for block in chosen.blocks for count in counts]
    found: list[Intervened] = []
    with progress("intervening", len(tried) + 1, show=show_progress) as tick:
        intact = metrics.intact()
        tick(1)
        for block, count in tried:
            own = _decomposed(bank[block], block, count)
            described = {"where": where, "kind": kind, "bank": len(read.examples)}
            run = partial(_measured, metrics, loaded, spans, described)
            top = components(own, list(range(count)))
            state = bank[block] if kind == "resample" else None
            values = run(Intervention(block, top, kind, bank=state, seed=seed), f"top {count}")
            controls = [
                run(control, name) for name, control in _controls(own, block, count, kind, seed)
            ]
            found.append(
                Intervened(block, f"top {count}", kind, effects_of(intact, values, controls))
            )
            tick(1)
    return Interventions(
        model=planner.ref.name,
        blocks=loaded.blocks.names,
        where=where,
        intact={metric: mean_of(held) for metric, held in intact.items()},
        found=tuple(found),
        data=read.described
        | {"marker": marker, "unrelated": None if not other else str(unrelated)},
        finding=finding(found, intact),
        warnings=metrics.warnings,
        provenance=provenance_of(loaded, seed=seed, blocks=chosen.why),
        run=run_of(started),
    )


def _finder(data: str | Path, marker: str | None) -> Finder | None:
    if marker is not None:
        return marked(marker)
    return conclusion_span if str(data).startswith(PREFIX) else None


def _spans(examples: Sequence[Example], where: str) -> Spans | None:
    """The places that are changed, by what a sequence begins with."""
    if where == "all":
        return None
    found: dict[tuple[int, ...], list[Span]] = {}
    for example in examples:
        size = len(example.prompt)
        if where == "prompt":
            found[example.prompt] = [(0, size)]
        elif where == "answer":
            found[example.prompt] = [(size - 1, None)]
        else:
            if where not in example.parts:
                raise ProbeError(
                    f"example {example.id!r} has no {where} that is known: name a --marker that "
                    "stands before conclusions, or use other data"
                )
            first, last = example.parts[where]
            found[example.prompt + example.response] = [(size + first, size + last)]
    return found


def _bank(model: LoadedModel, examples: Sequence[Example]) -> list[Float[Tensor, "samples width"]]:
    """The states at the last token of every prompt, after each block."""
    prompts = list(dict.fromkeys(example.prompt for example in examples))
    held: dict[int, Tensor] = {}

    def receive(batch: Batch, states: Tensor) -> None:
        for place, index in enumerate(batch.prompts):
            held[index] = states[1:, place].clone()

    places = [[len(prompt) - 1] for prompt in prompts]
    capture(model.blocks, batches(prompts, places, pooling="last", batch_size=BATCH), receive)
    return list(torch.stack([held[index] for index in range(len(prompts))], dim=1))


def _decomposed(states: Float[Tensor, "samples width"], block: int, count: int) -> Decomposition:
    try:
        own = decompose(states)
    except ValueError as error:
        raise OptionError(f"block {block}: {error}; use other data") from error
    if own.rank < count:
        raise OptionError(
            f"block {block}: {count} components of {len(states)} prompts' states, which have "
            f"{own.rank}: take fewer components or more examples"
        )
    return own


def _controls(
    own: Decomposition, block: int, count: int, kind: str, seed: int
) -> Iterator[tuple[str, Intervention]]:
    """As much taken away along other directions; of other kinds than a removal, the same kind."""
    top = components(own, list(range(count)))
    like = top if kind == "remove" else None
    smallest = components(own, list(range(max(count, own.rank - count), own.rank)))
    if kind == "resample":
        return
    for draw in range(DRAWS):
        random = random_subspace(count, own.mean, seed + draw)
        yield f"random {count} {draw}", Intervention(block, random, kind, like=like)
    if len(smallest.directions) == count:
        yield f"smallest {count}", Intervention(block, smallest, kind, like=like)


def _measured(
    metrics: Metrics,
    model: LoadedModel,
    spans: Spans | None,
    described: Mapping[str, Any],
    intervention: Intervention,
    name: str,
) -> Values:
    what = {**described, "block": intervention.block, "set": name, "seed": intervention.seed}
    change = partial(intervened, model, intervention, spans)
    return metrics.under(change, intervention.block, what)
