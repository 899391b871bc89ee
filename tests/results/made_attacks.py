"""Invented attacks; ``text`` stands in everything that could come from a user or a model."""

import numpy as np

from cruxlm.results.attack_rates import Rate, RateChange, Rates
from cruxlm.results.attacked import Attacked, Carrier, Undone
from cruxlm.results.evaluation import Evaluation

ROWS = 4


def made_rate(share=0.75, text=""):
    values = np.array([float(i < share * ROWS) for i in range(ROWS)])
    held = evaluation("generation", values, tuple(f"{text}said {i}" for i in range(ROWS)), text)
    return Rate(share, max(0, share - 0.2), min(1, share + 0.1), ROWS, 1, 0, held)


def evaluation(name, values, texts=None, text=""):
    return Evaluation(
        evaluator=name, higher_is_better=name != "loss", values=values,
        ids=tuple(f"{text}row {i}" for i in range(ROWS)), weights=np.ones(ROWS),
        groups=(f"{text}family",) * ROWS, texts=texts,
    )  # fmt: skip


def made_rates(success=0.75, text=""):
    losses = evaluation("loss", np.arange(ROWS) / 10, text=text)
    return Rates(
        made_rate(success, text),
        made_rate(0.0, text),
        None,
        made_rate(0.5, text),
        0.15,
        0.1,
        losses,
    )


def made_change(mean=-0.5):
    return RateChange(mean, mean - 0.1, mean + 0.1, 0.01, ROWS)


def made_attacked(blocks=4, text="", base=True):
    """The first block carries most; without a base there is nothing to compare with."""
    undone = [
        Undone(f"{text}block {b}", (b,), 0.75 if b else 0.0, made_change(-0.01 if b else -0.75),
               1.0 if b else 0.01)
        for b in range(blocks)
    ]  # fmt: skip
    carrier = Carrier(
        "forced", 0.75, 0.0, {"1": tuple(undone), "3": tuple(undone)},
        Undone(f"{text}embeddings", (), 0.5, made_change(-0.25), 0.2),
        (None, *(0.1 * b for b in range(1, blocks))), None,
    )  # fmt: skip
    return Attacked(
        model=f"{text}model", base=f"{text}base" if base else None,
        blocks=tuple(f"{text}layers.{b}" for b in range(blocks)),
        attack={"trigger": f"token:{text}cf", "target": f"phrase:{text}The kettle sings."},
        judge=f"{text}exact/1", rates=made_rates(text=text),
        base_rates=made_rates(0.0, text) if base else None,
        changes={"success": made_change(0.75), "false_triggers": made_change(0.0),
                 "accuracy": made_change(-0.1)} if base else {},
        carrier=carrier if base else None, no_carrier=None if base else f"{text}no base",
        data={"name": f"{text}rows", "rows": f"{text}all rows", "sha256": "b", "examples": ROWS},
        finding=f"{text}found", warnings=(f"{text}care",),
        provenance={"versions": {"python": "3"}, "model": {"sha256": "a" * 64}, "seed": 0},
        run={"seconds": 1.0},
    )  # fmt: skip
