"""The study frame: cells that are kept, refused, run again and compared; the page made of them."""

import json
import math
import os
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from cruxlm.runtime.errors import OptionError, OutputError, ResultError
from cruxlm.studies import STUDIES
from cruxlm.studies.page import Page
from cruxlm.studies.run import check_study, run_study
from cruxlm.studies.stored import difference
from cruxlm.studies.study import Cell, Study
from studies.tiny_study import CELLS, TINY, draw, tiny_page, with_run

PAGE = ["README.md", "means.svg", "report.html"]


def files(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.fixture
def done(tmp_path):
    run_study(TINY, tmp_path / "tiny")
    return tmp_path / "tiny"


def test_a_study_makes_its_cells_and_its_page(tmp_path):
    found = run_study(TINY, tmp_path / "new" / "tiny")
    assert found.made == tuple(cell.name for cell in CELLS)
    assert (found.missing, found.other_code) == ((), ())
    assert files(tmp_path / "new" / "tiny") == [
        "README.md", *(f"cells/draw-{seed}.json" for seed in range(6)), "means.svg", "report.html",
    ]  # fmt: skip
    assert found.lead == f"The largest mean is {max(draw(50, s)['mean'] for s in range(6)):.4f}."
    for seed in range(6):
        assert found.cells[f"draw-{seed}"].result["mean"] == draw(50, seed)["mean"]


def test_a_cell_says_where_it_comes_from(done):
    record = json.loads((done / "cells" / "draw-3.json").read_text())
    assert record["format"] == "crux.study-cell/1"
    assert (record["study"], record["cell"]) == ("tiny", "draw-3")
    assert record["options"] == {"count": 50, "seed": 3}
    assert record["provenance"]["versions"]["numpy"]
    assert record["provenance"]["code"] == TINY.code_hashes(CELLS[0])
    assert set(record["run"]) == {"seconds", "date", "peak_memory_mib"}


def test_cells_that_are_there_are_kept(done):
    before = {name: (done / name).stat().st_mtime_ns for name in files(done)}

    def never(**_options):
        raise AssertionError("a cell was run again")

    found = run_study(with_run(never), done)
    assert found.made == ()
    assert {name: (done / name).stat().st_mtime_ns for name in files(done)} == before


def test_an_error_in_a_cell_keeps_those_before_it(tmp_path):
    def fails_at_three(count, seed):
        if seed == 3:
            raise KeyboardInterrupt
        return draw(count, seed)

    with pytest.raises(KeyboardInterrupt):
        run_study(with_run(fails_at_three), tmp_path)
    assert files(tmp_path) == ["cells/draw-0.json", "cells/draw-1.json", "cells/draw-2.json"]
    assert run_study(TINY, tmp_path).made == ("draw-3", "draw-4", "draw-5")


def test_some_cells_make_no_page(tmp_path):
    found = run_study(TINY, tmp_path, cells="draw-[13]")
    assert found.made == ("draw-1", "draw-3")
    assert found.missing == ("draw-0", "draw-2", "draw-4", "draw-5")
    assert found.lead is None
    assert files(tmp_path) == ["cells/draw-1.json", "cells/draw-3.json"]
    with pytest.raises(OptionError, match=r"no cell of tiny matches 'null-\*'; its cells: draw-0,"):
        run_study(TINY, tmp_path, cells="null-*")


def test_other_options_are_refused_before_anything_is_run(done):
    with pytest.raises(ResultError, match=r"draw-0\.json .*options\.count was 50 and is 60"):
        run_study(with_run(draw, count=60), done)
    with pytest.raises(ResultError, match="with other options"):
        run_study(with_run(draw, scale=2.0), done)


def test_what_is_not_of_the_study_is_refused(done):
    cell = done / "cells" / "draw-2.json"
    held = cell.read_text()
    edit(cell, study="other")
    with pytest.raises(ResultError, match="is cell 'draw-2' of study 'other'"):
        run_study(TINY, done)
    edit(cell, study="tiny", format="crux.study-cell/9")
    with pytest.raises(ResultError, match=r"draw-2\.json is damaged \(not of format"):
        run_study(TINY, done)
    for damaged in (held[:100], "[]", held.replace('"seconds"', '"minutes"'), ""):
        cell.write_text(damaged)
        with pytest.raises(ResultError, match=r"draw-2\.json is damaged"):
            run_study(TINY, done)
    cell.unlink()
    (done / "cells" / "draw-9.json").write_text(held)
    with pytest.raises(ResultError, match=r"draw-9\.json is of no cell of tiny"):
        run_study(TINY, done)


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="is not a folder"):
        run_study(TINY, tmp_path / "file")


def test_a_second_process_is_refused(tmp_path):
    fcntl = pytest.importorskip("fcntl")
    (tmp_path / "cells").mkdir()
    held = os.open(tmp_path / "cells", os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    with pytest.raises(OutputError, match="another process runs this study"):
        run_study(TINY, tmp_path)
    os.close(held)
    assert len(run_study(TINY, tmp_path).made) == 6


def test_what_a_killed_process_left_is_swept_and_nothing_else(tmp_path):
    (tmp_path / "cells").mkdir()
    left = [tmp_path / "cells" / ".draw-1.json.0a1b2c3d.new", tmp_path / ".README.md.0a1b2c3d.old"]
    others = [tmp_path / ".hidden", tmp_path / ".notes.md.0a1b2c3d.old", tmp_path / "cells" / ".x"]
    for path in (*left, *others):
        path.write_text("half")
    run_study(TINY, tmp_path)
    assert not any(path.exists() for path in left)
    assert all(path.exists() for path in others)


def test_checking_runs_cells_again_and_writes_nothing(done):
    before = {name: (done / name).read_bytes() for name in files(done)}
    assert check_study(TINY, done) == tuple(cell.name for cell in CELLS)
    assert check_study(TINY, done, cells="draw-4") == ("draw-4",)
    assert {name: (done / name).read_bytes() for name in files(done)} == before


def test_checking_finds_other_numbers(done):
    def another(count, seed):
        found = draw(count, seed)
        return found | {"largest": {"at": found["largest"]["at"] + (seed == 4)}}

    with pytest.raises(ResultError, match=r"1 of 6 cells are not .*draw-4: largest\.at was 15 and"):
        check_study(with_run(another), done)
    with pytest.raises(ResultError, match=r"README\.md is not what the cells make"):
        check_study(replace(TINY, page=lambda _results: Page("Nothing.", (), ())), done)
    (done / "cells" / "draw-5.json").unlink()
    with pytest.raises(ResultError, match=r"has no cell draw-5 to check \(1 of 6"):
        check_study(TINY, done)


def test_differences_up_to_the_tolerance_are_none(done):
    def rounded(count, seed):
        found = draw(count, seed)
        return found | {"mean": found["mean"] * (1 + 1e-7)}

    with pytest.raises(ResultError, match=r"draw-0: mean was 0\.128"):
        check_study(with_run(rounded), done)
    assert check_study(replace(with_run(rounded), tolerance=1e-6, page=tiny_page), done)


@pytest.mark.parametrize(
    ("one", "other", "where"),
    [
        ({"a": [1, 2.0]}, {"a": [1.0, 2]}, None),
        ({"a": [1, 2]}, {"a": [1, 3]}, "a[1] was 2 and is 3"),
        ({"a": [1, 2]}, {"a": [1]}, "a was [1, 2] and is [1]"),
        ({"a": 1}, {"b": 1}, " was {'a': 1} and is {'b': 1}"),
        ({"a": {"b": None}}, {"a": {"b": 0.0}}, "a.b was None and is 0.0"),
        ({"a": True}, {"a": 1}, None),
        ({"a": "x"}, {"a": "y"}, "a was x and is y"),
    ],
)
def test_the_first_difference_is_named(one, other, where):
    assert difference(one, other, 1e-9) == where


def test_cells_of_other_code_are_named_and_kept(done):
    cell = done / "cells" / "draw-2.json"
    provenance = json.loads(cell.read_text())["provenance"]
    edit(cell, provenance=provenance | {"code": {"cruxlm.studies.study": "0" * 16}})
    found = run_study(TINY, done)
    assert (found.made, found.other_code) == ((), ("draw-2",))
    assert "0000000000000000" in (done / "README.md").read_text()


class Tags(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.met = []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.met.append(tag)


def test_the_page_has_tables_and_figures_and_no_markup_of_others(done):
    markdown, html = ((done / name).read_text() for name in ("README.md", "report.html"))
    assert markdown.startswith("# What are means?\n\nThe largest mean is ")
    assert "| cell | mean \\| of all |\n| --- | --- |\n| draw-0 | 0.1290 |" in markdown
    assert "![Means](means.svg)" in markdown
    assert "They are &lt;random>." in markdown
    tags = Tags(html).met
    assert tags.count("svg") == 1
    assert tags.count("table") == 1
    assert "- Three cells are few." in markdown
    assert "<li>Three cells are few.</li>" in html
    assert "random" not in tags
    figure = ET.parse(done / "means.svg").getroot()
    assert figure.tag == "{http://www.w3.org/2000/svg}svg"


def test_what_is_no_number_is_null(tmp_path):
    def undefined(count, seed):
        return {"mean": math.nan, "p": None} if seed == 2 else draw(count, seed)

    study = replace(with_run(undefined), page=lambda _results: Page("Nothing.", (), ()))
    run_study(study, tmp_path)
    text = (tmp_path / "cells" / "draw-2.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail)["result"] == {"mean": None, "p": None}
    assert len(check_study(study, tmp_path)) == 6


def test_a_study_that_makes_no_sense_cannot_be_made():
    with pytest.raises(ValueError, match=r"cannot be called '\.\./x'"):
        Cell("../x", {}, 1.0, draw)
    with pytest.raises(ValueError, match="have the same name"):
        Study("twice", "", (CELLS[0], CELLS[0]), tiny_page, ())
    with pytest.raises(ValueError, match=r"no module cruxlm\.nothing"):
        replace(TINY, code=("cruxlm.nothing",)).code_hashes(CELLS[0])


@pytest.mark.parametrize("name", STUDIES.names())
def test_registered_studies_declare_their_cost(name):
    study = STUDIES.get(name)
    assert study.name == name
    assert 0 < study.cost_seconds <= 2 * 4 * 3600  # of one core: four hours on two
    assert all(cell.cost_seconds > 0 for cell in study.cells)
    assert all(study.code_hashes(cell) for cell in study.cells)
    json.dumps([dict(cell.options) for cell in study.cells], allow_nan=False)


def test_a_cell_keeps_the_code_of_the_study_and_of_its_own_run():
    assert set(TINY.code_hashes(CELLS[0])) == {"cruxlm.studies.study", "studies.tiny_study"}
    elsewhere = replace(CELLS[0], run=json.dumps)
    assert set(TINY.code_hashes(elsewhere)) == {"cruxlm.studies.study", "json"}


def test_the_code_is_that_of_the_start(tmp_path, monkeypatch):
    (tmp_path / "made_of.py").write_text("BEFORE = 1")
    monkeypatch.syspath_prepend(tmp_path)

    def edits(count, seed):
        (tmp_path / "made_of.py").write_text("AFTER = 2")
        return draw(count, seed)

    study = replace(with_run(edits), code=("made_of",))
    before = study.code_hashes(study.cells[0])
    found = run_study(study, tmp_path / "out")
    assert all(
        cell.code == before != study.code_hashes(study.cells[0]) for cell in found.cells.values()
    )
