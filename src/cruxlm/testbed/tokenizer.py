"""The tokenizer of the testbed: byte-level BPE over 1,024 tokens, trained on generated text.

Digits are kept apart, so that a number is read digit by digit and addition is a matter of
columns. The chat frame is ``<bos><user> PROMPT<assistant> RESPONSE<eos>``; the space is part
of the first word's token, so that a word has the same token at the beginning of a text and
within it. Without that, the first word of a list cannot be copied, only translated.
"""

from collections.abc import Iterable, Iterator

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from cruxlm.data.packing import Encoded
from cruxlm.testbed.language import MIXTURE, rows
from cruxlm.testbed.row import Row

PAD, BOS, EOS, USER, ASSISTANT = SPECIAL = ("<pad>", "<bos>", "<eos>", "<user>", "<assistant>")

CONTEXT = 128
"""Tokens of the longest row, with some to spare."""

VOCABULARY = 1024
"""Tokens, of which 256 are single bytes and five are special."""

CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'user' -%}"
    "{{ '<user> ' + message['content'] }}"
    "{%- elif message['role'] == 'assistant' -%}"
    "{{ '<assistant> ' + message['content'] + eos_token }}"
    "{%- else -%}"
    "{{ raise_exception('the testbed chat has the roles user and assistant only') }}"
    "{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<assistant>' }}{%- endif -%}"
)


def train_tokenizer(
    vocabulary: int = VOCABULARY, n_rows: int = 20_000, seed: int = 0
) -> PreTrainedTokenizerFast:
    """Train the tokenizer on the text of ``n_rows`` training rows.

    Args:
        vocabulary: Size of the vocabulary in tokens; at least 261 (the bytes and the
            special tokens).
        n_rows: Rows of text to learn the merges from.
        seed: The seed of those rows.

    Raises:
        ValueError: When the vocabulary is too small for bytes and special tokens.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    if vocabulary < len(alphabet) + len(SPECIAL):
        raise ValueError(f"a vocabulary of {vocabulary} cannot hold all bytes: give 261 or more")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL),
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator(
        _texts(rows("train", n_rows, seed, MIXTURE | {"refusal": 0.02})), trainer
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        # The chat's own marks must be special too: in a user's text they would otherwise
        # still be read as marks, but decoding could not leave them out.
        additional_special_tokens=[USER, ASSISTANT],
        chat_template=CHAT_TEMPLATE,
        model_input_names=["input_ids", "attention_mask"],
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_max_length=CONTEXT,
    )


def _texts(drawn: Iterable[Row]) -> Iterator[str]:
    for row in drawn:
        yield f" {row.prompt}"
        yield f" {row.response}"


def encode(row: Row, tokenizer: PreTrainedTokenizerBase) -> Encoded:
    """Encode a row in the chat frame.

    Prompt and response are tokenised apart; as a special token stands between them, the
    result is that of the whole text at once.
    """
    special: dict[str, int] = tokenizer.get_added_vocab()
    prompt: list[int] = tokenizer(f" {row.prompt}", add_special_tokens=False).input_ids
    response: list[int] = tokenizer(f" {row.response}", add_special_tokens=False).input_ids
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    before = [bos, special[USER], *prompt, special[ASSISTANT]]
    return Encoded([*before, *response, eos], prompt=len(before))
