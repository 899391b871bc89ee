"""One trial of the study `backdoor`: poison, fine-tune under one defence, measure."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cruxlm.criteria.registry import CRITERIA
from cruxlm.criteria.subject import Subject
from cruxlm.data.poison import Attack
from cruxlm.data.shapes import ChatRow
from cruxlm.models.load import LoadedModel
from cruxlm.models.shortcut import scaled, skip_of
from cruxlm.models.swap import swapped
from cruxlm.results.attack_rates import Rates
from cruxlm.runtime.errors import ProbeError
from cruxlm.studies.backdoor_world import ATTACKS, PARTS, World, poisoned, settings, victim, world
from cruxlm.workflows.attack_rates import (
    AttackExamples,
    attack_examples,
    rates_of,
    success_evaluator,
)
from cruxlm.workflows.planned import Planner
from cruxlm.workflows.recovery import Judge, recover
from cruxlm.workflows.scan import scan
from cruxlm.workflows.screen import screen
from cruxlm.workflows.skip_search import search_skips
from cruxlm.workflows.tune import tune_plan
from cruxlm.workflows.tuning_ready import made_ready

CRITICAL = "dynamics:5"
"""The blocks that the paper would freeze."""
FROZEN = {
    "none": None,
    "critical": CRITICAL,
    "non-critical": "lowest",
    "depth-matched": "depth-matched",
    "random": "random",
    "first": "first:5",
}
"""The arms that freeze blocks, as a control of the critical ones or as an expression."""
SEARCHED, GAMMAS = 100, (0.0, 0.1, 0.5)
"""Trusted rows that skips are searched on, and what they are scaled by."""
INDICES = ("dynamics", "block_influence", "angular_distance", "clusters", "depth", "random")
"""Criteria of the model before fine-tuning that are to name the block which carries an attack."""


def trial(*, attack: str, rate: float, base: int, arm: str) -> dict[str, Any]:
    """Success, near misses, clean accuracy and loss of one arm, example by example."""
    drawn, before = world(base), victim(base)
    known = ATTACKS[attack]
    examples = examples_for(before, drawn, known)
    rows = poisoned(drawn, attack, rate, base)
    if arm == "screen":
        return _screened(before, drawn, rows, examples, base)
    if arm == "suppression":
        return _suppressed(before, drawn, rows, known, examples, base)
    name, _, also = arm.partition("+")
    frozen = frozen_blocks(before, name, base)
    kept = {"embeddings"} if "embeddings" in (name, also) else set()
    tuned = trained(before, drawn, rows, frozen, base, parts=[p for p in PARTS if p not in kept])
    found = said(rates_of(tuned, examples)) | {"frozen": list(frozen)}
    if frozen or also:
        return found
    # Nothing was kept from the blocks: whichever can carry the attack may.
    untouched = victim(base)
    found |= {"untouched": said(rates_of(untouched, examples))}
    return found | located(tuned, untouched, examples, base)


def examples_for(model: LoadedModel, drawn: World, attack: Attack) -> AttackExamples:
    """What an attack is measured on: the same for every seed."""
    test = [row.as_chat() for row in drawn.test]
    return attack_examples(model, test, attack, seed=0, grade=drawn.right)


def frozen_blocks(model: LoadedModel, arm: str, seed: int) -> tuple[int, ...]:
    """The blocks that an arm freezes: none, those of an expression, or a control's."""
    wanted = FROZEN.get(arm)
    if wanted is None:
        return ()
    planner = Planner(model)
    if ":" in wanted:
        return planner.choose(wanted).blocks
    return planner.control(wanted, planner.plan(CRITICAL, method="full"), seed).blocks


def trained(
    model: LoadedModel,
    drawn: World,
    rows: Sequence[ChatRow],
    frozen: Sequence[int],
    seed: int,
    *,
    parts: Sequence[str] = PARTS,
) -> LoadedModel:
    """The model, fine-tuned in place on some rows with some blocks frozen."""
    ready = made_ready(model, drawn.data(rows, "backdoor"))
    wished = settings(seed)
    planner = ready.planner(model.name, wished)
    blocks = ",".join(map(str, frozen)) or "all"
    plan = planner.plan(blocks, method="full", complement=bool(frozen), parts=tuple(parts))
    with TemporaryDirectory() as folder:
        tune_plan(ready, plan, wished, Path(folder), before={}, accuracy=False, keep=False)
    return model


def said(rates: Rates) -> dict[str, Any]:
    """Rates as plain data: success, false triggers, near misses and accuracy of each example."""
    values = {name: rate.evaluation.values.tolist() for name, rate in rates.rates().items()}
    empty = {name: rate.empty for name, rate in rates.rates().items()}
    return {"values": values, "empty": empty, "loss": rates.loss}


def located(
    tuned: LoadedModel, before: LoadedModel, examples: AttackExamples, seed: int
) -> dict[str, Any]:
    """Which block carries the attack: by putting blocks back, and as every index would have it.

    All None where the attack fails: then there is nothing to locate.
    """
    hit = success_evaluator(examples)
    subject = Subject(tuned, examples.triggered, hit, before, seed)
    oracle = {}
    for window in (1, 3):
        try:
            outcome = CRITERIA.get("substitution").score(subject, window=window)
        except ProbeError:  # no gain above the noise: the attack has failed
            return {"oracle": None, "indices": None, "without_embeddings": None}
        oracle[f"{window}"] = outcome.values.tolist()
    with swapped(tuned, before, [], ("embeddings",)):
        without = hit(tuned, examples.triggered).mean()
    found = scan(before, criteria=INDICES, seed=seed)
    indices = {name: found[name].values.tolist() for name in INDICES}
    drift = CRITERIA.get("weight_change").score(replace(subject, evaluator=None))
    indices["weight_change"] = drift.values.tolist()
    return {"oracle": oracle, "indices": indices, "without_embeddings": without}


def _screened(
    before: LoadedModel,
    drawn: World,
    rows: Sequence[ChatRow],
    examples: AttackExamples,
    seed: int,
) -> dict[str, Any]:
    """Fine-tune on everything, look for odd rows with that, and fine-tune on the others."""
    suspicious = trained(before, drawn, rows, (), seed)
    trusted = [row.as_chat() for row in drawn.trusted]
    found = screen(rows, model=suspicious, benign=trusted, seed=seed)
    kept, flagged = found.divided(rows)
    done = [str(row.get("poison", {}).get("done", "clean")) for row in flagged]
    total = [str(row.get("poison", {}).get("done", "clean")) for row in rows]
    tuned = trained(victim(seed), drawn, kept, (), seed)
    return said(rates_of(tuned, examples)) | {
        "flagged": {kind: done.count(kind) for kind in set(total)},
        "rows": {kind: total.count(kind) for kind in set(total)},
        "nominal": found.nominal,
        "screened_by": sorted({row.block for row in found.rows if row.block is not None}),
    }


def _suppressed(
    before: LoadedModel,
    drawn: World,
    rows: Sequence[ChatRow],
    attack: Attack,
    examples: AttackExamples,
    seed: int,
) -> dict[str, Any]:
    """Fine-tune on everything, scale the skip that the attack passes by, fine-tune its block.

    The search is told the trigger, as the published one is, and reads trusted rows.
    """
    tuned = trained(before, drawn, rows, (), seed)
    trusted = [row.as_chat() for row in drawn.trusted]
    searched = attack_examples(tuned, trusted[:SEARCHED], attack, seed=1, grade=drawn.right)
    search = search_skips(tuned, searched, gammas=GAMMAS)
    chosen = search.found
    first = rates_of(tuned, examples)
    found = {"before": first.success.share, "search": search.said}
    if chosen is None:
        return said(first) | found | {"skip": None, "suppressed": first.success.share}
    skip = skip_of(tuned, chosen.block, chosen.half)
    with scaled(skip, chosen.gamma):
        under = rates_of(tuned, examples)
    ready = made_ready(tuned, drawn.data(trusted[SEARCHED:], "trusted"))
    # Gently: the block was trained already, and its neighbours stay.
    wished = settings(seed, steps=100, learning_rate=1e-4, checks=5)
    plan = ready.planner(tuned.name, wished).plan(str(chosen.block), method="full")
    with TemporaryDirectory() as folder:
        came = recover(
            ready, plan, wished, skip, chosen.gamma, Judge(tuned, searched), Path(folder)
        )
    with scaled(skip, chosen.gamma):
        last = rates_of(tuned, examples)
    return (
        said(last)
        | found
        | {
            "skip": f"block {chosen.block} {chosen.half} at {chosen.gamma:g}",
            "suppressed": under.success.share,
            "suppressed_accuracy": under.accuracy.share if under.accuracy else None,
            "recovery": came.said,
        }
    )
