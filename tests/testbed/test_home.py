"""Where the models are, and what is said of one that is not there."""

import pytest

from cruxlm.runtime.errors import ModelError
from cruxlm.testbed import home
from cruxlm.testbed.home import model_folder, resolve, trained_models


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Makes models in several homes; no other home is looked into."""
    monkeypatch.setattr(home, "WEIGHTS", tmp_path / "package")
    monkeypatch.setattr(home, "REPOSITORY", tmp_path / "repository")
    monkeypatch.setenv("CRUX_TESTBED", str(tmp_path / "own"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def make(name, where="own"):
        folder = tmp_path / where / name
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(b"weights")
        return folder

    return make


def test_models_are_found_in_every_home(place, tmp_path, monkeypatch):
    assert trained_models() == {}
    own, package = place("mine"), place("base-0", "package")
    step, other = place("base-0/step-34", "package"), place("large", "repository")
    trained = place("base-1", "here/testbed")
    (tmp_path / "own" / "half").mkdir()  # no weights
    (tmp_path / "own" / "file").write_text("")
    place("mine/run", "own")  # no snapshot
    found = {name: path.resolve() for name, path in trained_models().items()}
    assert found == {
        "mine": own, "base-0": package, "base-0/step-34": step, "large": other, "base-1": trained,
    }  # fmt: skip
    monkeypatch.delenv("CRUX_TESTBED")
    assert "mine" not in trained_models()
    monkeypatch.setenv("CRUX_TESTBED", str(tmp_path / "absent"))
    assert "mine" not in trained_models()


def test_ones_own_come_first(place):
    place("base-0", "repository")
    place("base-0", "package")
    own = place("base-0")
    assert model_folder("base-0") == own


def test_names_and_other_things_are_resolved(place, tmp_path):
    base, own = place("base-0", "package"), place("mine")
    assert resolve(None) == resolve("testbed:base-0") == base
    assert resolve("testbed:mine") == own
    model = object()
    assert resolve(model) is model
    for name in ("Qwen/Qwen3-0.6B", "mine", "./base-0", str(tmp_path)):
        assert resolve(name) == name


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("bse-0", "there is no testbed model 'bse-0': did you mean 'base-0'?"),
        ("min", "there is no testbed model 'min': did you mean 'mine'?"),
        ("", "there is no testbed model ''"),
        ("base-1", "the testbed model base-1 is not here: `crux testbed train base-1`"),
        ("base-0/step-3", "there is no testbed model 'base-0/step-3': did you mean 'base-0"),
        ("../mine", "there is no testbed model '../mine'"),
    ],
)
def test_a_model_that_is_not_here(place, name, said):
    place("mine")
    place("base-0/step-34")
    with pytest.raises(ModelError) as refused:
        resolve(f"testbed:{name}")
    assert str(refused.value).startswith(said)
    assert str(refused.value).isprintable()


def test_without_the_default(place):
    with pytest.raises(ModelError, match=r"crux testbed train base-0.*CRUX_TESTBED"):
        resolve(None)
