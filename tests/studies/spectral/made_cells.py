"""Made cells of the study `spectral_insights`: worlds in which it is known which claim holds."""

import numpy as np

from cruxlm.studies.spectral.study import SPECTRAL
from cruxlm.studies.spectral.tuned import CRITERIA
from cruxlm.studies.study import code_hash

BLOCKS = 24
DEPTH = np.arange(BLOCKS) / BLOCKS
PROBE_CRITERIA = (*CRITERIA[:4], "clusters")
ENDS = ("", "@mixed", "@builtin", "@random-tokens")


def bumps(random, scale=1.0):
    """A curve of its own: a few smooth bumps, on a ring, so that no block is more likely."""
    centres = random.uniform(0, BLOCKS, 3)
    heights = random.uniform(0.5, 1.5, 3)
    apart = np.abs(np.arange(BLOCKS)[:, None] - centres)
    apart = np.minimum(apart, BLOCKS - apart)
    return scale * (heights * np.exp(-(apart**2) / 4)).sum(axis=1)


SHAPE = 3 * np.exp(-((np.arange(BLOCKS) - 7) ** 2) / 6)
"""A shape that all models share, and that depth's measures do not explain."""


def listed(values, incomplete=1):
    held = [float(v) for v in values]
    for place in range(incomplete):
        held[place] = held[-1 - place] = None
    return held


def labels():
    read = [f"{name}{end}" for name in PROBE_CRITERIA for end in ENDS]
    within = [f"dynamics{end}, within groups" for end in ENDS[1:3]]
    bare = [f"{name}, untrained" for name in read]
    return list(dict.fromkeys((*CRITERIA, *read, *within, *bare)))


def predicted(world, models, family, seed, aside=False):
    """A cell of predictions.

    ``planted``: undoing costs what dynamics says, the untrained network knows nothing; ``depth``:
    both follow depth; ``null``: nothing knows of anything; ``architecture``: the untrained network
    says the same as the trained one; ``shape``: what models have in common is all that agrees.
    """
    pairs = []
    for place, model in enumerate(models):
        random = np.random.default_rng([seed, place])
        own, other = bumps(random), bumps(random)
        falls = 3 * (1 - DEPTH) + 0.02 * random.standard_normal(BLOCKS)
        again = 3 * (1 - DEPTH) + 0.02 * random.standard_normal(BLOCKS)
        dynamics, cost, bare = {
            "planted": (own, own + 0.05 * other, bumps(random)),
            "architecture": (own, own + 0.05 * other, own + 0.02 * other),
            "depth": (falls, again, bumps(random)),
            "shape": (SHAPE + own, SHAPE + other, bumps(random)),
            "null": (own, other, bumps(random)),
        }[world]
        predictors = {label: listed(bumps(random)) for label in labels()}
        for label in predictors:
            if label.startswith("dynamics"):
                predictors[label] = listed(bare if "untrained" in label else dynamics)
        measured = {f"window {w}": listed(cost, w // 2) for w in (1, 3, 5)}
        pairs.append({"run": model, "before": 9.0, "after": 1.0, "predictors": predictors,
                      "measured": measured})  # fmt: skip
    cells = [(p, t) for p in labels() for t in ("window 1", "window 3", "window 5")]
    said = [{"predictor": p, "target": t, "rho": 0.1, "low": -0.1, "high": 0.3} for p, t in cells]
    analysis = {"analysis": code_hash("cruxlm.studies.spectral.prediction_rule")} if aside else {}
    return {"family": family, "models": list(models), "pairs": pairs, "predictions": said,
            "finding": "", **analysis}  # fmt: skip


PROBES = ("recall", "deduction", "sum_steps", "lists", "sentiment", "story", "mixed", "builtin",
          "random-tokens", "shuffled-tokens", "random-tokens, no frame", "lists, no frame",
          "mixed, no frame", "mixed, within groups")  # fmt: skip


def profiled(world, model, seed):
    """A cell of profiles.

    ``alike``: trained curves are one curve, a family's own for each base, which post-training
    keeps, and untrained ones differ with the probe; ``architecture``: untrained ones are alike as
    well; ``depth``: all follow depth; ``apart``: every probe and model has a curve of its own.
    """
    base = int(model.split("/")[0][-1])
    random = np.random.default_rng([seed, hash_of(model)])
    own = bumps(np.random.default_rng([seed, 99, base]))
    untrained = model.startswith("untrained")
    probes = {}
    for probe in PROBES:
        noise = 0.02 * random.standard_normal(BLOCKS)
        values = {
            "alike": bumps(random) if untrained else own + noise,
            "architecture": own + noise,
            "depth": 3 * (1 - DEPTH) + noise,
            "apart": bumps(random),
        }[world]
        chosen = np.argsort(-values)[:5]
        probes[probe] = {"default": listed(values), "paper": listed(values, 2),
                         "selected": sorted(map(int, chosen))}  # fmt: skip
    like = world in ("alike", "architecture")
    ablation = (own if like else bumps(random)) + 0.02 * random.standard_normal(BLOCKS)
    return {"model": model, "probes": probes, "between_groups": [0.5] * BLOCKS,
            "ablation": [float(v) for v in ablation]}  # fmt: skip


def hash_of(name):
    return sum(ord(letter) * (place + 1) for place, letter in enumerate(name))


ARMS = ("critical", "non-critical", "depth-matched", "random", "critical, block 0", "first",
        "middle", "last", "full", "random, block 0", "lora", "lisa")  # fmt: skip


def adapted(losses, family, base):
    """A cell of adaptation: each arm's loss, with a little noise."""
    random = np.random.default_rng([base, hash_of(family)])
    arms = {}
    for name in ARMS:
        loss = {"full": 0.2, **losses}.get(name, 2.0) + 0.02 * random.standard_normal()
        arms[name] = {"blocks": list(range(24 if name in ("full", "lora", "lisa") else 5)),
                      "parameters": 550_000, "learning_rate": 1e-3, "validation": {"0.001": loss},
                      "loss": loss, "accuracy": 0.5,
                      "curve": [[20, loss + 1], [60, loss]]}  # fmt: skip
    return {"family": family, "base": base, "before": {"loss": 9.0, "accuracy": 0.0}, "arms": arms}


def spectrum(share, model, probe):
    """A cell of components: the share of the shift that three of them hold."""
    random = np.random.default_rng([hash_of(model), hash_of(probe)])
    shift = bumps(random)
    blocks = [{"shift": float(s), "shift_stderr": 0.01,
               "shares": [share + 0.02 * float(random.standard_normal())] * 10,
               "shares_stderr": [0.05] * 10,
               "neighbours": list(1 - 0.1 * s * np.linspace(1, 0.5, 10)),
               "random": 0.01} for s in shift]  # fmt: skip
    return {"model": model, "probe": probe, "dynamics": listed(shift, 0),
            "selected": [2, 3, 8, 9, 10], "blocks": blocks}  # fmt: skip


def removed(critical, others, model, family):
    """A cell of removals: whether words rise clearly at critical blocks, and at others."""
    groups = {"critical": [2, 8, 9], "others": [3, 7, 11]}
    found = []
    for name, rises in (("critical", critical), ("others", others)):
        for block in groups[name]:
            for components in ("top 1", "top 3", "top 10"):
                effect = {"value": 1.0, "change": 3.0 if rises else 0.1, "halfwidth": 1.0,
                          "control": 0.0, "beyond": 3.0 if rises else 0.1,
                          "beyond_halfwidth": 1.0, "examples": 60, "clear": rises}  # fmt: skip
                names = ("accuracy", "conclusion_first", "rationale_words", "loss_rationale",
                         "loss_conclusion", "loss_unrelated")  # fmt: skip
                found.append({"block": block, "components": components,
                              "effects": dict.fromkeys(names, effect)})  # fmt: skip
    return {"model": model, "family": family, "groups": groups, "intact": {}, "found": found}


def defended(said="Does not hold here: nothing."):
    arms = {"none": 1.0, "critical": 0.99, "non-critical": 1.0, "depth-matched": 0.98,
            "random": 1.0, "first": 0.98, "screen": 0.01}  # fmt: skip
    one = {"mean": 0.01, "halfwidth": 0.02}
    beyond = dict.fromkeys(("non-critical", "depth-matched", "random", "first"), one)
    return {"cells": 176, "results_sha256": "0", "success": {"token, 10 %": arms},
            "worked": ["token, 10 %"], "verdict": said, "gain": one, "beyond": beyond}  # fmt: skip


def cells(prediction="null", profile="apart", losses=None, share=-0.3, reasons=(False, False)):
    """All cells of the study, of one world each."""
    made = {}
    for number, cell in enumerate(SPECTRAL.cells):
        given = cell.options
        kind = cell.name.split("-")[0]
        if kind in ("predict", "planted"):
            made[cell.name] = predicted(prediction, given["models"], given["family"], number,
                                        given.get("aside", False))  # fmt: skip
        elif kind == "real":
            made[cell.name] = {**predicted("null", [given["model"]], "", number),
                               "data": given["data"]}  # fmt: skip
        elif kind == "profile":
            made[cell.name] = profiled(profile, given["model"], 7)
        elif kind == "adapt":
            made[cell.name] = adapted(losses or {}, given["family"], given["base"])
        elif kind == "spectrum":
            made[cell.name] = spectrum(share, given["model"], given["probe"])
        elif kind == "removed":
            made[cell.name] = removed(*reasons, given["model"], given["family"])
        else:
            made[cell.name] = defended()
    return made
