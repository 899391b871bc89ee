"""From what was compared to what is said: rows, groups, samples, the key, a finding."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cruxlm.data.key import NEAR, TRIGGERED
from cruxlm.models.load import LoadedModel
from cruxlm.numerics.features import Profile
from cruxlm.numerics.proportions import wilson
from cruxlm.results.screening import Found, Sample, Screened, ScreenedGroup, Screening
from cruxlm.workflows.screen_groups import FEWEST, Groups
from cruxlm.workflows.screen_rows import ScreenRows
from cruxlm.workflows.screen_setting import Setting

SAMPLES, LETTERS = 40, 400
"""Flagged rows whose text is kept, and letters of each text."""
LEARNED = 0.5
"""Below this share of triggered rows a model has not learned what they teach."""


@dataclass(frozen=True)
class Judged:
    """Rows as they compare with their groups."""

    groups: Groups
    """The groups."""
    profiles: Mapping[str, Sequence[Profile]]
    """Each group's profile, by the way of pooling."""
    labels: Sequence[int]
    """The group of each row."""
    scores: Sequence[float]
    """Its score there."""
    ways: Sequence[str]
    """The way of pooling that the score comes from."""
    threshold: float
    """Below it a row is flagged."""
    unseen: Sequence[bool]
    """Whether its response is one that no trusted row has though some should."""
    learned: float | None
    """Share of triggered rows that the model has learned."""
    warnings: tuple[str, ...]
    """What could not be done."""


def screening_of(
    model: LoadedModel,
    rows: ScreenRows,
    trusted: ScreenRows | None,
    setting: Setting,
    judged: Judged,
    *,
    provenance: Mapping[str, Any],
    run: Mapping[str, Any],
) -> Screening:
    """The result of a screening."""
    counts = Counter(rows.responses or ())
    screened = tuple(_screened(place, rows, judged, counts, trusted) for place in range(len(rows)))
    groups = tuple(
        ScreenedGroup(
            name=name,
            trusted=0 if trusted is None else int((judged.groups.labels == number).sum()),
            rows=sum(label == number for label in judged.labels),
            flagged=sum(
                row.flagged for row, label in zip(screened, judged.labels, strict=True)
                if label == number
            ),
            blocks={way: held[number].blocks for way, held in judged.profiles.items()},
            similarity={way: held[number].similarity for way, held in judged.profiles.items()},
        )
        for number, name in enumerate(judged.groups.names)
    )  # fmt: skip
    key = _key(rows, screened)
    nominal = setting.rate if trusted is not None and setting.rule == "quantile" else None
    warnings = (*judged.warnings, *_warnings(rows, trusted, setting, judged, key))
    return Screening(
        model=model.name,
        blocks=model.blocks.names,
        rows=screened,
        groups=groups,
        samples=_samples(rows, screened),
        rule=_rule(setting, trusted),
        nominal=nominal,
        key=key,
        learned=judged.learned,
        settings={**asdict(setting), "pooling": list(setting.pooling)},
        data={
            "name": rows.name,
            "sha256": rows.sha256,
            "rows": len(rows),
            "labelled": rows.labelled,
            "left_out": dict(rows.left_out),
            "benign": None if trusted is None else trusted.name,
            "benign_sha256": None if trusted is None else trusted.sha256,
            "benign_rows": None if trusted is None else len(trusted),
        },
        finding=_finding(screened, nominal, key),
        warnings=warnings,
        provenance=provenance,
        run=run,
    )


def _screened(
    place: int,
    rows: ScreenRows,
    judged: Judged,
    counts: Mapping[str, int],
    trusted: ScreenRows | None,
) -> Screened:
    group, score = judged.labels[place], judged.scores[place]
    name, way = judged.groups.names[group], judged.ways[place]
    block = judged.profiles[way][group].block
    reasons = []
    if judged.unseen[place]:
        shared = counts[(rows.responses or [])[place]]
        reasons.append(f"{shared} rows have its response, and none of {len(trusted or ())} trusted")
    if score < judged.threshold:
        reasons.append(f"{-score:.1f} standard deviations apart from {name} ({way}, block {block})")
    return Screened(
        id=str(rows.rows[place]["id"]),
        flagged=bool(reasons),
        score=score,
        threshold=judged.threshold,
        group=name,
        block=block,
        way=way,
        reason="; ".join(reasons),
    )


def _samples(rows: ScreenRows, screened: Sequence[Screened]) -> tuple[Sample, ...]:
    flagged = [place for place, row in enumerate(screened) if row.flagged]
    flagged.sort(key=lambda place: (screened[place].score or 0.0, place))
    return tuple(
        Sample(
            screened[place].id,
            _cut(rows.prompt(place)),
            None if (response := rows.response(place)) is None else _cut(response),
            screened[place].reason,
        )
        for place in flagged[:SAMPLES]
    )


def _cut(text: str) -> str:
    return text if len(text) <= LETTERS else f"{text[: LETTERS - 1]}…"


def _key(rows: ScreenRows, screened: Sequence[Screened]) -> dict[str, Found] | None:
    done = rows.key
    if done is None:
        return None
    found = {}
    for name, what in ((TRIGGERED, TRIGGERED), ("clean", None), (NEAR, NEAR)):
        of = [row.flagged for row, was in zip(screened, done, strict=True) if was == what]
        if of:
            found[name] = Found(sum(of), len(of), *wilson(sum(of), len(of)))
    return found


def _rule(setting: Setting, trusted: ScreenRows | None) -> str:
    if setting.rule == "sigma":
        return f"more than {setting.sigmas:g} standard deviations below the middle"
    if trusted is None:
        return f"below what {setting.rate:.2g} of a normal distribution is, by median and MAD"
    return f"conformal p-value of {setting.rate:.2g} or less"


def _finding(
    screened: Sequence[Screened],
    nominal: float | None,
    key: Mapping[str, Found] | None,
) -> str:
    flagged = sum(row.flagged for row in screened)
    said = f"{flagged} of {len(screened)} rows are flagged ({flagged / len(screened):.1%})"
    if nominal is not None:
        expected = nominal * len(screened)
        said += f"; of clean rows like the trusted ones at most {expected:.0f} would be, on average"
    said += "."
    for name, words in ((TRIGGERED, "triggered"), ("clean", "clean"), (NEAR, "near-miss")):
        if key is not None and name in key:
            one = key[name]
            said += (
                f" Of {one.of} {words} rows {one.flagged / one.of:.1%} "
                f"(95 % {one.low:.1%} to {one.high:.1%})."
            )
    return said


def _warnings(
    rows: ScreenRows,
    trusted: ScreenRows | None,
    setting: Setting,
    judged: Judged,
    key: Mapping[str, Found] | None,
) -> list[str]:
    said = []
    if trusted is None:
        said.append(
            "no trusted rows: the data is compared with its own middle, which poisoned rows move; "
            "a response that only poisoned rows have cannot be seen, and no rate is promised (on "
            "the built-in model 14 to 23 % of clean rows are flagged where 1 % is asked for)"
        )
    else:
        asked = {trusted.prompt(place) for place in range(len(trusted))}
        both = sum(rows.prompt(place) in asked for place in range(len(rows)))
        if both:
            said.append(f"{both} rows have a prompt that is among the trusted ones too")
    if setting.rule == "sigma":
        said.append(
            "the rule sigma promises no rate: where similarities have a longer tail below than a "
            "normal distribution, it flags several times as many clean rows"
        )
    if len(judged.groups.names) == 1:
        said.append(
            "all rows are one group: their states are not centred, and what is found is what is "
            "unusual among all of them"
        )
    alike = sum(int((judged.groups.labels == g).sum()) for g in range(len(judged.groups.names)))
    if trusted is not None and alike < len(trusted):
        said.append(
            f"{len(trusted) - alike} trusted rows are like fewer than {FEWEST} others: they and "
            "rows like them are compared with the nearest group"
        )
    if rows.left_out:
        left = ", ".join(f"{n} {why.replace('_', ' ')}" for why, n in rows.left_out.items())
        said.append(f"not screened, and neither kept nor flagged: {left}")
    if key is not None and judged.learned is not None and judged.learned < LEARNED:
        said.append(
            f"the model begins only {judged.learned:.0%} of the triggered rows' responses as they "
            "stand: it has not learned the attack, and the rows that it does flag are those that "
            "it gets wrong"
        )
    return said
