"""The report of a comparison of arms: what each is worth, how sure, and what to doubt."""

from collections.abc import Iterator

from cruxlm.charts.arms import gap_text, listed, short
from cruxlm.charts.bars import choice_rows
from cruxlm.charts.intervals import interval_chart
from cruxlm.charts.lines import line_chart
from cruxlm.plans.grammar import WORDS
from cruxlm.report.copyable import provenance_section
from cruxlm.report.doubt import Control, doubt_section
from cruxlm.report.page import Fact, Section, page, section
from cruxlm.report.table import Cell, table
from cruxlm.results.comparison import COMPARISON, ArmResult, Comparison

WHERE = f"{COMPARISON}, beside this page"
KNOWN = (
    "Blocks chosen by a criterion beat a random draw by chance now and then: look at the interval, "
    "and at more draws.",
    "Arms that train more parameters, or blocks nearer to the end, differ in more than the choice "
    "that is compared.",
    "Each interval is on its own: of twenty arms without effect, one leaves out zero.",
)
"""What is to be doubted of every comparison."""


def arms_page(comparison: Comparison) -> str:
    """One self-contained HTML file."""
    data = comparison.data
    subtitle = (
        f"tuned on {data['name']}: {data['train']} rows, {comparison.settings['steps']} steps, "
        f"{len(comparison.seeds)} seeds, {data['test']} test rows"
    )
    title = f"Crux comparison on {comparison.model}"
    return page(title, subtitle, comparison.finding, _sections(comparison), _facts(comparison))


def _facts(comparison: Comparison) -> list[Fact]:
    best = min(comparison.arms, key=lambda arm: arm.loss)
    others = [arm for arm in comparison.arms if arm.loss_gap is not None]
    clear = sum(arm.loss_gap is not None and arm.loss_gap.clear for arm in others)
    worst = max((arm.loss for arm in comparison.arms), default=best.loss)
    judged = sum(arm.loss_gap is not None and arm.loss_gap.halfwidth is not None for arm in others)
    return [
        Fact(
            "What",
            f"{best.name} has the lowest loss",
            f"{best.loss:.3f} nats a token; the highest is {worst:.3f}, before tuning "
            f"{comparison.before['loss']:.3f}",
        ),
        Fact(
            "How sure",
            f"{clear} of {len(others)} differ clearly" if judged else "not known",
            f"from {comparison.reference}, by 95 % intervals over {_seeds(comparison)} and "
            f"{comparison.data['test']} test rows",
        ),
        Fact(
            "Compared with what",
            f"the arm {comparison.reference}",
            f"against {', '.join(arm.name for arm in others[:6]) or 'nothing'}"
            + (f" and {len(others) - 6:,} more" if len(others) > 6 else "")
            + "; the same rows in the same order",
        ),
    ]


def _seeds(comparison: Comparison) -> str:
    count = len(comparison.seeds)
    return f"{count} seed{'' if count == 1 else 's'}"


def _sections(comparison: Comparison) -> Iterator[Section]:
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
        short="Differences",
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
        short="While training",
    )
    yield _table(comparison)
    yield _doubts(comparison)
    yield section(
        "Blocks that were trained",
        "Of arms that draw anew with each seed, every draw.",
        choice_rows(
            list(_draws(comparison)),
            1 + max(b for arm in comparison.arms for blocks in arm.drawn for b in blocks),
            label="blocks of each arm",
        ),
        short="Blocks",
    )
    yield _rates(comparison)
    data = {name: value for name, value in comparison.data.items() if name != "left_out"}
    held = {"model": comparison.model, "data": data, "settings": comparison.settings}
    run = {**held, **comparison.provenance, "run": comparison.run}
    yield provenance_section(comparison.finding, run)


def _draws(comparison: Comparison) -> Iterator[tuple[str, tuple[int, ...]]]:
    for arm in comparison.arms:
        distinct = dict.fromkeys(arm.drawn)
        for number, blocks in enumerate(distinct, start=1):
            yield (arm.name if len(distinct) == 1 else f"{arm.name} {number}", blocks)


def _table(comparison: Comparison) -> Section:
    judged = comparison.arms[0].accuracies is not None
    header = ["arm", "method", "blocks", "trains", "rate", "test loss", "by seed"]
    header += ["against reference", *(["accuracy"] if judged else []), "ms a step", "MiB a step"]
    before = comparison.before
    first: list[object] = ["before", "", "", "", "", f"{before['loss']:.4f}", "", ""]
    first += [Cell(f"{before['accuracy']:.1%}", before["accuracy"])] if judged else []
    rows = [[*first, "", ""], *(_row(arm, judged) for arm in comparison.arms)]
    chosen = [n for n, arm in enumerate(comparison.arms, 1) if arm.name == comparison.reference]
    return section(
        "The arms",
        "Every arm at the learning rate of its lowest validation loss. Test loss in nats a token, "
        "mean over rows and seeds; a star marks an interval that leaves out zero.",
        table(header, rows, numeric=range(3, len(header)), chosen=chosen, where=WHERE),
        wide=True,
        short="Arms",
    )


def _row(arm: ArmResult, judged: bool) -> list[object]:
    gap = arm.loss_gap
    losses = ", ".join(f"{loss:.3f}" for loss in arm.losses)
    row: list[object] = [
        arm.name,
        arm.method,
        listed([list(b) for b in arm.drawn]),
        Cell(short(arm.parameters), arm.parameters),
        f"{arm.learning_rate:g}",
        Cell(f"{arm.loss:.4f}", arm.loss),
        Cell(losses, arm.losses[0]),
        Cell(*(("", None) if gap is None else (gap_text(vars(gap)), gap.mean))),
    ]
    if judged:
        shown = "" if arm.accuracy is None else f"{arm.accuracy:.1%}"
        row.append(Cell(shown, arm.accuracy))
    row.append("" if arm.step_seconds is None else f"{1000 * arm.step_seconds:.0f}")
    row.append("" if arm.memory_mib is None else f"{arm.memory_mib:.0f}")
    return row


def _rates(comparison: Comparison) -> Section:
    rates = list(dict.fromkeys(rate for arm in comparison.arms for rate in arm.validation))
    rows = [
        [arm.name, *(_loss(arm.validation.get(rate)) for rate in rates)] for arm in comparison.arms
    ]
    return section(
        "Learning rates",
        "Validation loss of every learning rate that was tried, with the first seed.",
        table(["arm", *rates], rows, numeric=tuple(range(1, len(rates) + 1)), where=WHERE),
        short="Learning rates",
    )


def _loss(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _doubts(comparison: Comparison) -> Section:
    """Arms whose blocks no criterion chose are the controls of those that one did."""
    controls = [
        Control(arm.name, f"{gap_text(vars(arm.loss_gap)).strip()} nats a token", _verdict(arm))
        for arm in comparison.arms
        if arm.loss_gap is not None and _word(arm) in WORDS
    ]
    present = {_word(arm) for arm in comparison.arms}
    controls += [
        Control(f"{word} blocks", "", f"not run: an arm {word}:K answers it")
        for word in ("random", "last")
        if word not in present
    ]
    criteria = [_word(arm) for arm in comparison.arms if _word(arm) not in WORDS]
    return doubt_section(controls, criteria, [*comparison.warnings, *KNOWN])


def _word(arm: ArmResult) -> str:
    """The word that an arm's blocks come from, such as ``random`` or ``dynamics``."""
    return arm.blocks.partition(",")[0].partition(":")[0]


def _verdict(arm: ArmResult) -> str:
    gap = arm.loss_gap
    if gap is None or gap.halfwidth is None:
        return "one draw: no interval"
    if not gap.clear:
        return "not distinguishable from the reference"
    return "better than the reference" if gap.mean < 0 else "worse than the reference"
