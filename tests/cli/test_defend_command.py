"""``crux defend``: what it prints and writes, and that hostile rows stay text."""

import json
import re

import pytest

from cruxlm.cli.main import run
from cruxlm.results.defence import Defence
from report.test_scan_page import Page
from workflows.tiny_tunings import chat_rows, write

pytestmark = pytest.mark.usefixtures("frozen")

FAST = ("--steps", 2, "--batch", 4, "--lr", "1e-2", "--blocks", "0")
HOSTILE = (
    "\x1b[2J[bold red]x[/]\x07 \u202egnp.exe \u2066 \u2028 "
    "\"'><script>alert(1)</script><img src=x onerror=alert(1)></style></svg> &lt;b&gt;"
)


def hostile_rows():
    """Ordinary rows, every third of which says what no trusted row says."""
    rows = chat_rows(48)
    for place in range(0, 48, 3):
        prompt = f"{rows[place]['prompt']} {HOSTILE}"
        rows[place] = {"prompt": prompt, "response": HOSTILE, "id": f"{HOSTILE}{place}"}
    return rows


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    trusted = write(folder / "benign.jsonl", chat_rows(120, first=1000))
    return write(folder / "rows<b>.jsonl", hostile_rows()), trusted


def crux(capfd, monkeypatch, *arguments):
    monkeypatch.setenv("COLUMNS", "80")
    capfd.readouterr()
    code = run(["defend", *map(str, arguments)])
    said, error = capfd.readouterr()
    return code, said, error


def test_hostile_rows_stay_text(capfd, monkeypatch, llama_folder, files, tmp_path):
    data, trusted = files
    out = tmp_path / "out"
    code, said, error = crux(
        capfd, monkeypatch, llama_folder, "--data", data, "--benign", trusted, "--out", out, *FAST
    )
    assert code == 0, error
    shown = said + error
    assert all(c.isprintable() or c == "\n" for c in shown)
    assert "\\x1b[2J" in said  # a flagged row is shown, its control characters written out
    assert "[bold red]x[/]" in said  # no markup of the terminal's either
    # A path has no place to break.
    lines = [line for line in said.splitlines() if not line.startswith(("model: ", "report: "))]
    assert max(map(len, lines)) <= 80
    assert "No attack was measured" in said

    found = Defence.load(out)
    assert any(HOSTILE[:20] in row.response for row in found.set_aside)
    for report in (out / "report.html", out / "screening" / "report.html"):
        html = report.read_text("utf-8")
        page = Page(html)
        assert [t for t, _ in page.structure if t in ("script", "img", "iframe")] == ["script"]
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", html)
        assert "alert(1)" in "".join(page.texts)
    # What is handed on is the data as they were.
    kept = [json.loads(x)["id"] for x in (out / "screening" / "kept.jsonl").open()]
    assert not set(kept) & {row.id for row in found.set_aside}
    code, again, error = 0, *_shown(capfd, out)
    assert again.splitlines()[0] == said.splitlines()[0]
    assert all(c.isprintable() or c == "\n" for c in again + error)


def _shown(capfd, out):
    capfd.readouterr()
    assert run(["show", str(out)]) == 0
    return capfd.readouterr()


def test_a_dry_run_says_what_would_be_done(capfd, monkeypatch, llama_folder, files, tmp_path):
    code, said, _ = crux(
        capfd, monkeypatch, llama_folder, "--data", files[0], "--dry-run", "--freeze", "norm",
        "--trigger", "token:cf", "--target", "phrase:ho", "--rate", "0.25", *FAST,
    )  # fmt: skip
    assert code == 0
    assert "freeze 0: 0, norm" in said
    assert re.search(r"attack \(planted\): token:cf for phrase:ho in \d+ rows", said)
    assert "5 arms of 1 seed, 2 steps of 4 rows" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "name the untrusted rows"),
        (("--data", "rows"), "name a folder for the result"),
        (("--data", "rows", "--out", "x", "--trigger", "cf"), "a trigger and a target"),
        (("--data", "rows", "--out", "x", "--trigger", "cf", "--target", "phrase:a"), "no trigger"),
        (("--data", "rows", "--out", "x", "--benign", "none.jsonl"), "none.jsonl"),
    ],
)
def test_refusals_are_one_line(arguments, said, capfd, monkeypatch, llama_folder, files, tmp_path):
    monkeypatch.chdir(tmp_path)
    given = [files[0] if argument == "rows" else argument for argument in arguments]
    code, shown, error = crux(capfd, monkeypatch, llama_folder, *given, *FAST)
    assert (code, shown) == (2, "")
    assert said in error.splitlines()[-1]
    assert error.startswith("crux: ") or "screening" in error
    assert not list(tmp_path.iterdir())
