"""What `docs/testbed.md` shows is what happens."""

import json
import re
from pathlib import Path

import pytest

from cruxlm.testbed import families
from cruxlm.testbed.language import is_right, row, rows

PAGE = (Path(__file__).parents[2] / "docs" / "testbed.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.fixture
def shown(monkeypatch):
    """The family of the page, added as the page says."""
    (code,) = [text for text in blocks("python") if "FAMILY" in text]
    assert len(code.splitlines()) < 50
    names = {}
    exec(code, names)
    monkeypatch.setitem(families.FAMILIES, "count", names["FAMILY"])
    return names["FAMILY"]


def test_the_family_of_the_page_draws_rows_and_grades_them(shown):
    shown_numbers = ["two", "three", "four", "five", "six", "seven", "eight"]
    for drawn in rows("heldout", 50, families=["count"]):
        counted = len(drawn.prompt.partition("? ")[2].split())
        assert shown.levels >= drawn.level
        assert drawn.answer == shown_numbers[counted - 2]
        assert is_right(drawn, drawn.response)
        assert [is_right(drawn, choice) for choice in drawn.choices].count(True) == 1
    prompts = {
        s: {r.prompt for r in rows(s, 300, families=["count"])} for s in ("train", "heldout")
    }
    assert not prompts["train"] & prompts["heldout"]


def test_the_row_of_the_page_is_a_row():
    (shown,) = [json.loads(text) for text in blocks("json")]
    _, level, split, seed, index = shown["id"].split("-")
    drawn = row(split, int(index), int(seed), ["sum_steps"], int(level))
    assert drawn.as_chat() == shown


def test_the_recipe_of_the_page_is_one(shown, tmp_path):
    from cruxlm.testbed.recipe import load_recipe

    (text,) = blocks("yaml")
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    assert load_recipe(str(path)).families == {"count": 1, "swap_ends": 1}


def test_every_family_has_a_line_on_the_page():
    for name in families.FAMILIES | families.TARGETS:
        assert f"`{name}`" in PAGE
