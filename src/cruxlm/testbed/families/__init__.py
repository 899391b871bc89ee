"""The families of instructions: one module each, and the table that names them all.

To add a family, write a module with a ``FAMILY`` and put it into the tuple below.
"""

from __future__ import annotations

from ..row import Family
from . import addition, deduction, lists, recall, sentiment, story, two_hop

FAMILIES: dict[str, Family] = {
    module.FAMILY.name: module.FAMILY
    for module in (recall, two_hop, addition, lists, deduction, sentiment, story)
}
"""Every family by its name. The weights are the default mixture."""
