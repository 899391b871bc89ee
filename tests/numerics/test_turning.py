"""Cosines and angles against their definitions, also where arccos loses its digits."""

import math

import torch

from cruxlm.numerics.turning import angles, cosines, group_sums


def test_known_angles():
    before = torch.tensor([[1.0, 0.0]]).repeat(4, 1)
    turns = torch.tensor([0.0, math.pi / 3, math.pi / 2, math.pi], dtype=torch.float64)
    after = 5 * torch.stack([turns.cos(), turns.sin()], dim=1)
    assert torch.allclose(angles(before, after), turns / math.pi, atol=1e-12)
    assert torch.allclose(cosines(before, after), turns.cos(), atol=1e-12)


def test_a_tiny_angle_keeps_its_digits():
    turn = 1e-9
    before = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    after = torch.tensor([[math.cos(turn), math.sin(turn)]], dtype=torch.float64)
    assert abs(float(angles(before, after)[0]) * math.pi / turn - 1) < 1e-6


def test_a_state_of_zeros_has_no_direction():
    assert bool(cosines(torch.zeros(1, 3), torch.ones(1, 3)).isnan().all())


def test_group_sums():
    values = torch.arange(12.0).view(2, 6)
    sums = group_sums(values, torch.tensor([0, 1, 0, 1, 2, 2]), 3)
    assert sums.tolist() == [[2.0, 4.0, 9.0], [14.0, 16.0, 21.0]]
