"""``crux testbed``: the models whose truth is known, and the language they speak."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from cruxlm.cli.interrupt import importing

testbed = typer.Typer(
    name="testbed",
    help="Small deep models trained on a generated language, with known answers.",
    no_args_is_help=True,
)


@testbed.command("list")
def list_models() -> None:
    """The models, with their recipes and where they are; the families of the language."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    with importing():
        from cruxlm.testbed.families import FAMILIES, TARGETS
        from cruxlm.testbed.home import trained_models
        from cruxlm.testbed.language import row
        from cruxlm.testbed.recipe import load_recipe, recipe_names

    found = trained_models()
    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False, padding=(0, 2), title_justify="left")
    for column in ("model", "blocks", "begins with", "M tokens", "where"):
        right = column in ("blocks", "M tokens")
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    names = [*recipe_names(), *sorted(set(found) - set(recipe_names()))]
    for name in names:
        recipe = load_recipe(name.partition("/")[0]) if _has_recipe(name) else None
        where = str(_near(found[name])) if name in found else "not trained"
        told = ("", "", "")
        if recipe and "/" not in name:
            start = recipe.start or f"seed {recipe.seed}"
            told = (str(recipe.blocks), start, f"{recipe.tokens / 1e6:.1f}")
        table.add_row(*map(Text, (name, *told, where)))
    console.print(table)
    console.print()
    table = Table(box=None, pad_edge=False, padding=(0, 2))
    for column in ("family", "levels", "an easy row"):
        table.add_column(column, justify="right" if column == "levels" else "left", max_width=96)
    for name, family in (FAMILIES | TARGETS).items():
        shown = row("train", 0, families=[name], level=1)
        star = "*" if name in TARGETS else ""
        table.add_row(
            Text(name + star), str(family.levels), Text(f"{shown.prompt} {shown.response}")
        )
    console.print(table)
    console.print(Text("* for fine-tuning studies: no model is taught it", style="dim"))


def _has_recipe(name: str) -> bool:
    from cruxlm.testbed.recipe import recipe_names

    return name.partition("/")[0] in recipe_names()


def _near(path: Path) -> Path:
    """A path as short as it can be said from here."""
    try:
        return path.resolve().relative_to(Path.cwd())
    except ValueError:
        return path


@testbed.command("train")
def train(
    recipe: Annotated[str, typer.Argument(help="A recipe's name (crux testbed list) or file.")],
    out: Annotated[
        Path | None, typer.Option(help="The model's folder; testbed/NAME without one.")
    ] = None,
    eager: Annotated[
        bool, typer.Option("--eager", help="Do not compile: needs no C++ compiler, slower.")
    ] = False,
    threads: Annotated[int, typer.Option(help="Threads of the one process.", min=1)] = 1,
    n: Annotated[
        int, typer.Option("--n", "--limit", help="Held-out rows a family to measure on.", min=1)
    ] = 256,
) -> None:
    """Train a model by its recipe; run again, a stopped training goes on where it was."""
    from rich.console import Console
    from rich.markup import escape

    from cruxlm.runtime.errors import MissingExtraError

    with importing():
        import torch

        try:
            import accelerate  # noqa: F401
        except ImportError as error:
            raise MissingExtraError(
                "training needs accelerate: pip install 'cruxlm[testbed]'"
            ) from error
        from cruxlm.workflows.testbed import train_model

    torch.set_num_threads(threads)
    console = Console(stderr=True, highlight=False)
    folder = train_model(
        recipe,
        out,
        eager=eager,
        n=n,
        say=lambda line: console.print(escape(line), style="dim"),
        show_progress=True,
    )
    print(f"saved to {folder}")


@testbed.command("evaluate")
def evaluate(
    model: Annotated[
        str | None, typer.Argument(help="testbed:NAME, a folder or a hub id; base without one.")
    ] = None,
    families: Annotated[
        str | None, typer.Option(help="Families, separated by commas; the taught ones without.")
    ] = None,
    n: Annotated[int, typer.Option("--n", "--limit", help="Rows of each family.", min=1)] = 200,
    seed: Annotated[int, typer.Option(help="Seed of the rows.")] = 0,
    ablate: Annotated[
        bool,
        typer.Option("--ablate", help="What each block's removal costs, and each run of blocks'."),
    ] = False,
    run: Annotated[int, typer.Option(help="Blocks in a run, with --ablate.", min=1)] = 4,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, not a table.")] = False,
) -> None:
    """Measure a model on held-out rows: loss, accuracy, and choice beside chance."""
    with importing():
        from cruxlm.cli.testbed_tables import print_ablation, print_figures
        from cruxlm.workflows.testbed_figures import ablate_blocks, evaluate_model

    chosen = [name.strip() for name in families.split(",")] if families else None
    asked: dict[str, Any] = {"n": n, "seed": seed, "show_progress": not as_json}
    found: Any = (
        ablate_blocks(model, chosen, run=run, **asked)
        if ablate
        else evaluate_model(model, chosen, **asked)
    )
    if as_json:
        print(json.dumps(found.to_json(), indent=1, allow_nan=False))
    elif ablate:
        print_ablation(found)
    else:
        print_figures(found)


@testbed.command("sample")
def sample(
    families: Annotated[
        str | None, typer.Option(help="Families, separated by commas; the mixture without.")
    ] = None,
    n: Annotated[int, typer.Option("--n", "--limit", help="Rows.", min=1)] = 10,
    split: Annotated[str, typer.Option(help="train, instruct or heldout.")] = "train",
    level: Annotated[int | None, typer.Option(help="Difficulty, from 1.", min=1)] = None,
    seed: Annotated[int, typer.Option(help="Another seed, other rows.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="A jsonl file in the chat form; else printed.")
    ] = None,
) -> None:
    """Draw rows of the language, in the chat form that every command reads."""
    from cruxlm.runtime.files import check_writable, write_all

    with importing():
        from cruxlm.testbed.language import MIXTURE, rows

    if out is not None:
        check_writable(out.parent)
    chosen = [name.strip() for name in families.split(",")] if families else MIXTURE
    drawn = rows(split, n, seed, chosen, level)
    lines = "".join(json.dumps(row.as_chat()) + "\n" for row in drawn)
    if out is None:
        print(lines, end="")
    else:
        write_all(out.parent, {out.name: lines.encode()})
        print(f"{n} rows in {out}")
