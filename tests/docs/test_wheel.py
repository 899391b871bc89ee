"""The wheel: all that the package reads is in it, and it runs where nothing else of us is."""

import zipfile
from email.parser import Parser

import pytest

from docs.consoles import ROOT, run

PACKAGE = ROOT / "src" / "cruxlm"


@pytest.fixture(scope="module")
def files(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_every_file_of_the_package_is_in_the_wheel_byte_for_byte(files):
    own = {
        path.relative_to(PACKAGE.parent).as_posix(): path
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    packed = {name for name in files if name.startswith("cruxlm/")}
    assert packed == set(own)
    assert all(files[name] == path.read_bytes() for name, path in own.items())


@pytest.mark.parametrize(
    "name",
    [
        "py.typed",
        "criteria/dynamics.md",
        "actions/drop.md",
        "data/builtin_prompts.jsonl",
        "testbed/recipes/base-0.yaml",
        "testbed/weights/base-0/model.safetensors",
        "testbed/weights/instruct-0/tokenizer.json",
    ],
)
def test_what_is_no_code_is_there(files, name):
    assert files[f"cruxlm/{name}"] or name == "py.typed"


def test_nothing_else_is_installed_beside_the_package(wheel, files):
    about = wheel.name.removesuffix("-py3-none-any.whl") + ".dist-info"
    assert {name.partition("/")[0] for name in files} == {"cruxlm", about}
    # A top-level module called crux would be in the way of a package that has this name.
    (metadata,) = (files[name] for name in files if name.endswith("METADATA"))
    head = Parser().parsestr(metadata.decode("utf-8"))
    assert head["Name"] == "cruxlm"
    assert {"train", "docs", "dev"} <= set(head.get_all("Provides-Extra"))
    (points,) = (files[name] for name in files if name.endswith("entry_points.txt"))
    assert b"crux = cruxlm.cli.main:main" in points


def test_it_installs_into_an_empty_environment_and_runs_from_there(wheel, binaries, tmp_path):
    with pytest.raises(AssertionError, match="No module named 'cruxlm'"):
        run("python -c 'import cruxlm'", tmp_path, binaries)
    run(f"pip install --no-deps {wheel}", tmp_path, binaries)
    where = run("python -c 'import cruxlm; print(cruxlm.__file__, cruxlm.__version__)'", tmp_path,
                binaries)  # fmt: skip
    assert where.startswith(str(binaries.parent))
    said = run("crux explain dynamics; cruxlm testbed list", tmp_path, binaries)
    assert "What it answers" in said
    assert "instruct-0" in said
    run("pip uninstall -y cruxlm", tmp_path, binaries)
