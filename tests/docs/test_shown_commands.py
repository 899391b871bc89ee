"""Every command that a page shows is there, with the options that it is shown with."""

import re

import pytest
from typer.main import get_command

from cruxlm.cli.app import app
from docs.consoles import ROOT

CRUX = get_command(app)
PAGES = [
    ROOT / "README.md",
    ROOT / "benchmarks" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "src").rglob("*.md")),
]
CODE = re.compile(
    r"^```\w*\n(.*?)^```$|^((?: {4}\S[^\n]*\n)+)|`(crux [^`\n]*)`", re.DOTALL | re.MULTILINE
)
COMMAND = re.compile(r"(?:^|[;$&] |; do )\s*(crux(?:lm)? [a-z].*?)(?=; |$)", re.MULTILINE)


def shown(text):
    """Every command in the code of a page, without its comment."""
    for fenced, indented, inline in CODE.findall(text):
        code = (fenced or indented or inline).replace("\\\n", " ")
        for command in COMMAND.findall(code):
            yield command.partition("  #")[0].strip()


def wrong(command):
    """What a shown command has that there is not; None when it is right."""
    found, words = CRUX, re.split(r"\s+", command)[1:]
    while getattr(found, "commands", None) and words and not words[0].startswith("-"):
        name = words.pop(0)
        if name not in found.commands:
            return name
        found = found.commands[name]
    known = {name for option in found.params for name in (*option.opts, *option.secondary_opts)}
    for word in words:
        option = re.match(r"--?[a-z][a-z-]*", word.lstrip("[("))
        if option and option[0] not in known | {"--help"}:
            return option[0]
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_commands_of_a_page_are_commands(page):
    for command in shown(page.read_text("utf-8")):
        assert wrong(command) is None, command


def test_commands_are_found_and_faults_seen():
    page = """
```
crux scan MODEL --n 3              # a comment with --nothing
for s in 0 1; do crux tune m-$s --data d --out o-$s; done
```

    crux testbed list

`crux study run NAME --cost` and `crux scna` and `crux scan --nothing`,
`crux study --cells 'null-*'`
"""
    commands = list(shown(page))
    assert len(commands) == 7
    assert [wrong(command) for command in commands] == [
        None, None, None, None, "scna", "--nothing", "--cells",
    ]  # fmt: skip
    assert sum(len(list(shown(path.read_text("utf-8")))) for path in PAGES) > 60
