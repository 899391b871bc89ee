"""The site: every link, in the repository and on the site, leads somewhere; no page is lost."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import pytest
import yaml

from cruxlm.actions.registry import ACTIONS
from cruxlm.criteria.registry import CRITERIA
from cruxlm.runtime import errors
from docs.consoles import ROOT

spec = importlib.util.spec_from_file_location("pages", ROOT / "docs" / "hooks" / "pages.py")
pages = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pages)

DOCS = sorted((ROOT / "docs").rglob("*.md"))
WRITTEN = [
    *DOCS,
    *(ROOT / path for path in pages.ELSEWHERE),
    *sorted((ROOT / "src").rglob("criteria/*.md")),
    *sorted((ROOT / "src").rglob("actions/*.md")),
]


def without_code(text):
    return re.sub(r"^```.*?^```$|`[^`\n]*`", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(path):
    """What a heading is called in a link, on GitHub and on the site alike."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", path.read_text("utf-8"),
                          flags=re.DOTALL | re.MULTILINE), re.MULTILINE)  # fmt: skip
    words = [re.sub(r"[^\w\s-]", "", heading).strip().lower() for heading in headings]
    return {re.sub(r"\s", "-", heading) for heading in words}


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files_and_headings_of_the_repository(path):
    for _, _, link in pages.LINK.findall(without_code(path.read_text("utf-8"))):
        if ":" in link:
            continue
        file, _, anchor = link.partition("#")
        # Indexes are made with the site; on GitHub they are folders.
        if re.fullmatch(r"\.\./(criteria|actions)/index\.md", file):
            continue
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), f"{path}: {link}"
        assert target.is_relative_to(ROOT), f"{path}: {link}"
        assert not anchor or anchor in anchors(target), f"{path}: {link}"


@pytest.mark.parametrize(
    ("page", "link", "turned"),
    [
        ("index.md", "[a](docs/tune.md#compare)", "[a](tune.md#compare)"),
        ("index.md", "![a](docs/report.png)", "![a](report.png)"),
        ("index.md", "[`x`](src/cruxlm/criteria/depth.md)", "[`x`](criteria/depth.md)"),
        ("index.md", "[a](LICENSE)", "a"),
        ("index.md", "[a](docs/nowhere.md)", "[a](docs/nowhere.md)"),
        ("index.md", "[a](https://example.org/x.md)", "[a](https://example.org/x.md)"),
        ("index.md", "`[a](docs/tune.md)`", "`[a](docs/tune.md)`"),
        ("index.md", "```\n[a](docs/tune.md)\n```\n", "```\n[a](docs/tune.md)\n```\n"),
        ("index.md", "[![a](docs/report.png)](docs/tune.md)", "[![a](report.png)](tune.md)"),
        ("how-to/study.md", "[a](../studies.md)", "[a](../studies.md)"),
        ("tune.md", "[a](plans.md) [b](#compare)", "[a](plans.md) [b](#compare)"),
        ("benchmarks.md", "[a](../docs/tune.md)", "[a](tune.md)"),
        ("studies/calibration.md", "![a](power.svg)", "![a](power.svg)"),
        ("tune.md", "[a](../src/cruxlm/criteria/depth.md)", "[a](criteria/depth.md)"),
        ("criteria/depth.md", "[a](random.md)", "[a](random.md)"),
        ("criteria/index.md", "[a](random.md)", "[a](random.md)"),
    ],
)
def test_links_of_the_repository_become_links_of_the_site(page, link, turned):
    assert pages.turn_links(link, page) == turned


def test_every_criterion_and_action_has_a_page():
    made = pages.made_pages()
    for room, registry in (("criteria", CRITERIA), ("actions", ACTIONS)):
        for name in registry.names():
            assert registry.get(name).page().strip() in made[f"{room}/{name}.md"]
            assert f"[`{name}`]({name}.md)" in made[f"{room}/index.md"]
            assert "## Declared" in made[f"{room}/{name}.md"]


def test_every_page_is_in_the_menu():
    def leaves(menu):
        if isinstance(menu, str):
            return {menu}
        return set().union(*map(leaves, menu.values() if isinstance(menu, dict) else menu))

    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))
    written = {path.relative_to(ROOT / "docs").as_posix() for path in DOCS}
    made = {*pages.ELSEWHERE.values(), "criteria/index.md", "actions/index.md"}
    assert leaves(config["nav"]) == written | made


def test_every_error_class_is_on_its_page():
    page = (ROOT / "docs" / "errors.md").read_text("utf-8")
    for name, found in vars(errors).items():
        if isinstance(found, type) and issubclass(found, errors.CruxError):
            assert f"`{name}`" in page, name


# The build itself.


class Loads(HTMLParser):
    """What a page loads without a click."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        wanted = {"script": "src", "img": "src", "iframe": "src", "source": "src"}.get(tag)
        if tag == "link" and given.get("rel") not in ("canonical", "next", "prev"):
            wanted = "href"
        if wanted and given.get(wanted):
            self.found.append(given[wanted])


def build(config, site):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", config, "-d", site]
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}  # mkdocs-material's, about its own future
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, env=quiet)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("material", reason="the site is built with mkdocs-material, extra docs")
    folder = tmp_path_factory.mktemp("site")
    done = build(ROOT / "mkdocs.yml", folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_site_has_every_page_and_loads_nothing_from_elsewhere(site):
    assert "Which blocks" in (site / "index.html").read_text("utf-8")
    assert (site / "criteria" / "dynamics.html").is_file()
    assert (site / "studies" / "power.svg").is_file()
    for page in site.rglob("*.html"):
        loads = Loads()
        loads.feed(page.read_text("utf-8"))
        assert loads.found
        assert not [url for url in loads.found if re.match(r"(\w+:)?//", url)], page


def test_markdown_is_read_as_on_github(site):
    """No list, table or link that one reader sees and the other shows as text."""
    for page in site.rglob("*.html"):
        body = re.sub(r"<(pre|code)\b.*?</\1>", "", page.read_text("utf-8"), flags=re.DOTALL)
        for paragraph in re.findall(r"<p>(.*?)</p>", body, flags=re.DOTALL):
            assert not re.search(r"^\s*([-*|]|\d+\.) |\]\(", paragraph, re.MULTILINE), page


def test_a_fault_fails_the_build(site, tmp_path):
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    for name in ("README.md", "benchmarks", "studies", "src"):
        (tmp_path / name).symlink_to(ROOT / name)
    with (tmp_path / "docs" / "tune.md").open("a", encoding="utf-8") as file:
        file.write("\n[gone](gone.md) [nowhere](plans.md#nowhere)\n")
    (tmp_path / "docs" / "lost.md").write_text("# In no menu\n")
    done = build(tmp_path / "mkdocs.yml", tmp_path / "site")
    assert done.returncode != 0
    assert done.stderr.count("WARNING") == 3
    for said in ("'gone.md'", "'#nowhere'", "lost.md"):
        assert said in done.stderr
