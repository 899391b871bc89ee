"""Repair: put blocks of the model before a tuning back into the tuned one, and save that."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from cruxlm.data.poison import Target
from cruxlm.data.trigger import Trigger
from cruxlm.evaluate.judges import JudgeSpec
from cruxlm.models.drop import answer
from cruxlm.models.load import LoadedModel, load_model, quiet_transformers
from cruxlm.models.save import check_free, save_or_say, save_tokenizer
from cruxlm.models.swap import changed_blocks, swapped
from cruxlm.results.plan import listed
from cruxlm.runtime.environment import package_versions
from cruxlm.runtime.errors import ModelError, OptionError
from cruxlm.runtime.markdown import escaped, front_matter
from cruxlm.testbed.home import resolve
from cruxlm.workflows.drop import stored_dtype
from cruxlm.workflows.examined import DEFAULT_N, held_out
from cruxlm.workflows.loaded_pair import load_pair, trained_on
from cruxlm.workflows.planned import Planner
from cruxlm.workflows.standing import Rows, Standing, asked_attack, compared, measuring_rows

Say = Callable[[str], None]
REPAIRED = "repaired.json"
"""The file that says what was put back."""
CARD = """\
{metadata}
# {tuned}, repaired

Crux {version} put {what} of {base} back into {tuned}; blocks are counted from 0. Nothing was
trained.

{figures}

Read back from disk the weights are those of the swap, bit for bit. `{file}` has the figures.
"""


@dataclass(frozen=True)
class Repaired:
    """What was put back, and what that changed."""

    tuned: str
    """The model that was repaired."""
    base: str
    """The model whose blocks were put back."""
    blocks: tuple[int, ...]
    """The blocks."""
    parts: tuple[str, ...]
    """What was put back beside them."""
    unchanged: tuple[int, ...]
    """Those of the blocks that the tuning had not changed."""
    standing: Mapping[str, Standing]
    """How the models stand: ``before``, ``after`` and ``base``; empty without rows."""
    folder: str | None
    """Where the model is; None before it is saved."""

    @property
    def what(self) -> str:
        """Which parts were put back, in words."""
        return " and ".join([*([listed(self.blocks)] if self.blocks else []), *self.parts])

    def lines(self) -> list[str]:
        """What was done, a line each."""
        said = [f"{self.what} of {self.base} put back into {self.tuned}"]
        if self.unchanged:
            said.append(f"! the tuning had not changed {listed(self.unchanged)}")
        return [*said, *(compared(self.standing) if self.standing else ())]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "tuned": self.tuned,
            "base": self.base,
            "blocks": list(self.blocks),
            "parts": list(self.parts),
            "unchanged": list(self.unchanged),
            "standing": {name: held.to_json() for name, held in self.standing.items()},
            "folder": self.folder,
            "versions": package_versions(),
        }


def repair(
    tuned: Any,
    *,
    base: Any,
    blocks: str = "",
    complement: bool = False,
    parts: Sequence[str] = (),
    out: str | Path,
    data: str | Path | None = None,
    trigger: str | Trigger | None = None,
    target: str | Target | None = None,
    judge: JudgeSpec = None,
    n: int = DEFAULT_N,
    loading: Mapping[str, Any] | None = None,
    seed: int = 0,
    say: Say = lambda _line: None,
    show_progress: bool = False,
) -> Repaired:
    """Save a tuned model with some blocks as they were before the tuning.

    Args:
        tuned: The tuned model: a folder (of a LoRA adapter too), a hub id or a live model, which is
            left as it was.
        base: The model before its tuning.
        blocks: A block expression (``plans.grammar``); may be empty when ``parts`` are named.
        complement: Whether all other blocks are put back.
        parts: Of ``embeddings``, ``norm`` and ``head``, what is put back as well.
        out: The folder, which must not hold a model.
        data: Rows that no attack has touched, to measure on: a file or ``testbed:FAMILY``.
        trigger: The trigger of an attack whose success is measured too.
        target: Its target.
        judge: As for ``attack``.
        n: Rows that are read.
        loading: Options of ``load_model``.
        seed: Seed of where triggers stand.
        say: Called with one line about what is done.
        show_progress: Whether to show a bar when blocks are chosen by a criterion.

    Raises:
        OptionError: When nothing is to be put back, or blocks or parts make no sense.
        ModelError: When the models do not belong together or cannot be saved.
        OutputError: When the folder cannot be written or holds a model.
    """
    if not blocks and not parts:
        raise OptionError("name the --blocks to put back, or parts --with embeddings")
    attack = asked_attack(trigger, target)
    if attack is not None and data is None:
        raise OptionError("an attack is measured on rows: name the --data")
    folder = Path(out)
    check_free(folder)
    loading, place = dict(loading or {}), resolve(tuned)
    if loading.get("dtype") is None and isinstance(place, (str, Path)):
        loading["dtype"] = stored_dtype(str(place), loading.get("revision"))
    before, after = load_pair(base, tuned, loading)
    chosen: tuple[int, ...] = ()
    if blocks:
        planner = Planner(after, tuned, show_progress=show_progress)
        chosen = tuple(planner.choose(blocks, complement=complement).blocks)
    changed = changed_blocks(after, before)
    found = Repaired(
        tuned=after.name,
        base=before.name,
        blocks=chosen,
        parts=tuple(parts),
        unchanged=tuple(block for block in chosen if block not in changed),
        standing={},
        folder=None,
    )
    rows: Rows | None = None
    if data is not None:
        read = held_out(data, n=n, trained_on=trained_on(tuned))
        rows = measuring_rows(after, read.rows, read.grade, attack, judge, seed)
        found = replace(found, standing={"before": rows.stand(after)})
    say(f"putting {found.what} back")
    with swapped(after, before, chosen, parts):
        if rows is not None:
            standing = {**found.standing, "after": rows.stand(after), "base": rows.stand(before)}
            found = replace(found, standing=standing)
        _save(after, replace(found, folder=str(folder)), folder)
    return replace(found, folder=str(folder))


def _save(model: LoadedModel, found: Repaired, folder: Path) -> None:
    """Write a model as it is now, and check that it is read back so."""
    module: Any = model.module
    wanted = answer(model)

    def write(part: Path) -> None:
        with quiet_transformers():
            module.save_pretrained(part)
        if model.tokenizer is not None:
            save_tokenizer(model.tokenizer, part)
        read = load_model(str(part), dtype=model.dtype, device=model.device)
        held = dict(read.module.named_parameters(remove_duplicate=False))
        for name, tensor in module.named_parameters(remove_duplicate=False):
            if name not in held or not torch.equal(held[name], tensor):
                raise ModelError(f"{name} would be read back otherwise than it is")
        if not torch.equal(answer(read), wanted):
            raise ModelError(f"{found.tuned} would be read back as another model")

    metadata = {"library_name": "transformers", "tags": ["crux"]}
    figures = "\n".join(f"- {line}" for line in compared(found.standing)) if found.standing else ""
    card = CARD.format(
        metadata=front_matter(metadata),
        tuned=escaped(found.tuned),
        base=escaped(found.base),
        version=package_versions()["cruxlm"],
        what=found.what,
        figures=figures or "Nothing was measured.",
        file=REPAIRED,
    )
    texts = {"README.md": card, REPAIRED: json.dumps(found.to_json(), indent=1) + "\n"}
    save_or_say(folder, write, texts)
