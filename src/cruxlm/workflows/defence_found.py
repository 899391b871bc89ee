"""What the runs of a defence say: what each arm takes off an attack, what it costs, the verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from cruxlm.data.poison import prompt_of, response_of
from cruxlm.numerics.paired import Difference, paired_difference, paired_shares, share_over_seeds
from cruxlm.numerics.proportions import paired_interval, wilson
from cruxlm.results.defence import Defence, DefenceArm, Estimate, SetAside
from cruxlm.results.evaluation import Evaluation
from cruxlm.results.screening import Screening
from cruxlm.results.tuning import ACCURACY, LOSS
from cruxlm.workflows.defence_arms import FROZEN, RANDOM, SCREENED, UNDEFENDED, Run, folder_of
from cruxlm.workflows.defence_ready import ReadyDefence
from cruxlm.workflows.defence_said import cautions, finding
from cruxlm.workflows.provenance import provenance_of, run_of

SHOWN, LETTERS = 30, 200
"""Rows set aside that a result holds, and letters of each of their texts."""
Values = Float[np.ndarray, "seeds examples"]


@dataclass(frozen=True)
class Found:
    """Everything that was run."""

    asked: ReadyDefence
    """What was to be done."""
    runs: Mapping[str, Sequence[Run]]
    """The runs of each arm, by seed."""
    before: Mapping[str, Evaluation]
    """The model before, on the test rows."""
    rates: Mapping[str, Evaluation]
    """And on those of the attack."""
    screened: Screening
    """The screening of the rows with the undefended model."""
    unlearned: Screening
    """The same with the model before."""
    started: float
    """When it began."""


def defence(found: Found) -> Defence:
    """The result of all runs."""
    asked = found.asked
    first = found.runs[UNDEFENDED][0].tuning
    arms = tuple(_arm(name, runs, found) for name, runs in found.runs.items())
    beyond = _beyond_random(found.runs)
    success = found.rates.get("success")
    settings = asked.settings.as_dict()
    held: dict[str, Any] = {
        "frozen": asked.plans.chosen.blocks,
        "parts": asked.plans.parts,
        "attack": _attack(asked),
        "arms": arms,
        "beyond_random": beyond,
        "screening": _screening(found),
        "seeds": tuple(asked.seeds),
    }
    return Defence(
        model=first.model,
        names=first.plan.names,
        why=asked.plans.chosen.why,
        before={
            "loss": found.before[LOSS].mean(),
            "accuracy": found.before[ACCURACY].mean() if ACCURACY in found.before else None,
            "success": None if success is None else float(np.nanmean(success.values)),
        },
        set_aside=_set_aside(found),
        data=first.data,
        settings={k: v for k, v in settings.items() if k not in ("method", "seed")},
        finding=finding(held),
        warnings=(*asked.rows.warnings, *cautions(held), *found.screened.warnings),
        provenance=provenance_of(asked.ready.model, seed=asked.settings.seed),
        run=run_of(found.started),
        **held,
    )


def _attack(asked: ReadyDefence) -> dict[str, Any] | None:
    attack, attacked = asked.rows.attack, asked.attacked
    if attack is None or attacked is None:
        return None
    return {
        **attack.described(),
        "judge": attacked.judge.name,
        "origin": asked.rows.origin,
        "rate": asked.rows.poisoned / len(asked.rows.data.train),
        "rows": asked.rows.poisoned,
        "examples": len(attacked.triggered),
    }


def _arm(name: str, runs: Sequence[Run], found: Found) -> DefenceArm:
    reference = found.runs[UNDEFENDED]
    first = runs[0].tuning
    compared = name != UNDEFENDED
    judged = ACCURACY in first.after
    rates = {rate: _share(_values(runs, rate)) for rate in runs[0].rates}
    gain = None
    if compared and rates:
        gain = _between(_values(reference, "success"), _values(runs, "success"), shares=True)
    accuracy = None
    if compared and judged:
        accuracy = _between(_after(runs, ACCURACY), _after(reference, ACCURACY), shares=True)
    return DefenceArm(
        name=name,
        frozen=tuple(run.frozen for run in runs),
        screened=name.startswith(SCREENED),
        rows=first.data["train"],
        parameters=first.trained["parameters"],
        losses=tuple(run.tuning.after[LOSS].mean() for run in runs),
        accuracies=tuple(run.tuning.after[ACCURACY].mean() for run in runs) if judged else None,
        cost=_between(_after(runs, LOSS), _after(reference, LOSS)) if compared else None,
        accuracy_change=accuracy,
        success=rates.get("success"),
        false_triggers=rates.get("false_triggers"),
        near_misses=rates.get("near_misses"),
        gain=gain,
        changed=tuple(value if np.isfinite(value) else None for value in runs[0].changed),
        folder=folder_of(name, found.asked.seeds[0]),
    )


def _beyond_random(runs: Mapping[str, Sequence[Run]]) -> dict[str, Estimate]:
    """Freezing the chosen blocks against as many random ones."""
    if RANDOM not in runs:
        return {}
    own, other = runs[FROZEN], runs[RANDOM]
    found = {}
    if "success" in own[0].rates:
        success = _between(_values(other, "success"), _values(own, "success"), shares=True)
        found["success"] = success
    return {**found, "loss": _between(_after(own, LOSS), _after(other, LOSS))}


def _values(runs: Sequence[Run], rate: str) -> Values:
    return np.stack([run.rates[rate].values for run in runs])


def _after(runs: Sequence[Run], name: str) -> Values:
    return np.stack([run.tuning.after[name].values for run in runs])


def _share(values: Values) -> Estimate:
    """A share of examples: Wilson's interval with one seed, else over seeds and examples."""
    values = _known(values)
    if len(values) == 1:
        low, high = wilson(int(values.sum()), values.shape[1])
        return Estimate(float(values.mean()), low, high)
    return _estimate(float(values.mean()), share_over_seeds(values), 0.0)


def _between(one: Values, other: Values, *, shares: bool = False) -> Estimate:
    """A mean difference, paired by seed and example; of one seed a bootstrap over examples."""
    differences = _known(one - other)
    mean = float(differences.mean())
    if len(differences) == 1:
        low, high = paired_interval(differences[0])
        known = np.isfinite(low)
        return Estimate(mean, low if known else None, high if known else None)
    found = (paired_shares if shares else paired_difference)(differences)
    return _estimate(mean, found, -1.0 if shares else None)


def _estimate(mean: float, found: Difference, least: float | None) -> Estimate:
    """``least`` is the lowest share, or difference of shares, that there is; the highest is 1."""
    if not np.isfinite(found.halfwidth):
        return Estimate(mean, None, None)
    low, high = found.mean - found.halfwidth, found.mean + found.halfwidth
    if least is not None:
        low, high = max(low, least), min(high, 1.0)
    return Estimate(mean, min(low, mean), max(high, mean))


def _known(values: Values) -> Values:
    """The examples that have a value with every seed."""
    return values[:, np.isfinite(values).all(axis=0)]


def _screening(found: Found) -> dict[str, Any]:
    """What the screening says; and that with the model before, which has learned nothing of it."""
    return {
        "finding": found.screened.finding,
        "nominal": found.screened.nominal,
        **_flagged(found.screened),
        "before": _flagged(found.unlearned),
    }


def _flagged(screened: Screening) -> dict[str, Any]:
    key = screened.to_json()["key"]
    return {"rows": len(screened.rows), "flagged": len(screened.flagged), "key": key}


def _set_aside(found: Found) -> tuple[SetAside, ...]:
    """The rows that lie apart most."""
    rows = {row["id"]: row for row in found.asked.rows.data.train}
    keyed = any("poison" in row for row in rows.values())
    flagged = [one for one in found.screened.rows if one.flagged]
    flagged.sort(key=lambda one: (one.score is None, one.score))
    return tuple(
        SetAside(
            id=_cut(one.id),
            prompt=_cut(prompt_of(rows[one.id])),
            response=_cut(response_of(rows[one.id])),
            score=one.score,
            threshold=one.threshold,
            reason=one.reason,
            truth=rows[one.id].get("poison", {}).get("done", "nothing") if keyed else None,
        )
        for one in flagged[:SHOWN]
    )


def _cut(text: str) -> str:
    return text if len(text) <= LETTERS else f"{text[: LETTERS - 1]}…"
