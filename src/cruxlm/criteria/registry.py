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
        "clusters": "cruxlm.criteria.clusters:CLUSTERS",
        "substitution": "cruxlm.criteria.substitution:SUBSTITUTION",
        "ablation": "cruxlm.criteria.ablation:ABLATION",
        "weight_change": "cruxlm.criteria.weight_change:WEIGHT_CHANGE",
        "gradient_norm": "cruxlm.criteria.gradient_norm:GRADIENT_NORM",
        "depth": "cruxlm.criteria.depth:DEPTH",
        "random": "cruxlm.criteria.random_scores:RANDOM",
    },
    aliases={"cka": "dynamics"},
    group="cruxlm.criteria",
)
