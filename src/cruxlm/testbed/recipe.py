"""The recipe of a testbed model: everything that decides its weights, in one committed file.

The defaults are those of a base model. Learning rate, first weights and packing come from a
pilot of 16 blocks of width 128, where they trained without a spike. Deep and narrow is on
purpose, as statistics over layers need many layers and the model has to be trained on one
processor.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from cruxlm.runtime.errors import OptionError, did_you_mean
from cruxlm.testbed.language import MIXTURE, family_named
from cruxlm.testbed.row import SPLITS, Split

RECIPES = Path(__file__).parent / "recipes"
"""One file for each model."""


@dataclass(frozen=True)
class Samples:
    """Rows whose responses a model wrote, in place of the language's own."""

    teacher: str = ""
    """The testbed model that writes them; without one, the model in training does."""
    prompts: int = 10_000
    """Prompts that are answered in each round."""
    temperature: float = 1.0
    """Temperature of the sampling."""
    only_right: bool = False
    """Whether to train on right answers alone."""
    rounds: int = 1
    """Times to sample and train anew; each round has an equal part of the tokens."""


@dataclass(frozen=True)
class Codes:
    """Codes that the states are made to carry, so that the model has a turn at a known block.

    See ``codes``. A twin has the first code in all blocks and so no turn.
    """

    turn: int | None = None
    """The first block whose output carries the second code; None for a twin."""
    dimensions: int = 8
    """Dimensions of each code."""
    weight: float = 1.0
    """Weight of the code's loss beside that of the tokens."""


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights of a testbed model."""

    blocks: int = 24
    """Decoder blocks."""
    width: int = 96
    """Width of the residual stream."""
    heads: int = 3
    """Attention heads; each has ``width / heads`` dimensions."""
    ffn: int = 256
    """Inner width of the gated feed-forward part."""
    vocabulary: int = 1024
    """Tokens of the tokenizer."""
    context: int = 128
    """Tokens of one packed sequence, and the longest row."""
    seed: int = 0
    """Seed of the rows and of the first weights."""
    start: str = ""
    """The testbed model to go on from; without one, first weights are drawn from the seed."""
    families: Mapping[str, float] = field(default_factory=lambda: dict(MIXTURE))
    """The families of the rows, with their shares."""
    split: Split = "train"
    """The split that the rows are drawn from."""
    samples: Samples | None = None
    """Rows that a model writes, in place of the language's own."""
    codes: Codes | None = None
    """Codes that the states are made to carry."""
    curriculum: float = 0.3
    """The share of the tokens in which the hardest level rises from the easiest to the last."""
    prompt_weight: float = 0.1
    """Weight of a prompt token in the loss; a response token has weight 1."""
    tokens: int = 12_000_000
    """Tokens of the whole training, padding included; rounded down to whole steps."""
    batch: int = 36
    """Packed sequences of one step; 36 x 128 = 4,608 tokens."""
    learning_rate: float = 1.5e-3
    """Highest learning rate, reached at the end of the warm-up."""
    last_learning_rate: float = 0.03
    """The learning rate at the end of the cosine, as a share of the highest."""
    warmup: int = 100
    """Steps of linear warm-up."""
    betas: tuple[float, float] = (0.9, 0.95)
    """AdamW's decay rates of the two moments."""
    weight_decay: float = 0.05
    """AdamW's weight decay, not applied to the norms."""
    clip: float = 1.0
    """Largest gradient norm."""
    bf16: bool = True
    """Whether the forward pass runs under bfloat16 autocast (the weights stay float32)."""
    compiled: bool = True
    """Whether torch compiles the model: 1.6 times as fast, but only after a minute."""
    snapshots: int = 0
    """Models to keep from the run, at steps evenly spaced in the logarithm, the last included."""

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole training; none for an untrained model."""
        return self.tokens // (self.batch * self.context)

    @property
    def snapshot_steps(self) -> tuple[int, ...]:
        """The steps after which a model is kept: from 1/64 of the run to its end."""
        if not self.snapshots:
            return ()
        ratios = (i / (self.snapshots - 1) for i in range(self.snapshots - 1))
        early = {max(1, round(self.steps * 64 ** (ratio - 1))) for ratio in ratios}
        return tuple(sorted(early | {self.steps}))

    def as_dict(self) -> dict[str, Any]:
        """All fields as plain values, for JSON."""
        return {**asdict(self), "families": dict(self.families), "betas": list(self.betas)}


def recipe_names() -> list[str]:
    """The names of all committed recipes, numbers in their order."""
    names = (path.stem for path in RECIPES.glob("*.yaml"))
    return sorted(names, key=lambda n: (n.rpartition("-")[0], len(n), n))


def load_recipe(name: str) -> Recipe:
    """A committed recipe by its name, or one in a YAML file by its path.

    Raises:
        OptionError: When there is none, or it has a field or a value that makes no sense.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else RECIPES / f"{name}.yaml"
    if not path.is_file():
        known = recipe_names()
        raise OptionError(f"there is no recipe {name!r}: {did_you_mean(name, known)}")
    try:
        given = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise OptionError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    except OSError as error:
        raise OptionError(f"{path} cannot be read: {error.strerror}") from error
    return recipe_from({} if given is None else given, str(path))


def recipe_from(given: Any, where: str) -> Recipe:
    """A recipe from plain values, each checked; for the errors see `load_recipe`."""
    values = _known_fields(Recipe, given, where)
    for name, part in (("samples", Samples), ("codes", Codes)):
        if values.get(name) is not None:
            values[name] = part(**_known_fields(part, values[name], f"{where}, {name}"))
    if "betas" in values:
        betas = values["betas"]
        if not (isinstance(betas, list) and len(betas) == 2 and all(map(_rate, betas))):
            raise OptionError(f"{where}: betas is {betas!r}: expected two numbers from 0 to 1")
        values["betas"] = tuple(betas)
    if "families" in values:
        _check_families(values["families"], where)
    split = values.get("split", SPLITS[0])
    if split not in SPLITS:
        raise OptionError(f"{where}: there is no split {split!r}: {did_you_mean(split, SPLITS)}")
    recipe = Recipe(**values)
    if recipe.codes and 2 * recipe.codes.dimensions > recipe.width:
        raise OptionError(
            f"{where}: two codes of {recipe.codes.dimensions} dimensions do not fit width "
            f"{recipe.width}"
        )
    if recipe.width % recipe.heads or recipe.width // recipe.heads % 2:
        raise OptionError(
            f"{where}: width {recipe.width} over {recipe.heads} heads does not give each an even "
            "number of dimensions"
        )
    if recipe.codes and recipe.codes.turn is not None:
        last = recipe.blocks - 1
        if not 1 <= recipe.codes.turn <= last:
            raise OptionError(f"{where}: a turn at block {recipe.codes.turn} is not in 1 to {last}")
    return recipe


def _check_families(families: Any, where: str) -> None:
    if not isinstance(families, dict):
        raise OptionError(f"{where}: families is {families!r}: expected names with their shares")
    for name, share in families.items():
        family_named(str(name))
        if not _number(share) or share < 0:
            raise OptionError(f"{where}: the share of {name} is {share!r}: expected 0 or more")
    if not sum(families.values()) > 0:
        raise OptionError(f"{where}: families is {families!r}: give one or more a share")


NEEDED = ("blocks", "width", "heads", "ffn", "context", "batch", "prompts", "rounds", "dimensions")
"""Numbers that cannot be 0."""
LEAST = dict.fromkeys(NEEDED, 1) | {"vocabulary": 261}
"""The smallest value of a number, where it is not 0; the tokenizer needs all bytes."""


def _known_fields(kind: type, given: Any, where: str) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise OptionError(f"{where} holds {type(given).__name__}: expected fields and values")
    types = {f.name: f for f in fields(kind)}
    values = dict(given)
    for name, value in given.items():
        if name not in types:
            hint = did_you_mean(str(name), types)
            raise OptionError(f"{where}: there is no field {name!r}: {hint}")
        default = types[name].default
        if name == "turn":
            default = None if value is None else 1
        if isinstance(default, (int, float)) and not isinstance(default, bool):
            whole = isinstance(default, int)
            least = LEAST.get(name, 0)
            if not _number(value) or value < least or (whole and value != int(value)):
                sort = "a whole number" if whole else "a number"
                raise OptionError(f"{where}: {name} is {value!r}: expected {sort} from {least} up")
            values[name] = int(value) if whole else float(value)
        elif (
            default is not None
            and isinstance(default, (bool, str))
            and type(value) is not type(default)
        ):
            raise OptionError(f"{where}: {name} is {value!r}: expected like {default!r}")
    return values


def _number(value: Any) -> bool:
    """Whether a value is a finite number; to Python, True is one as well."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _rate(value: Any) -> bool:
    return _number(value) and 0 <= value < 1
