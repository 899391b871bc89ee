"""The report of a defence: what each arm leaves of an attack, what it costs, what was set aside."""

from collections.abc import Iterator

from cruxlm.charts.arms import listed, short
from cruxlm.charts.bars import choice_rows
from cruxlm.charts.defence import nats, points
from cruxlm.charts.intervals import Row, interval_chart
from cruxlm.charts.lines import line_chart
from cruxlm.report.copyable import provenance_section
from cruxlm.report.doubt import Control, doubt_section
from cruxlm.report.page import Fact, Section, page, section
from cruxlm.report.table import Cell, number, table
from cruxlm.results.defence import DEFENCE, Defence, DefenceArm, Estimate

WHERE = f"{DEFENCE}, beside this page"
KNOWN = (
    "An attack that was planted here is one that you thought of. It says nothing about another.",
    "Who knows which blocks will be frozen can train an attack that needs none of them: crux study "
    "run backdoor measures such an attacker.",
    "Blocks that change most are where training pushed, and no proof of anything.",
    "Each interval is on its own: of twenty arms without effect, one leaves out zero.",
)
"""What is to be doubted of every defence."""


def defence_page(found: Defence) -> str:
    """One self-contained HTML file."""
    data = found.data
    count = len(found.seeds)
    subtitle = (
        f"fine-tuned on {data['name']}: {data['train']} rows, {found.settings['steps']} steps, "
        f"{count} seed{'' if count == 1 else 's'}, {data['test']} test rows"
    )
    title = f"Crux defence of {found.model}"
    return page(title, subtitle, found.finding, _sections(found), _facts(found))


def _facts(found: Defence) -> list[Fact]:
    first, last = found.arms[0], found.arms[-1]
    if found.attack is None or first.success is None or last.success is None:
        what = Fact("What", "no attack was measured", "none was planted, and the data have no key")
    else:
        what = Fact(
            "What",
            f"the attack succeeds in {first.success.value:.0%} undefended",
            f"and in {last.success.value:.0%} with {last.name}; of the model before in "
            f"{found.before['success'] or 0:.0%}",
        )
    rows = "row" if last.success is None else "triggered row"
    return [
        what,
        Fact("How sure", "95 % intervals", f"paired by seed and {rows}, each on its own"),
        Fact(
            "Compared with what",
            f"{first.name}, and as many random blocks",
            "the same rows in the same order, but for those that were set aside",
        ),
    ]


def _sections(found: Defence) -> Iterator[Section]:
    yield from _bought(found)
    yield section(
        "What it costs",
        f"Test loss less that of {found.arms[0].name}, with its 95 % interval. Right of zero is "
        "worse. Filled: the interval leaves out zero.",
        interval_chart(
            [_row(arm.name, arm.cost) for arm in found.arms if arm.cost],
            label="costs on the test rows",
            across="nats a token",
        ),
        short="Cost",
    )
    yield _arms(found)
    yield _doubts(found)
    if found.screening is not None:
        yield _screening(found)
    yield section(
        "Blocks that were frozen",
        "All others were trained.",
        choice_rows(
            [(arm.name, blocks) for arm in found.arms for blocks in dict.fromkeys(arm.frozen)],
            len(found.names),
            label="frozen blocks of each arm",
        ),
        short="Frozen blocks",
    )
    yield section(
        "Which blocks changed most",
        "Norm of the change of a block's weights over what it was before, with the first seed.",
        line_chart(
            {
                arm.name: [(float(b), v) for b, v in enumerate(arm.changed) if v is not None]
                for arm in found.arms
            },
            label="weight change over blocks",
            across="block",
            first=found.arms[0].name,
        ),
        short="Changes",
    )
    held = {"model": found.model, "data": found.data, "settings": found.settings}
    run = {**held, "attack": found.attack or "none", **found.provenance, "run": found.run}
    yield provenance_section(found.finding, run)


def _bought(found: Defence) -> Iterator[Section]:
    rates = [(arm.name, arm.success) for arm in found.arms if arm.success is not None]
    if not rates:
        return
    explained = (
        "Share of rows with the trigger that are answered as the attack wants. Filled: the "
        "interval leaves out zero."
    )
    yield section(
        "What is left of the attack",
        explained,
        interval_chart(
            [_row(name, held) for name, held in rates], label="attack success", across="share"
        ),
        short="Attack",
    )


def _row(name: str, held: Estimate) -> Row:
    return name, held.value, held.interval


def _arms(found: Defence) -> Section:
    attacked, judged = found.attack is not None, found.arms[0].accuracies is not None
    header = ["arm", "frozen", "rows", "trains"]
    header += ["attack succeeds", "taken off", "without trigger", "near misses"] if attacked else []
    header += ["test loss", "cost", *(["accuracy"] if judged else []), "model"]
    rows = [_arm(arm, attacked, judged) for arm in found.arms]
    return section(
        "The arms",
        "Shares in points, losses in nats a token, with 95 % intervals. A star marks one that "
        "leaves out zero. The first arm is what nothing defends.",
        table(header, rows, numeric=range(2, len(header) - 1), chosen=(0,), where=WHERE),
        wide=True,
        short="Arms",
    )


def _arm(arm: DefenceArm, attacked: bool, judged: bool) -> list[object]:
    frozen = listed([list(blocks) for blocks in arm.frozen]) if arm.frozen[0] else "none"
    row: list[object] = [arm.name, frozen, arm.rows, Cell(short(arm.parameters), arm.parameters)]
    if attacked:
        row += [
            _cell(arm.success),
            _cell(arm.gain, signed=True),
            _cell(arm.false_triggers),
            _cell(arm.near_misses),
        ]
    row += [Cell(f"{arm.loss:.4f}", arm.loss)]
    row.append(Cell("" if arm.cost is None else nats(vars(arm.cost)), _value(arm.cost)))
    if judged:
        row.append(Cell("" if arm.accuracy is None else f"{arm.accuracy:.1%}", arm.accuracy))
    return [*row, arm.folder]


def _cell(held: Estimate | None, *, signed: bool = False) -> Cell:
    shown = "" if held is None else points(vars(held), signed=signed)
    return Cell(shown, None if held is None else 100 * held.value)


def _value(held: Estimate | None) -> float | None:
    return None if held is None else held.value


def _doubts(found: Defence) -> Section:
    controls = []
    said = {
        "success": ("as many random blocks frozen", "points of success taken off beyond them"),
        "loss": ("the cost of as many random blocks", "nats a token beyond theirs"),
    }
    for name, held in found.beyond_random.items():
        shown = points(vars(held)) if name == "success" else nats(vars(held))
        verdict = "clear of zero" if held.clear else "not distinguishable from them"
        controls.append(Control(said[name][0], f"{shown.strip('* ')} {said[name][1]}", verdict))
    return doubt_section(controls, (), (*found.warnings, *KNOWN))


def _screening(found: Defence) -> Section:
    screened = found.screening or {}
    header = ["row", "score", "threshold", "prompt", "response", "why", "truth"]
    rows = [
        [
            row.id,
            number(row.score, 3),
            number(row.threshold, 3),
            row.prompt,
            row.response,
            row.reason,
            row.truth or "not known",
        ]
        for row in found.set_aside
    ]
    more = screened["flagged"] - len(found.set_aside)
    explained = str(screened["finding"])
    explained += f" {more:,} more are in screening/flagged.jsonl." if more > 0 else ""
    content = table(header, rows, numeric=(1, 2), wrapped=(3, 4, 5), where=WHERE)
    return section("What was set aside", explained, content, wide=True, short="Set aside")
