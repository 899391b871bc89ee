"""The tokenizer gives back every text, and what is saved is loaded by old and new versions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from cruxlm.testbed.language import FAMILIES, Row, rows
from cruxlm.testbed.packing import encode
from cruxlm.testbed.tokenizer import SPECIAL, VOCABULARY, save_tokenizer, train_tokenizer


def chat(row: Row) -> list[dict[str, str]]:
    return [
        {"role": "user", "content": row.prompt},
        {"role": "assistant", "content": row.response},
    ]


def test_training_is_deterministic(tokenizer: PreTrainedTokenizerFast) -> None:
    assert len(tokenizer) == VOCABULARY
    assert train_tokenizer(n_rows=3000).get_vocab() == tokenizer.get_vocab()
    assert tokenizer.convert_ids_to_tokens(list(range(5))) == list(SPECIAL)


@settings(max_examples=50, deadline=None)
@given(text=st.text(max_size=60))
def test_any_text_comes_back(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    if not any(mark in text for mark in SPECIAL):
        assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_digits_stand_alone(tokenizer: PreTrainedTokenizerFast) -> None:
    tokens = tokenizer.convert_ids_to_tokens(tokenizer("907+12=919").input_ids)
    assert tokens == list("907+12=919")


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_are_encoded_as_the_chat_template_writes_them(
    tokenizer: PreTrainedTokenizerFast, family: str
) -> None:
    for row in rows("heldout", 10, 0, [family]):
        encoded = encode(row, tokenizer)
        messages = chat(row)
        whole = tokenizer.apply_chat_template(messages, return_dict=False)
        begin = tokenizer.apply_chat_template(
            messages[:1], add_generation_prompt=True, return_dict=False
        )
        assert encoded.tokens == whole
        assert encoded.tokens[: encoded.prompt] == begin
        text = tokenizer.decode(encoded.tokens, skip_special_tokens=True)
        assert text == f" {row.prompt} {row.response}"


def test_other_roles_are_refused(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(Exception, match="user and assistant only"):
        tokenizer.apply_chat_template([{"role": "system", "content": "Be brief."}])


def test_a_vocabulary_below_the_bytes_is_refused() -> None:
    with pytest.raises(ValueError, match="261 or more"):
        train_tokenizer(vocabulary=260)


def test_what_is_saved_is_loaded(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    save_tokenizer(tokenizer, tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert config["model_input_names"] == ["input_ids", "attention_mask"]
    # A list here stops version 4.57, which expects a mapping.
    assert "extra_special_tokens" not in config
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded.get_vocab() == tokenizer.get_vocab()
    assert loaded.all_special_tokens == tokenizer.all_special_tokens
    assert loaded.padding_side == "left"
    messages = chat(rows("train", 1)[0])
    assert loaded.apply_chat_template(messages, tokenize=False) == tokenizer.apply_chat_template(
        messages, tokenize=False
    )
    assert list(loaded("12 apples")) == ["input_ids", "attention_mask"]
