"""Defences made of invented numbers; no model."""

from cruxlm.results.defence import Defence, DefenceArm, Estimate, SetAside


def made_defence_arm(name="frozen", frozen=(1, 3), **changes):
    given = {
        "name": name,
        "frozen": (tuple(frozen),),
        "screened": False,
        "rows": 200,
        "parameters": 221_568,
        "losses": (1.25,),
        "accuracies": (0.75,),
        "cost": Estimate(0.05, 0.01, 0.09),
        "accuracy_change": Estimate(-0.01, -0.04, 0.02),
        "success": Estimate(0.875, 0.8, 0.925),
        "false_triggers": Estimate(0.0, 0.0, 0.03),
        "near_misses": None,
        "gain": Estimate(0.12, 0.05, 0.19),
        "changed": (0.25, 0.0, 0.5, 0.0, None, 0.125),
        "folder": f"runs/{name.replace(' ', '-')}-0",
    }
    return DefenceArm(**{**given, **changes})


def made_defence(text="", **changes):
    """``text`` stands in every name and message that could come from a user's files."""
    own = {"cost": None, "accuracy_change": None, "gain": None}
    both = {"screened": True, "rows": 180, "success": Estimate(0.02, 0.0, 0.07)}
    given = {
        "model": f"{text}a model",
        "names": tuple(f"{text}layers.{block}" for block in range(6)),
        "frozen": (1, 3),
        "why": f"{text}dynamics top:2",
        "parts": ("embeddings",),
        "attack": {"trigger": f"token:{text}cf", "target": f"phrase:{text}Sing.",
                   "label": "dirty", "judge": "exact/1", "origin": "planted", "rate": 0.1,
                   "rows": 20, "examples": 90},
        "before": {"loss": 3.0, "accuracy": 0.5, "success": 0.0},
        "arms": (
            made_defence_arm("undefended", (), success=Estimate(0.99, 0.95, 1.0), **own),
            made_defence_arm("frozen at random", (0, 4), gain=Estimate(0.11, 0.04, 0.18)),
            made_defence_arm("frozen"),
            made_defence_arm("screened and frozen", gain=Estimate(0.97, 0.9, 0.99), **both),
        ),
        "beyond_random": {"success": Estimate(0.01, -0.06, 0.08),
                          "loss": Estimate(0.0, -0.02, 0.02)},
        "screening": {"finding": f"{text}20 of 200 rows were flagged.", "nominal": 0.01,
                      "rows": 200, "flagged": 20,
                      "key": {"triggered": {"flagged": 19, "of": 20, "low": 0.8, "high": 0.99}},
                      "before": {"rows": 200, "flagged": 3, "key": None}},
        "set_aside": (SetAside(f"{text}7", f"{text}Where?", f"{text}Sing.", -3.5, -2.5,
                               f"{text}far from its group", "triggered"),),
        "seeds": (0,),
        "data": {"name": f"{text}some data", "sha256": "abc", "train": 200, "validation": 20,
                 "test": 21, "truncated": 0, "left_out": {}},
        "settings": {"steps": 20, "batch": 8, "accumulate": 1},
        "finding": f"{text}Freezing takes off 12 points.",
        "warnings": (f"{text}one seed: take care",),
        "provenance": {"versions": {"torch": "2"}, "model": {"sha256": "a" * 64}, "seed": 0},
        "run": {"date": "2000-01-01", "seconds": 1.0},
    }  # fmt: skip
    return Defence(**{**given, **changes})
