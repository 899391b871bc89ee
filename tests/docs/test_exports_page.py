"""The page of exports says of each tool what the export says."""

import pytest

from cruxlm.models.load import load_model
from cruxlm.plans.exports.export import planned, write
from cruxlm.plans.exports.registry import TARGETS
from cruxlm.plans.grammar import blocks_of
from cruxlm.plans.make import make_plan
from cruxlm.runtime.errors import OptionError
from docs.consoles import ROOT
from plans.twelve import made

PAGE = (ROOT / "docs" / "exports.md").read_text("utf-8")


def test_every_tool_has_its_section():
    assert [name for name in TARGETS.names() if f"### {name}\n" not in PAGE] == []


@pytest.mark.parametrize("action", ["train", "freeze", "lora", "drop"])
def test_what_a_tool_is_told_is_what_the_page_says(action):
    model = load_model(made("llama"))
    plan = make_plan(action, blocks_of("last:2", model.ref), model)
    told = 0
    for target in TARGETS.names():
        try:
            export = write(planned(plan, model), target)
        except OptionError:
            continue
        told += 1
        section = PAGE.partition(f"### {target}\n")[2].partition("\n###")[0]
        assert export.use in section, target
    assert told >= 2
