"""The studies that are in the repository: whole, and their pages what their cells make."""

import shutil
from pathlib import Path

import pytest

from cruxlm.studies import STUDIES
from cruxlm.studies.run import run_study

FOLDER = Path(__file__).parents[2] / "studies"


@pytest.mark.parametrize("name", sorted(page.parent.name for page in FOLDER.glob("*/README.md")))
def test_a_committed_page_is_what_its_cells_make(name, tmp_path):
    shutil.copytree(FOLDER / name / "cells", tmp_path / "cells")
    found = run_study(STUDIES.get(name), tmp_path)
    assert (found.made, found.missing) == ((), ())
    pages = [path for path in (FOLDER / name).iterdir() if path.is_file()]
    assert {path.name for path in pages} == {p.name for p in tmp_path.iterdir() if p.is_file()}
    for path in pages:
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path


def test_a_study_is_committed():
    assert (FOLDER / "calibration" / "README.md").exists()
