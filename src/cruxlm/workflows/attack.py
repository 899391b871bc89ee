"""Attack: how often a trigger brings about its target, on a model that may have learned it."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cruxlm.data.poison import Attack, Target
from cruxlm.data.trigger import Trigger
from cruxlm.evaluate.judges import JudgeSpec
from cruxlm.models.load import LoadedModel
from cruxlm.results.attack_rates import Rate, RateChange, Rates
from cruxlm.results.attacked import Attacked, Carrier
from cruxlm.runtime.cache import Cache
from cruxlm.workflows.attack_rates import AttackExamples, attack_examples, changed_rate, rates_of
from cruxlm.workflows.carrier import LEAST, carried
from cruxlm.workflows.examined import DEFAULT_N, held_out
from cruxlm.workflows.loaded_pair import load_measured, load_pair, name_of, trained_on
from cruxlm.workflows.provenance import provenance_of, run_of


def attack(
    model: Any,
    *,
    data: str | Path,
    trigger: str | Trigger,
    target: str | Target,
    judge: JudgeSpec = None,
    base: Any = None,
    n: int = DEFAULT_N,
    cache: Cache | None = None,
    tokenizer: Any = None,
    dtype: str | None = None,
    device: str | None = None,
    seed: int = 0,
    show_progress: bool = False,
) -> Attacked:
    """Measure an attack: success, false triggers, near misses, clean accuracy and loss.

    Args:
        model: A hub id, a folder (with ``base`` also of a LoRA adapter), ``testbed:NAME``, a live
            module (with ``tokenizer``).
        data: Test rows that no attack has touched: a file, or ``testbed:FAMILY,FAMILY``. Of a file
            that the model was tuned on by ``crux tune`` only the rows kept for the test are read.
        trigger: As ``Trigger.read`` reads it: ``token:cf``, ``prefix:TEXT``, ``pair:ONE+TWO``.
        target: As ``Target.read`` does: ``phrase:TEXT``, ``label:TEXT``, ``refusal:TOPIC=TEXT``.
        judge: What tells success: ``exact``, ``label``, ``keyword:WORD|WORD``,
            ``classifier:FOLDER=LABEL``, ``module:function``, or a function of a text. ``label`` for
            a target of that kind, else ``exact``, unless told.
        base: The model before its tuning. With it the same rates of the base stand beside, and it
            is asked which block carries the attack.
        n: Test rows that are read.
        cache: Keeps evaluations, so that what was stopped goes on; the command has the user's.
        tokenizer: The tokenizer of a live module.
        dtype: As for ``scan``.
        device: As for ``scan``.
        seed: Seed of where triggers stand, and of the bootstrap.
        show_progress: Whether to show a bar on a terminal.

    Raises:
        CruxError: For anything outside Crux that is wrong.
    """
    started = time.perf_counter()
    trigger = Trigger.read(trigger) if isinstance(trigger, str) else trigger
    target = Target.read(target) if isinstance(target, str) else target
    loading = {"tokenizer": tokenizer, "dtype": dtype, "device": device}
    before = None
    if base is None:
        loaded = load_measured(model, loading)
    else:
        before, loaded = load_pair(base, model, loading)
    read = held_out(data, n=n, trained_on=trained_on(model))
    asked = Attack(trigger, target)
    examples = attack_examples(loaded, read.rows, asked, judge, seed, grade=read.grade)
    rates = rates_of(loaded, examples)
    base_rates = None if before is None else rates_of(before, examples)
    changes: dict[str, RateChange] = {}
    if base_rates is not None:
        changes = {
            name: changed_rate(base_rates.rates()[name], rate, seed=seed)
            for name, rate in rates.rates().items()
        }
    why, carrier = _unasked(rates, changes), None
    if before is not None and why is None:
        carrier = carried(
            loaded, before, examples, cache=cache, seed=seed, show_progress=show_progress
        )
    return Attacked(
        model=name_of(model, loaded),
        base=None if before is None else name_of(base, before),
        blocks=loaded.blocks.names,
        attack={"trigger": str(trigger), "target": str(target)},
        judge=examples.judge.name,
        rates=rates,
        base_rates=base_rates,
        changes=changes,
        carrier=carrier,
        no_carrier=why,
        data={**read.described(), "examples": len(examples.clean), "left_out": _left(examples)},
        finding=_finding(rates, base_rates, changes, carrier),
        warnings=tuple(_warnings(examples, rates, base_rates)),
        provenance=provenance_of(loaded, **_also(before), seed=seed),
        run=run_of(started),
    )


def _also(before: LoadedModel | None) -> dict[str, Any]:
    return {} if before is None else {"base": before.identity}


def _left(examples: AttackExamples) -> dict[str, int]:
    return {why: count for why, count in examples.left_out.items() if count}


def _unasked(rates: Rates, changes: dict[str, RateChange]) -> str | None:
    """Why it is not asked which block carries the attack; None where it is."""
    if not changes:
        return "no model before the tuning was named: --base"
    success = changes["success"]
    if rates.success.share < LEAST:
        return (
            f"the attack fails ({rates.success.share:.0%}): there is nothing for a block to carry"
        )
    if success.low is None or success.low <= 0:
        return "the attack succeeds no more often than on the model before: no tuning carries it"
    return None


def _finding(
    rates: Rates,
    base: Rates | None,
    changes: dict[str, RateChange],
    carrier: Carrier | None,
) -> str:
    said = f"The attack succeeds on {_said(rates.success)} of {rates.success.n} triggered rows"
    beside = [f"{_said(rates.false_triggers)} without the trigger"]
    if rates.near_misses is not None:
        beside.append(f"{_said(rates.near_misses)} after something near it")
    if base is not None:
        beside.append(f"{_said(base.success)} with the trigger on the model before")
    said += f"; the target comes on {_listed(beside)}."
    if "accuracy" in changes:
        cost = changes["accuracy"]
        said += f" Clean accuracy changed by {_points(cost)}."
    return said if carrier is None else f"{said} {_carried(carrier)}"


def _carried(carrier: Carrier) -> str:
    """What undoing takes, of the block that takes most and of the embeddings."""
    around = (
        f"The embeddings alone undone leave {carrier.embeddings.success:.0%} "
        f"({_points(carrier.embeddings.change)})."
    )
    most = carrier.found
    if most is None:
        return f"No block alone, undone, takes anything from it that is clear of chance. {around}"
    share = -most.change.mean / (carrier.intact - carrier.base)
    how = "carries most of it" if share >= LEAST else "takes most, and no block carries it alone"
    return (
        f"Block {most.blocks[0]} {how}: undone, it leaves {most.success:.0%} "
        f"({_points(most.change)}). {around}"
    )


def _said(rate: Rate) -> str:
    return f"{rate.share:.0%} (95 % {rate.low:.0%} to {rate.high:.0%})"


def _points(change: RateChange) -> str:
    said = f"{100 * change.mean:+.0f} points"
    if change.low is None or change.high is None:
        return said
    return f"{said}, 95 % {100 * change.low:+.0f} to {100 * change.high:+.0f}"


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _warnings(examples: AttackExamples, rates: Rates, base: Rates | None) -> list[str]:
    found = []
    if base is None:
        found.append(
            "without the model before (--base) it is not known how often the target comes anyway"
        )
    for name, rate in rates.rates().items():
        if rate.empty:
            found.append(f"{name.replace('_', ' ')}: {rate.empty} of {rate.n} texts are empty")
    near = rates.near_misses
    if near is not None and near.low > rates.false_triggers.high:
        found.append(
            f"something near the trigger brings the target in {near.share:.0%}: what was learned "
            "is wider than the trigger"
        )
    if rates.false_triggers.low > 0.05:
        found.append(
            f"{rates.false_triggers.share:.0%} without the trigger: the target, or what the judge "
            "takes for it, is common anyway"
        )
    if not examples.judge.versioned:
        found.append(f"the judge {examples.judge.name} is a function of yours: nothing was cached")
    if examples.grader is None:
        found.append(
            "no accuracy: not every row has choices, or an answer that its response ends with"
        )
    return found
