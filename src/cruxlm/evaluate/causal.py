"""The model that is evaluated: one with a language-model head, and how batches are put to it."""

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from cruxlm.models.batches import Batch, PaddingSide, batches
from cruxlm.models.load import LoadedModel
from cruxlm.models.locate import find_blocks, input_embedding, text_config
from cruxlm.runtime.errors import ModelError, OptionError, ProbeError


def causal_model(model: Any, tokenizer: Any = None) -> LoadedModel:
    """A loaded or a live model that predicts the next token; ``ModelError`` for any other."""
    module = model.module if isinstance(model, LoadedModel) else model
    if not isinstance(module, nn.Module):
        raise ModelError(f"a {type(module).__name__} cannot be evaluated: load a model first")
    generates = getattr(module, "can_generate", None)
    if generates is None or not generates():
        raise ModelError(
            f"{type(module).__name__} has no language-model head: load the causal language model"
        )
    config: Any = module.config
    if config.is_encoder_decoder:
        raise ModelError(f"{type(module).__name__} is an encoder-decoder: not supported")
    if isinstance(model, LoadedModel):
        return model if tokenizer is None else replace(model, tokenizer=tokenizer)
    # Not load_model(), which reads every weight to check and name it: evaluators are called often.
    name = getattr(config, "_name_or_path", "") or type(module).__name__
    return LoadedModel(name, module, tokenizer, find_blocks(module), {})


def tokenizer_of(model: LoadedModel) -> Any:
    """The model's tokenizer; ``ProbeError`` when it has none."""
    if model.tokenizer is None:
        raise ProbeError("the model has no tokenizer, so what it writes cannot be read: pass one")
    return model.tokenizer


def padded(
    model: LoadedModel,
    sequences: Sequence[Sequence[int]],
    places: Sequence[Sequence[int]],
    batch_size: int,
    side: PaddingSide,
) -> Iterator[Batch]:
    """Batches of sequences of like length, the longest first; ``places`` are read in each.

    Raises ``ProbeError`` for tokens that the model does not have.
    """
    if batch_size < 1:
        raise OptionError(f"a batch of {batch_size} examples: give 1 or more")
    vocabulary = getattr(text_config(model.module), "vocab_size", None)
    largest = max((max(sequence) for sequence in sequences), default=0)
    if vocabulary is not None and largest >= vocabulary:
        raise ProbeError(
            f"the examples have token {largest}, the model knows {vocabulary}: "
            "they were made with another model's tokenizer"
        )
    pad = pad_token(model)
    return batches(
        sequences, places, pooling="all", batch_size=batch_size, padding=side, pad_token=pad
    )


def pad_token(model: LoadedModel) -> int:
    """A token to fill rows with; it is masked, so any that the model embeds will do."""
    pad = getattr(text_config(model.module), "pad_token_id", None)
    return pad if isinstance(pad, int) and pad >= 0 else 0


def inputs(model: LoadedModel, batch: Batch) -> dict[str, Tensor]:
    """Token ids and attention mask of a batch, where the model's embedding is."""
    embedding = input_embedding(model.module) or model.module
    devices = (p.device for p in embedding.parameters() if p.device.type != "meta")
    device = next(devices, torch.device("cpu"))
    return {
        "input_ids": batch.tokens.to(device),
        "attention_mask": batch.mask.long().to(device),
    }


def accepted(model: LoadedModel) -> frozenset[str]:
    """The arguments that the model's forward pass names; of a PEFT model, its base model's."""
    base = getattr(model.module, "get_base_model", None)
    module = model.module if base is None else base()
    return frozenset(inspect.signature(module.forward).parameters)
