"""The card of a model that lost some of its blocks: which ones, of which model, and why."""

import re
from collections.abc import Sequence
from typing import Any

from cruxlm.results.plan import Plan, listed
from cruxlm.runtime.environment import package_versions
from cruxlm.runtime.markdown import escaped, front_matter, table

HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
CARD = """\
{metadata}
# {model}, {kept} of {count} blocks

Crux {version} dropped {dropped} of {model} ({why}); blocks are counted from 0.
Nothing was trained: {after:,} of {before:,} parameters are left, as they were.

{table}

Read back from disk, the model answered and went on with a KV cache as the whole one does when these
blocks hand on what they are given. So the rest is what it was; whether the model is still good is
to be measured, and most need some training now.

`plan.json` has the plan and the hashes of the model that it was made for.
"""


def dropped_card(plan: Plan, kept: Sequence[int], parameters: tuple[int, int]) -> str:
    """The card as Markdown.

    Args:
        plan: The plan to drop.
        kept: The blocks that are kept, by their old numbers.
        parameters: Parameters of the model before and after.
    """
    metadata: dict[str, Any] = {"library_name": "transformers", "tags": ["crux"]}
    if HUB_ID.fullmatch(plan.model):
        metadata["base_model"] = plan.model
    return CARD.format(
        metadata=front_matter(metadata),
        model=escaped(plan.model),
        kept=len(kept),
        count=len(plan.names),
        version=package_versions()["cruxlm"],
        dropped=listed(plan.blocks),
        why=escaped(plan.why),
        before=parameters[0],
        after=parameters[1],
        table=table(("block here", "block there"), enumerate(kept)),
    )
