"""Every action has a descriptor and a page, and the commands read them."""

import re
from typing import Any

import pytest
import typer

from cruxlm.actions.registry import ACTIONS
from cruxlm.actions.settings import METHODS, Settings
from cruxlm.cli.app import app
from cruxlm.cli.main import run
from cruxlm.criteria.registry import CRITERIA
from cruxlm.results.plan import ACTIONS as PLANNED
from cruxlm.runtime.errors import OptionError

NAMES = ACTIONS.names()
PARTS = ("What it does", "Formula", "Source", "Cost", "When it misleads")


def test_whatever_can_be_done_is_described() -> None:
    planned = {ACTIONS.canonical(name) for name in (*METHODS, *PLANNED)}
    assert planned | {"suppress", "repair", "consistency"} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_descriptor_is_complete(name: str) -> None:
    action = ACTIONS.get(name)
    assert action.name == name
    page = action.page()
    assert page.startswith(f"# {name}\n")
    found = re.findall(r"^\*\*([^*]+)\.\*\*", page, re.MULTILINE)
    assert tuple(found) == PARTS
    _, known, arxiv = action.citation.rpartition("arXiv:")
    assert not known or arxiv in page
    assert max(map(len, page.splitlines())) <= 120


@pytest.mark.parametrize("name", NAMES)
def test_its_command_is_there(name: str) -> None:
    _, command, *options = ACTIONS.get(name).command.split()
    known: Any = typer.main.get_command(app)
    taken = {flag for option in known.commands[command].params for flag in option.opts}
    for option in options:
        assert option in taken if option.startswith("--") else Settings(method=option)


@pytest.mark.parametrize("name", [name for name in NAMES if name in METHODS])
def test_methods_say_the_same_everywhere(name: str) -> None:
    assert METHODS[name] in ACTIONS.get(name).title


def test_no_name_is_a_criterions_too() -> None:
    criteria = {*CRITERIA.names(), *CRITERIA.aliases()}
    assert not criteria & {*NAMES, *ACTIONS.aliases()}


@pytest.mark.parametrize("name", [*NAMES, "train"])
def test_explain_shows_an_action(name: str, capsys: Any) -> None:
    assert run(["explain", name]) == 0
    said = " ".join(capsys.readouterr().out.split())
    action = ACTIONS.get(name)
    assert "When it misleads." in said
    assert action.command in said
    assert action.changes in said


def test_explain_knows_criteria_as_before(capsys: Any) -> None:
    assert run(["explain", "cka"]) == 0
    assert "unit: block" in capsys.readouterr().out
    assert run(["explain", "dorp"]) == 2
    assert capsys.readouterr().err == (
        "crux: there is no criterion or action 'dorp': did you mean 'drop'?\n"
    )


def test_listed_with_their_commands(capsys: Any) -> None:
    assert run(["list", "actions"]) == 0
    said = capsys.readouterr().out
    for name in NAMES:
        assert name in said
    assert "crux drop" in said


def test_unknown_names_are_refused_with_a_hint() -> None:
    with pytest.raises(OptionError, match="there is no action 'lorra': did you mean 'lora'"):
        ACTIONS.get("lorra")
