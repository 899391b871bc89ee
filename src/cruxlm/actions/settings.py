"""The settings of a tuning: everything beside model, plan and data that decides its weights."""

from dataclasses import asdict, dataclass
from typing import Any

from cruxlm.runtime.errors import OptionError, did_you_mean

METHODS = {
    "full": "every weight of the planned blocks",
    "lora": "low-rank adapters on every linear map of the planned blocks",
    "lisa": "every weight of a few planned blocks at a time, drawn anew every few steps",
}
"""The methods, and what each trains."""

SCHEDULES = ("cosine", "linear", "constant")


@dataclass(frozen=True)
class Settings:
    """How a plan is trained. Raises ``OptionError`` for a value that makes no sense."""

    method: str = "full"
    """What is trained in the planned blocks; see ``METHODS``."""
    steps: int = 100
    """Optimizer steps."""
    batch: int = 8
    """Rows of one forward pass."""
    accumulate: int = 1
    """Forward passes of one step."""
    learning_rate: float = 1e-4
    """Highest learning rate."""
    schedule: str = "cosine"
    """How the learning rate falls to zero after the warm-up: one of ``SCHEDULES``."""
    warmup: float = 0.05
    """Share of the steps in which the learning rate rises."""
    weight_decay: float = 0.0
    """AdamW's weight decay."""
    clip: float = 1.0
    """Largest gradient norm; 0 clips nothing."""
    seed: int = 0
    """Seed of the rows' order, of adapters' first weights and of the blocks that LISA draws."""
    checks: int = 5
    """Points at which the validation loss is measured and a checkpoint is written."""
    patience: int | None = None
    """Checks without a lower validation loss after which training ends, and the weights of the
    lowest are taken; None trains to the end and takes the last."""
    lisa_blocks: int = 2
    """Blocks that LISA trains at a time."""
    lisa_every: int = 10
    """Steps after which LISA draws again."""
    pack: bool = False
    """Whether several rows share a sequence, none of them visible to another."""
    cache_prefix: bool = False
    """Whether what the frozen blocks below the lowest trained one compute is kept on disk."""
    consistency: float = 0.0
    """Weight of the inconsistency of neighbouring blocks in the loss; 0 for none. Published: 5.5,
    and 11 against a refusal."""
    consistency_step: float = 0.1
    """How far embeddings are pushed against it, as a share of their root mean square."""

    def __post_init__(self) -> None:
        for name, known in (("method", METHODS), ("schedule", SCHEDULES)):
            value = getattr(self, name)
            if value not in known:
                raise OptionError(f"there is no {name} {value!r}: {did_you_mean(value, known)}")
        for name in ("steps", "batch", "accumulate", "checks", "lisa_blocks", "lisa_every"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name} must be 1 or more, not {getattr(self, name)}")
        if self.patience is not None and self.patience < 1:
            raise OptionError(f"patience must be 1 or more, not {self.patience}")
        if not 0 < self.learning_rate < float("inf"):
            raise OptionError(f"the learning rate must be above 0, not {self.learning_rate}")
        for name in ("weight_decay", "clip", "consistency", "consistency_step"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise OptionError(f"{name} must be 0 or more, not {getattr(self, name)}")
        if not 0 <= self.seed < 1 << 32:  # what numpy takes
            raise OptionError(f"seed must be a whole number from 0 to 2^32 - 1, not {self.seed}")
        if not 0 <= self.warmup < 1:
            raise OptionError(f"warmup is a share of the steps below 1, not {self.warmup}")
        if self.pack and self.cache_prefix:
            raise OptionError("rows are packed or cached, not both: leave out one")
        if self.consistency and (self.pack or self.cache_prefix):
            raise OptionError(
                "consistency is measured row by row from the embeddings on: leave out packing and "
                "the cached prefix"
            )

    @property
    def check_every(self) -> int:
        """Steps from one check to the next."""
        return max(1, self.steps // self.checks)

    def as_dict(self) -> dict[str, Any]:
        """All settings as plain values."""
        return asdict(self)
