"""Adapters from a folder, put on the model that they were trained on."""

import warnings
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import nn

from cruxlm.models.load import UNUSABLE, LoadedModel, load_model, quiet_transformers
from cruxlm.runtime.errors import MissingExtraError, ModelError

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def is_adapter(source: str | Path) -> bool:
    """Whether this is a folder with adapters of peft's, such as tuning with LoRA leaves."""
    return (Path(source) / CONFIG).is_file()


def load_adapter(folder: str | Path, base: LoadedModel) -> LoadedModel:
    """Put a folder's adapters on a model, in evaluation mode.

    The adapters are put into the base itself, whose weights stay as they are; ``only_adapters``
    with no blocks has it back for a while.

    Args:
        folder: The folder.
        base: The model that they were trained on.

    Raises:
        ModelError: When the folder has no adapters that can be read, or they do not fit the model;
            that is then as it was.
        MissingExtraError: When peft is not installed.
    """
    place = Path(folder)
    if not is_adapter(place):
        raise ModelError(f"{place} has no {CONFIG}: it is no folder of adapters")
    if not (place / WEIGHTS).is_file():
        raise ModelError(f"{place} has no {WEIGHTS}: save the adapters as safetensors")
    if find_spec("peft") is None:
        raise MissingExtraError("adapters need peft: pip install 'cruxlm[train]'")
    module: Any = base.module
    children = {part: dict(part._modules) for part in module.modules()}
    attributes = set(vars(module))
    try:
        loaded = load_model(_put_on(module, place), tokenizer=base.tokenizer)
    except (*UNUSABLE, SafetensorError, TypeError, ModelError) as error:
        for part, held in children.items():
            part._modules.clear()
            part._modules.update(held)
        for name in set(vars(module)) - attributes:
            delattr(module, name)
        line = next((t for t in str(error).splitlines() if t.strip()), type(error).__name__)
        raise ModelError(f"cannot put the adapters in {place} on {base.name}: {line}") from error
    return replace(loaded, name=str(place))


def _put_on(module: Any, place: Path) -> nn.Module:
    """A model with a folder's adapters; ``ModelError`` when some of their weights are missing."""
    from peft import PeftModel

    with quiet_transformers(), warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        adapted: nn.Module = PeftModel.from_pretrained(module, str(place)).eval()
    for warning in told:
        if "missing adapter keys" in str(warning.message):
            raise ModelError(str(warning.message))
    return adapted
