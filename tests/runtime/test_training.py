"""What stands around a training: what is kept of its log, and that nothing of it stays."""

import errno
import os
from types import SimpleNamespace

import pytest

from cruxlm.runtime.errors import OutputError
from cruxlm.runtime.training import (
    curve_points,
    disk_is_full,
    settings_aside,
    without_accelerate,
)


def test_curves_keep_what_the_steps_say():
    history = [
        {"loss": 2.0, "grad_norm": 1.0, "epoch": 0.5, "step": 3},
        {"epoch": 0.5, "step": 3},  # an evaluation of nothing
        {"step": 6, "epoch": 1.0, "grad_norm": 0.5, "loss": 1.0, "total_flos": 7.0},
        {"train_runtime": 3.0, "train_loss": 1.5, "step": 6},
    ]
    points = curve_points(history)
    assert points == [
        {"step": 3, "loss": 2.0, "grad_norm": 1.0},
        {"step": 6, "loss": 1.0, "grad_norm": 0.5},
    ]
    assert [list(point) for point in points] == [["step", "grad_norm", "loss"]] * 2


@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt])
def test_the_environment_is_as_it_was(monkeypatch, error):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    monkeypatch.setenv("OTHER", "1")
    before = dict(os.environ)

    def training():
        with settings_aside():
            assert not any(name.startswith("ACCELERATE_") for name in os.environ)
            assert os.environ["OTHER"] == "1"
            os.environ["ACCELERATE_DYNAMO_BACKEND"] = "NO"
            if error:
                raise error

    if error:
        with pytest.raises(error):
            training()
    else:
        training()
    assert dict(os.environ) == before


@pytest.mark.parametrize("own", [{}, {"forward": "split over devices"}])
@pytest.mark.parametrize("error", [None, KeyboardInterrupt])
def test_nothing_of_accelerates_stays_on_the_model(own, error):
    model = SimpleNamespace(weight=1, **own)

    def training():
        with without_accelerate(model):
            model._original_forward = getattr(model, "forward", None)
            model.forward = "autocast"
            model._is_accelerate_prepared = True
            model.weight = 2
            if error:
                raise error

    if error:
        with pytest.raises(error):
            training()
    else:
        training()
    assert vars(model) == {"weight": 2, **own}


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), True),
        (RuntimeError("PytorchStreamWriter failed writing file data/3"), True),
        (RuntimeError("I/O error: No space left on device (os error 28)"), True),
        (OSError(errno.EIO, "No space for an input error"), False),
        (ValueError("a shape has no space"), False),
        (OutputError("cannot write"), False),
    ],
)
def test_a_full_disk_is_known_in_many_words(error, full):
    assert disk_is_full(error) is full
    wrapped = OutputError("cannot write to here")
    wrapped.__cause__ = error
    assert disk_is_full(wrapped) is full
