"""LISA: which blocks move in which steps, and what the optimizer holds of them.

The control is the published mistake, made on purpose: blocks that are frozen before the optimizer
is made are never in it, and are not trained when their turn comes.
"""

import numpy as np
import pytest
import torch
from transformers import TrainerCallback

from actions.tiny_runs import train
from cruxlm.actions.lisa import drawn_blocks
from moments import At, same, stop

pytestmark = pytest.mark.usefixtures("frozen")

BLOCKS = (1, 3, 7, 10, 11)
PLAN = ",".join(map(str, BLOCKS))


class Watch(TrainerCallback):
    """Which blocks move in each step, and what the optimizer has of each."""

    def __init__(self):
        self.moved, self.held, self.registered = [], [], None
        self.blocks = self.last = None

    def ready(self, model, _module):
        self.blocks = {
            block: list(part.parameters()) for block, part in enumerate(model.blocks.modules)
        }

    def _values(self):
        return {b: [p.detach().clone() for p in held] for b, held in self.blocks.items()}

    def on_step_begin(self, args, state, control, **kwargs):
        optimizer = kwargs["optimizer"]
        self.registered = {id(p) for group in optimizer.param_groups for p in group["params"]}
        self.held.append({b for b, own in self.blocks.items() if set(own) & set(optimizer.state)})
        self.last = self._values()

    def on_step_end(self, args, state, control, **kwargs):
        now = self._values()
        self.moved.append(
            {
                block
                for block, own in now.items()
                if not all(map(torch.equal, own, self.last[block]))
            }
        )
        self.sizes = sum(
            moment.numel()
            for own in kwargs["optimizer"].state.values()
            for name, moment in own.items()
            if name.startswith("exp_avg")
        )


def lisa(folder, watch, *, steps=8, every=2, count=2, seed=5, **options):
    return train(
        folder, plan=PLAN, method="lisa", steps=steps, lisa_every=every, lisa_blocks=count,
        seed=seed, ready=watch.ready, callbacks=[watch, *options.pop("callbacks", ())], **options,
    )  # fmt: skip


def drawn_by_step(steps=8, every=2, count=2, seed=5):
    return [set(drawn_blocks(BLOCKS, count, seed, step // every)) for step in range(steps)]


def test_the_drawn_blocks_move_and_no_others(tmp_path):
    watch = Watch()
    run = lisa(tmp_path, watch)
    assert watch.moved == drawn_by_step()
    assert len(set(map(frozenset, watch.moved))) > 2
    # All planned blocks are registered, and nothing else.
    assert watch.registered == {id(p) for block in BLOCKS for p in watch.blocks[block]}
    # Moments are those of the blocks whose turn it is: none before a period's first step.
    for step, held in enumerate(watch.held):
        assert held <= drawn_by_step()[step]
        assert step % 2 == 0 or held == drawn_by_step()[step]
    one = sum(p.numel() for p in watch.blocks[1])
    assert watch.sizes <= 2 * 2 * one < sum(2 * run.trained.blocks[b] for b in BLOCKS)


def test_freezing_before_the_optimizer_would_be_seen(tmp_path):
    """The published mistake: only the blocks of the first draw are ever trained."""
    watch = Watch()

    def too_early(model, module):
        watch.ready(model, module)
        for block in set(BLOCKS) - drawn_by_step()[0]:
            for parameter in model.blocks.modules[block].parameters():
                parameter.requires_grad_(False)

    early = Watch()
    early.ready = too_early
    train(
        tmp_path, plan=PLAN, method="lisa", steps=8, lisa_every=2, lisa_blocks=2, seed=5,
        ready=too_early, callbacks=[watch],
    )  # fmt: skip
    assert watch.moved != drawn_by_step()
    assert set().union(*watch.moved) <= drawn_by_step()[0]


def test_a_block_that_comes_back_starts_afresh(tmp_path):
    """Its moments are gone, also where periods of other blocks lay between."""
    watch = Watch()
    lisa(tmp_path, watch, steps=12, every=1, count=1, seed=0)
    turns = drawn_by_step(12, 1, 1, 0)
    assert watch.moved == turns
    again = [t for t in range(1, 12) if turns[t] in turns[:t] and turns[t] != turns[t - 1]]
    assert again
    assert all(watch.held[step] == set() for step in again)
    kept = [t for t in range(1, 12) if turns[t] == turns[t - 1]]
    assert all(watch.held[step] == turns[step] for step in kept)


def test_a_run_that_goes_on_draws_and_holds_the_same(tmp_path):
    whole, begun, rest = Watch(), Watch(), Watch()
    expected = lisa(tmp_path / "whole", whole, steps=12, every=3, checks=3)
    with pytest.raises(KeyboardInterrupt):
        lisa(tmp_path / "cut", begun, steps=12, every=3, checks=3, callbacks=[At(9, stop())])
    found = lisa(tmp_path / "cut", rest, steps=12, every=3, checks=3)
    # From step 8 on: in the middle of a period.
    assert rest.moved == whole.moved[8:] == drawn_by_step(12, 3)[8:]
    assert rest.held == whole.held[8:]
    assert same(dict(found.module.named_parameters()), dict(expected.module.named_parameters()))


def test_as_many_blocks_as_there_are_is_training_them_all(tmp_path):
    watch = Watch()
    one = lisa(tmp_path / "a", watch, count=99, steps=4)
    other = train(tmp_path / "b", plan=PLAN, steps=4, seed=5)
    assert watch.moved == [set(BLOCKS)] * 4
    assert same(dict(one.module.named_parameters()), dict(other.module.named_parameters()))


def test_parts_are_trained_in_every_step(tmp_path):
    watch = Watch()
    run = lisa(tmp_path, watch, parts=("norm",))
    norm, before = run.before["model.norm.weight"]
    assert not torch.equal(norm, before)
    assert norm.requires_grad
    assert watch.moved == drawn_by_step()


# The draw.


def test_the_draw_is_a_pure_function():
    assert drawn_blocks(BLOCKS, 2, 7, 3) == drawn_blocks(list(BLOCKS), 2, 7, 3)
    assert drawn_blocks(BLOCKS, 9, 7, 3) == BLOCKS
    for period in range(50):
        found = drawn_blocks(BLOCKS, 3, 1, period)
        assert len(set(found)) == 3
        assert list(found) == sorted(set(found) & set(BLOCKS))
    assert len({drawn_blocks(BLOCKS, 2, 0, period) for period in range(60)}) == 10
    assert len({drawn_blocks(BLOCKS, 2, seed, 0) for seed in range(60)}) == 10


def test_the_draw_is_what_it_was():
    """In every process, on every rank and in every version: a resumed run depends on it."""
    assert [drawn_blocks(BLOCKS, 2, 5, period) for period in range(4)] == [
        (1, 10), (1, 7), (3, 11), (1, 7),
    ]  # fmt: skip


@pytest.mark.parametrize("seed", [0, 1, 1234])
def test_every_block_is_drawn_as_often(seed):
    periods = 3000
    counts = np.zeros(12)
    pairs = np.zeros((12, 12))
    for period in range(periods):
        now = list(drawn_blocks(BLOCKS, 2, seed, period))
        counts[now] += 1
        pairs[now[0], now[1]] += 1
    share, expected = counts[list(BLOCKS)], periods * 2 / 5
    # Chi-square over five blocks stays under its 99.9 % point; and every pair comes up as often.
    assert ((share - expected) ** 2 / (expected * 3 / 5)).sum() * 4 / 5 < 18.5
    drawn = pairs[pairs > 0]
    assert len(drawn) == 10
    assert ((drawn - periods / 10) ** 2 / (periods / 10)).sum() < 27.9
    # One period says nothing about the next.
    stays = sum(
        drawn_blocks(BLOCKS, 2, seed, t) == drawn_blocks(BLOCKS, 2, seed, t + 1)
        for t in range(periods)
    )
    assert abs(stays - periods / 10) < 4 * np.sqrt(periods * 0.09)
