"""The report of interventions: what changes without components, beside what controls change."""

from collections.abc import Iterator

from cruxlm.charts.intervals import Row, interval_chart
from cruxlm.report.copyable import provenance_section
from cruxlm.report.doubt import Control, doubt_section
from cruxlm.report.page import Fact, Section, page, section
from cruxlm.report.table import number, table
from cruxlm.results.interventions import INTERVENTIONS, METRICS, Intervened, Interventions

WHERE = f"{INTERVENTIONS}, beside this page"
KNOWN = (
    "Each interval is on its own: of twenty interventions without effect, one leaves out zero.",
    "A state without a component is none that the model ever made: what follows may be surprised "
    "by that alone. Read the change beside that of the controls.",
    "Components are those of the last token of these prompts.",
)
"""What is to be doubted of all interventions."""


def interventions_page(found: Interventions) -> str:
    """One self-contained HTML file."""
    data = found.data
    subtitle = (
        f"{data['examples']} rows of {data['name']} ({data['rows']}); changed places: {found.where}"
    )
    title = f"Crux interventions on {found.model}"
    return page(title, subtitle, found.finding, _sections(found), _facts(found))


def _facts(found: Interventions) -> list[Fact]:
    clear = [one for one in found.found if any(e.clear for e in one.effects.values())]
    names = ", ".join(sorted({str(one.block) for one in clear}, key=int)) or "none"
    intact = found.intact.get("accuracy")
    return [
        Fact("What", f"{len(clear)} of {len(found.found)} change something",
             f"clear of zero and of the controls; blocks: {names}"),
        Fact("How sure", "95 % intervals", "paired by example, each on its own"),
        Fact("Compared with what", "as much along other directions",
             "random ones and the smallest components"
             + ("" if intact is None else f"; the intact model answers {intact:.0%} right")),
    ]  # fmt: skip


def _sections(found: Interventions) -> Iterator[Section]:
    for metric, said in METRICS.items():
        if found.intact.get(metric) is None:
            continue
        rows: list[Row] = [
            (_name(one), effect.change, _interval(effect.change, effect.halfwidth))
            for one in found.found
            if (effect := one.effects[metric]).change is not None
        ]
        if rows:
            yield section(
                f"Change of the {said}",
                f"Intact: {found.intact[metric]:.4g}. Filled: the interval leaves out zero.",
                interval_chart(rows, label=f"changes of the {said}", across="change"),
                short=metric.replace("_", " "),
            )
    yield _doubts(found)
    yield _all(found)
    held = {"data": found.data, **found.provenance, "run": found.run}
    yield provenance_section(found.finding, held)


def _doubts(found: Interventions) -> Section:
    controls = []
    for metric, said in METRICS.items():
        changes = [c for one in found.found if metric in one.effects
                   and (c := one.effects[metric].control) is not None]  # fmt: skip
        if changes:
            clear = sum(one.effects[metric].clear for one in found.found)
            controls.append(
                Control(
                    said,
                    f"{min(changes):+.3g} to {max(changes):+.3g} with as much taken away along "
                    "other directions",
                    f"{clear} of {len(found.found)} interventions are beyond that",
                )
            )
    return doubt_section(controls, (), (*found.warnings, *KNOWN))


def _all(found: Interventions) -> Section:
    header = ["block", "components", "kind", "metric", "value", "change", "±", "control"]
    header += ["beyond it", "±", "examples"]
    rows: list[list[object]] = []
    chosen: list[int] = []
    for one in found.found:
        for metric, effect in one.effects.items():
            if effect.clear:
                chosen.append(len(rows))
            rows.append(
                [
                    number(one.block), one.components, one.kind, METRICS.get(metric, metric),
                    number(effect.value), number(effect.change, 3), number(effect.halfwidth, 2),
                    number(effect.control, 3), number(effect.beyond, 3),
                    number(effect.beyond_halfwidth, 2), effect.examples,
                ]
            )  # fmt: skip
    content = table(
        header, rows, numeric=(0, *range(4, 11)), wrapped=(3,), chosen=chosen, where=WHERE
    )
    return section("Every number", "", content, wide=True, short="Every number")


def _name(one: Intervened) -> str:
    return f"block {one.block} without {one.components}"


def _interval(middle: float | None, halfwidth: float | None) -> tuple[float, float] | None:
    if middle is None or halfwidth is None:
        return None
    return middle - halfwidth, middle + halfwidth
