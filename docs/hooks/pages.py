"""Pages of the site that are made while it is built, so that nothing is written down twice.

The README is the first page; every criterion and every action has a page made of its Markdown file
and its descriptor; benchmarks and studies keep their pages beside their numbers. Links in all of
them are written so that they work in the repository, and are turned to the site's pages here.
"""

import posixpath
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cruxlm.actions.registry import ACTIONS
from cruxlm.criteria.registry import CRITERIA

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
PACKAGE = "src/cruxlm"

ELSEWHERE = {
    "README.md": "index.md",
    "benchmarks/README.md": "benchmarks.md",
    **{
        f"studies/{page.parent.name}/README.md": f"studies/{page.parent.name}.md"
        for page in sorted((ROOT / "studies").glob("*/README.md"))
    },
}
"""Files outside ``docs/`` that are pages, by their path in the repository."""

LINK = re.compile(r"(!?)\[((?:[^\[\]]|!\[[^\]]*\]\([^)]*\))*)\]\(([^()\s]+)\)")
"""A Markdown link or picture: the mark of a picture, its words, and where it goes."""

CODE = r"^```.*?^```$|`[^`\n]*`"
CODE_OR_LINK = re.compile(f"({CODE})|{LINK.pattern}", re.DOTALL | re.MULTILINE)
"""Whichever comes first: a link's words may hold code, and code may hold a link that is none."""


def on_config(config: "MkDocsConfig") -> "MkDocsConfig":
    """Put the pages that are made here into the menu, under the heading that has their index."""
    for entry in config.nav or []:
        for pages in entry.values():
            for room, registry in (("criteria", CRITERIA), ("actions", ACTIONS)):
                if pages == [f"{room}/index.md"]:
                    pages.extend({name: f"{room}/{name}.md"} for name in registry.names())
    return config


def on_files(files: "Files", config: "MkDocsConfig") -> "Files":
    """Add the pages and pictures that are not in ``docs/``."""
    from mkdocs.structure.files import File

    for source, page in ELSEWHERE.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text("utf-8")))
        for picture in sorted((ROOT / source).parent.glob("*.svg")):
            uri = posixpath.join(posixpath.dirname(page), picture.name)
            files.append(File.generated(config, uri, abs_src_path=str(picture)))
    for page, text in made_pages().items():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: "Page", **_: Any) -> str:
    """Turn links to files of the repository to the pages that they are here."""
    return turn_links(markdown, page.file.src_uri)


def made_pages() -> dict[str, str]:
    """The pages of criteria and actions, and the index of each."""
    found = {}
    for room, registry, facts, question in (
        ("criteria", CRITERIA, criterion_facts, "What it answers"),
        ("actions", ACTIONS, action_facts, "What it does"),
    ):
        described = [registry.get(name) for name in registry.names()]
        rows = [(f"[`{one.name}`]({one.name}.md)", one.title) for one in described]
        found[f"{room}/index.md"] = f"# {room.capitalize()}\n\n" + table(("name", question), rows)
        for one in described:
            text = one.page().rstrip()
            found[f"{room}/{one.name}.md"] = (
                f"{text}\n\n## Declared\n\n{table(('', ''), facts(one))}"
            )
    return found


def criterion_facts(criterion: Any) -> Iterable[tuple[str, str]]:
    """What a criterion declares of itself."""
    yield "unit", criterion.unit
    yield "needs", ", ".join(sorted(criterion.needs)) or "nothing"
    yield "cost", criterion.cost
    yield "presets", ", ".join(f"`{name}`" for name in criterion.presets)
    yield "does not change with", ", ".join(sorted(criterion.invariances)) or "nothing declared"
    yield "citation", criterion.citation


def action_facts(action: Any) -> Iterable[tuple[str, str]]:
    """What an action declares of itself."""
    yield "command", f"`{action.command}`"
    yield "needs", ", ".join(sorted(action.needs)) or "nothing"
    yield "changes", action.changes
    yield "citation", action.citation


def table(head: tuple[str, str], rows: Iterable[tuple[str, str]]) -> str:
    """A Markdown table of two columns."""
    lines = [head, ("---", "---"), *rows]
    return "".join(f"| {a} | {b.replace('|', chr(92) + '|')} |\n" for a, b in lines)


def source_of(page: str) -> str:
    """The file of the repository that a page of the site is made of."""
    for source, made in ELSEWHERE.items():
        if made == page:
            return source
    room, _, name = page.rpartition("/")
    if room in ("criteria", "actions") and name != "index.md":
        return f"{PACKAGE}/{page}"
    return f"docs/{page}"


def page_of(source: str) -> str | None:
    """The page or picture of the site that a file of the repository is; None when it is none."""
    if source in ELSEWHERE:
        return ELSEWHERE[source]
    for room in ("criteria", "actions"):
        if posixpath.dirname(source) == f"{PACKAGE}/{room}" and source.endswith(".md"):
            return f"{room}/{posixpath.basename(source)}"
    if source.startswith("docs/"):
        return source.removeprefix("docs/")
    folder, name = posixpath.split(source)
    if name.endswith(".svg") and f"{folder}/README.md" in ELSEWHERE:
        return posixpath.join(posixpath.dirname(ELSEWHERE[f"{folder}/README.md"]), name)
    return None


def turn_links(markdown: str, page: str) -> str:
    """A page's text with links that work on the site; of a file that is no page, the words stay."""
    here = posixpath.dirname(source_of(page))

    def turn(match: re.Match[str]) -> str:
        code, picture, words, link = match.groups()
        if code:
            return code
        words = CODE_OR_LINK.sub(turn, words)  # a picture may be what a link shows
        path, mark, anchor = link.partition("#")
        source = posixpath.normpath(posixpath.join(here, path))
        if not path or ":" in path or not (ROOT / source).exists():
            return f"{picture}[{words}]({link})"
        target = page_of(source)
        if target is None:
            return words
        relative = posixpath.relpath(target, posixpath.dirname(page) or ".")
        return f"{picture}[{words}]({relative}{mark}{anchor})"

    return CODE_OR_LINK.sub(turn, markdown)
