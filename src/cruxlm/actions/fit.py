"""Fit: train exactly what a plan says, by the Hugging Face Trainer, so that it can be resumed.

What is not trained is frozen before the optimizer exists. A run that was killed goes on from its
last sound checkpoint when it is started again, and ends with the same weights.
"""

import json
import shutil
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn
from torch.utils.data import Dataset
from transformers import EarlyStoppingCallback, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from cruxlm.actions.consistency import consistency_of
from cruxlm.actions.lisa import Rotation
from cruxlm.actions.resume import WANTED, check_run, start
from cruxlm.actions.settings import Settings
from cruxlm.actions.trainer import BlockTrainer, Follow, Guide, Validate
from cruxlm.models.load import LoadedModel
from cruxlm.models.parts import parts_of
from cruxlm.plans.apply import Trained, apply, trained
from cruxlm.plans.lora import lora_config, lora_targets
from cruxlm.results.plan import Plan
from cruxlm.runtime.errors import OptionError, OutputError
from cruxlm.runtime.files import write_all
from cruxlm.runtime.progress import Tick
from cruxlm.runtime.training import curve_points, disk_is_full, settings_aside, without_accelerate

SCHEDULERS = {"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}
"""Schedules in the Trainer's words."""


@runtime_checkable
class Indexed(Protocol):
    """What holds items by number."""

    def __getitem__(self, place: int, /) -> Any: ...


class Ordered(Dataset[Any]):
    """Items in the order that they are trained on."""

    def __init__(self, items: Indexed, order: Sequence[int]) -> None:
        self.items = items
        self.order = order

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, place: int) -> Any:
        """The item of a place in the order."""
        return self.items[self.order[place]]


@dataclass(frozen=True)
class Fitted:
    """A trained model."""

    module: nn.Module
    """The model; with LoRA the PEFT model around it."""
    curves: list[dict[str, float]]
    """By step: ``loss`` (training, mean since the last point) and ``eval_loss``, nats a token."""
    steps: int
    """Steps that were trained; fewer than asked for when training ended early."""
    step_seconds: float | None
    """Median time of a step of this process; None when none was left to train."""


def prepare(model: LoadedModel, plan: Plan, settings: Settings) -> tuple[nn.Module, Trained]:
    """Freeze and unfreeze, or put adapters on: afterwards exactly the plan can be trained."""
    if settings.method != "lora":
        return model.module, apply(plan, model)
    config, parts = lora_config(plan, model), parts_of(model)
    left_out = str(lora_targets(plan, model))
    from peft import get_peft_model

    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft's, about transformers
        torch.manual_seed(settings.seed)
        adapted: Any = get_peft_model(model.module, config)
    # At every checkpoint peft would ask the hub whether the embeddings have grown since.
    adapted.save_pretrained = partial(adapted.save_pretrained, save_embedding_layers=False)
    return adapted, replace(trained(model, parts), left_out=left_out)


def fit(
    model: LoadedModel,
    module: nn.Module,
    plan: Plan,
    items: Ordered,
    collate: Callable[[list[Any]], dict[str, Any]],
    settings: Settings,
    run: Path,
    *,
    wanted: dict[str, Any],
    validate: Validate | None = None,
    guide: Guide | None = None,
    tick: Tick = lambda _done: None,
    say: Callable[[str], None] = lambda _line: None,
    callbacks: Sequence[TrainerCallback] = (),
) -> Fitted:
    """Train a model in place.

    Args:
        model: The model whose blocks are planned.
        module: What ``prepare`` returned.
        plan: Which blocks are trained.
        items: What is trained on, in its order: ``steps x accumulate x batch`` items.
        collate: Makes a batch of them: the model's inputs and ``labels``.
        settings: How to train.
        run: A folder for checkpoints; sound ones found there are gone on from.
        wanted: What the run was asked for, as plain data: a folder with another is refused.
        validate: Measures the validation loss at every check.
        guide: See ``BlockTrainer``.
        tick: Called with the steps done.
        say: Called with one line about anything unusual.
        callbacks: Further Trainer callbacks.

    Raises:
        OptionError: When it is to end early and nothing says when.
        ModelError: When blocks are to be consistent and there are none, or no embeddings.
        OutputError: When the folder holds another run, or the disk is full.
        DivergedError: When a loss or a gradient is not finite.
    """
    if settings.patience is not None and validate is None:
        raise OptionError("patience needs validation rows to measure the loss on, and has none")
    consistency = None
    if settings.consistency:
        consistency = consistency_of(model, settings.consistency, settings.consistency_step)
    check_run(run, wanted)
    write_all(run, {WANTED: json.dumps(wanted, indent=1).encode()})
    folder = (run / "checkpoints").resolve()
    begin, notes = start(folder)
    for note in notes:
        say(note)
    # Where a training had ended early there is nothing left to train.
    steps = begin.step if begin.over else settings.steps
    rows = items.order[: steps * settings.accumulate * settings.batch]
    clock = Clock()
    extra: list[TrainerCallback] = [Follow(tick), clock, *callbacks]
    if settings.method == "lisa":
        extra.append(_rotation(model, plan, settings))
    if settings.patience is not None:
        extra.append(EarlyStoppingCallback(settings.patience))
    with settings_aside(), without_accelerate(module):
        trainer = BlockTrainer(
            blocks=model.blocks.modules,
            validate=validate,
            guide=guide,
            consistency=consistency,
            model=module,
            args=_arguments(settings, steps, folder, model, validate is not None),
            train_dataset=Ordered(items.items, rows),
            eval_dataset=[],
            data_collator=collate,
            callbacks=extra,
        )
        trainer.remove_callback(PrinterCallback)
        tick(begin.step)
        try:
            trainer.train(str(begin.checkpoint) if begin.checkpoint else None)
        except Exception as error:  # safetensors has one of its own kind
            if not disk_is_full(error):
                raise
            step = trainer.state.global_step
            shutil.rmtree(folder / f"checkpoint-{step}", ignore_errors=True)
            raise OutputError(
                f"the disk of {run} is full at step {step}: make room and run the same command "
                "again, it goes on from the last checkpoint"
            ) from error
    module.eval()
    return Fitted(
        module, curve_points(trainer.state.log_history), trainer.state.global_step, clock.median
    )


def _rotation(model: LoadedModel, plan: Plan, settings: Settings) -> Rotation:
    parts, named = parts_of(model), dict(model.module.named_parameters())
    parameters = {block: [named[n] for n in parts.blocks[block]] for block in plan.trained}
    return Rotation(parameters, settings.lisa_blocks, settings.lisa_every, settings.seed)


class Clock(TrainerCallback):
    """Times the steps."""

    def __init__(self) -> None:
        self.begun = 0.0
        self.seconds: list[float] = []

    def on_step_begin(self, *_args: Any, **_kwargs: Any) -> None:
        """Start the watch."""
        self.begun = time.perf_counter()

    def on_step_end(self, *_args: Any, **_kwargs: Any) -> None:
        """Stop it: what is done between steps does not count."""
        self.seconds.append(time.perf_counter() - self.begun)

    @property
    def median(self) -> float | None:
        """Seconds of a step in the middle of all."""
        ordered = sorted(self.seconds)
        return ordered[len(ordered) // 2] if ordered else None


def _arguments(
    settings: Settings, steps: int, folder: Path, model: LoadedModel, checked: bool
) -> TrainingArguments:
    """The settings in the Trainer's terms; ``steps`` of them are trained."""
    early = settings.patience is not None
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=settings.batch,
        gradient_accumulation_steps=settings.accumulate,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=SCHEDULERS[settings.schedule],
        warmup_steps=round(settings.warmup * settings.steps),
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.clip,
        use_cpu=model.device == "cpu",
        seed=settings.seed,
        save_steps=settings.check_every,
        save_total_limit=2,
        eval_strategy="steps" if checked else "no",
        eval_steps=settings.check_every,
        logging_steps=settings.check_every,
        load_best_model_at_end=early,
        metric_for_best_model="eval_loss" if early else None,
        greater_is_better=False if early else None,
        restore_callback_states_from_checkpoint=early,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        disable_tqdm=True,
        report_to="none",
    )
