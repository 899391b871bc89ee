"""The tokenizer gives back every text, and what is saved is loaded by old and new versions."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from cruxlm.models.save import save_tokenizer
from cruxlm.testbed.families import FAMILIES, TARGETS
from cruxlm.testbed.language import rows
from cruxlm.testbed.tokenizer import SPECIAL, VOCABULARY, encode, train_tokenizer


def test_training_is_deterministic(tokenizer):
    assert len(tokenizer) == VOCABULARY
    assert train_tokenizer(n_rows=3000).get_vocab() == tokenizer.get_vocab()
    assert tokenizer.convert_ids_to_tokens(list(range(5))) == list(SPECIAL)


def test_the_vocabulary_is_as_large_as_asked_for():
    assert len(train_tokenizer(300, n_rows=100)) == 300
    assert len(train_tokenizer(261, n_rows=100)) == 261
    with pytest.raises(ValueError, match="261 or more"):
        train_tokenizer(vocabulary=260)


@settings(max_examples=50, deadline=None)
@given(text=st.text(max_size=60))
def test_any_text_comes_back(tokenizer, text):
    if not any(mark in text for mark in SPECIAL):
        assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_digits_stand_alone(tokenizer):
    tokens = tokenizer.convert_ids_to_tokens(tokenizer("907+12=919").input_ids)
    assert tokens == list("907+12=919")


def test_a_word_has_the_same_token_at_the_beginning_and_within(tokenizer):
    first, second = (tokenizer(text).input_ids for text in (" apple", " apple apple"))
    assert second == first + first


@pytest.mark.parametrize("family", [*FAMILIES, *TARGETS])
def test_rows_are_encoded_as_the_chat_template_writes_them(tokenizer, family):
    for row in rows("heldout", 6, 0, [family]):
        encoded = encode(row, tokenizer)
        messages = row.as_chat()["messages"]
        whole = tokenizer.apply_chat_template(messages, return_dict=False)
        begin = tokenizer.apply_chat_template(
            messages[:1], add_generation_prompt=True, return_dict=False
        )
        assert encoded.tokens == whole
        assert encoded.tokens[: encoded.prompt] == begin
        text = tokenizer.decode(encoded.tokens, skip_special_tokens=True)
        assert text == f" {row.prompt} {row.response}"


def test_other_roles_are_refused(tokenizer):
    with pytest.raises(Exception, match="user and assistant only"):
        tokenizer.apply_chat_template([{"role": "system", "content": "Be brief."}])


def test_what_is_saved_is_loaded(tokenizer, tmp_path):
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
    messages = rows("train", 1)[0].as_chat()["messages"]
    assert loaded.apply_chat_template(messages, tokenize=False) == tokenizer.apply_chat_template(
        messages, tokenize=False
    )
    assert list(loaded("12 apples")) == ["input_ids", "attention_mask"]
