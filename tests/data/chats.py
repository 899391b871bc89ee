"""Byte-level tokenizers with templates and merges of one's choice, and short chats."""

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

SPACED = "{% for m in messages %}<{{ m.role }}> {{ m.content }}{{ eos_token }}{% endfor %}"
TIGHT = "{% for m in messages %}{{ m.role }}:{{ m.content }}{{ eos_token }}\n{% endfor %}"


def made(template, *merges, regex=True, trim=False, eos="</s>"):
    """A byte-level tokenizer; ``merges`` are pairs of tokens that it reads as one."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = ["<pad>", "<s>", "</s>", *alphabet, *("".join(pair) for pair in merges)]
    model = models.BPE(vocab={word: i for i, word in enumerate(words)}, merges=list(merges))
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=regex)
    tokenizer.decoder = decoders.ByteLevel()
    if trim:
        tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    # As in Llama 3: a mark that is special, but none of the tokenizer's named ones.
    tokenizer.add_special_tokens([AddedToken("<end>", special=True)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token=eos,
        chat_template=template,
    )


def chat(content, prompt="which?"):
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": content}]
