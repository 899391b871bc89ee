"""Planted truths: small models made by hand, each with the answer that a criterion has to find.

Nothing here is trained. Every plant is a Llama of a few blocks whose weights are written down, the
prompts to read it with, and a key that says of each block what it was made for, whether the answer
is lost without it, and why. The same arguments give the same weights on every call.
"""

from cruxlm.testbed.planted.delta import (
    CARRIER,
    DECOYS,
    HARMFUL,
    PERMUTED,
    SMALL,
    UNCHANGED,
    planted_delta,
)
from cruxlm.testbed.planted.identity import IDENTITY, WRITING, identity_blocks
from cruxlm.testbed.planted.key import Key, Planted, PlantedTuning, Role
from cruxlm.testbed.planted.quiet import BACKGROUND, DECISIVE, ROTATION, quiet_decision

__all__ = [
    "BACKGROUND",
    "CARRIER",
    "DECISIVE",
    "DECOYS",
    "HARMFUL",
    "IDENTITY",
    "PERMUTED",
    "ROTATION",
    "SMALL",
    "UNCHANGED",
    "WRITING",
    "Key",
    "Planted",
    "PlantedTuning",
    "Role",
    "identity_blocks",
    "planted_delta",
    "quiet_decision",
]
