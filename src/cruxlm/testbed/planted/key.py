"""What a plant is, and its answer key: the role of every block."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jaxtyping import Int
from torch import Tensor
from transformers import LlamaForCausalLM

from cruxlm.runtime.errors import OptionError


@dataclass(frozen=True)
class Role:
    """What a block was made for."""

    name: str
    """One word."""
    needed: bool
    """Whether the answer is lost, on some prompts at least, without the block or its change."""
    why: str
    """What the block does, and what follows for a score of it."""


@dataclass(frozen=True)
class Key:
    """The role of every block."""

    roles: tuple[Role, ...]
    """One a block, in the order of the blocks."""

    def blocks(self, role: Role) -> tuple[int, ...]:
        """The blocks that have a role."""
        return tuple(block for block, own in enumerate(self.roles) if own == role)

    @property
    def needed(self) -> tuple[int, ...]:
        """The blocks that the answer is lost without: what a criterion has to find."""
        return tuple(block for block, own in enumerate(self.roles) if own.needed)


@dataclass(frozen=True, eq=False)
class Planted:
    """A model whose blocks are known."""

    model: LlamaForCausalLM
    """The model, in float32 and in evaluation mode."""
    inputs: Int[Tensor, "samples tokens"]
    """Prompts to read it with, no two alike."""
    targets: Int[Tensor, " samples"]
    """The right next token after each prompt."""
    key: Key
    """What each block is there for."""


@dataclass(frozen=True, eq=False)
class PlantedTuning:
    """A model before and after a change whose parts are known."""

    base: LlamaForCausalLM
    """The model before, in float32 and in evaluation mode."""
    tuned: LlamaForCausalLM
    """The model after; it differs from ``base`` inside blocks only."""
    inputs: Int[Tensor, "samples tokens"]
    """Prompts to read both with, no two alike."""
    targets: Int[Tensor, " samples"]
    """The right next token after each prompt."""
    key: Key
    """What the change of each block is there for."""


def make_key(blocks: int, places: Mapping[Role, Sequence[int]], rest: Sequence[Role]) -> Key:
    """The key with each role in its places; the blocks that are left have ``rest`` in turn.

    Raises ``OptionError`` for a block that is not there or is given twice.
    """
    if not isinstance(blocks, int) or blocks < 1:
        raise OptionError(f"blocks must be a whole number of 1 or more, not {blocks!r}")
    given: dict[int, Role] = {}
    for role, wanted in places.items():
        for block in wanted:
            if block not in range(blocks):
                raise OptionError(
                    f"{role.name}: there is no block {block!r}; the blocks are 0 to {blocks - 1}"
                )
            if block in given:
                raise OptionError(
                    f"block {block} is given twice: as {given[block].name} and as {role.name}"
                )
            given[block] = role
    left = [block for block in range(blocks) if block not in given]
    given.update({block: rest[turn % len(rest)] for turn, block in enumerate(left)})
    return Key(tuple(given[block] for block in range(blocks)))
