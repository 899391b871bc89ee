"""The tutorial: its commands, where the wheel is installed and nothing else of ours."""

import json
import re

import pytest

from docs.consoles import ROOT, blocks, run, words

PAGE = (ROOT / "docs" / "tutorial.md").read_text("utf-8")


@pytest.fixture(scope="module")
def followed(wheel, binaries, tmp_path_factory):
    """The folder of one who followed the page, with (command, shown, printed) of every step."""
    folder = tmp_path_factory.mktemp("tutorial")
    (folder / wheel.name).write_bytes(wheel.read_bytes())
    done = [
        (command, shown, run(command, folder, binaries))
        for block in blocks(PAGE)
        for command, shown in block
    ]
    yield folder, done
    run("pip uninstall -q -y cruxlm", folder, binaries)


def test_four_commands_lead_to_a_comparison():
    commands = [command for block in blocks(PAGE) for command, _ in block]
    own = [c for c in commands if not c.startswith(("cp -r", "crux testbed sample"))]
    starts = ("pip install", "crux scan ./model", "crux plan scan/", "crux tune ./model")
    assert len(own) == len(starts)
    assert all(map(str.startswith, own, starts))


def test_the_page_shows_what_is_printed(followed):
    _, done = followed
    for command, shown, printed in done:
        assert words(printed) == words(shown), command


def test_what_the_page_says_is_there(followed):
    folder, _ = followed
    plan = json.loads((folder / "plan.json").read_text())
    scan = json.loads((folder / "scan" / "scan.json").read_text())
    compared = json.loads((folder / "compared" / "comparison.json").read_text())
    assert plan["action"] == "lora"
    assert plan["blocks"] == scan["selection"]["blocks"]
    assert len(plan["blocks"]) == 5
    assert {path.name for path in folder.glob("*/report.html")} == {"report.html"}
    assert "random" in json.dumps(compared)
    assert not re.search(r"Traceback|Warning", json.dumps(compared))


def test_other_words_would_be_seen():
    shown = "random is better than plan.json by 0.06 nats a token (95 % interval -0.1 to 0.3)"
    same = "random is not distinguishable from plan.json (95 % interval -1 to 12)"
    assert words(shown) == words(same) != words(same.replace("interval", "band"))
    assert words("▶  3 █▍ 0.02 100%  12 blocks") == words("   4 █ 0.11   7 blocks") == ["blocks"]
