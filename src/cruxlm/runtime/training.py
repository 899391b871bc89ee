"""What every training with the Hugging Face Trainer needs around it, whatever is trained."""

import errno
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from cruxlm.runtime.errors import OutputError

IDLE = ("epoch", "total_flos", "train_loss", "train_runtime", "train_samples_per_second",
        "train_steps_per_second")  # fmt: skip
"""What the Trainer logs that says nothing of a step, or differs between equal runs."""


def curve_points(history: Sequence[Mapping[str, float]]) -> list[dict[str, float]]:
    """What the Trainer logged (``state.log_history``), without what is `IDLE`.

    Each point has its ``step`` first and the rest in an order of its own: a resumed run has the
    fields in another.
    """
    points = [(p["step"], sorted(p.keys() - {"step", *IDLE}), p) for p in history]
    return [{"step": step, **{n: p[n] for n in names}} for step, names, p in points if names]


@contextmanager
def settings_aside() -> Iterator[None]:
    """Leave aside what Accelerate is told by the environment, for a while.

    It would be stronger than what the training was asked for; and the Trainer leaves the precision
    (transformers 4.57) and the compiler (5) of one training to the next in the process.
    """
    usual = {name: value for name, value in os.environ.items() if name.startswith("ACCELERATE_")}
    for name in usual:
        del os.environ[name]
    try:
        yield
    finally:
        for name in [name for name in os.environ if name.startswith("ACCELERATE_")]:
            del os.environ[name]
        os.environ.update(usual)


@contextmanager
def without_accelerate(model: object) -> Iterator[None]:
    """Leave nothing of Accelerate's on a model that is trained within, whatever ends the training.

    It puts a forward pass of its own on the model, for autocast, and does not take it away. What
    was there before (of a model that is split over devices) is there again afterwards.
    """
    held = vars(model)
    names = ("forward", "_original_forward", "_is_accelerate_prepared")
    before = {name: held[name] for name in names if name in held}
    try:
        yield
    finally:
        for name in names:
            held.pop(name, None)
        held.update(before)


def disk_is_full(error: BaseException) -> bool:
    """Whether an error says that a disk is full, in the words of whichever library wrote."""
    if isinstance(error, OutputError) and error.__cause__ is not None:  # of `write_all`
        error = error.__cause__
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    # torch and safetensors report a failed write in their own words.
    words = ("No space left", "PytorchStreamWriter failed", "unexpected pos", "iostream error",
             "quota exceeded")  # fmt: skip
    return any(word in str(error) for word in words)
