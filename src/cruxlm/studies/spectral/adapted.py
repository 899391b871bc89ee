"""Cells that train few blocks: does it matter which?"""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import nn

from cruxlm.models.load import LoadedModel, load_model
from cruxlm.plans.grammar import drawn
from cruxlm.testbed.home import PREFIX, resolve
from cruxlm.workflows.arm import CONTROL, Arm
from cruxlm.workflows.arms import arms

TRAINED = 5
"""Blocks that an arm trains, as many as published."""
CRITICAL = f"dynamics:{TRAINED}"
CONTROLS = {
    "critical": CRITICAL,
    "non-critical": f"{CONTROL}lowest",
    "depth-matched": f"{CONTROL}depth-matched",
    "random": f"{CONTROL}random",
    "critical, block 0": f"{CONTROL}with-block-0",
    "first": f"first:{TRAINED}",
    "middle": f"middle:{TRAINED}",
    "last": f"last:{TRAINED}",
    "full": "all",
}
"""Arms of equal size, and all blocks; the first is the claim's."""


def adaptation(
    *,
    family: str,
    base: int,
    steps: int,
    batch: int,
    learning_rates: Sequence[float],
    draw: int,
    accuracy: bool = True,
) -> dict[str, Any]:
    """Every arm at its own best learning rate, on one family, from one base."""
    model = load_model(resolve(f"{PREFIX}base-{base}"))
    every = {name: Arm(blocks) for name, blocks in CONTROLS.items()}
    blocks = len(model.blocks.modules)
    others = drawn(TRAINED - 1, draw, blocks, range(1, blocks))
    every["random, block 0"] = Arm(",".join(map(str, (0, *others))))
    every["lora"] = Arm("all", method="lora", r=equal_rank(model, TRAINED))
    every["lisa"] = Arm("all", method="lisa")
    with TemporaryDirectory() as folder:
        found = arms(
            f"{PREFIX}base-{base}",
            data=f"{PREFIX}{family}",
            arms=every,
            out=Path(folder),
            seeds=1,
            seed=draw,
            learning_rates=learning_rates,
            steps=steps,
            batch=batch,
            lisa_blocks=TRAINED,
            accuracy=accuracy,
        )
    return {
        "family": family,
        "base": base,
        "before": dict(found.before),
        "arms": {
            arm.name: {
                "blocks": list(arm.drawn[0]),
                "parameters": arm.parameters,
                "learning_rate": arm.learning_rate,
                "validation": dict(arm.validation),
                "loss": arm.loss,
                "accuracy": arm.accuracy,
                "curve": [list(point) for point in arm.curve],
            }
            for arm in found.arms
        },
    }


def equal_rank(model: LoadedModel, blocks: int) -> int:
    """The rank at which adapters on every linear map have as many weights as some blocks."""
    weights = sum(model.parameters_per_block()) * blocks / len(model.blocks.modules)
    of_rank_1 = sum(
        part.in_features + part.out_features
        for block in model.blocks.modules
        for part in block.modules()
        if isinstance(part, nn.Linear)
    )
    return max(1, round(weights / of_rank_1))
