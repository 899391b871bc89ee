"""What the package imports is what it declares, and what is missing is named with its extra."""

import ast
import re
import sys
from pathlib import Path

import pytest

import cruxlm
from cruxlm.models import adapter, load
from cruxlm.models.load import load_model
from cruxlm.runtime.errors import MissingExtraError

PACKAGE = Path(cruxlm.__file__).parent
IMPORTED_AS = {"pyyaml": "yaml", "scikit-learn": "sklearn"}
WITH_TRANSFORMERS = {"huggingface_hub", "tokenizers"}


@pytest.fixture(scope="module")
def project():
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 reads no TOML")
    text = (PACKAGE.parents[1] / "pyproject.toml").read_text("utf-8")
    return tomllib.loads(text)["project"]


def names(requirements):
    """The modules of a list of requirements."""
    found = {re.match(r"[\w-]+", held)[0].lower() for held in requirements}
    return {IMPORTED_AS.get(name, name.replace("-", "_")) for name in found}


def imports(tree):
    """(module, whether importing the file imports it) of every import of a file."""
    inside = {
        id(node)
        for outer in ast.walk(tree)
        if isinstance(outer, (ast.FunctionDef, ast.AsyncFunctionDef))
        or (isinstance(outer, ast.If) and getattr(outer.test, "id", "") == "TYPE_CHECKING")
        for node in ast.walk(outer)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for held in node.names:
                yield held.name.partition(".")[0], id(node) not in inside
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.partition(".")[0], id(node) not in inside


TREES = {
    str(path.relative_to(PACKAGE)): ast.parse(path.read_text("utf-8"))
    for path in sorted(PACKAGE.rglob("*.py"))
}


def test_every_import_is_declared_and_none_of_an_extra_is_needed_at_the_start(project):
    core = names(project["dependencies"]) | WITH_TRANSFORMERS | {"cruxlm"}
    extras = project["optional-dependencies"]
    optional = {name for extra in set(extras) - {"dev", "docs"} for name in names(extras[extra])}
    seen = set()
    for path, tree in TREES.items():
        for module, at_start in imports(tree):
            if module in sys.stdlib_module_names:
                continue
            seen.add(module)
            assert module in core | optional, f"{path} imports {module}"
            assert module in core or not at_start, f"{path} imports {module} at its start"
    assert seen >= {"torch", "peft", "accelerate", "pyarrow", "yaml", "huggingface_hub"}


def messages():
    """Every text of the package that a person may read."""
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield path, node.value


def test_every_extra_that_is_named_is_there_and_brings_what_is_missing(project):
    extras = project["optional-dependencies"]
    found = [
        (path, *held)
        for path, text in messages()
        for held in re.findall(r"needs? (\w+): pip install 'cruxlm\[(\w+)\]'", text)
    ]
    for path, package, extra in found:
        assert package in names(extras[extra]), f"{path}: {extra} does not bring {package}"
    assert {package for _, package, _ in found} >= {"accelerate", "peft", "pyarrow"}
    for path, text in messages():
        for extra in re.findall(r"cruxlm\[(\w+)\]", text):
            assert extra in extras, f"{path} names {extra}"


def test_nobody_is_told_to_install_the_strangers_package():
    wrong = re.compile(r"pip install[^\n]*?[\s'\"]crux(?![\w-])")
    assert wrong.search("pip install crux")
    assert wrong.search("pip install --upgrade 'crux[train]'")
    assert not wrong.search("pip install 'cruxlm[train]'")
    for path, text in messages():
        assert not wrong.search(text), path
    root = PACKAGE.parents[1]
    for page in (*root.glob("*.md"), *root.glob("docs/**/*.md"), *PACKAGE.rglob("*.md")):
        for block in re.findall(r"^```.*?^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE):
            assert not wrong.search(block), page  # prose may warn of it


def test_adapters_without_peft(tmp_path, monkeypatch, llama, tokenizer):
    for name in (adapter.CONFIG, adapter.WEIGHTS):
        (tmp_path / name).write_bytes(b"{}")
    monkeypatch.setattr(adapter, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"peft: pip install 'cruxlm\[train\]'"):
        adapter.load_adapter(tmp_path, load_model(llama, tokenizer=tokenizer))


def test_a_model_over_several_devices_without_accelerate(llama_folder, monkeypatch):
    monkeypatch.setattr(load, "_importable", lambda name: False)
    with pytest.raises(MissingExtraError, match=r"accelerate: pip install 'cruxlm\[accelerate\]'"):
        load_model(str(llama_folder), device="auto")
