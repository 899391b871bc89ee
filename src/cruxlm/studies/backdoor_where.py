"""Where the study `backdoor` finds attacks, and what screening, suppression and knowledge do."""

import numpy as np

from cruxlm.studies.backdoor_figures import (
    Cell,
    Cells,
    Condition,
    Figures,
    carried,
    carriers,
    name_of,
    oracle,
    rank_agreement,
    share_said,
)
from cruxlm.studies.page import Section


def carriers_section(found: Figures, results: Cells) -> Section:
    """The oracle's first block in every model, and in those where it is known."""
    arms = [(condition, arm) for condition in found.conditions for arm in ("none", "embeddings")]
    rows = [
        [name_of(condition), "nothing" if arm == "none" else arm, *carriers(found, condition, arm)]
        for condition, arm in arms
        if found.cells(condition, arm)
    ]
    most = max(map(len, rows))
    rows = [[*row, *[""] * (most - len(row))] for row in rows]
    built = "; ".join(
        f"block {name.removeprefix('planted-')}: {_planted(cell)}"
        for name, cell in results.items()
        if name.startswith("planted-")
    )
    return Section(
        "Which block carries it?",
        "The oracle puts a block of the model before back, one at a time and three at a time, and "
        "takes the share of success that this undoes: the block that undoes most in each base "
        f"model. With one block trained alone it is known which; {built}.",
        ("attack", "frozen", *(f"base {number}" for number in range(most - 2))),
        rows,
    )


def where_section(found: Figures) -> Section:
    """How well every index agrees with the oracle about the block that carries an attack."""
    arms = [(condition, arm) for condition in found.conditions for arm in ("none", "embeddings")]
    models = [cell for condition, arm in arms for cell in found.located(condition, arm)]
    cells = [cell for cell in models if carried(cell)]
    rows = []
    for index in cells[0]["indices"] if cells else ():
        rho, hits = rank_agreement(cells, index)
        wide, wide_hits = rank_agreement(cells, index, "3")
        rows.append([index, _rho(rho), f"{hits} of {len(cells)}", _rho(wide),
                     f"{wide_hits} of {len(cells)}"])  # fmt: skip
    blocks = len(oracle(cells[0])) if cells else 0
    chance = f"{len(cells) / blocks:.1f}" if blocks else "none"
    return Section(
        "Where is it? Every index against the oracle",
        "Windows are runs of one block and of three. Of the models with every block "
        f"trained on which an attack works, in {len(cells)} of {len(models)} some run of blocks "
        "takes a tenth of it or more. Over these: mean Spearman with the oracle, and how often "
        f"the highest block is the oracle's ({chance} of them by chance).",
        ("index", "rho", "first block", "rho, window 3", "first block, window 3"),
        rows,
    )


def screening_section(found: Figures) -> Section:
    """Rows that screening flagged, and what was left of the attack."""
    rows = []
    for condition in found.conditions:
        cells = found.cells(condition, "screen")
        flagged = {kind: sum(c["flagged"].get(kind, 0) for c in cells) for kind in _KINDS}
        total = {kind: sum(c["rows"].get(kind, 0) for c in cells) for kind in _KINDS}
        shares = [f"{flagged[k]} of {total[k]}" if total[k] else "" for k in _KINDS]
        blocks = ", ".join(str(c["screened_by"]) for c in cells)
        rows.append(
            [name_of(condition), *shares, share_said(found.share(condition, "screen")), blocks]
        )
    nominal = found.cells(found.conditions[0], "screen")[0]["nominal"]
    return Section(
        "Screening",
        "Rows flagged by layer-wise feature analysis in the undefended model, calibrated on "
        f"trusted rows at a nominal {nominal:.0%} of clean ones; success of the model that is "
        "then fine-tuned on the others; and the blocks that were read.",
        ("attack", "poisoned flagged", "near misses flagged", "clean flagged", "success", "blocks"),
        rows,
    )


_KINDS = ("triggered", "near", "clean")


def suppression_section(found: Figures) -> Section:
    """The skips that were scaled, and success before, under and after."""
    rows = []
    for condition in found.conditions:
        for cell in found.cells(condition, "suppression"):
            rows.append(
                [
                    name_of(condition),
                    str(cell["skip"] or "none admissible"),
                    share_said(cell["before"]),
                    share_said(cell["suppressed"]),
                    share_said(np.mean(cell["values"]["success"])),
                    share_said(np.nanmean(cell["values"]["accuracy"])),
                ]
            )
    return Section(
        "Suppressing a skip connection",
        "Of each base model the skip that was chosen (block, half, scale) on trusted rows with the "
        "trigger; success before, under the scaled skip, and after its block was fine-tuned on "
        "trusted rows; right answers in the end.",
        ("attack", "skip", "before", "suppressed", "recovered", "accuracy"),
        rows,
    )


def adaptive_section(results: Cells) -> Section:
    """What an attacker who knows the frozen blocks tried and reached."""
    rows = []
    for name, cell in results.items():
        if name.startswith("adaptive-"):
            rate, base = name.removeprefix("adaptive-").split("-")
            tried = ", ".join(f"{key} {share_said(value)}" for key, value in cell["tried"].items())
            success = share_said(np.mean(cell["values"]["success"]))
            rows.append([f"{int(rate) / 10:g} %", base, tried, cell["chosen"], success])
    return Section(
        "An attacker who knows which blocks are frozen",
        "On rows of their own the attacker fine-tunes copies of the model with the critical blocks "
        "frozen, one for each of six triggers, and takes the best; then the victim fine-tunes so "
        "on the victim's rows.",
        ("rate", "base", "success in the attacker's trials", "chosen", "success"),
        rows,
    )


def pilot_section(found: Figures) -> Section:
    """The figures of an earlier pilot beside those found here."""
    token = found.conditions[0]
    first = [float(oracle(c)[0]) for c in found.located(token)]
    carried_by = "; ".join(carriers(found, token))
    rows = [
        ["undefended success", "99.7 to 100 %", share_said(found.share(token, "none"))],
        ["success without the carrier block (swap)", "2 %, block 0", carried_by],
        ["share undone by putting block 0 back", "98 %", ", ".join(map(share_said, first))],
        ["success without the new embeddings", "75 to 92 %", ", ".join(
            share_said(c["without_embeddings"]) for c in found.located(token))],
        ["freezing any blocks but the carrier", "99.8 % and above",
         f"{share_said(found.share(token, 'critical'))} (critical)"],
        ["poisoned rows found by mean features", "77 to 80 %", _flagged(found, token, "triggered")],
        ["clean rows flagged", "7 %", _flagged(found, token, "clean")],
    ]  # fmt: skip
    return Section(
        "Beside the pilot",
        "An earlier pilot on a classifier of 6 blocks (width 32, a vocabulary of 64, a rare token, "
        "5 % poison, 2 seeds), and the token attack here. In the pilot, the block that reads the "
        "token carries the attack alone. Here embeddings are trained too, the model is deeper, and "
        "the target is a sentence that must be written token by token.",
        ("check", "pilot", "here"),
        rows,
    )


def _flagged(found: Figures, condition: Condition, kind: str) -> str:
    cells = found.cells(condition, "screen")
    total = sum(cell["rows"].get(kind, 0) for cell in cells)
    return share_said(sum(cell["flagged"].get(kind, 0) for cell in cells) / total)


def _planted(cell: Cell) -> str:
    if cell["oracle"] is None:
        return f"the attack fails ({share_said(np.mean(cell['values']['success']))})"
    truth = oracle(cell)
    return (
        f"success {share_said(np.mean(cell['values']['success']))}, oracle names {truth.argmax()}"
    )


def _rho(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
