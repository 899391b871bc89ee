"""Train a testbed model. The loop is the Hugging Face Trainer.

This module hands it packed rows, the weighted loss and the settings of the recipe. A run that
was killed goes on from its last sound checkpoint when it is started again, and ends with the
same weights.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path

import torch
from transformers import (
    LlamaForCausalLM,
    PreTrainedTokenizerBase,
    TrainerCallback,
    TrainingArguments,
)
from transformers.trainer_callback import PrinterCallback

from cruxlm.data.packing import Encoded, PackCollator, Packs
from cruxlm.models.patch import Patch
from cruxlm.runtime.checkpoints import last_checkpoint
from cruxlm.runtime.errors import OptionError, OutputError
from cruxlm.runtime.files import write_all
from cruxlm.runtime.progress import progress
from cruxlm.runtime.training import (
    curve_points,
    disk_is_full,
    settings_aside,
    without_accelerate,
)
from cruxlm.testbed.codes import CodeHeads, watch_states
from cruxlm.testbed.language import row
from cruxlm.testbed.loop import Curves, Follow, Keep, TestbedTrainer
from cruxlm.testbed.recipe import Recipe
from cruxlm.testbed.row import Row
from cruxlm.testbed.tokenizer import encode

RECIPE = "recipe.json"
"""The file that says what a folder's run, or model, is trained by."""

CHECKPOINTS = 20
"""Checkpoints, and points of the curves, over a whole run; a few more when steps do not divide."""

LOGGED = 20
"""Steps that a point of the loss is the mean of, at most."""


def train(
    recipe: Recipe,
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    run: Path,
    *,
    written: Sequence[Row] | None = None,
    curves: Curves | None = None,
    keep: Keep | None = None,
    say: Callable[[str], None] = lambda _line: None,
    show_progress: bool = False,
    callbacks: Sequence[TrainerCallback] = (),
) -> list[dict[str, float]]:
    """Train a model in place by a recipe.

    Args:
        recipe: What to train by.
        model: The model to begin with.
        tokenizer: Its tokenizer.
        run: A folder for ``recipe.json`` and ``checkpoints/``. Sound checkpoints found there
            are gone on from.
        written: Rows to train on, over and over, in place of rows of the language.
        curves: Called now and then, and at the end; what it returns goes into the curves.
        keep: Called after the steps of `Recipe.snapshot_steps`.
        say: Called with one line about anything unusual (a damaged checkpoint).
        show_progress: Whether to show a bar.
        callbacks: Further Trainer callbacks.

    Returns:
        The curves: what the Trainer logged, with ``step`` and, in nats a token, ``loss``.

    Raises:
        OutputError: When the folder holds a run of another recipe, or the disk is full.
        OptionError: When the recipe wants a C++ compiler and there is none.
    """
    check_same_recipe(run, recipe)
    if recipe.steps:
        _check_compiler(recipe)
    write_all(run, {RECIPE: json.dumps(recipe.as_dict(), indent=1).encode()})
    if not recipe.steps:
        return []
    checkpoint, notes = last_checkpoint(run / "checkpoints")
    for note in notes:
        say(f"{note}; going on from {checkpoint.name if checkpoint else 'the beginning'}")
    # With short rows, narrow heads and an explicit mask on one CPU thread, eager attention
    # trains twice as fast as SDPA.
    model.set_attn_implementation("eager")
    codes = None
    if recipe.codes:
        codes = CodeHeads(recipe.codes, recipe.vocabulary, recipe.width, recipe.seed)
    bar = progress("training", recipe.steps, show=show_progress)
    with bar as tick, Patch() as patch, settings_aside(), without_accelerate(model):
        trainer = TestbedTrainer(
            curves=curves,
            codes=codes,
            model=model,
            args=_arguments(recipe, run / "checkpoints"),
            train_dataset=_packs(recipe, tokenizer, written),
            eval_dataset=[],
            data_collator=PackCollator(recipe.prompt_weight),
            callbacks=[Follow(recipe, tick, keep), *callbacks],
        )
        if codes:
            trainer.states = watch_states(patch, model)
        trainer.remove_callback(PrinterCallback)
        if checkpoint:
            tick(int(checkpoint.name.split("-")[1]))
        try:
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        except Exception as error:  # safetensors has one of its own kind
            if not disk_is_full(error):
                raise
            shutil.rmtree(
                run / "checkpoints" / f"checkpoint-{trainer.state.global_step}", ignore_errors=True
            )
            raise OutputError(
                f"the disk of {run} is full at step {trainer.state.global_step}: make room and run "
                "the same command again, it goes on from the last checkpoint"
            ) from error
    return curve_points(trainer.state.log_history)


def check_same_recipe(folder: Path, recipe: Recipe) -> None:
    """Refuse a folder that holds a run, or a model, of another recipe (``OutputError``)."""
    path = folder / RECIPE
    if not path.exists():
        return
    try:
        there = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        there = {}
    there = there if isinstance(there, dict) else {}
    for name, wanted in json.loads(json.dumps(recipe.as_dict())).items():
        if there.get(name) != wanted:
            raise OutputError(
                f"{folder} holds a run with {name} {there.get(name)!r}, and the recipe says "
                f"{wanted!r}: choose another --out or remove the folder"
            )


def _check_compiler(recipe: Recipe) -> None:
    compilers = (os.environ.get("CXX", ""), "g++", "c++", "clang++")
    if (
        recipe.compiled
        and not torch.cuda.is_available()
        and not any(shutil.which(name) for name in compilers if name)
    ):
        raise OptionError(
            "the recipe compiles the model, which needs a C++ compiler: install g++, or train "
            "without it (--eager; slower, and the last digits of the weights differ)"
        )


def _packs(
    recipe: Recipe, tokenizer: PreTrainedTokenizerBase, written: Sequence[Row] | None
) -> Packs:
    limit = recipe.steps * recipe.batch
    if written is not None:
        if not written:
            raise OptionError("no rows to train on")
        encoded = [encode(r, tokenizer) for r in written]
        return Packs((encoded[i % len(encoded)] for i in count()), recipe.context, limit)
    return Packs(_drawn(recipe, tokenizer), recipe.context, limit)


def _drawn(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> Iterator[Encoded]:
    """Rows of the language without end, the hardest levels after the curriculum's ramp."""
    seen, ramp = 0, recipe.curriculum * recipe.tokens
    for index in count():
        hardest = min(1.0, seen / ramp) if ramp else 1.0
        drawn = row(recipe.split, index, recipe.seed, recipe.families, hardest=hardest)
        encoded = encode(drawn, tokenizer)
        seen += len(encoded.tokens)
        yield encoded


def _arguments(recipe: Recipe, folder: Path) -> TrainingArguments:
    """The recipe in the Trainer's terms."""
    # A point of the loss does not reach over a checkpoint: a run that goes on from there would
    # not know what came before.
    every = max(1, recipe.steps // CHECKPOINTS)
    logged = min(LOGGED, every)
    every -= every % logged
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=recipe.steps,
        per_device_train_batch_size=recipe.batch,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr_rate": recipe.last_learning_rate},
        warmup_steps=recipe.warmup,
        adam_beta1=recipe.betas[0],
        adam_beta2=recipe.betas[1],
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.clip,
        bf16=recipe.bf16,
        use_cpu=not torch.cuda.is_available(),
        torch_compile=recipe.compiled,
        seed=recipe.seed,
        save_steps=every,
        save_total_limit=2,
        eval_strategy="steps",
        eval_steps=every,
        logging_steps=logged,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        disable_tqdm=True,
        report_to="none",
    )
