"""The script runs a task of lm-evaluation-harness before and after, and finds a wrong training."""

import json
import re
import runpy
import statistics
from dataclasses import replace

import peft
import pytest
import torch
import yaml

from conftest import byte_tokenizer
from cruxlm.models.load import load_model
from cruxlm.models.save import save_tokenizer
from cruxlm.plans.exports.export import planned, write
from cruxlm.plans.exports.registry import TARGETS
from cruxlm.plans.grammar import blocks_of
from cruxlm.plans.make import make_plan
from cruxlm.runtime.errors import OptionError
from plans.exports.carried_out import HOSTILE, KINDS, exported, plan_of
from plans.exports.evidence import record
from plans.twelve import made

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
QUESTIONS = [
    {"question": f"{a}+{b}=", "choices": [str(a + b), str(a - b), "x"], "answer": (a + b) % 3}
    for a in range(4)
    for b in range(5)
]
TASK = {
    "task": "crux_sums",
    "dataset_path": "json",
    "output_type": "multiple_choice",
    "test_split": "test",
    "doc_to_text": "{{question}}",
    "doc_to_target": "answer",
    "doc_to_choice": "choices",
    "target_delimiter": "",
    "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
}


@pytest.fixture(scope="module")
def harness():
    pytest.importorskip("lm_eval", exc_type=ImportError)
    from importlib.metadata import version

    import lm_eval.tasks

    everything = lm_eval.tasks.TaskManager

    class Few(everything):
        """Without the thousands of tasks that come with it, whose names alone take seconds."""

        def __init__(self, include_path=None):
            super().__init__(include_path=include_path, include_defaults=False)

    lm_eval.tasks.TaskManager = Few
    yield f"lm-eval {version('lm_eval')}"
    lm_eval.tasks.TaskManager = everything


@pytest.fixture
def task(tmp_path):
    folder = tmp_path / "tasks"
    folder.mkdir()
    rows = folder / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in QUESTIONS))
    data = {"data_files": {"test": str(rows)}, "cache_dir": str(tmp_path / "cache")}
    (folder / "sums.yaml").write_text(yaml.safe_dump({**TASK, "dataset_kwargs": data}))
    return folder


def run(export, folder, after, task, monkeypatch, capsys):
    """Run the script as a user would, in this process; what it prints."""
    path = folder / export.file
    path.write_text(export.text, "utf-8")
    monkeypatch.setattr("sys.argv", [str(path), str(after), "crux_sums", str(task)])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    capsys.readouterr()
    runpy.run_path(str(path), run_name="__main__")
    return capsys.readouterr().out


def right(model, tokenizer):
    """By document, whether the likeliest choice is the answer: no harness, one pass a choice."""
    found = []
    for row in QUESTIONS:
        scores = []
        for choice in row["choices"]:
            ids = tokenizer(row["question"], add_special_tokens=False)["input_ids"]
            then = tokenizer(choice, add_special_tokens=False)["input_ids"]
            with torch.no_grad():
                logits = model(torch.tensor([ids + then]), use_cache=False).logits[0]
            told = logits[len(ids) - 1 : -1].float().log_softmax(-1)
            scores.append(sum(float(told[i, token]) for i, token in enumerate(then)))
        found.append(float(scores.index(max(scores)) == row["answer"]))
    return found


def saved(model, folder):
    model.save_pretrained(folder)
    save_tokenizer(byte_tokenizer(), folder)
    return folder


def carried_out(model, action, folder, blocks):
    """What a trainer would leave: those blocks changed, adapted, or gone."""
    names = load_model(model).blocks.names
    torch.manual_seed(1)
    if action == "lora":
        ends = "c_attn" if "transformer.h" in names[0] else "q_proj"
        targets = [
            name
            for block in blocks
            for name, _ in model.named_modules()
            if name.startswith(f"{names[block]}.") and name.endswith(ends)
        ]
        config = peft.LoraConfig(target_modules=targets, init_lora_weights=False, lora_alpha=64)
        peft.get_peft_model(model, config).save_pretrained(folder)
        return folder
    if action == "drop":
        stack = model.get_submodule(names[0].rpartition(".")[0])
        for block in sorted(blocks, reverse=True):
            del stack[block]
        for number, block in enumerate(stack):
            for part in block.modules():
                if hasattr(part, "layer_idx"):
                    part.layer_idx = number
        model.config.num_hidden_layers = len(stack)
        return saved(model, folder)
    with torch.no_grad():
        for block in blocks:
            for parameter in model.get_submodule(names[block]).parameters():
                parameter.add_(torch.randn_like(parameter) * 0.5)
    return saved(model, folder)


def planned_for(kind, action, folder, text="1,10"):
    model = made(kind, vocab_size=260)
    saved(model, folder)
    loaded = replace(load_model(model), name=str(folder))
    plan = make_plan(action, blocks_of(text, loaded.ref), loaded)
    return model, write(planned(plan, loaded), "lm-eval")


@pytest.mark.parametrize("action", ["train", "freeze", "lora", "drop"])
@pytest.mark.parametrize("kind", KINDS)
def test_before_and_after(harness, task, kind, action, tmp_path, monkeypatch, capsys):
    model, export = planned_for(kind, action, tmp_path / "before")
    then = right(model, byte_tokenizer())
    blocks = (0, 2, 11) if action == "freeze" else (1, 10)
    after = carried_out(model, action, tmp_path / "after", blocks)
    if action == "lora":
        model = peft.PeftModel.from_pretrained(made(kind, vocab_size=260), after)
    now = right(model.eval(), byte_tokenizer())
    text = run(export, tmp_path, after, task, monkeypatch, capsys)
    line = next(line for line in text.splitlines() if line.startswith("crux_sums"))
    told = re.findall(r"[-+]?\d+\.\d{4}", line)
    change = [x - y for x, y in zip(now, then, strict=True)]
    error = statistics.stdev(change) / len(change) ** 0.5
    expected = [statistics.fmean(held) for held in (then, now, change)] + [error]
    assert [float(number) for number in told] == pytest.approx(expected, abs=1e-4)
    assert any(change)
    record("lm-eval", action, kind, harness)


@pytest.mark.parametrize(
    ("action", "blocks", "said"),
    [
        ("train", (1, 11), r"model\.layers\.11\.\S+ is changed"),
        ("train", (), "nothing is changed"),
        ("freeze", (10,), r"model\.layers\.10\.\S+ is changed"),
        ("lora", (1, 2), r"model\.layers\.2\.self_attn\.q_proj\.\S+ is adapted"),
        ("drop", (1,), "it has 11 blocks, not 10"),
    ],
)
def test_what_was_not_planned_is_found(
    harness, task, action, blocks, said, tmp_path, monkeypatch, capsys
):
    model, export = planned_for("llama", action, tmp_path / "before")
    after = carried_out(model, action, tmp_path / "after", blocks)
    with pytest.raises(SystemExit, match=rf"is not what was planned: .*{said}"):
        run(export, tmp_path, after, task, monkeypatch, capsys)


@pytest.mark.parametrize("action", ["train", "lora", "drop"])
def test_a_hostile_name_is_a_value(action):
    loaded, plan = plan_of("llama", action)
    plan, loaded = replace(plan, model=HOSTILE, why=HOSTILE), replace(loaded, name=HOSTILE)
    text = write(planned(plan, loaded), "lm-eval").text
    assert set(text) - set(filter(str.isprintable, text)) == {"\n"}
    space = {}
    exec(text[text.index("MODEL = ") : text.index("DEVICE = ")], space)
    assert space["MODEL"] == HOSTILE
    assert space["REVISION"] is None
    compile(text, "lm-eval.py", "exec")


def test_what_may_be_changed_is_written_out():
    text = exported("lm-eval", "llama", "train", "1,10", parts=("norm", "head")).text
    space = {}
    exec(text[text.index("MODEL = ") : text.index("DEVICE = ")], space)
    assert space["PLANNED"] == (
        "model.layers.1.",
        "model.layers.10.",
        "lm_head.weight",
        "model.norm.weight",
    )
    assert "'model.norm.'" in exported("lm-eval", "llama", "lora", parts=("norm",)).text
    assert TARGETS.get("lm-eval").refusals == {}


def test_a_model_without_a_head_is_refused():
    loaded = load_model(made("llama").model)
    plan = make_plan("train", blocks_of("1", loaded.ref), loaded)
    with pytest.raises(OptionError, match="LlamaModel has no head"):
        write(planned(plan, loaded), "lm-eval")
