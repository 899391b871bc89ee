"""Transformers: which parameters can be trained, set before an optimizer is made and checked after.

An optimizer keeps the parameters that can be trained when it is made, so what is frozen or freed
later is not what is trained. The callback stops a training that begins with any others, whoever
changed them: a subclass of Trainer, or an optimizer that was made too early.
"""

from transformers import __version__

from cruxlm.plans.exports.python import names
from cruxlm.plans.exports.settings import head
from cruxlm.plans.exports.target import Planned, Target
from cruxlm.results.export import Export

FILE = "crux_plan.py"
SOURCE = '''
from transformers import TrainerCallback

TRAINED = {names}


def freeze(model):
    """Let exactly TRAINED be trained. Call it before a Trainer or an optimizer is made."""
    unknown = TRAINED - {{name for name, _ in model.named_parameters()}}
    if unknown:
        raise ValueError(f"another model, or another version of transformers: no {{min(unknown)}}")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in TRAINED)
    return model


class PlanCheck(TrainerCallback):
    """Stops a training that is about to train anything else."""

    def on_train_begin(self, args, state, control, model=None, optimizer=None, **kwargs):
        # torch.compile, FSDP and checkpointing wrap modules under names of their own.
        wrapped = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
        found = {{
            ".".join(part for part in name.split(".") if part not in wrapped): parameter
            for name, parameter in model.named_parameters()
        }}
        trained = {{name for name, parameter in found.items() if parameter.requires_grad}}
        if trained != TRAINED:
            raise RuntimeError(f"not as planned: {{sorted(trained ^ TRAINED)[:3]}}")
        groups = getattr(optimizer, "param_groups", [])
        held = {{id(parameter) for group in groups for parameter in group["params"]}}
        # An optimizer that holds none of the model's own tensors (DeepSpeed's) says nothing.
        if held & {{id(parameter) for parameter in found.values()}}:
            missing = sorted(name for name in TRAINED if id(found[name]) not in held)
            if missing:
                raise RuntimeError(f"the optimizer was made before freeze: no {{missing[:3]}}")
'''


def source(made: Planned) -> str:
    """The file: ``TRAINED``, ``freeze`` and ``PlanCheck``."""
    count, total = made.parts.count(tuple(made.trained)), made.parts.total
    said = head(
        made,
        f"trains {count:,} of {total:,} parameters, named as in transformers {__version__}",
    )
    return said + SOURCE.format(names=names(made, made.trained))


def _write(made: Planned) -> Export:
    return Export(
        target="transformers",
        action=made.plan.action,
        file=FILE,
        text=source(made),
        use="from crux_plan import PlanCheck, freeze; "
        "Trainer(model=freeze(model), callbacks=[PlanCheck()], ...)",
    )


TRANSFORMERS = Target(
    name="transformers",
    title="transformers: a freeze function and a callback",
    write=_write,
    refusals={
        "lora": "its Trainer makes no adapters; export to peft, whose model it trains",
        "drop": "it takes no block out of a model; use `crux drop`, or export to mergekit",
    },
    package="transformers",
)
