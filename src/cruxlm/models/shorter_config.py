"""A configuration for fewer blocks: its depth, and everything in it that is said block by block.

Libraries say what a block is like in four ways: a list with an entry a block (``layer_types``), a
list of block numbers (``mlp_only_layers``), a count from one end (``first_k_dense_replace``), and a
period (``attn_layer_period``). The first three can always be said of the blocks that are kept, the
last sometimes. What is overlooked here does no harm: blocks that a configuration makes are compared
with those that they are to be (`models.drop`).
"""

import re
from collections.abc import Sequence
from typing import Any

from cruxlm.runtime.errors import ModelError

DEPTHS = ("num_hidden_layers", "num_layers", "n_layer", "n_layers", "encoder_layers",
          "num_encoder_layers")  # fmt: skip
"""Names under which a configuration keeps its number of blocks; some keep it twice."""
NUMBERS = ("mlp_only_layers", "moe_layers", "attn_layer_indices", "cross_attention_layers",
           "hybrid_layer_ids", "full_attn_idxs", "rope_scaling_layers", "slstm_at")  # fmt: skip
"""Lists of block numbers. One may be as long as there are blocks, so they are told by name."""
FROM_FIRST = ("first_k_dense_replace", "num_dense_layers", "max_window_layers",
              "moe_layer_start_index")  # fmt: skip
"""Counts of blocks from the first on."""
LAST_OF = ("moe_layer_end_index",)
"""The last block of a kind; -1 is the last of all."""
FROM_LAST = ("num_kv_shared_layers",)
"""Counts of blocks up to the last."""
PERIODS = (("attn_layer_period", "attn_layer_offset"), ("expert_layer_period",
           "expert_layer_offset"), ("global_attn_every_n_layers", None))  # fmt: skip
"""A block is of one kind where its number, modulo the period, is the offset (0 without one)."""
SCALES = ("scale_attn_by_inverse_layer_idx",)
"""What has a block computed by its number."""
BY_BLOCK = re.compile(r"layer|block|pattern|activation_sparsity|head|size|expert|topk")
"""In the names of lists with an entry for each block; token numbers and the like are no such."""
PATTERN = re.compile(r"(period|interval|step|freq|every|pattern|start_index|end_index)")
"""In the names of what says by a rule which blocks are of which kind."""


def shorten(config: Any, kept: Sequence[int], depth: int) -> None:
    """Have a configuration speak of the kept blocks only, in place.

    Args:
        config: The configuration of a text tower.
        kept: The blocks that are kept, ascending.
        depth: How many blocks there were.

    Raises:
        ModelError: When a period in it fits the kept blocks with no other period either, when a
            block computes by its number, or when nothing in it is known to say how many there are.
    """
    held = vars(config)
    for name in SCALES:
        # Of the older transformers only some attention reads it: refused for the others as well.
        if held.get(name) and list(kept) != list(range(len(kept))):
            raise ModelError(f"its blocks compute by their numbers ({name}): keep the first ones")
    for name in DEPTHS:
        if held.get(name) == depth:
            held[name] = len(kept)
    listed = isinstance(held.get("layer_types"), (list, tuple))
    _write_sparse_steps_out(held, depth)
    for name, value in list(held.items()):
        if name in NUMBERS and isinstance(value, (list, tuple)):
            held[name] = [kept.index(block) for block in value if block in kept]
        elif isinstance(value, (list, tuple, str)) and _by_block(name, value, depth):
            picked = [value[block] for block in kept]
            held[name] = "".join(picked) if isinstance(value, str) else picked
        elif name in FROM_FIRST and isinstance(value, int) and value < depth:
            held[name] = sum(block < value for block in kept)
        elif name in LAST_OF and isinstance(value, int) and value >= 0:
            held[name] = sum(block <= value for block in kept) - 1
        elif name in FROM_LAST and isinstance(value, int):
            held[name] = sum(block >= depth - value for block in kept)
    if "attention_types" in held and "attention_layers" in held:
        held["attention_types"] = [[held["attention_layers"], 1]]  # GPT-Neo's repeated patterns
    if isinstance(held.get("block_types"), (list, tuple)):
        # RecurrentGemma's are repeated until there are enough: once is enough from now on.
        cycle = held["block_types"]
        held["block_types"] = [cycle[block % len(cycle)] for block in kept]
    for period, offset in PERIODS:
        if isinstance(held.get(period), int) and (offset or not listed):
            _fit_period(held, period, offset, kept)
    if getattr(config, "num_hidden_layers", None) != len(kept):
        raise ModelError(f"{type(config).__name__} does not say where it keeps its depth")


def patterns(config: Any) -> list[str]:
    """What in a configuration says by a rule which blocks are of which kind, with its value."""
    return [
        f"{name} {value}"
        for name, value in vars(config).items()
        if PATTERN.search(name) and type(value) is int and value > 1
    ]


def _by_block(name: str, value: Sequence[Any], depth: int) -> bool:
    """Whether a list, or a word of one letter a block, has an entry for each block."""
    if isinstance(value, str):
        return "pattern" in name and len(value) == depth
    return len(value) == depth and name != "block_types" and bool(BY_BLOCK.search(name))


def _write_sparse_steps_out(held: dict[str, Any], depth: int) -> None:
    """Name the dense blocks of a mixture of experts one by one, in place of by a step."""
    step = held.get("decoder_sparse_step")
    if isinstance(step, int) and step > 1 and isinstance(held.get("mlp_only_layers"), list):
        dense = {block for block in range(depth) if (block + 1) % step}
        held["mlp_only_layers"] = sorted(dense | set(held["mlp_only_layers"]))
        held["decoder_sparse_step"] = 1


def _fit_period(held: dict[str, Any], period: str, offset: str | None, kept: Sequence[int]) -> None:
    """Find a period by which the kept blocks are of the kinds that they are."""
    first = held[offset] if offset else 0
    kinds = [block % held[period] == first for block in kept]
    for length in range(1, len(kept) + 2):
        for start in range(length) if offset else [0]:
            if kinds == [block % length == start for block in range(len(kept))]:
                held[period] = length
                if offset:
                    held[offset] = start
                return
    said = f"{period} {held[period]}" + (f" and {offset} {first}" if offset else "")
    raise ModelError(
        f"its configuration says the kinds of blocks by {said}, and no period fits those that "
        "are kept: drop others"
    )
