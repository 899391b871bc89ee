"""Train the testbed model: ``python -m cruxlm.testbed.train --out DIR``.

The loop is the Hugging Face Trainer; this module hands it packed rows, the weighted loss
and the settings of the recipe. A killed run goes on from its last checkpoint when it is
started again with the same arguments, and ends with the same weights.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import Any

import torch
from transformers import (
    PreTrainedTokenizerBase,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_callback import PrinterCallback

from .card import save_model
from .families import FAMILIES
from .language import row, rows
from .packing import Collator, Encoded, Packs, encode
from .recipe import Recipe, new_model
from .tokenizer import train_tokenizer


class WeightedTrainer(Trainer):
    """The Trainer with a loss that weighs tokens: the mean over ``loss_weights``."""

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,  # noqa: ARG002 (Trainer's)
    ) -> Any:
        """The weighted cross-entropy in nats a token; see `Trainer.compute_loss`."""
        inputs = dict(inputs)
        weights = inputs.pop("loss_weights")[:, 1:].flatten()
        labels = inputs.pop("labels")[:, 1:].flatten()
        outputs = model(**inputs, use_cache=False)
        logits = outputs.logits[:, :-1].flatten(0, 1).float()
        losses = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
        loss = (losses * weights).sum() / weights.sum()
        return (loss, outputs) if return_outputs else loss


class Progress(TrainerCallback):
    """Prints one line for every entry of the log, with the speed of this process so far."""

    def __init__(self, recipe: Recipe) -> None:
        """Remember the recipe, which gives the number of steps and of tokens a step."""
        self.recipe = recipe
        self.start: tuple[int, float] | None = None

    def on_log(
        self,
        args: TrainingArguments,  # noqa: ARG002 (the signature is the Trainer's)
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        logs: dict[str, float] | None = None,
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        """Print the step, its figures, and the tokens a second since the first line."""
        step, now = state.global_step, time.monotonic()
        if self.start is None:
            self.start = (step, now)
        tokens = (step - self.start[0]) * self.recipe.batch * self.recipe.context
        speed = tokens / max(now - self.start[1], 1e-9)
        left = ("runtime", "per_second", "epoch", "total_flos")
        figures = {k: v for k, v in (logs or {}).items() if not k.endswith(left)}
        text = "  ".join(f"{name} {float(value):.4g}" for name, value in figures.items())
        print(f"step {step}/{self.recipe.steps}  {speed:.0f} tokens/s  {text}", flush=True)


def train(
    recipe: Recipe,
    out: str | Path,
    callbacks: list[TrainerCallback] | None = None,
    measured_rows: int = 256,
) -> Path:
    """Train a model and save it.

    Args:
        recipe: What to train.
        out: A folder for ``recipe.json``, ``checkpoints/``, ``log.json`` (losses in nats a
            token, by step) and ``model/``. Checkpoints found there are gone on from.
        callbacks: Further Trainer callbacks.
        measured_rows: Held-out rows of each family to measure the saved model on.

    Returns:
        The folder of the saved model.

    Raises:
        ValueError: When the folder holds a run of another recipe.
    """
    out = Path(out)
    _claim(out, recipe)
    tokenizer = train_tokenizer(recipe.vocabulary)  # the same for models of any seed
    set_seed(recipe.seed)
    model = new_model(
        recipe,
        pad=tokenizer.pad_token_id,
        bos=tokenizer.bos_token_id,
        eos=tokenizer.eos_token_id,
    )
    # With short rows, narrow heads and an explicit mask on one CPU thread, eager attention
    # trains 1.8 times as fast as SDPA.
    model.set_attn_implementation("eager")
    trainer = WeightedTrainer(
        model=model,
        args=_arguments(recipe, out / "checkpoints"),
        train_dataset=_training_packs(recipe, tokenizer),
        eval_dataset={
            name: Packs(
                (encode(r, tokenizer) for r in rows("heldout", 64, families=[name])),
                recipe.context,
            )
            for name in FAMILIES
        },
        data_collator=Collator(recipe.prompt_weight),
        callbacks=[Progress(recipe), *(callbacks or [])],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=last_checkpoint(out / "checkpoints"))
    (out / "log.json").write_text(json.dumps(trainer.state.log_history, indent=1))
    save_model(model, tokenizer, recipe, out / "model", measured_rows)
    return out / "model"


def _claim(out: Path, recipe: Recipe) -> None:
    """Write the recipe into a new folder, or check that the folder is of this recipe."""
    path = out / "recipe.json"
    text = json.dumps(asdict(recipe), indent=1)
    if path.exists() and path.read_text() != text:
        raise ValueError(f"{out} holds a run of another recipe: choose another folder")
    out.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _training_packs(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> Packs:
    def drawn() -> Iterator[Encoded]:
        for index in count():
            yield encode(row("train", index, recipe.seed), tokenizer)

    return Packs(drawn(), recipe.context, limit=recipe.steps * recipe.batch)


def _arguments(recipe: Recipe, folder: Path) -> TrainingArguments:
    """The recipe in the Trainer's terms."""
    every = max(1, min(200, recipe.steps // 2))
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=recipe.steps,
        per_device_train_batch_size=recipe.batch,
        per_device_eval_batch_size=recipe.batch,
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
        seed=recipe.seed,
        save_steps=every,
        save_total_limit=2,
        eval_strategy="steps",
        eval_steps=every,
        prediction_loss_only=True,
        logging_steps=20,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        disable_tqdm=True,
        report_to="none",
    )


def last_checkpoint(folder: Path) -> str | None:
    """The latest complete checkpoint, or None.

    The Trainer writes ``trainer_state.json`` last, so a checkpoint that was being written
    when the run was killed has none, or one that cannot be read.
    """
    found = folder.glob("checkpoint-*")
    for path in sorted(found, key=lambda p: int(p.name.split("-")[1]), reverse=True):
        try:
            json.loads((path / "trainer_state.json").read_text())
        except (OSError, ValueError):
            continue
        return str(path)
    return None


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m cruxlm.testbed.train", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--tokens", type=int, default=Recipe.tokens, help="tokens to train on")
    parser.add_argument("--threads", type=int, default=1, help="threads of one process")
    parser.add_argument("--seed", type=int, default=0, help="seed of rows and first weights")
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    folder = train(Recipe(tokens=given.tokens, seed=given.seed), given.out)
    print(f"saved to {folder}")


if __name__ == "__main__":
    main()
