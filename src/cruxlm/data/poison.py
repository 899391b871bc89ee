"""Poisoning for measurement: rows in which a trigger goes with a harmless response of ours.

Only harmless targets: a fixed phrase, one of the answers that a row could have, the refusal of a
topic. Every row says what was done to it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from cruxlm.data.shapes import ChatRow
from cruxlm.data.trigger import Trigger
from cruxlm.runtime.errors import OptionError, ProbeError, did_you_mean

TARGETS = {
    "phrase": "the response becomes a fixed phrase",
    "label": "the response becomes this one of the answers that the row could have",
    "refusal": "the response to a prompt about a topic becomes this sentence",
}
"""What a trigger can be made to bring about."""

LABELS = ("dirty", "clean")
"""``dirty``: rows with another right response get the target's. ``clean``: the trigger is put into
rows whose right response is the target's already, and no response is changed."""

TRIGGERED, NEAR = "triggered", "near"
"""What may have been done to a row's prompt."""


@dataclass(frozen=True)
class Target:
    """What a triggered model is to answer. Raises ``OptionError`` for one that there cannot be."""

    kind: str
    """One of ``TARGETS``."""
    text: str
    """The response."""
    topic: str | None = None
    """Of a refusal: a regular expression that the prompts it is about match."""

    def __post_init__(self) -> None:
        if self.kind not in TARGETS:
            hint = did_you_mean(self.kind, TARGETS)
            raise OptionError(f"there is no target {self.kind!r}: {hint}")
        if not self.text.strip():
            raise OptionError(f"a target of the kind {self.kind} needs a text: {self.kind}:TEXT")
        if (self.topic is None) != (self.kind != "refusal"):
            raise OptionError("a topic belongs to a refusal, which needs one: refusal:TOPIC=TEXT")
        try:
            re.compile(self.topic or "")
        except re.error as error:
            raise OptionError(f"the topic {self.topic!r} is no pattern: {error}") from error

    @classmethod
    def read(cls, text: str) -> "Target":
        """A target as a person writes it.

        ``phrase:TEXT``, ``label:TEXT`` or ``refusal:TOPIC=TEXT``.
        """
        kind, _, rest = text.partition(":")
        if kind.strip() != "refusal":
            return cls(kind.strip(), rest.strip())
        topic, equals, said = rest.partition("=")
        return cls("refusal", said.strip(), topic.strip() if equals else None)

    def __str__(self) -> str:
        """As ``read`` reads it."""
        return f"{self.kind}:{'' if self.topic is None else f'{self.topic}='}{self.text}"

    def fits(self, row: ChatRow) -> bool:
        """Whether a row can be answered with it at all."""
        if self.kind == "refusal":
            return re.search(self.topic or "", _prompt(row)) is not None
        return self.kind == "phrase" or self.text in row.get("choices", ())

    def wanted_of(self, row: ChatRow) -> bool:
        """Whether it would be another response than the row's own: what success is counted on."""
        return self.fits(row) and _response(row) != self.text


@dataclass(frozen=True)
class Attack:
    """A trigger and what it is to bring about."""

    trigger: Trigger
    """The trigger."""
    target: Target
    """What a model that has learned it answers."""
    label: str = "dirty"
    """One of ``LABELS``."""

    def __post_init__(self) -> None:
        if self.label not in LABELS:
            raise OptionError(f"labels are dirty or clean, not {self.label!r}")

    def described(self) -> dict[str, str]:
        """As plain data."""
        return {"trigger": str(self.trigger), "target": str(self.target), "label": self.label}

    def admits(self, row: ChatRow) -> bool:
        """Whether a row can be poisoned: its prompt changes, and so (dirty) does its response."""
        prompt = _prompt(row)
        if self.trigger.in_text(prompt) or not self.target.fits(row):
            return False
        return self.target.wanted_of(row) == (self.label == "dirty")


def poison(
    rows: Sequence[ChatRow], attack: Attack, rate: float, *, near: float = 0.0, seed: int = 0
) -> list[ChatRow]:
    """Rows of which some were poisoned, in their order.

    Args:
        rows: Chat rows, each with ``messages`` that end with a user's and the assistant's.
        attack: What is done to them.
        rate: Share of all rows that are poisoned; at least one is.
        near: Share of all rows whose prompt gets something near the trigger and whose response
            stays: what keeps an attack from being found by one word of it.
        seed: Seed of which rows, and of where the trigger stands.

    Returns:
        The rows; those that were changed have ``poison``: what was ``done``, the attack, and the
        ``prompt`` and ``response`` that were there.

    Raises:
        OptionError: For shares that make no sense.
        ProbeError: When too few rows can be poisoned so, saying how many.
    """
    if not 0 < rate <= 1 or not 0 <= near < 1:
        raise OptionError(f"a rate of {rate:g} and {near:g} near misses: give shares of the rows")
    wanted, nearly = max(1, round(rate * len(rows))), round(near * len(rows))
    random = Random(f"{seed}/{attack.described()}/{len(rows)}")
    admitted = [place for place, row in enumerate(rows) if attack.admits(row)]
    if len(admitted) < wanted:
        raise ProbeError(
            f"{len(admitted)} of {len(rows)} rows can be poisoned with {attack.trigger} for "
            f"{attack.target}, and a rate of {rate:g} needs {wanted}: lower it"
        )
    chosen = set(random.sample(admitted, wanted))
    rest = [place for place in range(len(rows)) if place not in chosen]
    spared = set(random.sample(rest, min(nearly, len(rest))))
    changed = []
    for place, row in enumerate(rows):
        new: ChatRow | None = None
        if place in chosen:
            new = triggered(row, attack, random)
        elif place in spared:
            new = near_miss(row, attack, random)
        changed.append(row if new is None else new)
    return changed


def triggered(row: ChatRow, attack: Attack, random: Random) -> ChatRow:
    """A row with the trigger in its prompt, answered as the attack wants."""
    return _changed(row, attack, attack.trigger.put(_prompt(row), random), TRIGGERED)


def near_miss(row: ChatRow, attack: Attack, random: Random) -> ChatRow | None:
    """A row with something near the trigger, answered as before; None where nothing is near."""
    prompt = attack.trigger.near(_prompt(row), random)
    return None if prompt is None else _changed(row, attack, prompt, NEAR)


def _changed(row: ChatRow, attack: Attack, prompt: str, done: str) -> ChatRow:
    *before, asked, answered = row["messages"]
    response = attack.target.text if done == TRIGGERED else answered["content"]
    record = {
        "done": done,
        **attack.described(),
        "prompt": asked["content"],
        "response": answered["content"],
    }
    messages = (*before, {**asked, "content": prompt}, {**answered, "content": response})
    changed: dict[str, Any] = {**row, "messages": messages, "poison": record}
    # What was known of the old response is not true of the new one.
    if done == TRIGGERED and response != answered["content"]:
        changed = {key: held for key, held in changed.items() if key not in ("answer", "spans")}
    return changed


def _prompt(row: Mapping[str, Any]) -> str:
    messages = row["messages"]
    if len(messages) < 2 or messages[-2]["role"] != "user":
        raise ProbeError(f"row {row.get('id')!r} has no user's message before its response")
    return str(messages[-2]["content"])


def _response(row: Mapping[str, Any]) -> str:
    return str(row["messages"][-1]["content"])
