"""A stranger's package or program called ``crux`` beside ours."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import cruxlm
from cruxlm.cli.main import run
from cruxlm.runtime.environment import claimed_command, foreign_module, other_command

LAUNCHER = "import sys\nfrom cruxlm.cli.main import main\nsys.exit(main())\n"


def installed(folder, name, version="9.9", command=None):
    """What pip leaves of a distribution where Python looks for packages."""
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    if command:
        (info / "entry_points.txt").write_text(f"[console_scripts]\n{command} = {name}.x:main\n")
    return folder


@pytest.fixture
def site(tmp_path, monkeypatch):
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    return folder


def test_nobody_else():
    assert claimed_command() is None


def test_a_package_without_the_command_is_no_claim(site):
    installed(site, "crux", "1.4")  # as the one on the index is
    installed(site, "other", command="cruxes")
    assert claimed_command() is None


def test_packages_with_the_command_are_named(site):
    installed(site, "crux", "9.9", "crux")
    assert claimed_command() == (
        "crux 9.9 installs a command crux as well, and the package that was installed last has "
        "the name: type cruxlm instead"
    )
    installed(site, "another", "2", "crux")
    assert claimed_command().startswith("another 2 and crux 9.9 installs a command")


def test_our_own_old_installation_is_no_claim(site):
    installed(site, "cruxlm", "0.0.1", "crux")
    assert claimed_command() is None


@pytest.fixture
def started(tmp_path):
    """Starts a command by a name, as its launcher does, beside what ``site`` holds."""

    def call(name, *arguments, site=None):
        script = tmp_path / "bin" / name
        script.parent.mkdir(exist_ok=True)
        script.write_text(LAUNCHER)
        source = Path(cruxlm.__file__).parents[1]
        paths = os.pathsep.join(
            [str(source), *([str(site)] if site else []), os.environ.get("PYTHONPATH", "")]
        )
        return subprocess.run(
            [sys.executable, str(script), *arguments], check=False, timeout=120,
            capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths},
        )  # fmt: skip

    return call


def test_the_command_is_refused_by_the_name_that_is_claimed_and_runs_by_its_own(started, tmp_path):
    claimed = installed(tmp_path / "site", "crux", "9.9", "crux")
    refused = started("crux", "list", "rules", site=claimed)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith("crux: crux 9.9 installs a command crux as well")
    assert refused.stderr.count("\n") == 1
    for name, site in (("cruxlm", claimed), ("crux", None)):
        done = started(name, "list", "rules", site=site)
        assert (done.returncode, done.stderr) == (0, "")
        assert "top" in done.stdout


def test_env_runs_by_any_name_and_says_it(started, tmp_path):
    site = installed(tmp_path / "site", "crux", "9.9", "crux")
    (site / "crux").mkdir()
    (site / "crux" / "__init__.py").write_text("raise SystemExit('imported')")
    done = started("crux", "env", site=site)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    command = next(line for line in lines if line.startswith("command crux"))
    module = next(line for line in lines if line.startswith("import crux"))
    assert "crux 9.9" in command
    assert str(site / "crux" / "__init__.py") in module
    assert module.endswith("write import cruxlm as crux")


def test_a_module_of_that_name(site):
    assert foreign_module() is None
    (site / "crux.py").write_text("raise SystemExit('imported')")
    assert foreign_module() == f"{site / 'crux.py'} is another package: write import cruxlm as crux"
    assert "crux" not in sys.modules


def test_a_folder_of_that_name(site):
    (site / "crux").mkdir()
    assert str(site / "crux") in foreign_module()


def program(folder, name):
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text("#!/bin/sh\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.mark.skipif(os.name == "nt", reason="programs are found by their ending")
def test_another_program_first_on_the_path(tmp_path, monkeypatch):
    a, b = tmp_path / "a", tmp_path / "b"
    monkeypatch.setenv("PATH", f"{a}{os.pathsep}{b}")
    assert other_command() is None  # run from a source tree: nothing is on the path
    program(b, "cruxlm")
    assert other_command() == "is not on the path: type cruxlm"
    program(b, "crux")
    assert other_command() is None
    other = program(a, "crux")
    assert other_command() == f"on the path is {other}, another program: type cruxlm"


def test_env_says_nothing_of_names_where_nothing_is_wrong(capfd, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert run(["env"]) == 0
    said = capfd.readouterr().out
    assert "command crux" not in said
    assert "import crux" not in said
