"""Which models can be evaluated, and that every evaluator says so of those that cannot."""

import pytest
import torch
import transformers
from torch import nn

from conftest import byte_tokenizer
from cruxlm.evaluate.causal import accepted, causal_model, inputs, pad_token, padded
from cruxlm.evaluate.loss import Loss
from cruxlm.evaluate.protocol import EVALUATORS
from cruxlm.models.load import load_model
from cruxlm.runtime.errors import ModelError
from evaluate.tiny_models import BASE, built


def headless():
    return transformers.LlamaModel(transformers.LlamaConfig(**BASE))


def classifier():
    return transformers.LlamaForSequenceClassification(transformers.LlamaConfig(**BASE))


def masked():
    options = {key: BASE[key] for key in ("vocab_size", "hidden_size", "intermediate_size")}
    config = transformers.BertConfig(**options, num_hidden_layers=2, num_attention_heads=4)
    return transformers.BertForMaskedLM(config)


def encoder_decoder():
    config = transformers.T5Config(
        vocab_size=61, d_model=16, d_kv=4, d_ff=32, num_layers=2, num_heads=4
    )
    return transformers.T5ForConditionalGeneration(config)


@pytest.mark.parametrize("name", EVALUATORS.names())
@pytest.mark.parametrize(
    ("model", "said"),
    [
        (headless, "LlamaModel has no language-model head"),
        (classifier, "LlamaForSequenceClassification has no language-model head"),
        (masked, "BertForMaskedLM has no language-model head"),
        (encoder_decoder, "T5ForConditionalGeneration is an encoder-decoder"),
        (lambda: nn.Linear(2, 2), "Linear has no language-model head"),
        (lambda: "gpt2", "a str cannot be evaluated: load a model first"),
    ],
)
def test_a_model_without_a_language_model_head(examples, name, model, said):
    with pytest.raises(ModelError, match=said):
        EVALUATORS.get(name)()(model(), examples)


def test_a_loaded_model_without_a_head(examples):
    with pytest.raises(ModelError, match="LlamaModel has no language-model head"):
        Loss()(load_model(headless()), examples)


def test_a_live_model_is_wrapped_and_a_loaded_one_kept(tiny):
    live = causal_model(tiny)
    assert (live.module, live.tokenizer, live.context) == (tiny, None, 64)
    loaded = load_model(tiny)
    assert causal_model(loaded) is loaded
    tokenizer = byte_tokenizer()
    for model in (tiny, loaded):
        wrapped = causal_model(model, tokenizer)
        assert wrapped.tokenizer is tokenizer
        assert wrapped.module is tiny
        assert wrapped.blocks.names == loaded.blocks.names
    assert loaded.tokenizer is None


def test_the_padding_is_masked_whatever_its_token(tiny):
    tiny.config.pad_token_id = 7
    assert pad_token(causal_model(tiny)) == 7
    for unusable in (None, -1):
        tiny.config.pad_token_id = unusable
        assert pad_token(causal_model(tiny)) == 0
    tiny.config.pad_token_id = 7
    (batch,) = padded(causal_model(tiny), [(7, 8, 9), (7,)], [(), ()], 2, "left")
    given = inputs(causal_model(tiny), batch)
    assert given["input_ids"].tolist() == [[7, 8, 9], [7, 7, 7]]
    assert given["attention_mask"].tolist() == [[1, 1, 1], [0, 0, 1]]
    assert given["attention_mask"].dtype == torch.long


def test_inputs_go_where_the_embedding_is(tiny):
    # Blocks on another device than the embedding, as in a model that is split.
    tiny.model.layers.to("meta")
    (batch,) = padded(causal_model(tiny), [(7,)], [()], 1, "left")
    assert inputs(causal_model(tiny), batch)["input_ids"].device.type == "cpu"


def test_a_wrapped_model_takes_what_its_base_takes(tiny, examples):
    """A model of PEFT's passes on what it does not name itself."""

    class Wrapped(nn.Module):
        def __init__(self, base):
            super().__init__()
            self.base_model = base
            self.config = base.config

        def can_generate(self):
            return True

        def get_base_model(self):
            return self.base_model

        def get_input_embeddings(self):
            return self.base_model.get_input_embeddings()

        def forward(self, input_ids, attention_mask, **others):
            seen.append(set(others))
            return self.base_model(input_ids, attention_mask=attention_mask, **others)

    seen = []
    wrapped = Wrapped(tiny)
    assert accepted(causal_model(wrapped)) == accepted(causal_model(tiny))
    found = Loss(padding="left")(wrapped, examples)
    assert seen == [{"use_cache", "logits_to_keep", "position_ids"}]
    wanted = Loss(padding="left")(tiny, examples)
    assert found.values.tolist() == wanted.values.tolist()


def test_arguments_that_a_model_does_not_name_are_not_given(examples):
    model = built("Llama")
    forward = model.forward

    def plain(input_ids, attention_mask):
        return forward(input_ids, attention_mask=attention_mask)

    wanted = Loss()(model, examples).values
    model.forward = plain
    # All logits are made then, and the right ones are still found.
    assert Loss()(model, examples).values == pytest.approx(wanted, rel=1e-5)
