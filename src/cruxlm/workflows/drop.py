"""Drop blocks of a model and save what is left, checked against the model with them taken away."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import transformers
from safetensors import safe_open
from torch import nn

from cruxlm.models.checkpoint import weight_files
from cruxlm.models.drop import Expected, dropped, shorter
from cruxlm.models.load import DTYPES, LoadedModel, load_model, quiet_transformers
from cruxlm.models.save import check_free, save_or_say, save_tokenizer
from cruxlm.plans.make import make_plan
from cruxlm.results.plan import Plan, listed
from cruxlm.runtime.errors import ModelError, OptionError
from cruxlm.testbed.home import resolve
from cruxlm.workflows.dropped_card import dropped_card
from cruxlm.workflows.planned import Planner

Say = Callable[[str], None]
STORED = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
"""What safetensors call the dtypes."""


@dataclass(frozen=True)
class Dropped:
    """What was dropped of a model, and what is left."""

    plan: Plan
    """The plan: which blocks of which model, and why."""
    parameters: tuple[int, int]
    """Parameters before and after."""
    notes: tuple[str, ...]
    """What a reader must know before relying on the model."""
    folder: str | None
    """Where the model is; None before it is saved."""

    @property
    def kept(self) -> tuple[int, ...]:
        """The blocks that are kept, by their old numbers."""
        return tuple(b for b in range(len(self.plan.names)) if b not in self.plan.blocks)

    def lines(self) -> list[str]:
        """What was done, a line each."""
        before, after = self.parameters
        return [
            f"{self.plan.model}: {listed(self.plan.blocks)} dropped ({self.plan.why}), "
            f"{len(self.kept)} of {len(self.plan.names)} kept",
            f"parameters: {before:,} before, {after:,} after ({after / before - 1:+.1%})",
        ]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "plan": self.plan.to_json(),
            "kept": list(self.kept),
            "parameters": {"before": self.parameters[0], "after": self.parameters[1]},
            "notes": list(self.notes),
            "folder": self.folder,
        }


def drop(
    model: Any = None,
    *,
    blocks: str | Plan,
    out: str | Path,
    complement: bool = False,
    loading: Mapping[str, Any] | None = None,
    say: Say = lambda _line: None,
    show_progress: bool = False,
) -> Dropped:
    """Drop blocks of a model and save the rest, in the dtype that the model is stored in.

    Before the folder is there the model is read back from disk and must answer, and go on with a
    KV cache, as the whole one does with those blocks taken away. A live model is left as it was.

    Args:
        model: A hub id, a folder, ``testbed:NAME`` or a live model; None is the built-in one.
        blocks: A block expression, the file of a plan to drop, or a plan.
        out: The folder, which must not hold a model.
        complement: Whether the other blocks are dropped: ``first:m`` keeps the first m.
        loading: Options of ``load_model``.
        say: Called with one line about what is done.
        show_progress: Whether to show bars.

    Raises:
        OptionError: When the blocks make no sense for the model, or none would be left.
        ModelError: When the model cannot be loaded, or cannot be without those blocks.
        OutputError: When the folder cannot be written or holds a model.
    """
    folder = Path(out)
    check_free(folder)
    loaded, found = _asked(model, blocks, complement, loading or {}, show_progress)
    expected = Expected(loaded, found.plan.blocks)
    say("dropping, saving and reading back")
    with dropped(loaded, found.plan.blocks, expected) as smaller:
        found = replace(found, parameters=(found.parameters[0], _size(smaller.module)))
        _save(smaller, expected, found, folder, bool((loading or {}).get("trust_remote_code")))
    return replace(found, folder=str(folder))


def plan_drop(
    model: Any = None,
    *,
    blocks: str | Plan,
    complement: bool = False,
    loading: Mapping[str, Any] | None = None,
) -> list[str]:
    """What ``drop`` would do, a line each, having checked that the configuration can say it."""
    loaded, found = _asked(model, blocks, complement, loading or {}, False)
    shorter(loaded, found.plan.blocks)
    gone = sum(_size(loaded.blocks.modules[block]) for block in found.plan.blocks)
    found = replace(found, parameters=(found.parameters[0], found.parameters[0] - gone))
    return [*found.lines(), *found.notes]


def _asked(
    source: Any,
    blocks: str | Plan,
    complement: bool,
    loading: Mapping[str, Any],
    show_progress: bool,
) -> tuple[LoadedModel, Dropped]:
    """The model, and what is to be dropped of it."""
    place = resolve(source)
    loading = dict(loading)
    if loading.get("dtype") is None and isinstance(place, (str, Path)):
        loading["dtype"] = stored_dtype(str(place), loading.get("revision"))
    model = load_model(place, **loading)
    planner = Planner(model, source, show_progress=show_progress)
    notes = []
    if isinstance(blocks, str) and blocks.strip().endswith(".json"):
        blocks = Plan.load(blocks.strip())
    if isinstance(blocks, Plan):
        plan = replace(blocks, model=planner.ref.name)
        blocks.check(planner.ref)
        if complement:
            raise OptionError("a plan says itself which blocks it drops: leave out --complement")
        if plan.action != "drop":
            raise OptionError(
                f"a plan to {plan.action} {listed(plan.blocks)}: make one to drop them, or name "
                "the blocks"
            )
    else:
        chosen = planner.choose(blocks, complement=complement)
        plan = make_plan("drop", chosen, planner.ref)
        if chosen.values is not None and not complement:
            notes.append(
                f"these are the blocks that score highest ({chosen.why}): --complement keeps them "
                "and drops the others"
            )
    if len(plan.blocks) == len(plan.names):
        raise OptionError(f"{plan.why} drops all {len(plan.names)} blocks: leave at least one")
    if model.tokenizer is None:
        notes.append("the model has no tokenizer that could be saved with it")
    return model, Dropped(plan, (_size(model.module),) * 2, tuple(notes), None)


def _save(
    smaller: LoadedModel, expected: Expected, found: Dropped, folder: Path, trust: bool
) -> None:
    module: Any = smaller.module

    def write(part: Path) -> None:
        with quiet_transformers():
            module.save_pretrained(part)
        if smaller.tokenizer is not None:
            save_tokenizer(smaller.tokenizer, part)
        read = load_model(
            str(part), dtype=smaller.dtype, device=smaller.device, trust_remote_code=trust
        )
        classes = [type(held).__name__ for held in (module, read.module)]
        if classes[0] != classes[1]:
            raise ModelError(
                f"a model of class {classes[0]} would be read back as a {classes[1]}: its class is "
                "none that a configuration can name"
            )
        expected.check(read)

    texts = {
        "README.md": dropped_card(found.plan, found.kept, found.parameters),
        "plan.json": json.dumps(found.plan.to_json(), indent=1) + "\n",
    }
    save_or_say(folder, write, texts)


def stored_dtype(name: str, revision: str | None) -> str | None:
    """The dtype of a checkpoint as its configuration, else its first file, says; None otherwise."""
    try:
        with quiet_transformers():
            config, _ = transformers.PretrainedConfig.get_config_dict(name, revision=revision)
        texts = (config, config.get("text_config") or {})
        said = next(
            (held[k] for held in texts for k in ("dtype", "torch_dtype") if held.get(k)), ""
        )
        if not said and Path(name).is_dir():
            with safe_open(str(weight_files(Path(name))[0]), framework="numpy") as file:
                said = STORED.get(file.get_slice(next(iter(file.keys()))).get_dtype(), "")
    except Exception:  # whatever is wrong with it, loading it says so
        return None
    said = str(said).removeprefix("torch.")
    return said if said in DTYPES else None


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
