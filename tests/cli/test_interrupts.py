"""Ctrl-C at any moment, and bugs: what is said, what is left behind."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cruxlm.cli.main import run
from cruxlm.results.scan import Scan

SAID = "crux: interrupted\n"


# Processes in the background of a shell are born ignoring Ctrl-C.
HEEDING = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"


def start(code, *arguments):
    """A process of its own in which Ctrl-C works."""
    return subprocess.Popen(
        [sys.executable, "-c", HEEDING + code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
    )


def whole_or_absent(out):
    """Nothing half-written: no result at all, or one that can be read."""
    if not out.exists():
        return False
    assert sorted(p.name for p in out.iterdir()) == ["report.html", "scan.json", "scan.safetensors"]
    Scan.load(out)
    return True


# A signal at a certain moment: when a module begins to be imported, or when a function is called.
AT_IMPORT = """
import os, signal, sys, time

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[1]:
            sys.meta_path.remove(self)
            try:
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.1)
            except KeyboardInterrupt:
                if sys.argv[2] == "kept":
                    raise

sys.meta_path.insert(0, Interrupting())
from cruxlm.cli.main import main
main(sys.argv[3:])
"""
IMPORTS = [
    ("typer", "dropped"),  # as compiled modules may do
    ("numpy", "dropped"),
    ("scipy.stats", "dropped"),
    ("transformers.models.llama.modeling_llama", "kept"),
    ("cruxlm.report.scan_page", "kept"),
]


@pytest.mark.parametrize(("module", "signal_is"), IMPORTS)
def test_ctrl_c_while_a_library_loads(module, signal_is, llama_folder, tmp_path):
    out = tmp_path / "out"
    process = start(AT_IMPORT, module, signal_is, "scan", llama_folder, "--n", 12, "--out", out)
    said, error = process.communicate(timeout=120)
    assert (process.returncode, said, error) == (130, "", SAID), module
    assert not out.exists()


@pytest.mark.parametrize("delay", [0.5, 2.5])
def test_ctrl_c_at_some_moment(delay, llama_folder, tmp_path):
    out = tmp_path / "out"
    code = "from cruxlm.cli.main import main; print('.', flush=True); main()"
    process = start(code, "scan", llama_folder, "--n", 300, "--pooling", "mean", "--out", out)
    assert process.stdout.readline() == ".\n"
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    said, error = process.communicate(timeout=120)
    if process.returncode == 0:  # a fast machine was done before
        assert whole_or_absent(out)
        return
    assert (process.returncode, error) == (130, SAID)
    assert "Traceback" not in said
    whole_or_absent(out)


MOMENTS = [
    "cruxlm.data.probes._builtin_prompts",
    "cruxlm.models.load.find_blocks",
    "cruxlm.models.load.folder_sha256",
    "cruxlm.workflows.scan.tokenised",
    "cruxlm.models.batches.Batch.pool",
    "cruxlm.criteria.dynamics.cka",
    "cruxlm.workflows.scan.finding",
    "cruxlm.report.scan_page.scan_page",
    "os.fsync",
    "pathlib.Path.replace",
]


def interrupting(monkeypatch, target, error):
    monkeypatch.setattr(target, lambda *_args, **_kwargs: (_ for _ in ()).throw(error))


@pytest.mark.parametrize("moment", MOMENTS)
def test_an_interrupt_in_the_middle_of_a_scan(moment, llama_folder, tmp_path, monkeypatch, capfd):
    arguments = ["scan", str(llama_folder), "--n", "12", "--out", str(tmp_path / "deep" / "out")]
    interrupting(monkeypatch, moment, KeyboardInterrupt())
    assert run(arguments) == 130
    said, error = capfd.readouterr()
    assert (said, error) == ("", SAID)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_scan_leaves_the_older_one(llama_folder, tmp_path, monkeypatch, capfd):
    def scan(n):
        return run(["scan", str(llama_folder), "--n", str(n), "--json", "--out", str(tmp_path)])

    assert scan(12) == 0
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    replace = Path.replace

    def interrupted(self, target):
        if self.name.startswith(".scan.safetensors") and self.suffix == ".new":
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", interrupted)
    assert scan(16) == 130
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_an_interrupt_that_became_another_error(llama_folder, monkeypatch, capfd):
    """As a compiled module does with an interrupt on its way in."""

    def imported(*_args, **_kwargs):
        raise ImportError("initialization failed") from KeyboardInterrupt()

    monkeypatch.setattr("cruxlm.workflows.scan.load_model", imported)
    assert run(["scan", str(llama_folder)]) == 130
    assert capfd.readouterr().err == SAID


# Bugs.


@pytest.fixture
def bug(llama_folder, tmp_path, monkeypatch, capfd):
    """A scan that runs into an error; its line and the traceback."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def call(error):
        interrupting(monkeypatch, "cruxlm.workflows.scan.finding", error)
        assert run(["scan", str(llama_folder), "--n", "12", "--out", str(tmp_path / "out")]) == 1
        said, line = capfd.readouterr()
        assert said == ""
        assert line.count("\n") == 1
        assert not (tmp_path / "out").exists()
        return line, Path(re.search(r"report it with (.*)\n", line)[1]).read_text("utf-8")

    return call


def test_a_bug_saves_its_traceback_and_says_where(bug):
    line, saved = bug(ZeroDivisionError("division by zero"))
    assert line.startswith("crux: a bug in Crux (ZeroDivisionError); please report it with ")
    assert saved.startswith("Traceback (most recent call last):")
    assert "workflows/scan.py" in saved.replace("\\", "/")
    assert saved.endswith("ZeroDivisionError: division by zero\n")


@pytest.mark.parametrize(
    "error",
    [KeyError("a"), MemoryError(), RuntimeError("out\nof\nlines \ud800"), OSError(5, "I/O")],
)
def test_any_other_error_is_a_bug_as_well(bug, error):
    line, saved = bug(error)
    assert type(error).__name__ in line
    assert type(error).__name__ in saved


# Readers that go away.


def test_a_reader_that_has_gone_is_no_bug(llama_folder, tmp_path):
    out = tmp_path / "out"
    assert run(["scan", str(llama_folder), "--n", "12", "--json", "--out", str(out)]) == 0
    code = "from cruxlm.cli.main import main; main()"
    for arguments in (["show", out], ["show", out, "--ends", "keep"]):
        process = start(code, *arguments)
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(timeout=120) == 1


def test_a_terminal_that_cannot_show_a_bar(llama_folder, tmp_path):
    out = tmp_path / "out"
    assert run(["scan", str(llama_folder), "--n", "12", "--json", "--out", str(out)]) == 0
    done = subprocess.run(
        [sys.executable, "-c", "from cruxlm.cli.main import main; main()", "show", str(out)],
        capture_output=True, text=True, timeout=120, check=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert done.stderr == ""
    value = json.loads((out / "scan.json").read_text())["criteria"]["dynamics"]["values"][1]
    assert f"{value:.4f}" in done.stdout
