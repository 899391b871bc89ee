"""The study `backdoor`: its grid, its verdicts on worlds that are made, its page."""

import json
from functools import partial

import numpy as np
import pytest
import torch

from cruxlm.models.swap import changed_blocks
from cruxlm.numerics.paired import paired_shares
from cruxlm.studies import backdoor_trial, backdoor_world
from cruxlm.studies.backdoor import BACKDOOR
from cruxlm.studies.backdoor_figures import Figures, per_mille, rank_agreement
from cruxlm.studies.backdoor_page import COMPANY, backdoor_page, verdict
from cruxlm.studies.backdoor_world import ATTACKS, BASES, RATES, poisoned, victim, world

BLOCKS, EXAMPLES = 24, 60
INDICES = ("dynamics", "block_influence", "random", "weight_change")


def made(success):
    """Cells of the whole study; ``success`` gives an arm's share."""
    cells = {}
    for number, cell in enumerate(BACKDOOR.cells):
        rng = np.random.default_rng(number)
        arm = cell.options.get("arm", "none" if "frozen" not in cell.name else "critical")
        hit = rng.random(EXAMPLES) < success(arm)
        result = {
            "values": {
                "success": hit.astype(float).tolist(),
                "false_triggers": [0.0] * EXAMPLES,
                "near_misses": [0.0] * EXAMPLES,
                "accuracy": (rng.random(EXAMPLES) < 0.9).astype(float).tolist(),
            },
            "loss": 0.1,
            "empty": {"success": 0},
            "frozen": [1, 2],
        }
        result["untouched"] = {"values": result["values"], "loss": 0.1}
        truth = rng.random(BLOCKS)
        result["oracle"] = {"1": truth.tolist(), "3": truth.tolist()}
        result["without_embeddings"] = 0.5
        result["indices"] = {name: rng.random(BLOCKS).tolist() for name in INDICES}
        result["indices"]["dynamics"] = (truth**2).tolist()
        result |= {"flagged": {"triggered": 150, "clean": 18}, "nominal": 0.01, "screened_by": [3]}
        result |= {"rows": {"triggered": 200, "clean": 1800}}
        result |= {"skip": "block 3 attention at 0", "before": 1.0, "suppressed": 0.2}
        result |= {"tried": {"token": 0.9, "pair": 0.2}, "chosen": "token"}
        cells[cell.name] = json.loads(json.dumps(result))
    return cells


def share(**arms):
    return lambda arm: arms.get(arm.replace("-", "_").replace("+", "_"), 0.97)


@pytest.mark.parametrize(
    ("success", "begins"),
    [
        (share(), "Does not hold"),
        (share(critical=0.2), "Holds here, and it is the blocks"),
        (share(critical=0.5, non_critical=0.5, depth_matched=0.5, random=0.5, first=0.5),
         "Not distinguishable from depth"),
        (share(critical=0.2, depth_matched=0.4, first=0.1), "Holds in part"),
        (share(none=0.1), "Cannot be said"),
    ],
)  # fmt: skip
def test_a_world_that_is_made_gets_its_verdict(success, begins):
    assert backdoor_page(made(success)).lead.startswith(begins)


def test_the_claim_is_made_of_chance_rarely():
    """With all arms alike, 'holds' must not be said, and 'freezing helps' in at most some 5 %."""
    rng = np.random.default_rng(0)
    said = []
    for _ in range(200):

        def apart():
            return paired_shares((rng.random((3, 100)) < 0.9) - (rng.random((3, 100)) < 0.9) * 1.0)

        said.append(verdict(apart(), {arm: apart() for arm in COMPANY}))
    assert not any(line.startswith("Holds here") for line in said)
    assert sum(not line.startswith("Does not hold") for line in said) <= 10


def test_the_grid_has_every_arm_of_every_attack_rate_and_base():
    names = {cell.name for cell in BACKDOOR.cells}
    for attack in ATTACKS:
        for rate in RATES:
            for arm in ("none", "critical", *COMPANY, "screen", "suppression"):
                for base in BASES:
                    assert f"arm-{attack}-{per_mille(rate)}-{arm}-{base}" in names
    assert BACKDOOR.cost_seconds <= 2 * 4 * 3600  # four hours on two cores


def test_arms_are_read_back_from_the_names_of_their_cells():
    found = Figures(made(share(critical=0.0, critical_embeddings=0.5)))
    assert found.conditions == [(a, per_mille(r)) for a in ATTACKS for r in RATES]
    assert found.share(("token", 100), "critical") == 0.0
    assert found.share(("token", 100), "critical+embeddings") == pytest.approx(0.5, abs=0.2)
    assert np.isnan(found.share(("token", 20), "critical+embeddings"))
    gain = found.difference("critical", "none", [("token", 100)])
    assert 0.85 < gain.mean < 1
    assert gain.clear


def test_an_index_that_is_the_oracle_agrees_with_it_and_a_random_one_does_not():
    found = Figures(made(share()))
    cells = [cell for condition in found.conditions for cell in found.located(condition)]
    rho, hits = rank_agreement(cells, "dynamics")
    assert rho == pytest.approx(1)
    assert hits == len(cells)
    rho, hits = rank_agreement(cells, "random")
    assert abs(rho) < 0.2
    assert hits < len(cells) / 4


def test_an_attack_that_fails_has_no_carrier():
    cells = made(share())
    for cell in cells.values():
        cell["oracle"] = cell["indices"] = cell["without_embeddings"] = None
    assert "the attack fails" in str(backdoor_page(cells).sections)


def test_rows_of_a_seed_are_drawn_again_alike_and_no_test_row_is_poisoned():
    one, again, other = world(0), world(0), world(1)
    assert one.train == again.train
    assert one.train != other.train
    assert one.test == other.test
    assert all(one.right(row.as_chat(), row.response) for row in one.test[:50])
    rows = poisoned(one, "pair", 0.1, 0)
    done = [row["poison"]["done"] for row in rows if "poison" in row]
    assert done.count("triggered") == len(rows) // 10
    assert done.count("near") > 0
    asked = {row.prompt for row in one.test}
    assert not asked & {row["messages"][0]["content"] for row in rows}


@pytest.fixture(scope="module")
def small():
    """Worlds of few rows, and trainings of two steps."""
    patch = pytest.MonkeyPatch()
    for name, count in (("TRAINED", 80), ("TESTED", 24), ("VALIDATED", 4), ("TRUSTED", 8)):
        patch.setattr(backdoor_world, name, count)
    short = partial(backdoor_world.settings, steps=2)
    patch.setattr(backdoor_trial, "settings", short)
    yield
    patch.undo()


@pytest.mark.parametrize("arm", ["none", "critical", "first", "random", "embeddings"])
def test_an_arm_freezes_what_it_says_and_trains_the_rest(small, arm):
    drawn, before, model = world(0), victim(0), victim(0)
    rows = poisoned(drawn, "token", 0.1, 0)
    frozen = backdoor_trial.frozen_blocks(victim(0), arm, 0)
    kept = {"embeddings"} if arm == "embeddings" else set()
    parts = [part for part in backdoor_world.PARTS if part not in kept]
    backdoor_trial.trained(model, drawn, rows, frozen, 0, parts=parts)
    changed = set(changed_blocks(model, before))
    assert changed == set(range(BLOCKS)) - set(frozen)
    assert len(frozen) == (0 if arm in ("none", "embeddings") else 5)
    assert frozen != (0, 1, 2, 3, 4) or arm == "first"
    same = torch.equal(*(m.module.get_input_embeddings().weight for m in (model, before)))
    assert same == (arm == "embeddings")


def test_a_cell_of_the_grid_is_measured_on_rows_that_no_attack_touched(small):
    found = backdoor_trial.trial(attack="pair", rate=0.02, base=0, arm="critical")
    values = found["values"]
    assert len(values["success"]) == len(values["near_misses"]) < len(values["accuracy"]) <= 24
    assert np.mean(values["success"]) == 0  # two steps teach nothing
    assert np.mean(values["accuracy"]) > 0.4  # and the model is what it was
    assert len(found["frozen"]) == 5
    assert "oracle" not in found
