"""The studies by name; each is imported when it is first asked for.

A package adds one through the entry-point group ``cruxlm.studies``:
``name = "package.module:STUDY"``.
"""

from typing import TYPE_CHECKING

from cruxlm.runtime.registry import Registry

if TYPE_CHECKING:
    from cruxlm.studies.study import Study

STUDIES: "Registry[Study]" = Registry(
    kind="study",
    builtin={
        "calibration": "cruxlm.studies.calibration:CALIBRATION",
        "backdoor": "cruxlm.studies.backdoor:BACKDOOR",
        "spectral_insights": "cruxlm.studies.spectral.study:SPECTRAL",
    },
    aliases={},
    group="cruxlm.studies",
)
"""The studies."""
