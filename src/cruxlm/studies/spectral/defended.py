"""The cell that reads the study `backdoor`: does freezing the critical blocks defend?"""

import hashlib
import json
from pathlib import Path
from typing import Any

from cruxlm.numerics.paired import Difference
from cruxlm.runtime.errors import ResultError
from cruxlm.studies.backdoor import BACKDOOR
from cruxlm.studies.backdoor_figures import Figures, name_of
from cruxlm.studies.backdoor_page import COMPANY, that_work, verdict
from cruxlm.studies.stored import stored_cells

ARMS = ("none", "critical", *COMPANY, "screen")


def defence(*, study: str) -> dict[str, Any]:
    """What freezing does, from the cells of the study in that folder.

    Raises ``ResultError`` when some of them are not there.
    """
    folder = Path(study)
    held = stored_cells(BACKDOOR, folder)
    if len(held) < len(BACKDOOR.cells):
        raise ResultError(
            f"{folder} has {len(held)} of the {len(BACKDOOR.cells)} cells of backdoor: "
            "crux study run backdoor"
        )
    found = Figures({name: cell.result for name, cell in held.items()})
    conditions = that_work(found)
    gain = found.difference("critical", "none", conditions) if conditions else None
    company = {arm: found.difference("critical", arm, conditions) for arm in COMPANY if conditions}
    text = json.dumps({name: cell.result for name, cell in held.items()}, sort_keys=True)
    return {
        "cells": len(held),
        "results_sha256": hashlib.sha256(text.encode()).hexdigest(),
        "success": {
            name_of(condition): {arm: found.share(condition, arm) for arm in ARMS}
            for condition in found.conditions
        },
        "worked": [name_of(condition) for condition in conditions],
        "verdict": None if gain is None else verdict(gain, company),
        "gain": None if gain is None else _said(gain),
        "beyond": {arm: _said(difference) for arm, difference in company.items()},
    }


def _said(difference: Difference) -> dict[str, float]:
    return {"mean": difference.mean, "halfwidth": difference.halfwidth}
