"""A Trainer's step with the file that is written moves exactly the planned weights."""

import pytest
import torch
import transformers
from transformers import Trainer, TrainingArguments

from plans.exports.carried_out import (
    HOSTILE,
    KINDS,
    executed,
    exported,
    parameters,
    plan_of,
    trainable,
)
from plans.exports.evidence import record
from plans.twelve import made

HOW = f"transformers {transformers.__version__}, a step of its Trainer"
ROWS = [{"input_ids": (row := list(range(3 + i, 20 + i))), "labels": row} for i in range(4)]


def trainer(model, folder, kind=Trainer, **options):
    arguments = TrainingArguments(
        output_dir=str(folder), max_steps=1, learning_rate=0.1, report_to=[], save_strategy="no",
        use_cpu=True, disable_tqdm=True, per_device_train_batch_size=4, logging_strategy="no",
    )  # fmt: skip
    return kind(model=model, args=arguments, train_dataset=ROWS, **options)


def moved(model, train):
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    train()
    return {name for name, p in model.named_parameters() if not torch.equal(before[name], p)}


@pytest.mark.parametrize("action", ["train", "freeze"])
@pytest.mark.parametrize("kind", KINDS)
def test_exactly_the_planned_parameters(kind, action, tmp_path):
    file = executed(exported("transformers", kind, action).text)
    blocks = (1, 10) if action == "train" else set(range(12)) - {1, 10}
    model = made(kind)
    expected = parameters(model, blocks)
    assert file["freeze"](model) is model
    assert trainable(model) == expected == file["TRAINED"]
    changed = moved(model, trainer(model, tmp_path, callbacks=[file["PlanCheck"]()]).train)
    if kind in ("mixtral", "qwen3_moe"):
        # An expert that no token is sent to does not move where experts are modules.
        experts = {name for name in expected if ".experts." in name}
        assert changed | experts == expected
        assert changed & experts
    else:
        assert changed == expected
    record("transformers", action, kind, HOW)


@pytest.mark.parametrize("kind", ["llama", "gemma", "gpt2"])
def test_parts_beside_blocks(kind):
    parts = ("embeddings", "norm") if kind != "llama" else ("norm", "head")
    file = executed(exported("transformers", kind, "train", "10", parts=parts).text)
    model = made(kind)
    beside = trainable(file["freeze"](model)) - parameters(model, (10,))
    assert beside == {
        "llama": {"model.norm.weight", "lm_head.weight"},
        "gemma": {"model.embed_tokens.weight", "model.norm.weight"},
        "gpt2": {"transformer.wte.weight", "transformer.wpe.weight", "transformer.ln_f.weight",
                 "transformer.ln_f.bias"},
    }[kind]  # fmt: skip


class Unfreezing(Trainer):
    """What some subclasses of Trainer do."""

    def create_optimizer(self, *args, **options):
        for parameter in self.model.parameters():
            parameter.requires_grad_(True)
        return super().create_optimizer(*args, **options)


def test_the_callback_catches_a_trainer_that_trains_more(tmp_path):
    file = executed(exported("transformers", "llama", "train").text)
    model = file["freeze"](made("llama"))
    found = trainer(model, tmp_path, Unfreezing, callbacks=[file["PlanCheck"]()])
    with pytest.raises(RuntimeError, match="not as planned"):
        found.train()
    # Without it every weight moves: that is what the callback is for.
    model = file["freeze"](made("llama"))
    assert len(moved(model, trainer(model, tmp_path, Unfreezing).train)) > len(file["TRAINED"])


def test_the_callback_catches_an_optimizer_that_was_made_too_early(tmp_path):
    file = executed(exported("transformers", "llama", "train", "10").text)
    model = executed(exported("transformers", "llama", "train", "1").text)["freeze"](made("llama"))
    early = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    file["freeze"](model)
    found = trainer(model, tmp_path, optimizers=(early, None), callbacks=[file["PlanCheck"]()])
    with pytest.raises(RuntimeError, match="the optimizer was made before freeze"):
        found.train()


def test_another_model_is_refused():
    file = executed(exported("transformers", "llama", "train").text)
    with pytest.raises(ValueError, match=r"another model.*no model\.layers\.1\."):
        file["freeze"](made("gpt2"))


def test_names_under_wrappers_are_known():
    file = executed(exported("transformers", "llama", "train").text)
    model = torch.nn.ModuleDict({"_orig_mod": file["freeze"](made("llama"))})
    check = file["PlanCheck"]()
    check.on_train_begin(None, None, None, model=model)
    model["_orig_mod"].lm_head.weight.requires_grad_(True)
    with pytest.raises(RuntimeError, match=r"lm_head\.weight"):
        check.on_train_begin(None, None, None, model=model)


def test_a_hostile_name_stays_a_comment():
    from dataclasses import replace

    from cruxlm.plans.exports.export import planned, write

    loaded, plan = plan_of("llama", "train")
    plain = write(planned(plan, loaded), "transformers").text
    text = write(planned(replace(plan, model=HOSTILE, why=HOSTILE), loaded), "transformers").text
    assert executed(text)["TRAINED"] == executed(plain)["TRAINED"]
    assert len(text.split("\n")) == len(plain.split("\n"))
