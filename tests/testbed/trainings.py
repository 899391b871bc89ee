"""Tiny trainings: what is measured, how they are compared, and how they are cut short."""

import torch
from transformers import TrainerCallback


def measure(model):
    return {"weight": float(model.model.norm.weight.detach().double().sum())}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


class At(TrainerCallback):
    """Does something at the end of a step."""

    def __init__(self, step, act):
        self.step, self.act = step, act

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            self.act()


def stop(kind=KeyboardInterrupt):
    def act(*_args, **_kwargs):
        raise kind

    return act


def at_call(monkeypatch, where, name, number, error):
    """Have a function raise an error when it is called for the nth time."""
    usual, calls = getattr(where, name), []

    def counted(*args, **kwargs):
        calls.append(args)
        if len(calls) == number:
            raise error
        return usual(*args, **kwargs)

    monkeypatch.setattr(where, name, counted)
    return calls
