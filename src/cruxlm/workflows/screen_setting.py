"""The options of a screening, and how many rows they take."""

import math
from dataclasses import dataclass

from cruxlm.models.pooling import POOLINGS
from cruxlm.numerics.features import Manner, needed
from cruxlm.runtime.errors import OptionError, ProbeError, did_you_mean
from cruxlm.workflows.request import one_of
from cruxlm.workflows.screen_groups import FEWEST
from cruxlm.workflows.screen_rows import ScreenRows
from cruxlm.workflows.screen_states import TOKENS

RULES = ("quantile", "sigma")
PRESETS = {
    "default": (Manner(), "quantile"),
    "paper": (Manner(centred=False, weighted=True, held_out=False), "sigma"),
}
"""How similarities are read, and the rule."""
UNSEEN = 0.1
"""Share of the nominal rate that is spent on responses that no trusted row has."""


@dataclass(frozen=True)
class Setting:
    """The options of a screening."""

    preset: str
    """The preset's name."""
    manner: Manner
    """How similarities are read."""
    rule: str
    """``quantile`` or ``sigma``."""
    rate: float
    """Share of clean rows that may be flagged."""
    sigmas: float
    """Standard deviations, of the rule ``sigma``."""
    pooling: tuple[str, ...]
    """Ways of pooling."""
    tokens: str
    """What is pooled over."""
    spent: float
    """Share of the rate that is spent on responses that no trusted row has."""

    @property
    def alarm(self) -> float:
        """Probability that clean data has a response flagged that no trusted row has."""
        return self.rate * self.spent

    @property
    def score_rate(self) -> float:
        """Share of clean rows that may be flagged for their states."""
        return self.rate - self.alarm


def setting_of(
    rule: str | None,
    rate: float,
    sigmas: float,
    pooling: str,
    tokens: str,
    preset: str,
    trusted: bool,
) -> Setting:
    """The options, refused where they make no sense."""
    if preset not in PRESETS:
        raise OptionError(f"there is no preset {preset!r}: {did_you_mean(preset, PRESETS)}")
    manner, own = PRESETS[preset]
    rule = one_of(own if rule is None else rule, RULES, "rule")
    one_of(tokens, TOKENS, "tokens")
    if not 0 < rate < 0.5:
        raise OptionError(f"a rate of {rate:g}: give the share of clean rows that may be flagged")
    if not sigmas > 0:
        raise OptionError(f"sigmas must be above 0, not {sigmas:g}")
    ways = tuple(dict.fromkeys(way.strip() for way in pooling.split(",")))
    for way in ways:
        if way not in POOLINGS:
            raise OptionError(f"there is no pooling {way!r}: {did_you_mean(way, POOLINGS)}")
    if not trusted:
        manner = Manner(manner.centred, manner.weighted, held_out=False, robust=True)
    return Setting(preset, manner, rule, rate, sigmas, ways, tokens, UNSEEN if trusted else 0.0)


def check_enough(rows: ScreenRows, trusted: ScreenRows | None, setting: Setting) -> None:
    """Refuse what nothing can be told from."""
    if trusted is None:
        if len(rows) < FEWEST:
            raise ProbeError(
                f"{len(rows)} rows and no trusted ones: a middle takes {FEWEST} rows or more; give "
                "trusted ones with --benign"
            )
        return
    if rows.labelled != trusted.labelled:
        which = "the trusted rows have" if rows.labelled else "the rows to screen have"
        raise ProbeError(f"{which} no responses and the others have: give rows of one kind")
    wanted = FEWEST
    if setting.rule == "quantile":
        wanted = max(wanted, needed(setting.score_rate))
    if len(trusted) < wanted:
        least = 1 / ((len(trusted) + 1) * (1 - setting.spent))
        least = math.ceil(least * 1e4) / 1e4  # rounded down it would be too little
        instead = (
            f", or allow --rate {least:g}"
            if setting.rule == "quantile" and len(trusted) >= FEWEST
            else ""
        )
        raise ProbeError(
            f"{len(trusted)} trusted rows in {trusted.name}: the rule {setting.rule} needs "
            f"{wanted} or more{instead}"
        )
