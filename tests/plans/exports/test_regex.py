"""One expression that matches exactly the planned names, in Python and in grep."""

import re
import subprocess

import pytest

from cruxlm.runtime.errors import OptionError
from plans.exports.carried_out import KINDS, MODERN, exported, linear, parameters
from plans.exports.evidence import record
from plans.twelve import made


def matched(pattern, names):
    """By Python; grep must say the same."""
    pattern = pattern.removesuffix("\n")
    assert "\n" not in pattern
    found = {name for name in names if re.fullmatch(pattern, name)}
    text = "".join(f"{name}\n" for name in names)
    told = subprocess.run(
        ["grep", "-E", pattern], input=text, capture_output=True, text=True, check=False
    )
    assert set(told.stdout.split()) == found
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_exactly_the_planned_parameters(kind):
    model = made(kind)
    names = [name for name, _ in model.named_parameters()]
    for action in ("train", "freeze"):
        for text, named in (("1", {1}), ("1,10", {1, 10}), ("0-10", set(range(11)))):
            blocks = named if action == "train" else set(range(12)) - named
            export = exported("regex", kind, action, text)
            assert matched(export.text, names) == parameters(model, blocks)
        record("regex", action, kind, "Python's re and grep")


@pytest.mark.parametrize("kind", KINDS)
def test_exactly_the_planned_modules(kind):
    model = made(kind)
    names = [name for name, _ in model.named_modules() if name]
    export = exported("regex", kind, "lora", "1,10", r=3)
    assert matched(export.text, names) == linear(model, {1, 10})
    assert export.notes[0] == "the rank is not in it: 3"
    warned = any("export to peft" in note for note in export.notes)
    assert warned == (MODERN and kind in ("mixtral", "qwen3_moe"))
    record("regex", "lora", kind, "Python's re and grep")


def test_parts_stand_beside_blocks():
    export = exported("regex", "gpt2", "train", "1", parts=("embeddings", "norm"))
    assert export.text == (
        r"^(transformer\.h\.1\..+|transformer\.ln_f\.bias|transformer\.ln_f\.weight|"
        r"transformer\.wpe\.weight|transformer\.wte\.weight)$" + "\n"
    )
    with pytest.raises(OptionError, match="one expression over modules does not say norm as well"):
        exported("regex", "llama", "lora", parts=("norm",))


def test_ranks_that_differ_are_said():
    export = exported("regex", "llama", "lora", ranks=(2, 7))
    assert export.notes[0] == "ranks are not in it: 1: 2, 10: 7"


def test_a_dot_is_a_dot():
    pattern = exported("regex", "llama", "train", "1").text.strip()
    assert pattern == r"^model\.layers\.1\..+$"
    for name in ("model.layers.10.mlp.up_proj.weight", "modelxlayers.1.a", "x.model.layers.1.a"):
        assert not re.fullmatch(pattern, name)
        assert not re.search(pattern, name)
