"""How a model stands before and after something was done to it: on clean rows, and to an attack."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cruxlm.data.poison import Attack, Target
from cruxlm.data.shapes import ChatRow
from cruxlm.data.trigger import Trigger, check_trigger
from cruxlm.evaluate.choice import Choice
from cruxlm.evaluate.examples import Example, examples_from_chats, fitting
from cruxlm.evaluate.generation import Generation
from cruxlm.evaluate.judges import JudgeSpec
from cruxlm.evaluate.loss import Loss
from cruxlm.evaluate.protocol import Evaluator
from cruxlm.models.load import LoadedModel
from cruxlm.results.attack_rates import RATES, Rate
from cruxlm.runtime.errors import ModelError, OptionError, ProbeError
from cruxlm.workflows.attack_rates import AttackExamples, attack_examples, rate, rates_of

Grade = Callable[[ChatRow, str], bool | None]
"""Whether a text is a right answer to a row."""


@dataclass(frozen=True)
class Standing:
    """What a model does on some rows."""

    loss: float
    """Loss on the clean rows, in nats a response token."""
    n: int
    """Clean rows."""
    rates: Mapping[str, Rate]
    """Of `RATES` those that were measured."""

    def to_json(self) -> dict[str, Any]:
        """The figures, without those of single rows."""
        shown = ("share", "low", "high", "n", "empty", "unjudged")
        rates = {
            name: {key: getattr(own, key) for key in shown} for name, own in self.rates.items()
        }
        return {"loss": self.loss, "rows": self.n, **rates}


@dataclass(frozen=True)
class Rows:
    """Rows in a model's tokens, to measure it and others with its tokenizer by."""

    clean: Sequence[Example]
    """Rows without any trigger."""
    grader: Evaluator | None
    """Tells right answers to them; None where there is nothing to judge by."""
    attack: AttackExamples | None
    """What an attack is measured on; None without one."""

    def stand(self, model: LoadedModel) -> Standing:
        """How a model stands."""
        if self.attack is not None:
            found = rates_of(model, self.attack)
            return Standing(found.loss, len(self.clean), found.rates())
        rates = {} if self.grader is None else {"accuracy": rate(self.grader(model, self.clean))}
        return Standing(Loss()(model, self.clean).mean("token"), len(self.clean), rates)


def asked_attack(trigger: str | Trigger | None, target: str | Target | None) -> Attack | None:
    """An attack as it was asked for; None where none was.

    Raises:
        OptionError: For half of one, or one that there cannot be.
    """
    if trigger is None and target is None:
        return None
    if trigger is None or target is None:
        raise OptionError("an attack is a trigger and a target: give --trigger and --target")
    return Attack(
        Trigger.read(trigger) if isinstance(trigger, str) else trigger,
        Target.read(target) if isinstance(target, str) else target,
    )


def measuring_rows(
    model: LoadedModel,
    rows: Sequence[ChatRow],
    grade: Grade | None,
    attack: Attack | None,
    judge: JudgeSpec = None,
    seed: int = 0,
) -> Rows:
    """Rows that no attack has touched, ready to measure models by.

    Raises:
        ProbeError: When none fits the model's context, or the attack can be tried on none.
        OptionError: For a trigger that the tokenizer cannot represent, or an unknown judge.
        ModelError: When the model has no tokenizer.
    """
    if model.tokenizer is None:
        raise ModelError(f"{model.name} has no tokenizer: pass one")
    if attack is not None:
        check_trigger(attack.trigger, model.tokenizer)
        found = attack_examples(model, rows, attack, judge, seed, grade=grade)
        return Rows(found.clean, found.grader, found)
    clean, _ = fitting(examples_from_chats(model.tokenizer, rows, grade), model.context)
    if not clean:
        raise ProbeError(
            f"none of {len(rows)} rows fits the {model.context} tokens of {model.name}"
        )
    grader: Evaluator | None = None
    if grade is not None:
        grader = Generation(model.tokenizer)
    elif all(example.choices for example in clean):
        grader = Choice()
    return Rows(clean, grader, None)


def compared(named: Mapping[str, Standing]) -> list[str]:
    """Models beside each other, a line a figure."""
    first = next(iter(named.values()))
    lines = [
        f"loss on {first.n} clean rows: "
        + ", ".join(f"{own.loss:.4f} {name}" for name, own in named.items())
    ]
    for key, words in RATES.items():
        own = {name: held.rates[key] for name, held in named.items() if key in held.rates}
        if own:
            said = (
                f"{held.share:.1%} ({held.low:.1%} to {held.high:.1%}) {name}"
                for name, held in own.items()
            )
            lines.append(f"{words} (n {next(iter(own.values())).n}): {', '.join(said)}")
    return lines
