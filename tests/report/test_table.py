"""Tables: what is shown, what they sort by, what is left out and said."""

import math
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cruxlm.report.table import MOST, Cell, chance, number, share, table, two_places


class Cells(HTMLParser):
    """Every cell's text and attributes."""

    def __init__(self, html):
        super().__init__()
        self.rows = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        if tag == "tr":
            self.rows.append([])
        elif tag in ("th", "td"):
            self.rows[-1].append([tag, dict(attrs), ""])

    def handle_data(self, data):
        if self.rows and self.rows[-1]:
            self.rows[-1][-1][2] += data


def value(cell):
    """What the script sorts by, restated: the value that is given, else the number in front."""
    _, attributes, shown = cell
    said = attributes.get("data-v", shown.strip())
    found = re.match(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", said)
    return float(found[0]) if found else None


@given(st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True), st.integers(-9, 9)))
@pytest.mark.parametrize("shown", [number, two_places, share, chance])
def test_a_cell_sorts_by_its_value(shown, held):
    if shown in (two_places, share) and held is not None and not math.isfinite(held):
        return  # correlations and shares are finite or None
    cell = Cells(table(("a", "b"), [("x", shown(held))], numeric=(1,))).rows[1][1]
    if held is None or not math.isfinite(held):
        assert value(cell) is None
        return
    found = value(cell)
    # A column has one kind of cell, so that percentages may sort as they stand.
    near = found == pytest.approx(held, rel=2e-3, abs=1e-300)
    assert near or (shown is share and found == pytest.approx(100 * held, rel=2e-3))


def test_a_text_that_says_less_than_its_value_has_the_value_with_it():
    rows = [(Cell("1.3M", 1.3e6),), (Cell("0.85", 0.85),), (Cell("0.85", 0.8532),)]
    cells = [row[0] for row in Cells(table(("a",), rows, numeric=(0,))).rows[1:]]
    assert [cell[1].get("data-v") for cell in cells] == ["1.3e+06", None, "0.8532"]


def test_columns_and_rows_have_headers():
    rows = Cells(table(("a", "b"), [("x", 1), ("y", 2)], numeric=(1,), chosen=(1,))).rows
    assert [(cell[0], cell[1]["scope"]) for cell in rows[0]] == [("th", "col"), ("th", "col")]
    assert [(row[0][0], row[0][1]["scope"], row[1][0]) for row in rows[1:]] == [
        ("th", "row", "td"), ("th", "row", "td"),
    ]  # fmt: skip


@pytest.mark.parametrize("text", ['"', "<b>", "&", "\u202e", "</table>", "'"])
def test_text_stays_text(text):
    html = table((text,), [(text,)], label=text, where=text)
    found = Cells(html).rows
    shown = "\\u202e" if text == "\u202e" else text
    assert [row[0][2] for row in found] == [shown, shown]
    assert html.count("<table") == 1


def test_ten_thousand_rows_fit_and_what_is_left_out_is_said():
    rows = [(n, f"name {n}", n / 7) for n in range(10_000)]
    html = table(("n", "name", "x"), rows, numeric=(0, 2), chosen=(3, 9_999), where="scan.json")
    assert len(html) < MOST + 1000
    kept = [int(row[0][2]) for row in Cells(html).rows[1:]]
    assert kept[-1] == 9_999  # chosen
    assert kept[:-1] == list(range(len(kept) - 1))
    left = 10_000 - len(kept)
    assert f"{left:,} of 10,000 rows are not shown here; all are in scan.json." in html
    assert "not shown" not in table(("n",), rows[:10][0:1] and [(1,)])


def test_one_row_is_always_shown():
    html = table(("a",), [("x" * 2 * MOST,), ("y",)])
    assert len(Cells(html).rows) == 2
    assert "1 of 2 rows" in html


def test_a_table_without_rows_is_a_table():
    assert len(Cells(table(("a", "b"), [], numeric=(0, 1))).rows) == 1
