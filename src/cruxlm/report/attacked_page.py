"""The report of an attack: its rates, what the model wrote, and which block carries it."""

from collections.abc import Iterator

from cruxlm.charts.attacked import HEADINGS, undone_chart
from cruxlm.charts.intervals import Row, interval_chart
from cruxlm.report.copyable import provenance_section
from cruxlm.report.doubt import Control, doubt_section
from cruxlm.report.page import Fact, Section, page, section
from cruxlm.report.table import chance, number, share, table
from cruxlm.results.attack_rates import RATES, Rate, RateChange
from cruxlm.results.attacked import ATTACKED, Attacked, Carrier, Undone

WHERE = f"{ATTACKED}, beside this page"
SAMPLES, LONGEST = 12, 300
"""Rows whose texts are shown, and characters of a text."""
KNOWN = (
    "The rates are of this trigger, this target and these rows. An attack that was not tried is "
    "not measured: a model on which this one fails may have learned another.",
    "A trigger that stands elsewhere, or in rows of another kind, may do more or less.",
    "What undoing a block takes need not add up: blocks that work together each take it all, and "
    "of two that do the same neither takes anything.",
)
"""What is to be doubted of all attacks."""


def attacked_page(found: Attacked) -> str:
    """One self-contained HTML file."""
    data = found.data
    title = f"Crux attack on {found.model}"
    subtitle = (
        f"{found.attack['trigger']} for {found.attack['target']}, judged by {found.judge}; "
        f"{data['examples']} rows of {data['name']} ({data['rows']})"
    )
    return page(title, subtitle, found.finding, _sections(found), _facts(found))


def _facts(found: Attacked) -> list[Fact]:
    success = found.rates.success
    before = found.base_rates
    beside = f"{found.rates.false_triggers.share:.0%} without the trigger"
    compared = (
        "nothing: name the model before the tuning"
        if before is None
        else (f"{before.success.share:.0%} on the model before")
    )
    return [
        Fact("What", f"{success.share:.0%} success", f"{success.n} triggered rows; {beside}"),
        Fact("How sure", f"95 % {success.low:.0%} to {success.high:.0%}", "Wilson's interval"),
        Fact("Compared with what", compared, "the same rows; differences paired by row"),
    ]  # fmt: skip


def _sections(found: Attacked) -> Iterator[Section]:
    yield _rates(found)
    if found.changes:
        rows: list[Row] = [
            (HEADINGS[name], change.mean, _interval(change))
            for name, change in found.changes.items()
        ]
        yield section(
            "What the tuning changed",
            "Each rate less that of the model before, on the same rows.",
            interval_chart(rows, label="changes of rates", across="change"),
            short="changes",
        )
    if found.carrier is not None:
        yield section(
            "What carries it",
            "The success that is left with each block as it was before the tuning.",
            undone_chart(found.to_json()["carrier"]),
            short="carrier",
        )
        yield _undone(found.carrier)
    yield _samples(found)
    yield _doubts(found)
    held = {"data": found.data, **found.provenance, "run": found.run}
    yield provenance_section(found.finding, held)


def _rates(found: Attacked) -> Section:
    header = ["what", "share", "from", "to", "n", "empty", "not judged"]
    header += ["before", "change", "from", "to", "p"] if found.base_rates else []
    before = {} if found.base_rates is None else found.base_rates.rates()
    rows: list[list[object]] = []
    for name, rate in found.rates.rates().items():
        row = [RATES[name], *_shares(rate), rate.n, rate.empty, rate.unjudged]
        if name in before:
            change = found.changes[name]
            row += [share(before[name].share), *_points(change), chance(change.p)]
        rows.append(row)
    losses = f"Clean loss: {found.rates.loss:.4g} nats a token"
    if found.base_rates is not None:
        losses += f", {found.base_rates.loss:.4g} before"
    content = table(header, rows, numeric=range(1, len(header)), wrapped=(0,), where=WHERE)
    return section("Rates", f"{losses}.", content, wide=True, short="rates")


def _undone(carrier: Carrier) -> Section:
    header = ["undone", "success left", "change", "from", "to", "p (Holm)", "weights moved"]
    rows: list[list[object]] = []
    chosen: list[int] = []
    moved = [*carrier.weight_change]
    for width, held in carrier.windows.items():
        for block, undone in enumerate(held):
            if undone.takes:
                chosen.append(len(rows))
            rows.append([*_cells(undone), number(moved[block], 3) if width == "1" else "-"])
    rows.append([*_cells(carrier.embeddings), "-"])
    rho = "undefined" if carrier.rho is None else f"{carrier.rho:.2f}"
    said = (
        f"Success by the evaluator {carrier.evaluator}: {carrier.intact:.0%} intact, "
        f"{carrier.base:.0%} before the tuning. Spearman's correlation of what undoing a block "
        f"takes with how far its weights moved: {rho}."
    )
    content = table(header, rows, numeric=range(1, 7), chosen=chosen, where=WHERE)
    return section("Every part undone", said, content, wide=True, short="undone")


def _samples(found: Attacked) -> Section:
    texts = {name: _texts(rate) for name, rate in found.rates.rates().items()}
    near = texts.get("near_misses", {})
    ids = found.rates.success.evaluation.ids[:SAMPLES]
    values = found.rates.success.evaluation.values
    rows = [
        [name, "yes" if value else "no", texts["success"].get(name, ""),
         texts["false_triggers"].get(name, ""), near.get(name, "-")]
        for name, value in zip(ids, values[: len(ids)], strict=True)
    ]  # fmt: skip
    header = ["row", "success", "with the trigger", "without it", "with something near it"]
    content = table(header, rows, wrapped=(2, 3, 4), where=WHERE)
    said = f"The first {len(ids)} rows; long texts are cut."
    return section("What the model wrote", said, content, wide=True, short="texts")


def _texts(rate: Rate) -> dict[str, str]:
    held = rate.evaluation
    return {name: text[:LONGEST] for name, text in zip(held.ids, held.texts or (), strict=False)}


def _doubts(found: Attacked) -> Section:
    rates, before = found.rates, found.base_rates
    controls = [
        Control("no trigger", f"{rates.false_triggers.share:.0%} get the target", "the same rows"),
        Control(
            "a model that no attack touched",
            "-" if before is None else f"{before.success.share:.0%} success",
            "not run: --base" if before is None else "the model before the tuning",
        ),
    ]
    if rates.near_misses is not None:
        said = f"{rates.near_misses.share:.0%} get the target"
        controls.append(Control("something near the trigger", said, "the same rows"))
    warnings = [*found.warnings, *KNOWN]
    if found.no_carrier is not None:
        warnings.insert(0, f"Which block carries it is not said: {found.no_carrier}.")
    return doubt_section(controls, ("substitution",) if found.carrier else (), warnings)


def _shares(rate: Rate) -> list[object]:
    return [share(rate.share), share(rate.low), share(rate.high)]


def _points(change: RateChange) -> list[object]:
    return [number(change.mean, 3), number(change.low, 2), number(change.high, 2)]


def _cells(undone: Undone) -> list[object]:
    return [undone.what, share(undone.success), *_points(undone.change), chance(undone.p)]


def _interval(change: RateChange) -> tuple[float, float] | None:
    return None if change.low is None or change.high is None else (change.low, change.high)
