"""The criteria by name; each is imported when it is first asked for.

A package adds one through the entry-point group ``cruxlm.criteria``:
``name = "package.module:DESCRIPTOR"``.
"""

from typing import TYPE_CHECKING

from cruxlm.runtime.registry import Registry

if TYPE_CHECKING:
    from cruxlm.criteria.descriptor import Criterion

CRITERIA: "Registry[Criterion]" = Registry(
    kind="criterion",
    builtin={
        "dynamics": "cruxlm.criteria.dynamics:DYNAMICS",
        "block_influence": "cruxlm.criteria.block_influence:BLOCK_INFLUENCE",
        "angular_distance": "cruxlm.criteria.angular_distance:ANGULAR_DISTANCE",
    },
    aliases={"cka": "dynamics"},
    group="cruxlm.criteria",
)
