"""Text of any origin in a card: it reads as itself, and the metadata come back."""

import re
from html.parser import HTMLParser

import yaml
from huggingface_hub.repocard import metadata_load
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from cruxlm.runtime.errors import printable
from cruxlm.runtime.markdown import escaped, fenced, front_matter, table

NASTY = [
    "<script>alert(1)</script>", "a\n# b", "---", "- item", "+ item", "1. item", "12) item", "===",
    "![x](y)", "[a](javascript:x)", "[a]: b", "`code`", "a | b", "*a* _b_ ~~c~~", "&lt;", "&#60;",
    "http://x.y", "www.x.y", "WWW.x.y", "\\", "\\\\*a*", "\\`", "> quoted", "# head", "a\u2028b",
    "~~~", "```", "    code", "\tcode",
    "$x$", "<http://x.y>", "<!-- -->", "\x00", "\ud800", "a  ", "",
]  # fmt: skip
anything = st.text() | st.text(alphabet="\\`*_[]()#+-=!|~$<>&:/.1 wWa\n\t") | st.sampled_from(NASTY)


class Words(HTMLParser):
    """The text of HTML, and its elements."""

    def __init__(self, source):
        super().__init__(convert_charrefs=True)
        self.tags, self.text = [], ""
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def shown(source):
    """What GitHub's Markdown makes of it, HTML let through."""
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    return Words(parser.render(source))


def words(text):
    """As a browser shows them: spaces run together. Null characters are made visible before."""
    return " ".join(text.split())


@settings(max_examples=150, deadline=None)
@given(anything)
@example("a\\")
def test_a_text_reads_as_itself_wherever_it_stands(text):
    if "\ud800" <= max(text, default="") <= "\udfff":
        text = text.encode("utf-8", "replace").decode()
    said = words(printable(text))
    for source, tags in (
        (escaped(text), {"p"}),
        (f"before {escaped(text)} after", {"p"}),
        (f"# {escaped(text)}", {"h1"}),
        (f"- {escaped(text)}", {"ul", "li"}),
        (f"**{escaped('x' + text + 'x')}**", {"p", "strong"}),
    ):
        read = shown(source)
        assert said in words(read.text)
        assert {tag for tag, _ in read.tags} <= tags
        assert all(not attributes for _, attributes in read.tags)


@given(st.lists(st.tuples(anything, anything), max_size=4))
@settings(max_examples=100, deadline=None)
def test_a_table_keeps_its_cells(rows):
    rows = [tuple(value.encode("utf-8", "replace").decode() for value in row) for row in rows]
    read = shown(table(("a", "b"), rows))
    assert [tag for tag, _ in read.tags].count("td") == 2 * len(rows)
    assert {tag for tag, _ in read.tags} <= {"table", "thead", "tbody", "tr", "th", "td"}
    for row in rows:
        for value in row:
            assert words(printable(value)) in words(read.text)


def test_the_check_sees_what_is_not_escaped():
    assert shown("<script>x</script>").tags
    assert ("em", {}) in shown("*a*").tags
    assert "b" not in [tag for tag, _ in shown(escaped("<b>x</b>")).tags]


def test_names_are_left_as_they_are_where_nothing_is_meant():
    for name in ("Qwen/Qwen3-0.6B", "testbed:base-0", "p = 0.05 (95 % interval -1 to 2)", "é中文"):
        assert escaped(name) == name


def test_addresses_are_no_links():
    links = MarkdownIt("gfm-like", {"linkify": False})  # what it would find is found by pattern
    for text in ("http://x.y", "see https://x.y", "www.x.y"):
        source = escaped(text)
        assert not re.search(r"https?://|www\.", source, re.IGNORECASE)
        assert words(Words(links.render(source)).text) == text


@given(anything)
def test_a_fence_holds_any_text(text):
    text = printable(text).encode("utf-8", "replace").decode()
    read = shown(f"{fenced(text, 'python')}\n\nafter")
    assert [tag for tag, _ in read.tags] == ["pre", "code", "p"]
    assert read.text.startswith(text)


data = st.recursive(
    st.none() | st.booleans() | st.integers() | anything | st.floats(allow_nan=False),
    lambda held: st.lists(held, max_size=3) | st.dictionaries(anything, held, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(anything, data, max_size=4))
@settings(max_examples=150, deadline=None)
@example({"model": "x\n---\ny"})
@example({"model": "a\x85b\u2028c\x1b"})
@example({"---": "---", "a": ["\n---\n", "...", "no", "1e3", "0x1", "'", '"', "{", "a: b", "#"]})
def test_metadata_come_back(held):
    text = front_matter(held)
    assert text.isascii()
    begin, inner, end = text[:4], text[4:-4], text[-4:]
    assert (begin, end) == ("---\n", "---\n")
    assert not re.search(r"^\s*(---|\.\.\.)", inner, re.MULTILINE)
    assert yaml.safe_load(inner) == held


def test_the_hubs_own_reader_finds_them(tmp_path):
    held = {"tags": ["a"], "crux": {"model": "x\n---\ny\n```", "blocks": [1, 2], "b": "\u2028é"}}
    path = tmp_path / "README.md"
    path.write_text(front_matter(held) + "\n# A card\n\n---\n\nmore\n", "utf-8")
    assert metadata_load(path) == held
