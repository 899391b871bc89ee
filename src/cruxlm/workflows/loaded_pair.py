"""A model before and after fine-tuning, loaded side by side."""

import copy
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from cruxlm.models.adapter import is_adapter, load_adapter
from cruxlm.models.load import LoadedModel, load_model
from cruxlm.models.suppressed import is_suppressed, load_suppressed
from cruxlm.models.swap import check_pair
from cruxlm.results.scan import BUILTIN_MODEL
from cruxlm.results.tuning import TUNING, Tuning
from cruxlm.testbed.home import resolve


def load_pair(base: Any, tuned: Any, loading: Mapping[str, Any]) -> tuple[LoadedModel, LoadedModel]:
    """A model before and after, which belong together; adapters are merged into a copy.

    Raises ``ModelError`` when one cannot be loaded, they differ in architecture or tokenizer, or
    not at all.
    """
    before = load_model(resolve(base), **loading)
    place = resolve(tuned)
    after = _with_adapters(before, place) if _is_adapter(place) else load_measured(tuned, loading)
    before, after = (
        replace(loaded, name=name_of(asked, loaded))
        for loaded, asked in ((before, base), (after, tuned))
    )
    check_pair(after, before)
    return before, after


def load_measured(model: Any, loading: Mapping[str, Any]) -> LoadedModel:
    """A model to be measured, and not to be trained or saved: also one whose skip is suppressed.

    Raises ``ModelError`` when it cannot be loaded.
    """
    place = resolve(model)
    if isinstance(place, (str, Path)) and is_suppressed(place):
        return load_suppressed(place, **loading)
    return load_model(place, **loading)


def _is_adapter(place: Any) -> bool:
    return isinstance(place, (str, Path)) and is_adapter(place)


def _with_adapters(before: LoadedModel, folder: str | Path) -> LoadedModel:
    own = load_model(copy.deepcopy(before.module), tokenizer=before.tokenizer)
    adapted: Any = load_adapter(folder, own).module
    return load_model(adapted.merge_and_unload(), tokenizer=before.tokenizer)


def trained_on(source: Any) -> Collection[str]:
    """Content hashes of what a folder of ``crux tune`` was trained on; none for other models."""
    place = resolve(source)
    if not isinstance(place, (str, Path)) or not (Path(place) / TUNING).is_file():
        return ()
    return (Tuning.load(place).data["sha256"],)


def name_of(asked: Any, loaded: LoadedModel) -> str:
    """What a model is called in a result: as it was asked for."""
    if asked is None:
        return BUILTIN_MODEL
    return str(asked) if isinstance(asked, (str, Path)) else loaded.name
