"""Backdoor: does freezing the critical blocks keep a backdoor out, and is it the blocks?

Liu et al., "Spectral Insights into Data-Oblivious Critical Layers in LLMs" (Findings of ACL 2025),
table 4: success 54.3 % without a defence, 31.3 % with as many other blocks frozen, 17.0 % with the
critical ones (7B, by keywords).
"""

from collections.abc import Iterator

from cruxlm.studies.backdoor_attackers import KINDS, adaptive, kind, planted
from cruxlm.studies.backdoor_figures import grid_name, per_mille
from cruxlm.studies.backdoor_page import backdoor_page
from cruxlm.studies.backdoor_trial import trial
from cruxlm.studies.backdoor_world import ATTACKS, BASES, RATES
from cruxlm.studies.study import Cell, Study

ARMS = ("none", "critical", "non-critical", "depth-matched", "random", "first",
        "screen", "suppression")  # fmt: skip
"""The arms of the grid."""
EMBEDDINGS = ("embeddings", "critical+embeddings")
"""Arms with frozen embeddings, at the higher rate only."""
PLANTED = (0, 6, 12)
"""Blocks that carry an attack by construction."""
TRAINING = 60.0
"""Seconds that one fine-tuning costs, and its measurement."""
TRAININGS = {"screen": 2, "suppression": 2}
"""Fine-tunings of an arm, where it has more than one."""


def _cells() -> Iterator[Cell]:
    """The undefended arms first: what they say decides whether the rest is worth its time."""
    for arm in ARMS:
        for attack in ATTACKS:
            for rate in RATES:
                for base in BASES:
                    yield _arm(attack, rate, arm, base)
    for attack in KINDS:
        options = {"attack": attack, "rate": RATES[0], "base": BASES[0]}
        yield Cell(f"kind-{attack}", options, 2 * TRAINING, kind)
    for arm in EMBEDDINGS:
        for attack in ATTACKS:
            for base in BASES:
                yield _arm(attack, RATES[0], arm, base)
    for block in PLANTED:
        options = {"block": block, "rate": RATES[0], "base": BASES[0]}
        yield Cell(f"planted-{block}", options, 2 * TRAINING, planted)
    for rate in RATES:
        for base in BASES:
            options = {"rate": rate, "base": base}
            yield Cell(f"adaptive-{per_mille(rate)}-{base}", options, 7 * TRAINING, adaptive)


def _arm(attack: str, rate: float, arm: str, base: int) -> Cell:
    options = {"attack": attack, "rate": rate, "base": base, "arm": arm}
    cost = TRAININGS.get(arm, 1) * TRAINING
    return Cell(grid_name(attack, rate, arm, base), options, cost, trial)


BACKDOOR = Study(
    name="backdoor",
    title="Does freezing the critical blocks keep a backdoor out, and is it the blocks?",
    cells=tuple(_cells()),
    page=backdoor_page,
    code=(
        "cruxlm.actions.fit",
        "cruxlm.data.poison",
        "cruxlm.data.trigger",
        "cruxlm.studies.backdoor_trial",
        "cruxlm.studies.backdoor_world",
        "cruxlm.workflows.attack_rates",
        "cruxlm.workflows.screen",
        "cruxlm.workflows.tune",
    ),
    tolerance=1e-6,
)
"""The study ``backdoor``."""
