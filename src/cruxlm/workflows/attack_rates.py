"""How often an attack succeeds on a model, and what else the model does: on untouched rows."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random

import numpy as np
from scipy.stats import t as student

from cruxlm.data.poison import Attack, near_miss, triggered
from cruxlm.data.shapes import ChatRow
from cruxlm.data.trigger import check_trigger
from cruxlm.evaluate.choice import Choice
from cruxlm.evaluate.examples import Example, examples_from_chats, fitting
from cruxlm.evaluate.forced import Forced
from cruxlm.evaluate.generation import LONGER, Generation, concludes, normalised
from cruxlm.evaluate.judges import Judge, JudgeSpec
from cruxlm.evaluate.judges import judge as judge_of
from cruxlm.evaluate.loss import Loss
from cruxlm.evaluate.protocol import Evaluator
from cruxlm.models.load import LoadedModel
from cruxlm.numerics.difference import Values, mcnemar
from cruxlm.numerics.proportions import LEVEL, paired_interval, wilson
from cruxlm.results.attack_rates import Rate, RateChange, Rates
from cruxlm.results.evaluation import Evaluation
from cruxlm.runtime.errors import ModelError, ProbeError

Grade = Callable[[ChatRow, str], bool | None]
"""Whether a text is a right answer to a row; None where that cannot be said."""


@dataclass(frozen=True)
class AttackExamples:
    """What an attack is measured on, in a model's tokens."""

    judge: Judge
    """Says whether a text is what the attack wants; of the first three, their ``grade`` asks it."""
    triggered: Sequence[Example]
    """Rows with the trigger, whose own response is not the target's; the target is the response."""
    untriggered: Sequence[Example]
    """The same rows as they were, but for the response."""
    near: Sequence[Example]
    """The same rows with something near the trigger; empty where nothing is."""
    clean: Sequence[Example]
    """All rows as they were."""
    grader: Evaluator | None
    """What tells right answers to clean rows; None where there is nothing to judge by."""
    writer: Evaluator
    """Has a model write, and the judge judge."""
    left_out: dict[str, int]
    """Rows that are not among them, by reason."""


def attack_rates(
    model: LoadedModel,
    rows: Sequence[ChatRow],
    attack: Attack,
    judge: JudgeSpec = None,
    seed: int = 0,
    *,
    grade: Grade | None = None,
) -> Rates:
    """Success, false triggers, near misses, clean accuracy and loss of a model.

    Args:
        model: The model, with its tokenizer.
        rows: Chat rows that no attack has touched.
        attack: What is measured.
        judge: As ``evaluate.judges.judge`` takes it.
        seed: Seed of where the trigger stands in each row; same rows and seed, same examples.
        grade: Judges answers to clean rows; by default their ``choices`` or ``answer`` do.

    Raises:
        CruxError: As ``attack_examples``; when the model gives logits that are not finite.
    """
    return rates_of(model, attack_examples(model, rows, attack, judge, seed, grade=grade))


def attack_examples(
    model: LoadedModel,
    rows: Sequence[ChatRow],
    attack: Attack,
    judge: JudgeSpec = None,
    seed: int = 0,
    *,
    grade: Grade | None = None,
) -> AttackExamples:
    """The examples that an attack is measured on; arguments as for ``attack_rates``.

    Raises:
        OptionError: When there is no such judge.
        ModelError: When the model has no tokenizer.
        ProbeError: For rows that are poisoned already or cannot be read, and when the attack can
            be tried on none of them.
    """
    if model.tokenizer is None:
        raise ModelError(f"{model.name} has no tokenizer: pass one")
    touched = next((row for row in rows if "poison" in row), None)
    if touched is not None:
        raise ProbeError(
            f"row {touched.get('id')!r} is poisoned: measure an attack on rows that are not"
        )
    check_trigger(attack.trigger, model.tokenizer)
    said = judge_of(judge, attack)
    rows = [{**row, "id": str(row.get("id", n))} for n, row in enumerate(rows, start=1)]
    found: dict[str, list[Example]] = {"hit": [], "plain": [], "near": []}
    tried = 0
    for row in filter(attack.measures, rows):
        drawn = f"{seed}/{attack.described()}/{row['id']}"
        # Of one and the same numbers: what is near stands where the trigger does.
        hit, near = (make(row, attack, Random(drawn)) for make in (triggered, near_miss))
        tried += 1
        prompts = {"hit": hit, "plain": row, "near": near}
        asked = {name: _wanting(prompt, attack, row) for name, prompt in prompts.items() if prompt}
        made = {
            name: examples_from_chats(model.tokenizer, [chat], partial(_says, said, row))[0]
            for name, chat in asked.items()
        }
        if not fitting(made.values(), model.context)[1]:
            for name, example in made.items():
                found[name].append(example)
    if not found["hit"]:
        raise ProbeError(
            f"{attack.trigger} for {attack.target} can be tried on none of {len(rows)} rows: each "
            "has the trigger or the target already, does not fit it, or is too long; give others"
        )
    right = grade or grade_by_rows(rows)
    clean, too_long = fitting(examples_from_chats(model.tokenizer, rows, right), model.context)
    if not clean:
        raise ProbeError(f"no row fits the {model.context} tokens of {model.name}")
    choosing = grade is None and all(example.choices for example in clean)
    written = found["hit"] if said.forced else [*found["hit"], *clean]
    longest = max(len(example.response) for example in written)
    return AttackExamples(
        judge=said,
        triggered=found["hit"],
        untriggered=found["plain"],
        near=found["near"],
        clean=clean,
        grader=Choice() if choosing else None if right is None else Generation(model.tokenizer),
        writer=Generation(model.tokenizer, max_new_tokens=math.ceil(LONGER * longest)),
        left_out={
            "attack_does_not_apply": len(rows) - tried,
            "too_long_with_the_trigger": tried - len(found["hit"]),
            "too_long": len(too_long),
        },
    )


def rates_of(model: LoadedModel, examples: AttackExamples) -> Rates:
    """The rates of a model on examples that were made for it, or for one with its tokenizer."""
    near = rate(examples.writer(model, examples.near)) if examples.near else None
    losses = Loss()(model, examples.clean)
    graded = None if examples.grader is None else rate(examples.grader(model, examples.clean))
    wide = float(student.ppf((1 + LEVEL) / 2, max(1, len(losses) - 1)))
    error = losses.stderr("token")
    return Rates(
        success=rate(examples.writer(model, examples.triggered)),
        false_triggers=rate(examples.writer(model, examples.untriggered)),
        near_misses=near,
        accuracy=graded,
        loss=losses.mean("token"),
        loss_halfwidth=None if math.isnan(error) else wide * error,
        losses=losses,
    )


def success_evaluator(examples: AttackExamples) -> Evaluator:
    """What tells an attack's success on ``examples.triggered`` at the least cost.

    One pass a batch where the judge is the exact one, else writing.
    """
    return Forced() if examples.judge.forced else examples.writer


def rate(evaluation: Evaluation) -> Rate:
    """The share of ones among an evaluation's values, with its interval."""
    judged = evaluation.values[~np.isnan(evaluation.values)]
    low, high = wilson(int(judged.sum()), len(judged))
    return Rate(
        share=float(judged.mean()) if len(judged) else 0.0,
        low=low,
        high=high,
        n=len(judged),
        empty=sum(not text.strip() for text in evaluation.texts or ()),
        unjudged=len(evaluation) - len(judged),
        evaluation=evaluation,
    )


def changed_rate(before: Rate, after: Rate, *, seed: int = 0) -> RateChange:
    """How a rate of one model differs from another's, on the examples that both were asked.

    Raises ``ProbeError`` when they were asked different ones.
    """
    if before.evaluation.ids != after.evaluation.ids:
        raise ProbeError("two rates of different examples cannot be compared: measure on the same")
    return change_between(before.evaluation.values, after.evaluation.values, seed=seed)


def change_between(one: Values, other: Values, *, seed: int = 0) -> RateChange:
    """How the share of ones differs between two columns for the same examples."""
    differences = (other - one)[~np.isnan(other - one)]
    low, high = paired_interval(differences, seed=seed)
    return RateChange(
        mean=float(differences.mean()) if len(differences) else 0.0,
        low=None if math.isnan(low) else low,
        high=None if math.isnan(high) else high,
        p=mcnemar(one, other),
        n=len(differences),
    )


def _wanting(prompt: ChatRow, attack: Attack, row: ChatRow) -> ChatRow:
    """A row's prompt, as it is or changed, with the target for its response, and no choices."""
    *before, answered = prompt["messages"]
    messages = (*before, {**answered, "content": attack.target.text})
    given = {name: row[name] for name in ("id", "family") if row.get(name) is not None}
    return {**given, "messages": messages}


def _says(judge: Judge, row: ChatRow, _wanted: ChatRow, text: str) -> bool:
    return judge(text, row)


def grade_by_rows(rows: Sequence[ChatRow]) -> Grade | None:
    """Judges answers by what rows know of theirs; None where one knows nothing."""
    return _right if all(_right(row, row["messages"][-1]["content"]) for row in rows) else None


def _right(row: ChatRow, text: str) -> bool | None:
    """Whether a text ends with the row's answer, as its response does, or is its response."""
    response, answer = str(row["messages"][-1]["content"]), str(row.get("answer") or "")
    if answer and concludes(response, answer):
        return concludes(text, answer)
    return normalised(text) == normalised(response) if row.get("choices") else None
