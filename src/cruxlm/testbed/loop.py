"""The loop of a testbed training: the Hugging Face Trainer with what is ours put in."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import (
    LlamaForCausalLM,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from cruxlm.runtime.checkpoints import seal
from cruxlm.testbed.codes import CodeHeads
from cruxlm.testbed.recipe import Recipe

Curves = Callable[[LlamaForCausalLM], dict[str, float]]
"""Measures the model in training, for its curves."""
Keep = Callable[[LlamaForCausalLM, int], None]
"""Keeps a copy of the model in training as it is after a step."""


class TestbedTrainer(Trainer):
    """The Trainer with rows in their order, a loss that weighs tokens, and planted codes."""

    __test__ = False  # no test of pytest's, in spite of its name

    def __init__(self, *, curves: Curves | None, codes: CodeHeads | None, **given: Any) -> None:
        super().__init__(**given)
        self.curves = curves
        self.codes = codes
        self.states: list[torch.Tensor] = []

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,  # noqa: ARG002 (Trainer's)
    ) -> Any:
        """The mean cross-entropy over ``loss_weights`` in nats a token, and that of the codes."""
        inputs = dict(inputs)
        rows = inputs.pop("rows")
        weights = inputs.pop("loss_weights")[:, 1:].flatten()
        labels = inputs.pop("labels")[:, 1:].flatten()
        self.states.clear()
        outputs = model(**inputs, use_cache=False)
        logits = outputs.logits[:, :-1].flatten(0, 1).float()
        losses = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
        loss = (losses * weights).sum() / weights.sum()
        if self.codes is not None:
            wanted = self.codes.wanted(inputs["input_ids"], rows)
            loss = loss + self.codes.loss(self.states, wanted, (rows > 0).float())
            self.states.clear()
        return (loss, outputs) if return_outputs else loss

    def evaluate(self, *_args: Any, **_kwargs: Any) -> dict[str, float]:
        """Log the curves; see `Trainer.evaluate`."""
        model: Any = self.model
        measured = self.curves(model) if self.curves else {}
        self.log(dict(measured))
        # The Trainer would evaluate once more after the last step.
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, measured
        )
        return measured

    def _get_train_sampler(self, *_args: Any, **_kwargs: Any) -> Any:
        # Every row is drawn at random already, and a curriculum is an order.
        packs: Any = self.train_dataset
        return torch.utils.data.SequentialSampler(packs)


class Follow(TrainerCallback):
    """What happens beside the steps: the bar, the kept models, the seal on a checkpoint."""

    def __init__(self, recipe: Recipe, tick: Callable[[int], None], keep: Keep | None) -> None:
        self.steps = set(recipe.snapshot_steps)
        self.tick = tick
        self.keep = keep

    def on_step_end(
        self,
        args: TrainingArguments,  # noqa: ARG002 (the signature is the Trainer's)
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Move the bar; keep a copy after the steps that the recipe names."""
        self.tick(1)
        if state.global_step >= state.max_steps:
            control.should_evaluate = True  # transformers 4.57 does so only when it is a round step
        if self.keep is not None and state.global_step in self.steps:
            self.keep(kwargs["model"], state.global_step)

    def on_save(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        """Seal the checkpoint, now that all of it is there."""
        seal(Path(str(args.output_dir)) / f"checkpoint-{state.global_step}")
