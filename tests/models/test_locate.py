"""Finding blocks by length and place: every decoy that a model can hold."""

from types import SimpleNamespace
from typing import Any

import pytest
import transformers
from torch import nn

from conftest import tiny_llama
from cruxlm.models.locate import find_blocks, input_embedding, text_config
from cruxlm.runtime.errors import ModelError

TEXT = {
    "vocab_size": 61,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
}
VISION = {
    "model_type": "clip_vision_model",
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_attention_heads": 4,
    "image_size": 32,
    "patch_size": 16,
}


def _modules(number: int) -> nn.ModuleList:
    return nn.ModuleList([nn.Linear(4, 4) for _ in range(number)])


def _live(depth: int | None = None, **children: nn.Module) -> nn.Module:
    """A module of one's own, with a configuration that gives the depth when there is one."""
    model = nn.Module()
    for name, child in children.items():
        model.add_module(name, child)
    if depth is not None:
        model.config = SimpleNamespace(num_hidden_layers=depth)  # type: ignore[assignment]
    return model


def test_the_stack_names_its_blocks_and_its_tower() -> None:
    model = tiny_llama(blocks=3)
    stack = find_blocks(model)
    assert stack.path == "model.layers"
    assert stack.names == ("model.layers.0", "model.layers.1", "model.layers.2")
    assert stack.modules == tuple(model.model.layers)
    assert stack.tower is model.model  # the head is not run


def test_a_bare_tower_is_its_own() -> None:
    model = tiny_llama(blocks=3).model
    assert find_blocks(model).tower is model
    assert find_blocks(model).path == "layers"


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_a_vision_tower_of_any_depth_is_passed_over(depth: int) -> None:
    config = transformers.LlavaConfig(
        text_config={**TEXT, "model_type": "llama"},
        vision_config={**VISION, "num_hidden_layers": depth},
    )
    model = transformers.LlavaForConditionalGeneration(config)
    # Of equal depth, the vision tower comes first: place decides, not order.
    lists = [path for path, module in model.named_modules() if isinstance(module, nn.ModuleList)]
    assert "vision" in lists[0]
    stack = find_blocks(model)
    assert stack.path == "model.language_model.layers"
    assert stack.tower is model.model.language_model


def test_the_text_towers_own_copy_of_its_configuration_is_known() -> None:
    class Text(transformers.PretrainedConfig):
        num_hidden_layers = 3

    class Vision(transformers.PretrainedConfig):
        num_hidden_layers = 3

    eyes, words = _live(layers=_modules(3)), _live(layers=_modules(3))
    eyes.config, words.config = Vision(), Text()  # type: ignore[assignment]
    model = _live(eyes=eyes, words=words)
    model.config = Text()  # type: ignore[assignment]
    assert find_blocks(model).path == "words.layers"


def test_as_many_experts_as_blocks_are_no_blocks() -> None:
    def block() -> nn.Module:
        return _live(experts=_modules(3))

    model = _live(3, first=nn.Identity(), layers=nn.ModuleList([block() for _ in range(3)]))
    assert find_blocks(model).path == "layers"


def test_experts_are_no_blocks_where_no_list_has_the_depth() -> None:
    # Two blocks of three experts each, in a model that says it has three blocks.
    model = _live(3, layers=nn.ModuleList([_live(experts=_modules(3)) for _ in range(2)]))
    with pytest.raises(ModelError, match=r"no list of 3 blocks in Module.*found: layers \(2\)$"):
        find_blocks(model)


def test_a_list_of_another_length_is_no_stack() -> None:
    model = _live(3, adapters=_modules(2), layers=_modules(3), heads=_modules(4))
    assert find_blocks(model).path == "layers"


def test_without_a_configuration_the_longest_list_is_the_stack() -> None:
    model = _live(heads=_modules(2), tower=_live(layers=_modules(5)))
    stack = find_blocks(model)
    assert stack.path == "tower.layers"
    assert len(stack.modules) == 5
    assert stack.tower is model  # nothing in it says that it embeds tokens


def test_the_nearest_module_that_embeds_tokens_is_the_tower() -> None:
    inner = _live(layers=_modules(3))
    inner.get_input_embeddings = lambda: nn.Embedding(2, 2)  # type: ignore[assignment]
    model = _live(3, outer=_live(inner=inner))
    model.get_input_embeddings = lambda: nn.Embedding(2, 2)  # type: ignore[assignment]
    assert find_blocks(model).tower is inner


def test_an_encoder_decoder_gives_its_encoder() -> None:
    config = transformers.T5Config(
        vocab_size=61, d_model=16, d_kv=4, d_ff=32, num_layers=3, num_decoder_layers=2, num_heads=4
    )
    model = transformers.T5ForConditionalGeneration(config)
    assert find_blocks(model).path == "encoder.block"
    assert find_blocks(model).tower is model.encoder


@pytest.mark.parametrize("depths", [(3, 3), (3, 2), (2, 3)])
def test_an_encoder_with_its_own_configuration_goes_before_its_decoder(
    depths: tuple[int, int],
) -> None:
    encoder, decoder = (
        transformers.BertConfig(**{**TEXT, "num_hidden_layers": depth}) for depth in depths
    )
    config = transformers.EncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    model = transformers.EncoderDecoderModel(config)
    stack = find_blocks(model)
    assert stack.path == "encoder.encoder.layer"
    assert len(stack.modules) == depths[0]


def test_a_decoder_of_images_to_text_is_the_text_tower() -> None:
    encoder = transformers.ViTConfig(
        **{k: v for k, v in VISION.items() if k != "model_type"}, num_hidden_layers=3
    )
    decoder = transformers.BertConfig(**TEXT)
    config = transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    model = transformers.VisionEncoderDecoderModel(config)
    assert find_blocks(model).path == "decoder.bert.encoder.layer"


def _error(model: nn.Module) -> str:
    with pytest.raises(ModelError) as caught:
        find_blocks(model)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_one_block_run_many_times_is_refused() -> None:
    model = transformers.AlbertModel(transformers.AlbertConfig(**TEXT, embedding_size=8))
    message = _error(model)
    assert message.startswith("no list of 3 blocks in AlbertModel")
    assert "encoder.albert_layer_groups (1)" in message


def test_blocks_that_lie_in_pieces_are_refused() -> None:
    # The first of its four lists holds attentions, whose outputs are not the residual stream.
    config = transformers.XLMConfig(n_words=61, emb_dim=16, n_layers=3, n_heads=4)
    message = _error(transformers.XLMModel(config))
    assert message.startswith("XLMModel has no list of whole blocks: attentions, layer_norm1, ffns")


@pytest.mark.parametrize("depth", [None, 3])
def test_a_module_without_lists_is_refused(depth: int | None) -> None:
    message = _error(_live(depth, layer=nn.Linear(2, 2)))
    assert "lists of modules found: none" in message
    assert "None" not in message


def test_an_empty_list_is_no_stack() -> None:
    assert "found: none" in _error(_live(0, layers=nn.ModuleList()))


def test_two_text_towers_are_refused() -> None:
    class Two(transformers.PretrainedConfig):
        def get_text_config(self, decoder: Any = None, encoder: Any = None) -> Any:
            raise ValueError("Multiple valid text configs were found\nin the model config")

    model = _live(layers=_modules(3))
    model.config = Two()  # type: ignore[assignment]
    assert _error(model) == "Module has more than one text tower"


def test_a_text_configuration_is_the_towers() -> None:
    config = transformers.LlavaConfig(
        text_config={**TEXT, "model_type": "llama"},
        vision_config={**VISION, "num_hidden_layers": 2},
    )
    model = transformers.LlavaForConditionalGeneration(config)
    assert text_config(model) is model.config.text_config
    assert text_config(nn.Linear(2, 2)) is None
    llama = tiny_llama(blocks=2)
    assert text_config(llama) is llama.config


def test_an_embedding_that_nothing_names_is_none() -> None:
    def refuse() -> nn.Module:
        raise NotImplementedError

    llama = tiny_llama(blocks=2)
    assert input_embedding(llama) is llama.model.embed_tokens
    bare = nn.Linear(2, 2)
    assert input_embedding(bare) is None
    bare.get_input_embeddings = refuse  # type: ignore[assignment]
    assert input_embedding(bare) is None
