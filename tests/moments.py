"""Trainings that are cut short: at a step, by an error at a call, by damage to what they left."""

import torch
from transformers import TrainerCallback


def same(one, other):
    """Whether two sets of weights are the same, bit for bit."""
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


def flip(path):
    """Change one bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def halve(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
