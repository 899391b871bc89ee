"""From chosen blocks to a plan: an action on them, with ranks and parts where it takes any."""

from collections.abc import Sequence
from typing import Any

from cruxlm.models.load import LoadedModel
from cruxlm.plans.budget import not_negative, spread_ranks
from cruxlm.plans.grammar import Chosen, chosen_from
from cruxlm.results.model_ref import ModelRef
from cruxlm.results.plan import ACTIONS, PARTS, Plan
from cruxlm.results.selection import Selection
from cruxlm.runtime.errors import OptionError, did_you_mean

DEFAULT_RANK = 16
ALPHA_PER_RANK = 2.0
"""LoRA's update is scaled by alpha / rank: twice, unless an alpha is given."""
RANKS = ("equal", "scores", "frequency")
"""How ranks go to blocks: the same to each; by score; by how often half-samples select a block."""


def make_plan(
    action: str,
    chosen: Chosen | Selection,
    model: ModelRef | LoadedModel | None,
    *,
    r: int | None = None,
    alpha: float | None = None,
    ranks: str = "equal",
    parts: Sequence[str] = (),
) -> Plan:
    """Make a plan to ``train``, ``freeze``, ``lora`` or ``drop`` chosen blocks of a model.

    For lora: ``r`` is the mean rank over the blocks (16 by default) and ``ranks`` says how the
    total ``r x blocks`` is spread over them; ``alpha`` belongs to rank ``r`` (2 r by default) and
    every block gets the same ratio alpha / rank. ``parts`` (``embeddings``, ``norm``, ``head``) are
    trained as well.

    Raises:
        OptionError: When an option makes no sense, or not for this action.
    """
    if action not in ACTIONS:
        raise OptionError(f"there is no action {action!r}: {did_you_mean(action, ACTIONS)}")
    if model is None:
        raise OptionError("this selection knows no model: make it with a scan's select")
    if isinstance(model, LoadedModel):
        model = model.ref
    if isinstance(chosen, Selection):
        chosen = chosen_from(chosen)
    lora: dict[str, Any] = {}
    if action == "lora":
        lora = _ranks(chosen, DEFAULT_RANK if r is None else r, alpha, ranks)
    elif r is not None or alpha is not None or ranks != "equal":
        raise OptionError(f"a plan to {action} has no ranks: r, alpha and ranks belong to lora")
    return Plan(
        action=action,
        model=model.name,
        identity=dict(model.identity),
        names=model.names,
        blocks=chosen.blocks,
        why=chosen.why,
        reasons=chosen.reasons,
        parts=_parts(action, parts),
        **lora,
    )


def _ranks(chosen: Chosen, r: int, alpha: float | None, by: str) -> dict[str, Any]:
    if isinstance(r, bool) or not isinstance(r, int) or r < 1:
        raise OptionError(f"r must be a whole number of 1 or more, not {r!r}")
    if alpha is not None and not 0 < alpha < float("inf"):
        raise OptionError(f"alpha must be a positive number, not {alpha!r}")
    if by not in RANKS:
        raise OptionError(f"there is no way {by!r} to spread ranks: {did_you_mean(by, RANKS)}")
    count = len(chosen.blocks)
    if by == "equal":
        spread = (r,) * count
    else:
        held = chosen.values if by == "scores" else chosen.frequency
        if held is None:
            raise OptionError(f"ranks by {by} need blocks that a criterion chose: {chosen.why}")
        weights = not_negative([held[block] for block in chosen.blocks])
        spread = spread_ranks(r * count, weights)
    ratio = ALPHA_PER_RANK if alpha is None else alpha / r
    return {"ranks": spread, "alphas": tuple(ratio * rank for rank in spread)}


def _parts(action: str, parts: Sequence[str]) -> tuple[str, ...]:
    wanted = [parts] if isinstance(parts, str) else list(parts)
    for part in wanted:
        if part not in PARTS:
            raise OptionError(f"there is no part {part!r}: {did_you_mean(part, PARTS)}")
    if wanted and action == "drop":
        raise OptionError("a plan to drop blocks trains no parts")
    return tuple(part for part in PARTS if part in wanted)
