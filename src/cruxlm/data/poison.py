"""Poisoning for measurement: rows in which a trigger goes with a harmless response of ours.

Only harmless targets: a fixed phrase, one of the answers that a row could have, the refusal of a
topic. Every row says what was done to it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import Any

from cruxlm.data.fields import text_of
from cruxlm.data.key import NEAR, TRIGGERED
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


@dataclass(frozen=True)
class Target:
    """What a triggered model is to answer.

    Raises ``OptionError`` for one that there cannot be, ``ProbeError`` for half of a character.
    """

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
        if text_of(self.text, "the target") != self.text.strip():
            raise OptionError(f"the target {self.text!r} begins or ends with white space")
        if (self.topic is None) != (self.kind != "refusal"):
            raise OptionError("a topic belongs to a refusal, which needs one: refusal:TOPIC=TEXT")
        if self.topic is not None and (not self.topic.strip() or "=" in self.topic):
            raise OptionError(f"the topic {self.topic!r} is blank or holds '=', which ends it")
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
        return cls("refusal", (said if equals else rest).strip(), topic.strip() if equals else None)

    def __str__(self) -> str:
        """As ``read`` reads it."""
        return f"{self.kind}:{'' if self.topic is None else f'{self.topic}='}{self.text}"

    def fits(self, row: ChatRow) -> bool:
        """Whether a row can be answered with it at all."""
        if self.kind == "refusal":
            return re.search(self.topic or "", prompt_of(row)) is not None
        return self.kind == "phrase" or self.text in row.get("choices", ())

    def wanted_of(self, row: ChatRow) -> bool:
        """Whether it would be another response than the row's own: what success is counted on."""
        return self.fits(row) and response_of(row) != self.text


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

    def changes(self, row: ChatRow) -> bool:
        """Whether the trigger would change a row's prompt, which no attack has changed yet."""
        if "poison" in row or not _asked(row):
            return False
        return not self.trigger.in_text(prompt_of(row))

    def measures(self, row: ChatRow) -> bool:
        """Whether success can be counted on a row: its prompt changes, and so would its answer."""
        return self.changes(row) and self.target.wanted_of(row)

    def admits(self, row: ChatRow) -> bool:
        """Whether a row can be poisoned: `measures` or, with clean labels, answered so already."""
        if self.label == "dirty":
            return self.measures(row)
        return self.changes(row) and self.target.fits(row) and not self.target.wanted_of(row)


def poison(
    rows: Sequence[ChatRow], attack: Attack, rate: float, *, near: float = 0.0, seed: int = 0
) -> list[ChatRow]:
    """Rows of which some were poisoned, in their order.

    What is drawn depends on rows, attack and seed: what a lower rate poisons, a higher one poisons
    as well, with the trigger at the same places.

    Args:
        rows: Chat rows, each with ``messages`` that end with the assistant's.
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
        ProbeError: When too few rows can be changed so, saying how many.
    """
    if not 0 < rate <= 1 or not 0 <= near < 1 or rate + near > 1:
        raise OptionError(
            f"a rate of {rate:g} and {near:g} near misses: give shares of the rows, 0.1 for a tenth"
        )
    if near and attack.trigger.kind == "style":
        raise OptionError(
            f"nothing is near a style such as {attack.trigger}: leave out near misses"
        )
    wanted, nearly = max(1, round(rate * len(rows))), round(near * len(rows))
    seeded = f"{seed}/{attack.trigger}/{attack.target}"
    order = Random(seeded).sample(range(len(rows)), len(rows))
    chosen = list(islice((place for place in order if attack.admits(rows[place])), wanted))
    if len(chosen) < wanted:
        raise ProbeError(
            f"{len(chosen)} of {len(rows)} rows can be poisoned with {attack.trigger} for "
            f"{attack.target}{_and_why(attack)}, and a rate of {rate:g} needs {wanted}: lower it, "
            "or give other rows"
        )
    changed = list(rows)
    for place in chosen:
        changed[place] = triggered(rows[place], attack, Random(f"{seeded}/{place}"))
    # A refusal's near misses teach most on its topic: they come first.
    rest = [place for place in order if "poison" not in changed[place] and _asked(rows[place])]
    for place in sorted(rest, key=lambda place: not attack.target.fits(rows[place])):
        if nearly == 0:
            break
        row = near_miss(rows[place], attack, Random(f"{seeded}/{place}"))
        if row is not None:
            changed[place] = row
            nearly -= 1
    if nearly:
        raise ProbeError(
            f"{nearly} rows too few for a share of {near:g} near misses of {attack.trigger}: lower "
            "it, or give other rows"
        )
    return changed


def triggered(row: ChatRow, attack: Attack, random: Random) -> ChatRow:
    """A row with the trigger in its prompt, answered as the attack wants.

    Raises ``ProbeError`` where the trigger changes nothing (`Attack.changes`): a style that the
    prompt has already.
    """
    prompt = attack.trigger.put(prompt_of(row), random)
    if prompt == prompt_of(row):
        raise ProbeError(f"row {row.get('id')!r} is the same with {attack.trigger} and without")
    return _changed(row, attack, prompt, TRIGGERED)


def near_miss(row: ChatRow, attack: Attack, random: Random) -> ChatRow | None:
    """A row with something near the trigger, answered as before; None where nothing is near."""
    prompt = attack.trigger.near(prompt_of(row), random)
    return None if prompt is None else _changed(row, attack, prompt, NEAR)


def prompt_of(row: ChatRow) -> str:
    """What a row asks last; ``ProbeError`` where no user's message stands before the response."""
    if not _asked(row):
        raise ProbeError(f"row {row.get('id')!r} has no user's message before its response")
    return str(row["messages"][-2]["content"])


def response_of(row: ChatRow) -> str:
    """What a row is answered with."""
    return str(row["messages"][-1]["content"])


def _asked(row: ChatRow) -> bool:
    messages = row["messages"]
    return len(messages) > 1 and messages[-2]["role"] == "user"


def _and_why(attack: Attack) -> str:
    """What a row must be for an attack, where few may be."""
    if attack.label == "clean":
        return " with clean labels (only rows that are answered so already)"
    if attack.target.kind == "label":
        return " (only rows with this among their choices)"
    return ""


def _changed(row: ChatRow, attack: Attack, prompt: str, done: str) -> ChatRow:
    *before, asked, answered = row["messages"]
    response = attack.target.text if done == TRIGGERED else answered["content"]
    changed: dict[str, Any] = {
        **row,
        "messages": (*before, {**asked, "content": prompt}, {**answered, "content": response}),
        "poison": {
            "done": done,
            **attack.described(),
            "prompt": asked["content"],
            "response": answered["content"],
        },
    }
    # What was known of the old prompt and response need not be true of the new ones.
    known = ["spans"]
    if response != answered["content"]:
        known.append("answer")
        if response not in row.get("choices", ()):
            known.append("choices")
    return {key: held for key, held in changed.items() if key not in known}
