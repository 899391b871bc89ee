"""The house: a room imports only from floors below its own."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "cruxlm"

FLOORS = {
    "runtime": 0, "numerics": 0, "results": 0, "charts": 0,
    "models": 1, "data": 1,
    "evaluate": 2, "testbed": 2,
    "criteria": 3,
    "plans": 4,
    "actions": 5, "callbacks": 5, "report": 5,
    "workflows": 6,
    "studies": 7,
    "cli": 8,  # crux study runs them
}  # fmt: skip

# Thin methods on a result that reach a higher floor or a neighbour, inside the function only.
LAZY = {
    ("results/attacked.py", "charts"): "Attacked.table, _repr_html_",
    ("results/attacked.py", "report"): "Attacked.page",
    ("results/comparison.py", "charts"): "Comparison.table, _repr_html_",
    ("results/comparison.py", "report"): "Comparison.page",
    ("results/defence.py", "charts"): "Defence.table, _repr_html_",
    ("results/defence.py", "report"): "Defence.page",
    ("results/evaluation.py", "charts"): "Evaluation._repr_html_",
    ("results/interventions.py", "charts"): "Interventions.table, _repr_html_",
    ("results/interventions.py", "report"): "Interventions.page",
    ("results/plan.py", "charts"): "Plan._repr_html_",
    ("results/plan.py", "plans"): "Plan.apply, Plan.lora_config, Plan.export",
    ("results/spectra.py", "charts"): "Spectra.table, _repr_html_",
    ("results/spectra.py", "report"): "Spectra.page",
    ("results/reported.py", "charts"): "Reported.__repr__",
    ("results/scan.py", "criteria"): "Scan.select",
    ("results/scan.py", "report"): "Scan.files",
    ("results/scan.py", "charts"): "Scan.table, __repr__, _repr_html_",
    ("results/scores.py", "charts"): "Scores._repr_html_",
    ("results/selection.py", "charts"): "Selection._repr_html_",
    ("results/selection.py", "plans"): "Selection.plan",
    ("results/tuning.py", "charts"): "Tuning._repr_html_",
    ("results/screening.py", "charts"): "Screening.table, _repr_html_",
    ("results/screening.py", "report"): "Screening.page",
    ("results/verification.py", "charts"): "Verification.table, __repr__, _repr_html_",
    ("results/verification.py", "report"): "Verification.files",
}
# What every room may use: errors, files, progress, the registry; and plain tensors.
GROUND = {"runtime"}


def imports(path):
    """(room, at the top of the module) of everything that a file imports from the package."""
    tree = ast.parse(path.read_text("utf-8"))
    top = set(map(id, tree.body))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("cruxlm."):
            yield node.module.split(".")[1], id(node) in top
        elif isinstance(node, ast.Import):
            for name in node.names:
                if name.name.startswith("cruxlm."):
                    yield name.name.split(".")[1], id(node) in top


FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_upward_import(path):
    room = path.relative_to(PACKAGE).parts[0]
    where = str(path.relative_to(PACKAGE))
    assert room in FLOORS, f"{room} is not a room of the house"
    for other, at_top in imports(path):
        if other == room or (other in GROUND and room not in GROUND):
            continue
        if not at_top and (where, other) in LAZY:
            continue
        assert FLOORS[other] < FLOORS[room], f"{where} ({room}) imports {other}"


def test_every_lazy_import_is_still_needed():
    found = {(str(p.relative_to(PACKAGE)), o) for p in FILES for o, top in imports(p) if not top}
    assert set(LAZY) <= found


def test_files_stay_readable():
    long = {
        str(p.relative_to(PACKAGE)): n for p in FILES if (n := len(p.read_text().split("\n"))) > 350
    }
    assert not long
