"""Every parameter in exactly one part: what runs before the blocks, in each, after, and beside.

The oracle is what a backward pass reaches: from what enters the first block only the embeddings,
from what a block leaves only what came before it.
"""

import pytest
import torch
import transformers
from architectures import BASE, CASES, HEADS, Case, architectures, built, count_hooks
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from cruxlm.models.load import load_model
from cruxlm.models.parts import Parts, parts_of
from cruxlm.runtime.errors import ModelError


def _parts(model: nn.Module) -> Parts:
    return parts_of(load_model(model))


def _all_names(parts: Parts) -> list[str]:
    beside = parts.embeddings + parts.norm + parts.head + parts.other
    return [name for block in parts.blocks for name in block] + list(beside)


@architectures
def test_every_parameter_is_in_one_part(case: Case) -> None:
    model = built(case)
    parts = _parts(model)
    expected = {name: parameter.numel() for name, parameter in model.named_parameters()}
    assert sorted(_all_names(parts)) == sorted(expected)
    assert parts.sizes == expected
    assert parts.total == sum(expected.values())
    for block, names in enumerate(parts.blocks):
        module = model.get_submodule(f"{case.path}.{block}")
        assert names == tuple(
            f"{case.path}.{block}.{name}" for name, _ in module.named_parameters()
        )
    assert parts.embeddings
    assert count_hooks(model) == 0


@architectures
def test_what_enters_the_first_block_comes_from_the_embeddings(case: Case) -> None:
    model = built(case)
    parts = _parts(model)
    entering: list[torch.Tensor] = []

    def see(_module: nn.Module, args: tuple, kwargs: dict) -> None:
        entering.append(args[0] if args else kwargs["hidden_states"])
        raise ZeroDivisionError

    first = model.get_submodule(f"{case.path}.0")
    handle = first.register_forward_pre_hook(see, with_kwargs=True)
    named = dict(model.named_parameters())
    try:
        with pytest.raises(ZeroDivisionError):
            model(input_ids=torch.tensor([[5, 6, 7]]), **case.inputs)
        reached = torch.autograd.grad(
            entering[0].sum(), list(named.values()), allow_unused=True, materialize_grads=False
        )
    finally:
        handle.remove()
    touched = {name for name, grad in zip(named, reached, strict=True) if grad is not None}
    assert touched
    # Tables of relative positions enter the blocks beside the states.
    assert touched <= set(parts.embeddings)
    rest = set(parts.embeddings) - touched
    assert all("rel" in name for name in rest), rest


NORMS = {
    "LlamaForCausalLM": "model.norm",
    "GPT2LMHeadModel": "transformer.ln_f",
    "OPTForCausalLM": "model.decoder.final_layer_norm",  # registered before the blocks
    "BloomForCausalLM": "transformer.ln_f",  # and a norm of the embeddings
    "Lfm2ForCausalLM": "model.embedding_norm",  # of what the last block leaves
    "T5ForConditionalGeneration": "encoder.final_layer_norm",
    "LlavaForConditionalGeneration": "model.language_model.norm",
    "ModernBertModel": "final_norm",
    "BartForConditionalGeneration": None,  # its first norm is registered after the blocks
    "OlmoForCausalLM": None,  # a norm without weights
    "BertForMaskedLM": None,
}


@pytest.mark.parametrize("case", [c for c in CASES if c.model in NORMS], ids=lambda c: c.model)
def test_the_norm_is_the_one_after_the_blocks(case: Case) -> None:
    norm = _parts(built(case)).norm
    assert {name.rpartition(".")[0] for name in norm} == {NORMS[case.model]} - {None}


def test_a_tied_head_is_counted_with_the_embeddings() -> None:
    for name, tied in (("GemmaForCausalLM", True), ("GPT2LMHeadModel", True), ("BertModel", False)):
        case = next(case for case in CASES if case.model == name)
        parts = _parts(built(case))
        assert parts.tied is tied
        assert not tied or parts.head == ()
    untied = _parts(built(CASES[0]))
    assert (untied.tied, untied.head) == (False, ("lm_head.weight",))


def test_a_head_that_is_tied_keeps_what_is_its_own() -> None:
    parts = _parts(built(next(case for case in CASES if case.model == "BertForMaskedLM")))
    assert parts.tied
    assert "cls.predictions.bias" in parts.head
    assert "cls.predictions.transform.dense.weight" in parts.head
    assert "bert.embeddings.word_embeddings.weight" in parts.embeddings


def test_what_is_no_text_tower_is_other() -> None:
    for name, start in (
        ("LlavaForConditionalGeneration", ("model.vision_tower.", "model.multi_modal_projector.")),
        ("Qwen2VLForConditionalGeneration", ("model.visual.",)),
        ("T5ForConditionalGeneration", ("decoder.",)),
    ):
        case = next(case for case in CASES if case.model == name)
        model = built(case)
        other = _parts(model).other
        assert set(other) == {n for n, _ in model.named_parameters() if n.startswith(start)}


def test_classifiers_and_poolers_are_heads() -> None:
    case = next(case for case in CASES if case.model == "LlamaForSequenceClassification")
    assert _parts(built(case)).head == ("score.weight",)
    model = transformers.BertForTokenClassification(transformers.BertConfig(**HEADS))
    assert _parts(model).head == ("classifier.weight", "classifier.bias")
    bert = _parts(built(next(case for case in CASES if case.model == "BertModel")))
    assert bert.head == ("pooler.dense.weight", "pooler.dense.bias")


def test_two_blocks_that_share_a_parameter_are_refused() -> None:
    model = LlamaForCausalLM(LlamaConfig(**{**BASE, "num_hidden_layers": 12}))
    layers = model.model.layers
    layers[10].mlp.up_proj.weight = layers[1].mlp.up_proj.weight
    with pytest.raises(ModelError, match=r"blocks 1 and 10 share model\.layers\.10\.mlp\.up_proj"):
        _parts(model)


def test_the_model_is_left_as_it_was() -> None:
    model = LlamaForCausalLM(LlamaConfig(**BASE)).train()
    model.model.layers[1].eval()
    modes = [module.training for module in model.modules()]
    _parts(model)
    assert [module.training for module in model.modules()] == modes
    assert count_hooks(model) == 0
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_first_block_that_is_never_run_is_refused() -> None:
    model = LlamaForCausalLM(LlamaConfig(**BASE))
    loaded = load_model(model)
    model.model.forward = lambda **_: None  # type: ignore[method-assign]
    with pytest.raises(ModelError, match=r"model\.layers\.0 was never run"):
        parts_of(loaded)
