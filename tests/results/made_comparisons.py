"""Comparisons of arms made up by hand."""

from cruxlm.results.comparison import ArmResult, Comparison, Gap


def made_arm(name, blocks=(3, 7), loss=1.25, gap=None, accuracy=0.5, **changes):
    given = {
        "name": name,
        "method": "full",
        "blocks": "dynamics:2",
        "drawn": (tuple(blocks), tuple(blocks)),
        "parameters": 221_568,
        "learning_rate": 3e-4,
        "validation": {"0.0001": loss + 0.2, "0.0003": loss + 0.1, "0.001": None},
        "losses": (loss, loss + 0.02),
        "accuracies": None if accuracy is None else (accuracy, accuracy + 0.1),
        "loss_gap": gap,
        "accuracy_gap": None,
        "step_seconds": 0.125,
        "memory_mib": 41.5,
        "curve": ((10.0, 2.5), (20.0, loss + 0.1)),
    }
    return ArmResult(**{**given, **changes})


def made_comparison(*arms, **changes):
    given = {
        "model": "a model",
        "reference": arms[0].name if arms else "dynamics",
        "arms": arms
        or (
            made_arm("dynamics"),
            made_arm("random", (5, 9), 1.5, Gap(0.25, 0.04, 0.01), drawn=((5, 9), (2, 11))),
            made_arm("last", (10, 11), 1.26, Gap(0.01, 0.03, None)),
        ),
        "before": {"loss": 3.0, "accuracy": 0.01},
        "seeds": (0, 1),
        "data": {"name": "some data", "sha256": "abc", "train": 200, "validation": 20, "test": 21,
                 "truncated": 0, "left_out": {}},
        "settings": {"steps": 20, "batch": 8, "accumulate": 1},
        "finding": "random is worse than dynamics.",
        "warnings": ("two seeds: take care",),
        "provenance": {"versions": {"torch": "2"}, "device": "cpu"},
        "run": {"date": "2000-01-01", "peak_memory_mib": 1.0},
    }  # fmt: skip
    return Comparison(**{**given, **changes})
