"""What is known of architectures whose units are taken away, and their outputs."""

import torch
from torch import Tensor, nn

from models.architectures import Case, made_prompts

NORM_AFTER = (
    "BertModel", "BertForMaskedLM", "RobertaForMaskedLM", "ElectraModel", "DistilBertModel",
    "BartForConditionalGeneration", "IBertModel", "MPNetModel", "DebertaV2Model",
    "XLMRobertaModel", "ProphetNetForConditionalGeneration",
)  # fmt: skip
"""They normalise the stream itself after adding to it, so that a block of zeros is no identity."""
FIRST_BLOCK = {
    "T5ForConditionalGeneration": "makes the position bias of all, of its attention's weights",
    "LongT5EncoderModel": "makes the position bias of all, of its attention's weights",
    "RwkvForCausalLM": "normalises the embeddings",
}
"""What the first block does besides adding to the stream."""
PROMPT = made_prompts()[1]


def output(case: Case, model: nn.Module) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(input_ids=torch.tensor([PROMPT]), **case.inputs)[0]
    return found
