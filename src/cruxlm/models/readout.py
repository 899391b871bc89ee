"""What a model's own head makes of a state: the last norm, the head, all that is after blocks."""

import torch
from jaxtyping import Float
from torch import Tensor

from cruxlm.models.load import LoadedModel
from cruxlm.models.patch import Patch, evaluation_mode
from cruxlm.runtime.errors import ModelError


def read_out(
    model: LoadedModel, states: Float[Tensor, "states width"]
) -> Float[Tensor, "states vocabulary"]:
    """Logits of states as if they left the last block, in float32.

    The model itself runs, on one token a state, and its last block returns the state: so the norm,
    the head and any scaling are its own. Blocks before it do their work for nothing.

    Raises:
        ModelError: When the model gives no logits of a token each.
    """

    def put(own: Tensor, _args: object, _kwargs: object) -> Tensor:
        return states[:, None].to(own)

    device = next(model.blocks.tower.parameters()).device
    tokens = torch.zeros(len(states), 1, dtype=torch.long, device=device)
    with Patch() as patch, evaluation_mode(model.module), torch.no_grad():
        patch.change_output(model.blocks.modules[-1], put)
        logits = getattr(model.module(input_ids=tokens), "logits", None)
    if logits is None or logits.dim() != 3 or logits.shape[:2] != tokens.shape:
        raise ModelError(f"{type(model.module).__name__} has no head that reads single states")
    read: Tensor = logits[:, 0].float()
    return read
