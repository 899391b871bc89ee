"""A step of TRL's SFTTrainer with the file that is written moves exactly the planned weights."""

import pytest
import torch

from conftest import byte_tokenizer
from plans.exports.carried_out import KINDS, adapters, executed, exported, linear, parameters
from plans.exports.evidence import record
from plans.twelve import made

trl = pytest.importorskip("trl", reason="trl is not installed (make exports installs it)")
datasets = pytest.importorskip("datasets")
HOW = f"trl {trl.__version__}, a step of its SFTTrainer"
ROWS = [{"input_ids": (row := list(range(3 + i, 20 + i))), "labels": row} for i in range(4)]


def trainer(model, folder, **options):
    arguments = trl.SFTConfig(
        output_dir=str(folder), max_steps=1, learning_rate=0.1, report_to=[], save_strategy="no",
        use_cpu=True, bf16=False, disable_tqdm=True, per_device_train_batch_size=4,
        logging_strategy="no", dataset_kwargs={"skip_prepare_dataset": True}, weight_decay=0.0,
    )  # fmt: skip
    return trl.SFTTrainer(
        model=model, args=arguments, train_dataset=datasets.Dataset.from_list(ROWS),
        processing_class=byte_tokenizer(), **options,
    )  # fmt: skip


def moved(found):
    model = found.model
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    found.train()
    return {name for name, p in model.named_parameters() if not torch.equal(before[name], p)}


@pytest.mark.parametrize("action", ["train", "freeze"])
@pytest.mark.parametrize("kind", KINDS)
def test_exactly_the_planned_parameters(kind, action, tmp_path):
    file = executed(exported("trl", kind, action).text)
    blocks = (1, 10) if action == "train" else set(range(12)) - {1, 10}
    model = file["freeze"](made(kind))
    expected = parameters(model, blocks)
    found = trainer(model, tmp_path, callbacks=[file["PlanCheck"]()])
    assert {name for name, p in found.model.named_parameters() if p.requires_grad} == expected
    changed = moved(found)
    experts = {name for name in expected if ".experts." in name}  # some see no token
    assert changed | experts == expected
    record("trl", action, kind, HOW)


@pytest.mark.parametrize("kind", KINDS)
def test_exactly_the_planned_adapters(kind, tmp_path):
    export = exported("trl", kind, "lora", ranks=(2, 7))
    config = executed(export.text)["peft_config"]
    found = trainer(made(kind), tmp_path, peft_config=config)
    maps = linear(made(kind), (1, 10))
    ranks = adapters(found.model)
    path = {name: int(name.split(".")[2]) for name in maps}
    assert ranks == {name: {1: 2, 10: 7}[block] for name, block in path.items()}
    changed = moved(found)
    # What a step moves first is B: A waits for it. An unfused expert may see no token.
    stems = {n.removeprefix("base_model.model.").partition(".lora_B.")[0] for n in changed}
    assert all(".lora_B." in name for name in changed)
    assert stems | {name for name in maps if ".experts." in name} == maps
    record("trl", "lora", kind, HOW)


def test_what_a_trainer_loads_itself_is_not_frozen():
    assert any("loads by name" in note for note in exported("trl", "llama", "train").notes)
