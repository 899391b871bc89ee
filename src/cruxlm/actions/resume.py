"""Where a run goes on: whether a folder is this run's, and its last checkpoint that can be used."""

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cruxlm.runtime.checkpoints import damage, last_checkpoint, seal
from cruxlm.runtime.errors import OutputError
from cruxlm.runtime.files import write_all

WANTED = "wanted.json"
"""The file that says what a folder's run was asked for."""

STATE = "trainer_state.json"
"""What the Trainer keeps in a checkpoint of the training as a whole."""


@dataclass(frozen=True)
class Start:
    """Where a training begins."""

    checkpoint: Path | None
    """The checkpoint that it goes on from; None at the beginning."""
    over: bool
    """Whether it had ended early there: only the best weights are left to be taken."""

    @property
    def step(self) -> int:
        """Steps that are done."""
        return int(self.checkpoint.name.split("-")[1]) if self.checkpoint else 0


def start(folder: Path) -> tuple[Start, list[str]]:
    """Find the last sound checkpoint in a folder; what cannot be used is taken away.

    A training that ends early takes the weights of an earlier checkpoint in the end, so that one
    must be sound too.

    Returns:
        Where to begin, and one line for each checkpoint that is damaged.
    """
    checkpoint, notes = last_checkpoint(folder)
    over = False
    if checkpoint is not None:
        state = json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
        best = state.get("best_model_checkpoint")
        # By its name: the folder may have been moved, or named from elsewhere.
        place = None if best is None else folder / Path(best).name
        wrong = None if place is None else damage(place)
        if wrong is not None:
            notes.append(f"the best weights, {place}, are damaged ({wrong}) and are not used")
            shutil.rmtree(folder)
            checkpoint = None
        else:
            if place is not None and str(place) != best:
                state["best_model_checkpoint"] = str(place)
                write_all(checkpoint, {STATE: json.dumps(state, indent=2).encode()})
                seal(checkpoint)
            control = state.get("stateful_callbacks", {}).get("TrainerControl", {})
            over = bool(control.get("args", {}).get("should_training_stop"))
    begin = checkpoint.name if checkpoint else "the beginning"
    return Start(checkpoint, over), [f"{note}; going on from {begin}" for note in notes]


def check_same(folder: Path, there: Any, wanted: Mapping[str, Any]) -> None:
    """Refuse a folder whose content was asked for otherwise, naming what differs.

    Raises:
        OutputError: When something of ``wanted`` is not what is ``there``.
    """
    held, new = dict(_leaves(there)), dict(_leaves(json.loads(json.dumps(wanted))))
    for name in {**new, **held}:
        if held.get(name) != new.get(name):
            raise OutputError(
                f"{folder} holds a run with another {name} ({_short(held.get(name))}, now "
                f"{_short(new.get(name))}): choose another --out or remove the folder"
            )


def check_run(run: Path, wanted: Mapping[str, Any]) -> None:
    """Refuse a folder with a run that was asked for otherwise; see ``check_same``."""
    try:
        there = json.loads((run / WANTED).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return
    except ValueError:
        there = {}
    check_same(run.parent, there, wanted)


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Everything in a tree of mappings, by the path that leads there."""
    if isinstance(value, dict) and value:
        for key, part in value.items():
            yield from _leaves(part, f"{name}.{key}" if name else str(key))
    else:
        yield name, value


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
