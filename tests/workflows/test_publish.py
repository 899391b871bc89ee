"""Publishing: what is sent, to whom, and that a dry run reaches for nothing."""

import json
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import huggingface_hub
import pytest

from cruxlm.cli.main import run
from cruxlm.results.kinds import KINDS, load_result
from cruxlm.runtime.errors import OptionError, OutputError, ResultError
from cruxlm.workflows.publish import push_to_hub
from report.test_card import made, parts
from results.made_scans import made_scan
from results.made_spectra import made_spectra
from results.test_tuning import evaluation, made_tuning
from workflows.hub import serving


class Api:
    """Stands for ``HfApi`` and writes down what it is asked to do."""

    asked: ClassVar[list] = []
    there = None
    fails = None
    endpoint = "https://hub.example"

    def __init__(self, **_):
        pass

    def repo_exists(self, repo, *, repo_type):
        self.asked.append(("exists", repo, repo_type))
        if self.fails is not None:
            raise self.fails
        return self.there is not None

    def dataset_info(self, repo):
        return self.there

    def create_repo(self, repo, *, repo_type, private):
        self.asked.append(("create", repo, repo_type, private))

    def create_commit(self, repo, operations, *, commit_message, repo_type):
        files = {held.path_in_repo: held.path_or_fileobj for held in operations}
        self.asked.append(("commit", repo, repo_type, files))


@pytest.fixture
def api(monkeypatch):
    class Own(Api):
        asked: ClassVar[list] = []

    monkeypatch.setattr(huggingface_hub, "HfApi", Own)
    return Own


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(huggingface_hub, "HfApi", refuse)


def saved(kind, folder):
    result = made(kind)
    alone = kind in ("plan", "evaluation")
    return result.save(folder / f"my {kind}.json" if alone else folder / kind)


@pytest.mark.parametrize("kind", KINDS)
def test_a_dry_run_says_all_and_sends_nothing(kind, no_network, tmp_path):
    done = push_to_hub(saved(kind, tmp_path), "owner/name", dry_run=True)
    assert done.url is None
    assert next(iter(done.files)) == "README.md"
    assert set(done.files) == {"README.md", *made(kind).files()}
    assert parts(done.card)[0]["crux"]["result"] == kind
    assert len(repr(done)) < 100  # a prompt shows it, and not its bytes


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_sent_can_be_read_again(kind, api, tmp_path):
    done = push_to_hub(made(kind), "owner/name")
    exists, create, commit = api.asked
    assert exists == ("exists", "owner/name", "dataset")
    assert create == ("create", "owner/name", "dataset", None)
    assert commit[:3] == ("commit", "owner/name", "dataset")
    assert commit[3] == done.files
    assert done.url == "https://hub.example/datasets/owner/name"
    for name, data in commit[3].items():
        (tmp_path / name).write_bytes(data)
    assert load_result(tmp_path).to_json() == made(kind).to_json()


def test_the_bytes_of_a_saved_result_are_sent_and_nothing_else_of_its_folder(api, tmp_path):
    folder = made_scan().save(tmp_path)
    record = json.loads((folder / "scan.json").read_text())
    (folder / "scan.json").write_text(json.dumps({**record, "added": "by a later version"}))
    (folder / "report.html").unlink()
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "README.md").write_text("mine")
    for path in (folder, folder / "scan.json", str(folder)):
        done = push_to_hub(path, "owner/name")
        assert done.files["scan.json"] == (folder / "scan.json").read_bytes()
        assert done.files["scan.safetensors"] == (folder / "scan.safetensors").read_bytes()
        assert done.files["report.html"].startswith(b"<!doctype html>")
        assert set(done.files) == {"README.md", "scan.json", "scan.safetensors", "report.html"}
        assert done.card != "mine"
    assert (folder / "README.md").read_text() == "mine"


def there(tags=(), private=False, files=()):
    return SimpleNamespace(
        tags=list(tags), private=private, siblings=[SimpleNamespace(rfilename=n) for n in files]
    )


def test_a_new_revision_of_the_same(api):
    api.there = there(["crux", "crux-scan"], files=["scan.json", "README.md"])
    push_to_hub(made_scan(), "owner/name")
    assert [step[0] for step in api.asked] == ["exists", "commit"]


def test_an_empty_dataset_is_filled(api):
    api.there = there(files=[".gitattributes"])
    push_to_hub(made_scan(), "owner/name")
    assert api.asked[-1][0] == "commit"


@pytest.mark.parametrize(
    ("held", "private", "said"),
    [
        (there(files=["README.md"]), False, "holds no Crux scan"),
        (there(["crux", "crux-tuning"], files=["tuning.json"]), False, "holds no Crux scan"),
        (there(["crux-scan"], False, ["scan.json"]), True, "is there and public"),
        (there(), True, "is there and public"),
    ],
)
def test_what_is_somebodys_else_is_left_alone(api, held, private, said):
    api.there = held
    with pytest.raises(OutputError, match=said):
        push_to_hub(made_scan(), "owner/name", private=private)
    assert [step[0] for step in api.asked] == ["exists"]


def test_private(api):
    push_to_hub(made_scan(), "owner/name", private=True)
    assert api.asked[1] == ("create", "owner/name", "dataset", True)
    api.there, api.asked[:] = there(["crux-scan"], True, ["scan.json"]), []
    push_to_hub(made_scan(), "owner/name", private=True)
    assert api.asked[-1][0] == "commit"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConnectionError("no route\nto host"), "cannot publish to owner/name: no route$"),
        (RuntimeError("Error while uploading 'x' to the Hub."), "Error while uploading"),
        (OSError(), "cannot publish to owner/name: OSError"),
        (huggingface_hub.errors.LocalTokenNotFoundError("Token is required"), "hf auth login"),
    ],
)
def test_what_the_hub_says_is_one_line(api, error, said):
    api.fails = error
    with pytest.raises(OutputError, match=said) as caught:
        push_to_hub(made_scan(), "owner/name")
    assert "\n" not in str(caught.value)


def test_a_bug_stays_a_bug(api):
    api.fails = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        push_to_hub(made_scan(), "owner/name")


@pytest.mark.parametrize(
    "repo", ["", "name", "a/b/c", "owner/na me", "owner/n--m", "../x", "owner/", "/name",
             "datasets/o/n", "o/n\n", "o/n.git", "o/" + "n" * 200, "<b>/x"],
)  # fmt: skip
def test_names_that_are_no_datasets(repo, no_network):
    with pytest.raises(OptionError) as caught:
        push_to_hub(made_scan(), repo, dry_run=True)
    assert "\n" not in str(caught.value)


def test_results_that_are_none(no_network, tmp_path):
    with pytest.raises(ResultError, match="there is no result in"):
        push_to_hub(tmp_path, "owner/name")
    with pytest.raises(ResultError, match="there is no result at"):
        push_to_hub(tmp_path / "x", "owner/name")
    with pytest.raises(OptionError, match="a Selection is no result"):
        push_to_hub(made_scan().selection, "owner/name")
    for text, said in {
        "{": "damaged",
        "[]": "no result of Crux",
        '{"format": "crux.x/1"}': "no result of Crux",
        '{"format": "crux.plan/2"}': "newer Crux",
    }.items():
        (tmp_path / "plan.json").write_text(text)
        with pytest.raises(ResultError, match=said):
            push_to_hub(tmp_path / "plan.json", "owner/name")


def test_a_tuning_lies_beside_its_plan(no_network, tmp_path):
    made_tuning().save(tmp_path)
    made_tuning().plan.save(tmp_path / "plan.json")
    assert "tuning.json" in push_to_hub(tmp_path, "owner/name", dry_run=True).files


def test_what_is_of_ones_own_is_said(no_network):
    from dataclasses import replace

    def notes(result):
        return push_to_hub(result, "owner/name", dry_run=True).notes

    assert notes(made_scan()) == notes(made_tuning()) == ()
    written = replace(evaluation([1.0, 2.0]), texts=("a", "b"))
    tuning = made_tuning(model=str(Path("/home/me/model")), after={"loss": written})
    assert notes(tuning) == (
        "holds 2 answers that a model wrote to rows of the data",
        "names a place on this machine: /home/me/model",
    )
    assert notes(written)[0].startswith("holds 2 answers")
    assert notes(made_spectra()) == ("shows 2 prompts of the probe",)


# With the hub's own client, against a hub of our own.


@pytest.fixture
def hub(monkeypatch):
    with serving() as hub:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.address)
        monkeypatch.setenv("HF_TOKEN", "hf_test")
        yield hub


def test_the_hubs_own_client_sends_it(hub, tmp_path, capfd):
    made_scan().save(tmp_path / "scan")
    command = ["publish", str(tmp_path / "scan"), "--to", "owner/name", "--private"]
    capfd.readouterr()
    assert run(command) == 0
    assert f"{hub.address}/datasets/owner/name\n" in capfd.readouterr().out
    assert hub.dataset["private"]
    assert "Bearer hf_test" in hub.tokens
    for name, data in hub.dataset["files"].items():
        (tmp_path / name).write_bytes(data)
    assert load_result(tmp_path).to_json() == made_scan().to_json()
    # Again: the hub has read the tags of the card by now.
    hub.dataset["tags"] = parts((tmp_path / "README.md").read_text())[0]["tags"]
    assert run(command) == 0
    # And over something else.
    hub.dataset |= {"tags": [], "files": {"train.csv": b"1"}}
    capfd.readouterr()
    assert run(command) == 2
    assert "holds no Crux scan" in capfd.readouterr().err
    assert hub.dataset["files"] == {"train.csv": b"1"}


def test_a_dry_run_asks_the_hub_for_nothing(hub, tmp_path):
    made_scan().save(tmp_path)
    assert run(["publish", str(tmp_path), "--to", "owner/name", "--dry-run"]) == 0
    assert hub.asked == []


def test_a_hub_that_is_not_there(monkeypatch, tmp_path, capfd):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
    made_scan().save(tmp_path)
    capfd.readouterr()
    assert run(["publish", str(tmp_path), "--to", "owner/name"]) == 2
    said, error = capfd.readouterr()
    assert said == ""
    assert error.startswith("crux: cannot publish to owner/name: ")
    assert error.count("\n") == 1


# The command.


def test_the_command_prints_what_would_be_sent(no_network, tmp_path, capfd):
    made_scan(text="\x1b[31m<b>\n").save(tmp_path)
    capfd.readouterr()
    assert run(["publish", str(tmp_path), "--to", "owner/name", "--dry-run"]) == 0
    said = capfd.readouterr().out
    lines = said.splitlines()
    assert lines[0] == "dry run: nothing is sent to owner/name"
    assert [line.split()[-1] for line in lines[1:5]] == [
        "README.md", "scan.json", "scan.safetensors", "report.html"
    ]  # fmt: skip
    assert "# Crux scan of" in said
    assert all(c.isprintable() or c == "\n" for c in said)
    assert run(["publish", str(tmp_path), "--to", "owner/name", "--dry-run", "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert found["url"] is None
    assert found["files"]["scan.json"] == (tmp_path / "scan.json").stat().st_size
    assert f"{found['card']}" in said


def test_the_command_needs_a_name(tmp_path, capfd):
    capfd.readouterr()
    assert run(["publish", str(tmp_path)]) == 2
    assert "--to" in capfd.readouterr().err
