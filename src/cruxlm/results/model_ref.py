"""What a result keeps of the model it belongs to: enough to know it again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cruxlm.runtime.errors import OptionError

HASHES = ("weights", "sha256", "revision")
"""Keys of an identity that each name one content: all that two of them share need not agree, since
one checkpoint can be given as a folder, by hub id and as a live model, but one of them must."""
UNTRAINED = "untrained_seed"
"""Key of an identity whose hashes are those of the trained model, initialised anew."""


@dataclass(frozen=True)
class ModelRef:
    """A model without its weights."""

    name: str
    """The model as it was asked for."""
    identity: Mapping[str, str]
    """Hashes of its content, see ``LoadedModel.identity``."""
    names: tuple[str, ...]
    """Module path of each block."""
    parameters: tuple[int, ...]
    """Number of weights in each block."""

    def check_same(
        self, what: str, name: str, identity: Mapping[str, str], names: Sequence[str]
    ) -> None:
        """Refuse ``what`` (a plan, say) when it was made for a model other than this one.

        Raises:
            OptionError: When the blocks have other paths, or no hash of the content agrees.
        """
        if tuple(names) != self.names:
            raise OptionError(
                f"{what} was made for {name} ({_blocks(names)}), not for {self.name} "
                f"({_blocks(self.names)}): make one for this model"
            )
        if not same_content(identity, self.identity):
            raise OptionError(
                f"{what} was made for other weights ({name}, {_hash(identity)}) than those of "
                f"{self.name} ({_hash(self.identity)}): make one for this model"
            )


def same_content(a: Mapping[str, str], b: Mapping[str, str]) -> bool:
    """Whether two identities are of one model, in whichever way each was given."""
    agree = any(key in a and a[key] == b.get(key) and a[key] != "None" for key in HASHES)
    return agree and a.get(UNTRAINED) == b.get(UNTRAINED)


def _blocks(names: Sequence[str]) -> str:
    return f"{len(names)} blocks at {names[0].rpartition('.')[0]}" if names else "no blocks"


def _hash(identity: Mapping[str, str]) -> str:
    known = next((key for key in HASHES if key in identity), None)
    return "no hash" if known is None else f"{known} {identity[known][:12]}"
