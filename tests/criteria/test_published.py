"""The published correlations of delta with the substituted loss, from the published curves.

Liu et al. 2025 (arXiv 2506.00382), Table 2; the curves and their source are in
``published_curves.json``. Delta is low and the loss high where a block is critical.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from cruxlm.criteria.agreement import prediction
from cruxlm.numerics.joint import joint_association
from cruxlm.numerics.ranks import spearman

CELLS = {
    (cell["model"], cell["data"]): cell
    for cell in json.loads(
        Path(__file__).with_name("published_curves.json").read_text("utf-8")
    )["cells"]
}  # fmt: skip
NOT_REPRODUCED = ("LLaMA-3.1-8B-Instruct", "BoolQ")


def curves(cell, first=3, last=28):
    """Delta and loss at these centres; the curves begin at centre 2."""
    return (np.array(cell[name])[first - 2 : last - 1] for name in ("delta", "loss"))


@pytest.mark.parametrize("name", [name for name in CELLS if name != NOT_REPRODUCED], ids="-".join)
def test_four_cells_are_reproduced(name):
    delta, loss = curves(CELLS[name])
    assert len(delta) == 26
    assert spearman(delta, loss) == pytest.approx(CELLS[name]["published"], abs=0.01)


def test_llama_3_1_boolq_is_not():
    cell = CELLS[NOT_REPRODUCED]
    found = spearman(*curves(cell))
    assert found == pytest.approx(-0.856, abs=0.001)
    assert cell["published"] == -0.947
    assert abs(found - cell["published"]) > 0.05


def test_the_ends_matter():
    """With centres 2 and 29 two of the four cells are missed by far: the paper left them out."""
    missed = [
        abs(spearman(*curves(cell, 2, 29)) - cell["published"]) > 0.02
        for name, cell in CELLS.items()
        if name != NOT_REPRODUCED
    ]
    assert sum(missed) >= 2


def test_what_can_be_said_of_them():
    """Depth alone ranks the losses about as well, and at most one cell stands out from it."""
    by_depth, said = [], []
    for cell in CELLS.values():
        delta, loss = curves(cell)
        by_depth.append(abs(spearmanr(np.arange(26), loss).statistic))
        said.append(prediction(joint_association([(-delta, loss)], ["one"])))
    assert np.median(by_depth) > 0.7
    assert set(said) <= {"not distinguishable from depth", "predicts beyond depth"}
    assert said.count("not distinguishable from depth") >= 4
