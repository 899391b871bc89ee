"""A sequence classifier from a folder, as a judge of texts."""

from collections.abc import Callable
from pathlib import Path

import torch
import transformers

from cruxlm.models.checkpoint import check_folder, folder_sha256
from cruxlm.models.load import speaking_for_transformers
from cruxlm.runtime.errors import ModelError, OptionError, did_you_mean


def classifier(folder: Path, label: str) -> tuple[Callable[[str], bool], str]:
    """What says whether a text gets a label, and the content hash of the folder.

    Raises:
        ModelError: When there is no sequence classifier with its tokenizer in the folder.
        OptionError: When it has no such label.
    """
    source = str(folder)
    check_folder(folder, allow_pickle=False)
    with speaking_for_transformers(source):
        config = transformers.AutoConfig.from_pretrained(source)
        named = config.architectures or ()
        if not any("SequenceClassification" in name for name in named):
            raise ModelError(f"{source} holds {', '.join(named) or 'no head'}: no text classifier")
        model = transformers.AutoModelForSequenceClassification.from_pretrained(
            source, use_safetensors=True
        ).eval()
        tokenizer = transformers.AutoTokenizer.from_pretrained(source)
    labels = dict(config.id2label)
    if label not in labels.values():
        hint = did_you_mean(label, map(str, labels.values()))
        raise OptionError(f"the classifier {source} has no label {label!r}: {hint}")

    def sort(text: str) -> bool:
        given = tokenizer(text, truncation=True, return_tensors="pt")
        with torch.no_grad():
            found = int(model(**given).logits[0].argmax())
        return bool(labels[found] == label)

    return sort, folder_sha256(folder)
