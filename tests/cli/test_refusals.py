"""Bad input of every kind: one line that says what to do, exit code 2, and nothing written."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from conftest import byte_tokenizer, tiny_llama
from cruxlm.cli.main import run

TEXTS = [f"{'abcdefghij'[i] * (i + 1)} boats left harbour {i}" for i in range(10)]


@pytest.fixture
def refused(capfd, tmp_path):
    """Runs a command that must be refused; its one line."""

    def call(*arguments, out=True):
        before = sorted(tmp_path.rglob("*"))
        given = list(map(str, arguments))
        if out and given[0] == "scan" and "--out" not in given:
            given += ["--out", str(tmp_path / "never" / "out")]
        capfd.readouterr()
        code = run(given)
        said, error = capfd.readouterr()
        assert (code, said) == (2, ""), (code, said, error)
        assert error.startswith("crux: ")
        assert error.count("\n") == 1
        assert error.endswith("\n")
        assert error[:-1].isprintable()
        assert sorted(tmp_path.rglob("*")) == before
        return error

    return call


@pytest.fixture
def model(llama_folder, tmp_path):
    """A copy of the tiny model, to damage."""
    return shutil.copytree(llama_folder, tmp_path / "model")


@pytest.fixture
def probe(tmp_path):
    """Writes a probe file and names it."""

    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


# Models.


def test_a_folder_without_a_model(refused, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "has no config.json: name a model folder" in refused("scan", tmp_path / "empty")
    assert "is not a model folder" in refused("scan", tmp_path / "absent")


def test_a_folder_without_weights(refused, model):
    (model / "model.safetensors").unlink()
    assert "has no weights: expected model.safetensors" in refused("scan", model)


@pytest.mark.parametrize("size", [0, 4, 300, 50_000])
def test_truncated_weights(refused, model, size):
    path = model / "model.safetensors"
    path.write_bytes(path.read_bytes()[:size])
    assert "model.safetensors is damaged" in refused("scan", model)


def test_a_configuration_that_is_no_json(refused, model):
    (model / "config.json").write_text('{"a": ')
    assert "config.json is not JSON" in refused("scan", model)
    (model / "config.json").write_text("{}")
    assert "cannot load" in refused("scan", model)


def test_a_pickle_is_not_opened(refused, model):
    (model / "model.safetensors").unlink()
    (model / "pytorch_model.bin").write_bytes(b"anything")
    assert "only pickled weights (pytorch_model.bin): convert them" in refused("scan", model)


def test_weights_that_are_not_finite_name_the_block_and_the_tensor(refused, model):
    path = model / "model.safetensors"
    tensors = load_file(path)
    name = "model.layers.3.mlp.up_proj.weight"
    tensors[name][1, 2] = float("nan")
    save_file(tensors, path, metadata={"format": "pt"})
    said = refused("scan", model)
    assert f"not finite in block 3, tensor {name}" in said


def test_weights_of_another_configuration(refused, model):
    path = model / "model.safetensors"
    tensors = {k: v for k, v in load_file(path).items() if "layers.5." not in k}
    save_file(tensors, path, metadata={"format": "pt"})
    assert "do not belong together" in refused("scan", model)


def test_a_device_or_dtype_that_is_not_there(refused, model):
    assert "no device 'gpu'" in refused("scan", model, "--device", "gpu")
    assert "no dtype 'float31': did you mean 'float32'" in refused(
        "scan", model, "--dtype", "float31"
    )


# Probes.


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", "", "a scan needs 4 usable prompts or more, probe 'a' has 0; left out: none"),
        ("a.txt", "one line\n", "probe 'a' has 1; left out: none"),
        ("a.txt", "one\n" * 9, "probe 'a' has 1; left out: 8 duplicate"),
        ("a.txt", "\n \n\n", "probe 'a' has 0; left out: 3 empty"),
        (
            "a.txt",
            "\n".join("x" * 600 + t for t in TEXTS),
            "10 too long (the model's context is 51",
        ),
        ("a.txt", b"fine\n\x89PNG\r\n\xff", "a.txt line 2 is not UTF-8 text"),
        ("a.txt", b"fine\nnot \0 fine", "a.txt line 2 has a NUL byte"),
        ("a.jsonl", '{"prompt": "a"}\n{"prompt": \n', "a.jsonl line 2 column 12 is not JSON"),
        ("a.jsonl", '{"body": "a", "id": 1}\n', "row 1 has no prompt field (fields: body, id)"),
        ("a.csv", "", "probe 'a' has 0"),
        ("a.csv", "body\none\n", "no prompt field (fields: body): name one with --field"),
        ("a.json", "3", "expected a list of rows"),
        ("a.parquet", "no parquet", "a.parquet cannot be read as parquet"),
        ("a.docx", "text", "a.docx is none of .csv, .json, .jsonl, .parquet, .txt"),
    ],
)
def test_probe_files(refused, llama_folder, probe, name, content, said):
    assert said in refused("scan", llama_folder, "--probe", probe(name, content))


def test_a_field_that_is_not_there(refused, llama_folder, probe):
    rows = probe("a.jsonl", "\n".join(json.dumps({"prompt": text}) for text in TEXTS))
    said = refused("scan", llama_folder, "--probe", rows, "--field", "question")
    assert "row 1 has no field 'question' (fields: prompt)" in said


def test_a_probe_that_is_not_there(refused, llama_folder, tmp_path):
    for name in ("bultin", "builtin,bultin"):
        assert "no probe or file 'bultin': did you mean 'builtin'?" in refused(
            "scan", llama_folder, "--probe", name
        )
    assert "there is no " in refused("scan", llama_folder, "--probe", tmp_path / "absent.txt")
    assert "is no file" in refused("scan", llama_folder, "--probe", tmp_path)
    assert "no probe or file" in refused("scan", llama_folder, "--probe", "Why is it so? " * 30)


def test_a_chat_without_a_template(refused, tmp_path):
    tiny_llama().save_pretrained(tmp_path / "plain")
    byte_tokenizer().save_pretrained(tmp_path / "plain")
    said = refused("scan", tmp_path / "plain", "--template", "chat")
    assert "the tokenizer has no chat template; use --template raw" in said


def test_a_model_without_a_tokenizer(refused, model):
    for path in model.glob("tokenizer*"):
        path.unlink()
    said = refused("scan", model)
    assert "the model has no tokenizer: pass one, or use --probe random-tokens" in said


# Options.


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--criteria", "dynamcs"], "no criterion 'dynamcs': did you mean 'dynamics'?"),
        (["--criteria", "dynamics:papr"], "no preset 'papr': did you mean 'paper'?"),
        (["--criteria", ","], "no criterion was asked for"),
        (["--criteria", "block_influence", "--window", "5"], "--window is an option of dynamics"),
        (["--n", "3"], "n must be a whole number of 4 or more, not 3"),
        (["--n", "-1"], "n must be a whole number"),
        (["--n", "many"], "'--n' / '--limit'"),
        (["--select", "tpo:3"], "no selection rule 'tpo': did you mean 'top'?"),
        (["--select", "share:200%"], "share needs a percentage up to 100"),
        (["--k", "0"], "top needs a number of blocks"),
        (["--k", "2", "--select", "peaks"], "give --k or --select, not both"),
        (["--k", "99"], "top:99 asks for more blocks than the 6 of "),
        (["--k", "5"], "top:5 asks for more than the 4 blocks that can be selected; --ends keep"),
        (["--ends", "all"], "ends must be skip or keep"),
        (["--pooling", "first"], "pooling must be"),
        (["--padding", "up"], "padding must be"),
        (["--template", "jinja"], "template must be"),
        (["--control", "shuffled"], "control must be untrained"),
        (["--window", "4"], "window must be odd and 3 or more, not 4"),
        (["--batch-size", "0"], "batch_size must be a whole number of 1 or more"),
        (["--seed", "-1"], "seed must be a whole number"),
        (["--no-such-option"], "No such option: --no-such-option"),
        (["second-model"], "unexpected extra argument"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options(refused, llama_folder, options, said):
    given = [] if "--n" in options else ["--n", "12"]
    assert said in refused("scan", llama_folder, *given, *options)


def test_commands_that_are_not_there(refused, llama_folder):
    assert "No such command 'scna'" in refused("scna", llama_folder)
    assert "no criterion or action 'dynamcs': did you mean 'dynamics'" in refused(
        "explain", "dynamcs"
    )
    assert "nothing called 'probs' to list: did you mean 'probes'" in refused("list", "probs")
    assert "Missing argument" in refused("explain")


# Output.


def test_an_output_that_is_no_folder(refused, llama_folder, tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"mine")
    for out in (file, file / "out"):
        assert "is not a folder: name one" in refused("scan", llama_folder, "--out", out)
    assert file.read_bytes() == b"mine"
    # Said before anything is loaded: the model is not even there.
    said = refused("scan", tmp_path / "no-model", "--out", file)
    assert "is not a folder: name one" in said
    said = refused("scan", llama_folder, "--out", tmp_path / ("a" * 300))
    assert "File name too long: choose another" in said


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="is root")
def test_an_output_without_write_access(refused, llama_folder, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    said = refused("scan", llama_folder, "--out", tmp_path / "locked" / "out")
    assert "no write access to" in said


def test_a_full_disk_leaves_nothing(refused, llama_folder, monkeypatch):
    def full(_handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert "cannot write to" in refused("scan", llama_folder, "--n", "12")


# Saved scans.


@pytest.fixture(scope="module")
def saved(llama_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("saved") / "out"
    assert run(["scan", str(llama_folder), "--n", "12", "--out", str(out), "--json"]) == 0
    return out


def test_show_of_what_is_no_scan(refused, saved, tmp_path):
    assert "there is no result at" in refused("show", tmp_path / "absent")
    copy = shutil.copytree(saved, tmp_path / "copy")
    text = (saved / "scan.json").read_text("utf-8")
    for content, said in [
        (text[: len(text) // 2], "scan.json is damaged"),
        ('{"format": "other"}', "is not a scan of format crux.scan/1"),
        (text.replace('"block"', "3", 1), "scan.json is damaged"),
        (text.replace('"finding"', '"found"'), "lacks 'finding'"),
    ]:
        (copy / "scan.json").write_text(content, "utf-8")
        assert said in refused("show", copy)
    (copy / "scan.json").write_bytes(b"\x89PNG\xff")
    assert "scan.json is damaged" in refused("show", copy)


def test_show_with_a_choice_that_cannot_be_made(refused, saved):
    assert "no scores 'dynamcs': did you mean 'dynamics'" in refused(
        "show", saved, "--by", "dynamcs"
    )
    assert "no selection rule 'tpo'" in refused("show", saved, "--select", "tpo:2")
    assert "asks for more than the 4 blocks" in refused("show", saved, "--select", "top:5")
    assert "ends must be skip or keep" in refused("show", saved, "--ends", "both")


# A process of its own: libraries log and warn past the streams that tests see.

MANY = """
import sys
from cruxlm.cli.main import run
for arguments in {commands!r}:
    print("RUN", file=sys.stderr, flush=True)
    code = run(arguments)
    print("CODE", code, file=sys.stderr, flush=True)
"""


def test_no_library_says_anything_beside_the_one_line(model, probe, tmp_path):
    long = probe("long.txt", "\n".join("x" * 600 + text for text in TEXTS))
    odd = json.loads((model / "config.json").read_text())
    other = shutil.copytree(model, tmp_path / "other")
    (other / "config.json").write_text(json.dumps({**odd, "model_type": "no_such_type"}))
    wide = shutil.copytree(model, tmp_path / "wide")
    (wide / "config.json").write_text(json.dumps({**odd, "hidden_size": 64}))
    few = shutil.copytree(model, tmp_path / "few")
    tensors = load_file(few / "model.safetensors")
    tensors["model.layers.0.self_attn.extra.weight"] = torch.zeros(3)
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, few / "model.safetensors", metadata={"format": "pt"})
    commands = [
        ["scan", str(model), "--probe", str(long)],
        ["scan", str(other)],
        ["scan", str(wide)],
        ["scan", str(few)],
        ["scan", "no-such-owner/no-such-model"],
        ["scan", str(model), "--n", "12", "--k", "99"],
        ["show", str(tmp_path / "absent")],
    ]
    done = subprocess.run(
        [sys.executable, "-c", MANY.format(commands=commands)],
        capture_output=True, text=True, timeout=300, check=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.stdout == ""
    said = done.stderr.split("RUN\n")
    assert said.pop(0) == ""
    assert len(said) == len(commands)
    for command, part in zip(commands, said, strict=True):
        lines = part.splitlines()
        assert len(lines) == 2, (command, part)
        assert lines[0].startswith("crux: ")
        assert lines[1] == "CODE 2", (command, part)
