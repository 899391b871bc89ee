"""What a defence needs before anything is trained: rows, model, plans, and what is measured."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cruxlm.actions.settings import Settings
from cruxlm.data.trigger import check_trigger
from cruxlm.models.load import load_model
from cruxlm.runtime.errors import OptionError
from cruxlm.testbed.home import resolve
from cruxlm.workflows.attack_rates import AttackExamples, attack_examples
from cruxlm.workflows.defence_arms import Plans, plans_of
from cruxlm.workflows.standing import asked_attack
from cruxlm.workflows.tuning_ready import Prepared, made_ready
from cruxlm.workflows.untrusted import Untrusted, untrusted

DEFAULT_BLOCKS = "dynamics:5"


@dataclass(frozen=True)
class ReadyDefence:
    """All that is to be done, once it is known that it makes sense."""

    rows: Untrusted
    """The rows, and the attack that is known in them."""
    ready: Prepared
    """The model with these rows."""
    plans: Plans
    """What each arm trains."""
    settings: Settings
    """How, with the first seed."""
    seeds: range
    """The seeds of every arm."""
    attacked: AttackExamples | None
    """What the attack is measured on; None where none is known."""


def ready_defence(
    model: Any,
    data: str | Path,
    *,
    blocks: str = DEFAULT_BLOCKS,
    freeze: tuple[str, ...] = (),
    trigger: str | None = None,
    target: str | None = None,
    rate: float = 0.1,
    near: float = 0.0,
    judge: str | None = None,
    seeds: int = 1,
    n: int | None = None,
    test: str | Path | None = None,
    max_tokens: int | None = None,
    loading: Mapping[str, Any] | None = None,
    show_progress: bool = False,
    **settings: Any,
) -> ReadyDefence:
    """Read and check everything; arguments as for ``defend``. What can be refused is refused here.

    Raises ``CruxError`` for anything outside Crux that is wrong.
    """
    shared = Settings(**settings)
    if shared.method != "full":
        raise OptionError(f"a defence is measured with the method full, not {shared.method}")
    if seeds < 1:
        raise OptionError(f"seeds must be 1 or more, not {seeds}")
    rows = untrusted(
        data,
        n=n,
        test=test,
        attack=asked_attack(trigger, target),
        rate=rate,
        near=near,
        seed=shared.seed,
    )
    loaded = load_model(resolve(model), **(loading or {}))
    ready = made_ready(loaded, rows.data, max_tokens)
    attacked = None
    if rows.attack is not None:
        check_trigger(rows.attack.trigger, loaded.tokenizer)
        attacked = attack_examples(
            loaded, rows.data.test, rows.attack, judge, shared.seed, grade=rows.data.grade
        )
    planner = ready.planner(model, shared, show_progress=show_progress)
    numbers = range(shared.seed, shared.seed + seeds)
    plans = plans_of(planner, loaded, blocks, freeze, numbers)
    return ReadyDefence(rows, ready, plans, shared, numbers, attacked)
