"""Train a testbed model by its recipe: from its start over its rounds to a folder with a card."""

import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from cruxlm.evaluate.decoding import sample
from cruxlm.evaluate.examples import examples_from_chats
from cruxlm.models.load import load_model, quiet_transformers
from cruxlm.runtime.errors import ModelError, OptionError, OutputError
from cruxlm.runtime.files import check_writable, write_all
from cruxlm.runtime.training import disk_is_full
from cruxlm.testbed.card import as_json, curves_json, model_card, rounded, save_model
from cruxlm.testbed.families import FAMILIES
from cruxlm.testbed.first_weights import new_model
from cruxlm.testbed.home import PREFIX, model_folder
from cruxlm.testbed.language import is_right, rows
from cruxlm.testbed.recipe import Recipe, Samples, load_recipe
from cruxlm.testbed.row import Row
from cruxlm.testbed.tokenizer import encode, train_tokenizer
from cruxlm.testbed.train import RECIPE, check_same_recipe, train
from cruxlm.workflows.testbed_figures import held_out, losses

CURVE_ROWS = 32
"""Held-out rows of each family at a point of the curves."""

SHAPE = {
    "blocks": "num_hidden_layers",
    "width": "hidden_size",
    "heads": "num_attention_heads",
    "ffn": "intermediate_size",
    "vocabulary": "vocab_size",
}
"""What a recipe and the model that it starts from must agree on, by its names and Llama's."""

SAMPLED_TOGETHER = 128
"""Prompts that are answered in one batch; more is faster and changes nothing."""


def train_model(
    name: str,
    out: Path | None = None,
    *,
    eager: bool = False,
    n: int = 256,
    say: Callable[[str], None] = lambda _line: None,
    show_progress: bool = False,
) -> Path:
    """Train a testbed model and measure it.

    Args:
        name: A committed recipe's name, or the path of a recipe of your own.
        out: The model's folder, ``testbed/NAME`` when left out. While the training lasts it
            holds ``run/``, from which a killed training goes on.
        eager: Whether to train without compiling, whatever the recipe says.
        n: Held-out rows of each family to measure the model on.
        say: Called with one line about what is done.
        show_progress: Whether to show a bar.

    Returns:
        The model's folder.

    Raises:
        OptionError: When the recipe is unknown or makes no sense.
        ModelError: When the model that it starts from, or learns from, is not here.
        OutputError: When the folder cannot be written, or holds a run of another recipe.
    """
    recipe = load_recipe(name)
    if eager:
        recipe = replace(recipe, compiled=False)
    folder = out or Path("testbed") / Path(name).stem
    check_writable(folder)
    if (folder / "model.safetensors").is_file():
        check_same_recipe(folder, recipe)
        shutil.rmtree(folder / "run", ignore_errors=True)  # a kill may have come before
        say("this model is there already: remove its folder to train it anew")
        return folder
    with quiet_transformers():
        _train(Path(name).stem, recipe, folder, n, say, show_progress)
    return folder


def _train(
    name: str,
    recipe: Recipe,
    folder: Path,
    n: int,
    say: Callable[[str], None],
    show_progress: bool,
) -> None:
    model, tokenizer = _start(recipe)
    teacher = None
    if recipe.samples and recipe.samples.teacher:
        teacher = load(recipe.samples.teacher)[0]

    def keep(current: LlamaForCausalLM, step: int) -> None:
        if step < recipe.steps:
            _save(current, tokenizer, recipe, folder / f"step-{step}", f"{name}/step-{step}", n)

    def curve(current: LlamaForCausalLM) -> dict[str, float]:
        return losses(current, tokenizer, list(recipe.families), CURVE_ROWS)

    curves: list[dict[str, float]] = []
    parts = recipe.samples.rounds if recipe.samples else 1
    for part in range(parts):
        run = folder / "run" / f"round-{part}" if parts > 1 else folder / "run"
        once = replace(recipe, tokens=recipe.tokens // parts)
        written = None
        if recipe.samples:
            if part or teacher is None:
                say(f"round {part + 1} of {parts}: sampling")
            written = _written(recipe, recipe.samples, teacher or model, tokenizer, run, part)
        steps = train(
            once,
            model,
            tokenizer,
            run,
            written=written,
            curves=curve,
            keep=keep,
            say=say,
            show_progress=show_progress,
        )
        done = part * once.steps
        curves += [{**point, "step": point["step"] + done} for point in steps]
    say("measuring")
    _save(model, tokenizer, recipe, folder, name, n, curves)
    shutil.rmtree(folder / "run", ignore_errors=True)


def load(name: str) -> tuple[LlamaForCausalLM, PreTrainedTokenizerBase]:
    """A testbed model in float32 and its tokenizer, by name; ``ModelError`` when not here."""
    folder = model_folder(name.removeprefix(PREFIX))
    loaded = load_model(folder)
    if not isinstance(loaded.module, LlamaForCausalLM) or loaded.tokenizer is None:
        raise ModelError(f"{folder} is no testbed model")
    return loaded.module, loaded.tokenizer


def _start(recipe: Recipe) -> tuple[LlamaForCausalLM, PreTrainedTokenizerBase]:
    if recipe.start:
        model, tokenizer = load(recipe.start)
        for name, field in SHAPE.items():
            there, said = getattr(model.config, field), getattr(recipe, name)
            if there != said:
                raise OptionError(
                    f"{recipe.start} has {name} {there}, and the recipe that starts from it says "
                    f"{said}"
                )
        return model, tokenizer
    tokenizer = train_tokenizer(recipe.vocabulary)  # the same for models of any seed
    return new_model(recipe, tokenizer), tokenizer


def _save(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    recipe: Recipe,
    folder: Path,
    name: str,
    n: int,
    curves: Sequence[dict[str, float]] = (),
) -> None:
    """Measure a model as it will be read back, and save it with its card."""
    step = int(folder.name.removeprefix("step-")) if "/" in name else None
    exact = rounded(model)
    figures = held_out(exact, tokenizer, n, families=list({**recipe.families, **FAMILIES}))
    texts = {
        "README.md": model_card(name, recipe, exact.num_parameters(), figures, step),
        RECIPE: as_json(recipe.as_dict()),
        "figures.json": as_json({family: vars(f) for family, f in figures.items()}),
    }
    if curves:
        texts["curves.json"] = curves_json(curves)
    try:
        save_model(model, tokenizer, folder, texts)
    except Exception as error:  # safetensors and tokenizers have some of their own kind
        if not (isinstance(error, OSError) or disk_is_full(error)):
            raise
        why = getattr(error, "strerror", None) or error
        raise OutputError(
            f"cannot save the model to {folder}: {why}; run the same command again, it goes on "
            "from the last checkpoint"
        ) from error


def _written(
    recipe: Recipe,
    samples: Samples,
    teacher: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    run: Path,
    part: int,
) -> list[Row]:
    """Rows with the responses that a teacher samples; read back when the run has them."""
    seed = 1000 * recipe.seed + part  # other prompts in every round
    asked = rows(recipe.split, samples.prompts, seed, recipe.families)
    path = run / "samples.json"
    texts: list[str] = []
    with suppress(OSError, ValueError):
        texts = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(texts, list) or len(texts) != len(asked):
        texts = sample(
            teacher,
            [e.prompt for e in examples_from_chats(tokenizer, [row.as_chat() for row in asked])],
            max_new_tokens=recipe.context // 2,
            temperature=samples.temperature,
            seed=seed,
            tokenizer=tokenizer,
            batch_size=SAMPLED_TOGETHER,
        )
        write_all(run, {path.name: json.dumps(texts, indent=0).encode()})
    answered = [
        replace(row, response=text, rationale=(0, 0), conclusion=(0, len(text)))
        for row, text in zip(asked, texts, strict=True)
        if text and (not samples.only_right or is_right(row, text))
    ]
    # A text that was cut at the end of the context has no room for its end.
    return [row for row in answered if len(encode(row, tokenizer).tokens) <= recipe.context]
