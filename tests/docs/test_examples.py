"""The Python on the pages runs and prints what they show; what they cite is there."""

import contextlib
import io
import logging
import re

import pytest

from docs.consoles import ROOT

PAGES = ("footguns.md", "comparison.md")
EXAMPLE = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```$)?", re.DOTALL | re.MULTILINE)
NEEDS = re.compile(r"^# needs (\w+)", re.MULTILINE)


def text_of(page):
    return (ROOT / "docs" / page).read_text("utf-8")


def what_runs(code, names):
    printed = io.StringIO()
    before = logging.root.manager.disable
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()):
            exec(code, names)
    finally:
        logging.disable(before)
    return printed.getvalue()


@pytest.mark.parametrize("page", PAGES)
def test_what_the_code_prints_is_what_the_page_shows(page):
    names = {}
    examples = EXAMPLE.findall(text_of(page))
    assert len(examples) >= 4
    missing = set()
    for code, shown in examples:
        try:
            for package in NEEDS.findall(code):
                __import__(package)
        except ImportError as error:
            missing.add(error.name)
        else:
            assert what_runs(code, names) == shown, code
    if missing:  # all that could run was as shown
        pytest.skip(f"examples of {', '.join(sorted(missing))}: not installed")


@pytest.mark.parametrize("page", sorted(path.name for path in (ROOT / "docs").glob("*.md")))
def test_every_test_that_a_page_cites_is_there(page):
    for path, name in re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", text_of(page)):
        source = (ROOT / path).read_text("utf-8")
        assert not name or f"def {name}(" in source, f"{path}::{name}"


def test_a_page_that_shows_something_else_is_seen():
    ((code, shown),) = EXAMPLE.findall("```python\nprint(1 + 1)\n```\n\n```text\n3\n```\n")
    assert what_runs(code, {}) != shown
