"""From chosen blocks to plans: what each action takes, ranks, parts, and every refusal."""

import numpy as np
import pytest

from cruxlm.models.load import load_model
from cruxlm.plans.grammar import Chosen
from cruxlm.plans.make import make_plan
from cruxlm.results.model_ref import ModelRef
from cruxlm.runtime.errors import OptionError
from plans.twelve import made

MODEL = ModelRef("m", {"weights": "ab"}, tuple(f"h.{block}" for block in range(12)), (10,) * 12)
CHOSEN = Chosen(
    blocks=(1, 8, 10),
    reasons=("a", "b", "c"),
    why="dynamics top:3",
    admissible=tuple(range(1, 11)),
    values=tuple(np.linspace(-1, 1, 12).tolist()),
    frequency=(0.0, 0.25, *(0.0,) * 6, 0.75, 0.0, 1.0, 0.0),
)
GIVEN = Chosen((1, 10), ("given",) * 2, "1,10", tuple(range(12)))


def test_what_a_plan_keeps():
    plan = make_plan("train", CHOSEN, MODEL, parts=["head", "embeddings", "head"])
    assert (plan.action, plan.blocks, plan.reasons, plan.why) == (
        "train", (1, 8, 10), ("a", "b", "c"), "dynamics top:3",
    )  # fmt: skip
    assert (plan.model, plan.identity, plan.names) == ("m", {"weights": "ab"}, MODEL.names)
    assert plan.parts == ("embeddings", "head")
    assert (plan.ranks, plan.alphas) == (None, None)
    assert make_plan("train", CHOSEN, MODEL, parts="norm").parts == ("norm",)


def test_a_loaded_model_will_do():
    loaded = load_model(made("llama"))
    assert make_plan("drop", GIVEN, loaded) == make_plan("drop", GIVEN, loaded.ref)


@pytest.mark.parametrize(
    ("options", "ranks", "alphas"),
    [
        ({}, (16, 16, 16), (32.0, 32.0, 32.0)),
        ({"r": 4}, (4, 4, 4), (8.0, 8.0, 8.0)),
        ({"r": 4, "alpha": 4}, (4, 4, 4), (4.0, 4.0, 4.0)),
        # 24 in all by 0.25, 0.75, 1: 3, 9, 12.
        ({"r": 8, "ranks": "frequency"}, (3, 9, 12), (6.0, 18.0, 24.0)),
        ({"r": 8, "alpha": 12, "ranks": "frequency"}, (3, 9, 12), (4.5, 13.5, 18.0)),
        # Scores of -9/11, 5/11 and 9/11: moved up to 0, 14 and 18 elevenths; 29 for the last two.
        ({"r": 10, "ranks": "scores"}, (1, 13, 16), (2.0, 26.0, 32.0)),
        ({"r": 1, "ranks": "scores"}, (1, 1, 1), (2.0, 2.0, 2.0)),
    ],
)
def test_ranks_and_alphas(options, ranks, alphas):
    plan = make_plan("lora", CHOSEN, MODEL, **options)
    assert plan.ranks == ranks
    assert plan.alphas == alphas
    assert sum(ranks) == options.get("r", 16) * 3  # the mean rank is kept
    assert len({alpha / rank for alpha, rank in zip(alphas, ranks, strict=True)}) == 1


@pytest.mark.parametrize(
    ("action", "options", "said"),
    [
        ("tune", {}, "there is no action 'tune'"),
        ("trian", {}, "did you mean 'train'"),
        ("train", {"r": 4}, "a plan to train has no ranks"),
        ("freeze", {"alpha": 4.0}, "a plan to freeze has no ranks"),
        ("drop", {"ranks": "scores"}, "a plan to drop has no ranks"),
        ("lora", {"r": 0}, "r must be a whole number of 1 or more, not 0"),
        ("lora", {"alpha": 0.0}, "alpha must be a positive number"),
        ("lora", {"alpha": float("nan")}, "alpha must be a positive number"),
        ("lora", {"ranks": "score"}, "did you mean 'scores'"),
        ("lora", {"ranks": "scores"}, "ranks by scores need blocks that a criterion chose: 1,10"),
        ("lora", {"ranks": "frequency"}, "ranks by frequency need blocks"),
        ("train", {"parts": ["embedings"]}, "did you mean 'embeddings'"),
        ("drop", {"parts": ["head"]}, "trains no parts"),
    ],
)
def test_options_that_make_no_sense(action, options, said):
    with pytest.raises(OptionError, match=said):
        make_plan(action, GIVEN, MODEL, **options)


def test_scores_that_are_undefined_give_no_ranks():
    undefined = Chosen((0, 1), ("", ""), "x", (0, 1), values=(float("nan"), *(1.0,) * 11))
    with pytest.raises(OptionError, match="undefined"):
        make_plan("lora", undefined, MODEL, ranks="scores")
