"""A plan as peft takes it: adapters on exactly the linear maps of the planned blocks.

Every name is written out in full. Peft matches a name that is given by its end, and a pattern
from its beginning, so each is checked against all modules of the model before it is handed on.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D

from cruxlm.models.load import LoadedModel
from cruxlm.models.locate import input_embedding
from cruxlm.models.parts import parts_of
from cruxlm.plans.apply import live, planned_names
from cruxlm.results.plan import Plan, listed
from cruxlm.runtime.errors import MissingExtraError, ModelError, OptionError, did_you_mean


@dataclass(frozen=True)
class Targets:
    """What adapters are put on, and what of the planned blocks they leave as it is."""

    maps: Mapping[int, tuple[str, ...]]
    """Full names of the adapted linear maps, by block."""
    left_out: tuple[str, ...]
    """Names of the blocks' other matrices: fused experts, convolutions, what peft would not
    address one by one. They stay frozen."""

    def __str__(self) -> str:
        """One sentence on what is not adapted; empty when everything is."""
        if not self.left_out:
            return ""
        kinds = {re.sub(r"\.\d+\.", ".*.", name) for name in self.left_out}
        return f"not adapted, and frozen: {', '.join(sorted(kinds))}"


def lora_targets(
    plan: Plan, model: LoadedModel | nn.Module, modules: Sequence[str] | None = None
) -> Targets:
    """The linear maps of the planned blocks, all of them or those that ``modules`` names.

    Args:
        plan: A plan to lora.
        model: The live model.
        modules: Ends of names, such as ``q_proj`` or ``self_attn.q_proj``.

    Raises:
        OptionError: When the plan is for another action or model; when a name of ``modules`` is
            that of no linear map in the planned blocks.
        ModelError: When a planned block has no linear map to adapt.
    """
    if plan.action != "lora":
        raise OptionError(f"a plan to {plan.action} blocks has no adapters: make one to lora")
    loaded = live(model)
    plan.check(loaded.ref)
    linear: dict[int, list[str]] = {}
    rest: list[str] = []
    for block in plan.blocks:
        within, path = loaded.blocks.modules[block], loaded.blocks.names[block]
        maps = [name for name, part in within.named_modules() if is_linear(part)]
        linear[block] = [f"{path}.{name}" for name in maps]
        adapted = {id(p) for name in maps for p in within.get_submodule(name).parameters()}
        rest += [
            f"{path}.{name}"
            for name, p in within.named_parameters()
            if p.dim() >= 2 and id(p) not in adapted
        ]
    unaddressed = _unreachable(loaded.module, [name for names in linear.values() for name in names])
    rest += [name for names in linear.values() for name in names if name in unaddressed]
    linear = {
        block: [name for name in names if name not in unaddressed]
        for block, names in linear.items()
    }
    wanted = _wanted(linear, modules)
    empty = [block for block, names in wanted.items() if not names]
    if empty:
        raise ModelError(f"{listed(empty)}: no linear map that an adapter can be put on")
    return Targets(wanted, tuple(rest))


def lora_config(
    plan: Plan,
    model: LoadedModel | nn.Module,
    *,
    modules: Sequence[str] | None = None,
    dropout: float = 0.0,
) -> Any:
    """The ``peft.LoraConfig`` whose adapters are exactly the plan's, for ``get_peft_model``.

    Args:
        plan: A plan to lora.
        model: The live model, before peft.
        modules: As for ``lora_targets``.
        dropout: Dropout before each adapter.

    Raises:
        OptionError: As ``lora_targets``; when a part cannot be trained beside adapters.
        ModelError: When peft could not tell a planned module from another.
        MissingExtraError: When peft is not installed.
    """
    loaded = live(model)
    check_peft()
    targets = lora_targets(plan, loaded, modules)
    return config_of(plan, loaded, targets.maps, dropout=dropout)


def config_of(
    plan: Plan,
    loaded: LoadedModel,
    maps: Mapping[int, Sequence[str]],
    *,
    dropout: float = 0.0,
) -> Any:
    """The ``peft.LoraConfig`` for maps that ``lora_targets`` found; raises as ``lora_config``."""
    check_peft()
    import peft

    names = [name for held in maps.values() for name in held]
    every = [name for name, _ in loaded.module.named_modules(remove_duplicate=False)]
    _check_ends(names, every, ".")
    saved, tied = _modules_of_parts(plan, loaded)
    _check_ends(saved, every, "")
    assert plan.ranks is not None  # a plan to lora has both
    assert plan.alphas is not None
    (rank, alpha), _ = Counter(zip(plan.ranks, plan.alphas, strict=True)).most_common(1)[0]
    # Peft matches a pattern from the beginning of a name only if it says so itself.
    pattern = {block: rf"^{re.escape(loaded.blocks.names[block])}\..+" for block in plan.blocks}
    other = [
        held
        for held in zip(plan.blocks, plan.ranks, plan.alphas, strict=True)
        if held[1:] != (rank, alpha)
    ]
    tying: dict[str, Any] = {"ensure_weight_tying": True} if tied else {}
    return peft.LoraConfig(
        r=rank,
        lora_alpha=alpha,  # type: ignore[arg-type]  # it divides it by the rank
        lora_dropout=dropout,
        target_modules=names,
        rank_pattern={pattern[block]: own for block, own, _ in other},
        alpha_pattern={pattern[block]: own for block, _, own in other},
        modules_to_save=saved or None,
        **tying,
        fan_in_fan_out=any(isinstance(loaded.module.get_submodule(n), Conv1D) for n in names),
        task_type="CAUSAL_LM" if _writes_text(loaded.module) else None,
    )


def reached(config: Any, module: nn.Module) -> frozenset[str]:
    """Names of the modules that peft puts adapters on, by its own matching; and of parameters.

    Args:
        config: A ``peft.LoraConfig``; it is left as it is.
        module: A model; its weights may be absent.

    Raises:
        OptionError: When peft refuses the configuration.
    """
    from peft.tuners.tuners_utils import check_target_module_exists

    used = deepcopy(config)  # it is changed in place
    try:
        _conversion()(used, model=module, conversions=None)
    except ValueError as error:
        raise OptionError(f"peft refuses these adapters: {error}") from error
    names = [name for name, _ in module.named_modules(remove_duplicate=False)]
    found = {name for name in names if name and check_target_module_exists(used, name)}
    return frozenset(found | set(getattr(used, "target_parameters", None) or ()))


def is_linear(module: nn.Module) -> bool:
    """Whether a module is a linear map that an adapter can be put on."""
    return isinstance(module, (nn.Linear, Conv1D))


def _wanted(
    linear: Mapping[int, Sequence[str]], modules: Sequence[str] | None
) -> dict[int, tuple[str, ...]]:
    """Of each block's maps, those that end in one of the names."""
    if modules is None:
        return {block: tuple(names) for block, names in linear.items()}
    ends = [modules] if isinstance(modules, str) else list(modules)
    every = [name for names in linear.values() for name in names]
    for end in ends:
        if not any(name.endswith(f".{end}") for name in every):
            known = {name.rpartition(".")[2] for name in every}
            raise OptionError(
                f"no linear map {end!r} in {listed(linear)}: {did_you_mean(end, known)}"
            )
    return {
        block: tuple(name for name in names if any(name.endswith(f".{end}") for end in ends))
        for block, names in linear.items()
    }


def _unreachable(module: nn.Module, names: Sequence[str]) -> set[str]:
    """Names that peft refuses, or would not leave as they are.

    For mixtures of experts whose experts transformers 5 fuses, peft 0.19 and later take a name that
    ends as an expert's once did (``gate_proj``) for all experts of all blocks, a dense layer's or a
    shared expert's map too. No configuration reaches such a map alone. Mamba's last map is one that
    its kernel reads directly.
    """
    try:
        from peft import LoraConfig
        from peft.tuners import tuners_utils
    except ImportError:
        return set()
    convert = _conversion()
    check = getattr(tuners_utils, "_check_lora_target_modules_mamba", _unchanged)
    found: set[str] = set()
    for end in {name.rpartition(".")[2] for name in names}:
        same = [name for name in names if name.rpartition(".")[2] == end]
        config = LoraConfig(target_modules=same)
        try:
            check(config, module, end)
            convert(config, model=module, conversions=None)
        except ValueError:  # refused, or it would be fused with another map
            found.update(same)
        else:
            found.update(set(same) - set(config.target_modules or ()))
    return found


def _conversion() -> Callable[..., None]:
    """What peft makes of a configuration before it matches names."""
    try:
        from peft.utils.transformers_weight_conversion import convert_peft_config_for_transformers
    except ImportError:  # an older peft, or an older transformers: nothing is rewritten
        return _unchanged
    return convert_peft_config_for_transformers


def check_peft() -> None:
    """Name the extra where peft is not installed, with a ``MissingExtraError``."""
    if find_spec("peft") is None:
        raise MissingExtraError("LoRA needs peft: pip install 'cruxlm[train]'")


def _unchanged(*_given: Any, **_options: Any) -> None:
    """What stands in where peft does not look at names again."""


def _modules_of_parts(plan: Plan, model: LoadedModel) -> tuple[list[str], bool]:
    """The modules that hold the plan's parts, which peft trains as copies; whether one is tied.

    Peft ties the copies of a shared matrix again, if it is told to and knows the table's name.
    """
    if not plan.parts:
        return [], False
    parts = parts_of(model)
    names = planned_names(plan, parts)
    owners = {name.rpartition(".")[0] for name in names}
    modules = sorted(o for o in owners if not any(o.startswith(f"{p}.") for p in owners))
    planned = {id(p) for name, p in model.module.named_parameters() if name in names}
    for module in modules:
        if not all(id(p) in planned for p in model.module.get_submodule(module).parameters()):
            raise OptionError(f"peft trains {module} as a whole, and the plan a part of it")
    tied = "embeddings" in plan.parts and parts.tied
    if tied:
        from peft import LoraConfig
        from peft.utils import other

        known = getattr(other, "EMBEDDING_LAYER_NAMES", ())
        table = input_embedding(model.blocks.tower)
        ends = [n.rpartition(".")[2] for n in modules if model.module.get_submodule(n) is table]
        if not hasattr(LoraConfig, "ensure_weight_tying") or not set(ends) & set(known):
            raise OptionError(
                "the embeddings are the head's matrix too, and peft would train a copy of one of "
                "them: leave embeddings out, or train blocks without lora"
            )
    return modules, tied


def _check_ends(names: Sequence[str], every: Sequence[str], before: str) -> None:
    """Refuse names that are also the end of another module's, which peft would take as well."""
    ends = tuple(before + name for name in names)
    wanted = set(names)
    for name in every:
        if name.endswith(ends) and name not in wanted:
            raise ModelError(f"peft would adapt {name} too, which the plan does not name")


def _writes_text(module: nn.Module) -> bool:
    """Whether it is a decoder with a head; peft then knows how to generate with it."""
    can = getattr(module, "can_generate", lambda: False)
    return bool(can()) and not getattr(getattr(module, "config", None), "is_encoder_decoder", False)
