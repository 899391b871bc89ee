"""Messages: one printable line each, with a hint that helps."""

import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cruxlm.runtime import errors
from cruxlm.runtime.errors import CruxError, did_you_mean, printable

CLASSES = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, CruxError)]


@given(st.text())
def test_every_text_becomes_one_printable_line(text):
    shown = printable(text)
    assert shown.isprintable()
    assert len(shown.splitlines()) <= 1
    shown.encode("utf-8")


@given(st.text(st.characters(categories=["L", "N", "P", "S"])))
def test_what_is_printable_stays_as_it_is(text):
    assert printable(text) == text


@pytest.mark.parametrize(
    ("hidden", "shown"),
    [
        ("a\nb", "a\\nb"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\u202egnp", "\\u202egnp"),
        ("\ud800", "\\ud800"),
    ],
)
def test_control_characters_become_visible(hidden, shown):
    assert printable(hidden) == shown


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_is_a_crux_error_of_one_line(kind):
    error = kind("file\x1b[2J 'a\nb' is no file")
    assert str(error) == "file\\x1b[2J 'a\\nb' is no file"
    assert isinstance(error, CruxError)


def test_did_you_mean_names_the_nearest_or_all():
    known = ["dynamics", "block_influence"]
    assert did_you_mean("dynamcs", known) == "did you mean 'dynamics'?"
    assert did_you_mean("xyz", known) == "known: block_influence, dynamics"
    assert did_you_mean("xyz", iter(known)) == "known: block_influence, dynamics"


def test_a_message_has_an_end_and_keeps_its_advice():
    said = str(CruxError(f"line 7 holds {'a' * 10**6}: shorten it"))
    assert said.startswith("line 7 holds aaa")
    assert said.endswith("aaa: shorten it")
    assert len(said) < 2100
    whole = "a" * 2000
    assert str(CruxError(whole)) == whole
