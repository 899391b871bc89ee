"""Text to take along is exact, and one line a thing in the provenance."""

from html import unescape

import pytest

from cruxlm.report.copyable import LONGEST, copyable, exports_section, flat, provenance_section
from cruxlm.results.export import Export, Exports


def made(text, target="axolotl", notes=()):
    return Export(target, "lora", f"{target}.yml", text, "use it", notes)


def block(html):
    return unescape(html.split("<code>", 1)[1].split("</code>", 1)[0])


@pytest.mark.parametrize(
    "text", ["a: 'b'\n", "\n\nfirst", "</code></pre>", 'x: "\\t<&>"\n  y: é\n']
)
def test_a_block_holds_the_text_as_it_is(text):
    assert block(copyable(text, "it")) == text
    assert block(exports_section([Exports("lora", (made(text),), {})]).body) == text


def test_what_cannot_be_shown_as_it_is_is_said():
    body = exports_section([Exports("lora", (made("a\x1bb\u202e"),), {})]).body
    assert block(body) == "a\\x1bb\\u202e"
    assert "control characters are written out" in body


def test_exports_stand_by_action_with_the_reasons_of_the_others():
    body = exports_section([
        Exports("lora", (made("1", "peft", ("a note",)), made("2")), {"mergekit": "it merges"}),
        Exports("drop", (), {"trl": "it trains", "peft": "it trains"}),
    ]).body  # fmt: skip
    for said in ("LoRA on them", "<b>peft</b>", "a note", "1 tool cannot take it", "it merges",
                 "Remove them", "2 tools cannot take it", "<b>trl</b>: it trains"):  # fmt: skip
        assert said in body
    assert body.count("<details>") == 4
    assert exports_section([]) is None
    assert exports_section([Exports("lora", (), {})]) is None


def test_long_files_are_left_to_the_command():
    many = tuple(made("x" * (LONGEST - 1), f"tool-{n}") for n in range(40))
    body = exports_section([Exports("lora", (made("y" * (LONGEST + 1), "big"), *many), {})]).body
    assert len(body) < 300_000
    assert "crux export PLAN --to big writes it" in body
    assert body.count("<pre>") + body.count('<pre class="short">') == 10
    assert "crux export PLAN --to tool-39 writes it" in body


def test_provenance_is_one_line_a_thing():
    held = {"versions": {"torch": "2", "x": {"y": 1.23456789}}, "evil": "a\nmodel: fake",
            "none": None, "nothing": {}}  # fmt: skip
    body = provenance_section("found <b>", held).body
    assert block(body).split("\n") == [
        "result: found <b>", "versions torch: 2", "versions x y: 1.23457", "evil: a\\nmodel: fake",
    ]  # fmt: skip
    assert flat({"a": {"b": 1}}) == [("a b", "1")]
