"""The Hugging Face Trainer with what is ours put in: the loss, its guard, and the checks."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import get_total_norm
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from cruxlm.actions.consistency import Consistency, real_places
from cruxlm.data.supervised import UNLEARNED
from cruxlm.models.patch import Patch, first_tensor
from cruxlm.runtime.checkpoints import seal
from cruxlm.runtime.errors import ModelError

Validate = Callable[[nn.Module], float]
"""Validation loss of the model in training, in nats a response token."""

Guide = Callable[[dict[str, Any]], AbstractContextManager[None]]
"""Takes from a batch what is not the model's input; the model is run inside of what it returns."""


class DivergedError(ModelError):
    """A training whose loss, or a gradient of it, is no longer finite."""


class BlockTrainer(Trainer):
    """Rows in the order of the data set, the loss on response tokens, a guard against NaN."""

    def __init__(
        self,
        *,
        blocks: tuple[nn.Module, ...],
        validate: Validate | None = None,
        guide: Guide | None = None,
        consistency: Consistency | None = None,
        **given: Any,
    ) -> None:
        config: Any = getattr(given["model"], "config", None)
        usual = getattr(config, "use_cache", None)
        super().__init__(**given)
        if usual is not None:
            config.use_cache = usual  # transformers 5 turns the KV cache off, and it would be saved
        self.blocks = blocks
        self.validate = validate
        self.guide = guide
        self.consistency = consistency
        self._step_tokens = 0
        # The Trainer then says how many response tokens a step has, whatever the model's class.
        self.model_accepts_loss_kwargs = True

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The mean cross-entropy of the step's response tokens, in nats; with it, consistency.

        Tokens count the same, whichever forward pass of the step they are in.
        """
        given = dict(inputs)
        labels = given.pop("labels")
        with self.guide(given) if self.guide else nullcontext():
            outputs = model(**given, use_cache=False)
        wanted = labels[:, 1:] != UNLEARNED
        logits = outputs.logits[:, :-1][wanted].float()
        total = cross_entropy(logits, labels[:, 1:][wanted], reduction="sum")
        loss = total / (wanted.sum() if num_items_in_batch is None else num_items_in_batch)
        if not torch.isfinite(loss):
            raise self._diverged(1, f"the loss is not finite{self._where(model, given)}")
        if self.consistency is not None:
            tokens = None if num_items_in_batch is None else self._step_tokens

            def again() -> None:
                model(**given, use_cache=False)

            loss = loss + self.consistency(again, real_places(given), tokens).to(loss.device)
            if not torch.isfinite(loss):
                raise self._diverged(1, "the consistency of neighbouring blocks is not finite")
        return (loss, outputs) if return_outputs else loss

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        """The batches of one step; see `Trainer.get_batch_samples`."""
        found = super().get_batch_samples(*args, **kwargs)
        if self.consistency is not None:
            self._step_tokens = sum(int(real_places(batch).sum()) for batch in found[0])
        return found

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        """One forward and backward pass; see `Trainer.training_step`.

        After the last of a step the gradients are looked at, before they are clipped: one that is
        not finite would make all of them so.
        """
        loss: Tensor = super().training_step(*args, **kwargs)
        if self.accelerator.sync_gradients:
            self._check_gradients()
        return loss

    def evaluate(self, *_args: Any, **_kwargs: Any) -> dict[str, float]:
        """Log the validation loss; see `Trainer.evaluate`."""
        model: Any = self.model
        measured = {}
        if self.validate is not None:
            try:
                measured = {"eval_loss": self.validate(model)}
            except ModelError as error:
                raise self._diverged(0, f"validation failed ({error})") from error
            self.log(dict(measured))
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, measured
        )
        return measured

    def _get_train_sampler(self, *_args: Any, **_kwargs: Any) -> Any:
        rows: Any = self.train_dataset  # in the order they are trained on
        return torch.utils.data.SequentialSampler(rows)

    def _check_gradients(self) -> None:
        """Stop before a step that would make weights that are not finite."""
        model: Any = self.model
        held = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        # One number for all of them, so that a GPU is waited for once.
        if torch.isfinite(get_total_norm(list(held.values()))):
            return
        for name, gradient in held.items():
            if not torch.isfinite(gradient).all():
                raise self._diverged(1, f"the gradient of {name} is not finite")

    def _diverged(self, begun: int, what: str) -> DivergedError:
        """The error of a step: the one that has begun, or (0) the one that was done last."""
        step = self.state.global_step + begun
        kept = (step - 1) - (step - 1) % self.args.save_steps
        last = f"the weights of step {kept} are in {self.args.output_dir}/checkpoint-{kept}"
        return DivergedError(
            f"at step {step} {what}: {last if kept else 'no step was kept'}; "
            "train anew with a lower learning rate"
        )

    def _where(self, model: nn.Module, inputs: dict[str, Any]) -> str:
        """The first block whose states are not finite, found in a pass of its own."""
        finite: dict[int, bool] = {}

        def watcher(block: int) -> Callable[[Tensor], None]:
            def watch(states: Tensor) -> None:
                finite[block] = bool(torch.isfinite(first_tensor(states)).all())

            return watch

        with Patch() as patch, torch.no_grad():
            for number, block in enumerate(self.blocks):
                patch.watch_output(block, watcher(number))
            model(**inputs, use_cache=False)
        broken = next((block for block, fine in sorted(finite.items()) if not fine), None)
        return (
            ", though every block's states are" if broken is None else f", from block {broken} on"
        )


class Follow(TrainerCallback):
    """What happens beside the steps: the bar, and the seal on a checkpoint."""

    def __init__(self, tick: Callable[[int], None]) -> None:
        self.tick = tick

    def on_step_end(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        """Move the bar; the last step is checked and kept whatever its number."""
        self.tick(1)
        if state.global_step >= state.max_steps:
            control.should_evaluate = control.should_save = True

    def on_save(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        """Seal the checkpoint, now that all of it is there."""
        seal(Path(str(args.output_dir)) / f"checkpoint-{state.global_step}")
