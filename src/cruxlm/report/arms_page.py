"""The report of a comparison of arms: what each is worth, how sure, and what to doubt."""

from collections.abc import Iterator

from cruxlm.charts.arms import gap_text, listed, short
from cruxlm.charts.bars import choice_rows
from cruxlm.charts.intervals import interval_chart
from cruxlm.charts.lines import line_chart
from cruxlm.charts.svg import text
from cruxlm.report.page import page, section, table
from cruxlm.results.comparison import ArmResult, Comparison


def arms_page(comparison: Comparison) -> str:
    """One self-contained HTML file."""
    data = comparison.data
    subtitle = (
        f"tuned on {data['name']}: {data['train']} rows, {comparison.settings['steps']} steps, "
        f"{len(comparison.seeds)} seeds, {data['test']} test rows"
    )
    title = f"Crux comparison on {comparison.model}"
    return page(title, subtitle, comparison.finding, _sections(comparison))


def _sections(comparison: Comparison) -> Iterator[str]:
    yield _table(comparison)
    gaps = [
        (arm.name, arm.loss_gap.mean, arm.loss_gap.interval)
        for arm in comparison.arms
        if arm.loss_gap is not None
    ]
    yield section(
        f"Against {comparison.reference}",
        "Difference of the test loss, paired by seed and row, with its 95 % interval over both. "
        "Left of zero is better. Filled: the interval leaves out zero.",
        interval_chart(gaps, label="differences from the reference", across="nats a token"),
    )
    yield section(
        "While training",
        "Validation loss with the first seed, each arm at its own learning rate.",
        line_chart(
            {arm.name: arm.curve for arm in comparison.arms},
            label="validation loss over steps",
            across="step",
            first=comparison.reference,
        ),
    )
    yield section(
        "Blocks that were trained",
        "Of arms that draw anew with each seed, every draw.",
        choice_rows(
            list(_draws(comparison)),
            1 + max(b for arm in comparison.arms for blocks in arm.drawn for b in blocks),
            label="blocks of each arm",
        ),
    )
    yield _rates(comparison)
    yield _doubts(comparison)
    yield _provenance(comparison)


def _draws(comparison: Comparison) -> Iterator[tuple[str, tuple[int, ...]]]:
    for arm in comparison.arms:
        distinct = dict.fromkeys(arm.drawn)
        for number, blocks in enumerate(distinct, start=1):
            yield (arm.name if len(distinct) == 1 else f"{arm.name} {number}", blocks)


def _table(comparison: Comparison) -> str:
    judged = comparison.arms[0].accuracies is not None
    header = ["arm", "method", "blocks", "trains", "rate", "test loss", "by seed"]
    header += ["against reference", *(["accuracy"] if judged else []), "ms a step", "MiB a step"]
    before = comparison.before
    first = ["before", "", "", "", "", f"{before['loss']:.4f}", "", ""]
    first += [f"{before['accuracy']:.1%}"] if judged else []
    rows = [[*first, "", ""], *(_row(arm, judged) for arm in comparison.arms)]
    chosen = [n for n, arm in enumerate(comparison.arms, 1) if arm.name == comparison.reference]
    numeric = tuple(range(3, len(header)))
    return section(
        "The arms",
        "Every arm at the learning rate of its lowest validation loss. Test loss in nats a token, "
        "mean over rows and seeds; a star marks an interval that leaves out zero.",
        table(header, rows, numeric=numeric, chosen=chosen),
        wide=True,
    )


def _row(arm: ArmResult, judged: bool) -> list[str]:
    gap = arm.loss_gap
    losses = ", ".join(f"{loss:.3f}" for loss in arm.losses)
    row = [arm.name, arm.method, listed([list(b) for b in arm.drawn])]
    row += [short(arm.parameters), f"{arm.learning_rate:g}", f"{arm.loss:.4f}", losses]
    row.append(gap_text(None if gap is None else vars(gap)))
    if judged and arm.accuracy is not None:
        row.append(f"{arm.accuracy:.1%}")
    row.append("" if arm.step_seconds is None else f"{1000 * arm.step_seconds:.0f}")
    row.append("" if arm.memory_mib is None else f"{arm.memory_mib:.0f}")
    return row


def _rates(comparison: Comparison) -> str:
    rates = list(dict.fromkeys(rate for arm in comparison.arms for rate in arm.validation))
    rows = [
        [arm.name, *(_loss(arm.validation.get(rate)) for rate in rates)] for arm in comparison.arms
    ]
    return section(
        "Learning rates",
        "Validation loss of every learning rate that was tried, with the first seed.",
        table(["arm", *rates], rows, numeric=tuple(range(1, len(rates) + 1))),
    )


def _loss(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _doubts(comparison: Comparison) -> str:
    known = [
        "Blocks chosen by a criterion beat a random draw by chance now and then: look at the "
        "interval, and at more draws.",
        "Arms that train more parameters, or blocks nearer to the end, differ in more than the "
        "choice that is compared.",
        "Each interval is on its own: of twenty arms without effect, one leaves out zero.",
    ]
    items = "".join(f"<li>{text(line)}</li>" for line in (*comparison.warnings, *known))
    return section("How to doubt this", "", f"<ul>{items}</ul>", wide=True)


def _provenance(comparison: Comparison) -> str:
    held = {**comparison.provenance, "data": comparison.data["sha256"], **comparison.settings}
    rows = [[name, _plain(value)] for name, value in held.items()]
    return section("Provenance", "", table(["what", "value"], rows, wrapped=(1,)), wide=True)


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {held}" for name, held in value.items())
    return str(value)
