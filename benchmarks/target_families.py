"""Target families: how much there is to learn, and how much light tuning learns.

    python benchmarks/target_families.py [--out build/targets] [--times 6]

For each target: the held-out loss of base-0, after its light recipe, and after the same recipe with
so many times its tokens, which is taken as all there is to gain. Finished trainings are kept in
--out, so that a stopped run goes on.
"""

import argparse
from pathlib import Path

import torch
import yaml

from cruxlm.testbed.families import TARGETS
from cruxlm.testbed.recipe import RECIPES
from cruxlm.workflows.testbed import train_model
from cruxlm.workflows.testbed_figures import evaluate_model

ROWS = 200


def figures(model: str, family: str):
    return evaluate_model(model, [family], n=ROWS).families[family]


def tuned(recipe: Path, folder: Path) -> str:
    if not (folder / "model.safetensors").exists():
        train_model(str(recipe), folder, n=8)
    return str(folder)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path("build/targets"))
    parser.add_argument("--times", type=int, default=6)
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    print("| family | base loss | light | long | share of the gain | accuracy: base | light |")
    print("|--|--|--|--|--|--|--|", flush=True)
    for family in TARGETS:
        light = RECIPES / f"light-{family}.yaml"
        long = given.out / f"long-{family}.yaml"
        settings = yaml.safe_load(light.read_text())
        settings["tokens"] *= given.times
        long.write_text(yaml.safe_dump(settings))
        base = figures("testbed:base-0", family)
        after = figures(tuned(light, given.out / light.stem), family)
        most = figures(tuned(long, given.out / long.stem), family)
        share = (base.loss - after.loss) / (base.loss - most.loss)
        print(
            f"| {family} | {base.loss:.3f} | {after.loss:.3f} | {most.loss:.3f} | {share:.0%} "
            f"| {base.accuracy:.0%} | {after.accuracy:.0%} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
