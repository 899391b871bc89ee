"""The page: every claim with its verdict, its cells and its command; a function of the cells."""

import copy
import re

import pytest

from cruxlm.studies.page import page_files
from cruxlm.studies.spectral import (
    on_adaptation,
    on_components,
    on_data,
    on_defence,
    on_origin,
    on_prediction,
    prediction_rule,
)
from cruxlm.studies.spectral.page import spectral_page
from cruxlm.studies.spectral.study import SPECTRAL
from cruxlm.studies.spectral.world import ASIDE, LIGHT, OPEN
from cruxlm.testbed.families import TARGETS
from studies.spectral.made_cells import cells


@pytest.fixture(scope="module")
def made():
    return cells()


@pytest.fixture(scope="module")
def text(made):
    return shown(made)


def shown(made):
    return page_files("spectral_insights", "x", spectral_page(made), {})["README.md"].decode()


def test_the_page_has_a_verdict_a_command_and_published_figures_for_each_claim(text):
    for claim in ("Prediction", "Data-obliviousness", "Origin", "Adaptation",
                  "Components drive the shift", "Components carry reasons", "Defence"):  # fmt: skip
        assert f"\n## {claim}: " in text
    assert text.count("crux study run spectral_insights --cells '") == 7
    for pattern in text.split("--cells '")[1:]:
        assert SPECTRAL.matching(pattern.split("'")[0])
    assert "## What was not tested" in text
    assert not re.search(r"\b(nan|inf)\b", text)


def test_the_lead_counts_the_verdicts(made):
    said = spectral_page(made).lead
    assert said.startswith("Of 7 claims none hold whole.")
    assert "Does not hold: prediction" in said
    assert spectral_page(cells(prediction="planted")).lead.startswith("Of 7 claims 1 holds whole.")


def test_an_analysis_that_changed_is_told(made, monkeypatch):
    name = next(name for name in made if "aside" in name)
    assert "the analysis was then the same as now" in text_of(made)
    other = copy.deepcopy(made)
    other[name]["analysis"] = "0" * 16
    assert "another than now" in text_of(other)
    assert prediction_rule.__name__ == "cruxlm.studies.spectral.prediction_rule"


def text_of(made):
    return "\n".join(section.text for section in spectral_page(made).sections)


CLAIMS = {
    "predict": on_prediction.claim,
    "planted": on_prediction.claim,
    "real": on_prediction.claim,
    "profile": lambda cells: (on_data.claim(cells), on_origin.claim(cells)),
    "adapt": on_adaptation.claim,
    "spectrum": on_components.claims,
    "removed": on_components.claims,
    "defence": on_defence.claim,
}


@pytest.mark.parametrize("kind", CLAIMS)
def test_every_kind_of_cell_is_in_a_claim(made, kind):
    """A number that is changed in a cell changes what is shown."""
    other = copy.deepcopy(made)
    name = next(name for name in made if name.startswith(kind))
    change(other[name], kind)
    assert CLAIMS[kind](other) != CLAIMS[kind](made)


def test_there_is_no_other_kind_of_cell(made):
    assert {name.split("-")[0] for name in made} == set(CLAIMS)


def change(cell, kind):
    if kind in ("predict", "planted", "real"):
        for pair in cell["pairs"]:
            for values in pair["measured"].values():
                values[4:12] = values[4:12][::-1]
    elif kind == "profile":
        cell["ablation"][2:20] = cell["ablation"][2:20][::-1]
    elif kind == "adapt":
        cell["arms"]["critical"]["loss"] += 1
    elif kind == "spectrum":
        cell["blocks"][8]["shares"][2] += 0.5
    elif kind == "removed":
        cell["found"][0]["effects"]["accuracy"]["change"] += 1
    else:
        cell["success"]["token, 10 %"]["critical"] = 0.5


def test_families_kept_aside_come_last_and_are_no_others():
    names = [cell.name for cell in SPECTRAL.cells]
    aside = [name for name in names if "-aside-" in name]
    assert names[-len(aside) :] == aside
    assert not set(OPEN) & set(ASIDE)
    assert {*OPEN, *ASIDE} <= set(TARGETS)
    others = [cell for cell in SPECTRAL.cells if "-aside-" not in cell.name]
    assert all(cell.options.get("family") not in ASIDE for cell in others)
    assert LIGHT["blocks"] == "all"


def test_the_core_grid_is_four_hours_on_two_cores():
    assert SPECTRAL.cost_seconds <= 2 * 4 * 3600
