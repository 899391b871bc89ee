"""A study of six small cells: means of random numbers, with a table and a figure."""

from dataclasses import replace

import numpy as np

from cruxlm.charts.lines import line_chart
from cruxlm.studies.page import Page, Section
from cruxlm.studies.study import Cell, Study


def draw(count, seed, scale=1.0):
    values = scale * np.random.default_rng(seed).standard_normal(count)
    return {"mean": values.mean(), "first": values[:3], "largest": {"at": values.argmax()}}


def tiny_page(results):
    means = {name: found["mean"] for name, found in results.items()}
    rows = [(name, f"{mean:.4f}") for name, mean in means.items()]
    points = [(number, mean) for number, mean in enumerate(means.values(), start=1)]
    chart = line_chart({"mean": points}, label="means", across="cell")
    return Page(
        f"The largest mean is {max(means.values()):.4f}.",
        [
            Section("Means", "One a cell.", ("cell", "mean | of all"), rows, "means", chart),
            Section("Doubt", "They are <random>.", (), ()),
        ],
        ["Three cells are few."],
    )


def cell(seed, run=draw, **options):
    given = {"count": 50, "seed": seed, **options}
    return Cell(f"draw-{seed}", given, 1.5 + seed, run)


CELLS = tuple(cell(seed) for seed in range(6))
TINY = Study("tiny", "What are means?", CELLS, tiny_page, ("cruxlm.studies.study",))


def with_run(run, **options):
    """The same study whose cells are run by another function, or with other options."""
    return replace(TINY, cells=tuple(cell(seed, run, **options) for seed in range(6)))
