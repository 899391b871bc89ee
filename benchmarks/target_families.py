"""Target families: how much there is to learn, and how much light tuning learns.

    python benchmarks/target_families.py [--families stars,hops] [--long-steps 300]

For each target: the held-out loss of base-0, after its light recipe, and after a long training at
a high learning rate, which is taken as all there is to gain. A line a target, as Markdown.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from cruxlm.evaluate.generation import Generation
from cruxlm.evaluate.loss import Loss
from cruxlm.models.load import quiet_transformers
from cruxlm.testbed.families import TARGETS
from cruxlm.testbed.recipe import Recipe, load_recipe
from cruxlm.testbed.train import train
from cruxlm.workflows.testbed import load
from cruxlm.workflows.testbed_figures import held_out_examples

ROWS = 96
LONG_RATE = 4e-4


def measured(family: str, recipe: Recipe | None) -> tuple[float, float]:
    """Held-out loss in nats a token, and accuracy, of base-0 after a recipe."""
    model, tokenizer = load("base-0")
    if recipe is not None:
        with tempfile.TemporaryDirectory() as folder:
            train(recipe, model, tokenizer, Path(folder))
        model.eval()
    examples = held_out_examples(tokenizer, family, ROWS)
    return Loss()(model, examples).mean("token"), Generation(tokenizer)(model, examples).mean()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--families", default=",".join(TARGETS))
    parser.add_argument("--long-steps", type=int, default=300)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print("| family | loss: base | light | long | share of the gain | accuracy: base | light |")
    print("|--|--|--|--|--|--|--|", flush=True)
    for family in given.families.split(","):
        light = load_recipe(f"light-{family}")
        tokens = given.long_steps * light.batch * light.context
        with quiet_transformers():
            base, right = measured(family, None)
            after, right_after = measured(family, light)
            most, _ = measured(family, replace(light, tokens=tokens, learning_rate=LONG_RATE))
        share = (base - after) / (base - most)
        print(
            f"| `{family}` | {base:.2f} | {after:.2f} | {most:.2f} | {share:.0%} "
            f"| {right:.0%} | {right_after:.0%} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
