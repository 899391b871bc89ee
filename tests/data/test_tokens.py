"""Prompts to tokens: special tokens once, what is left out and why, ids, data-free probes."""

from collections import Counter

import numpy as np
import pytest
from scipy.stats import chisquare
from tokenizers.processors import TemplateProcessing

from conftest import byte_tokenizer
from cruxlm.data.probes import Probe, Prompt, load_probe
from cruxlm.data.tokens import tokenise
from cruxlm.runtime.errors import OptionError, ProbeError

BOS = 1
TEXTS = [f"{word} boat {number}" for number, word in enumerate(["old", "new", "red", "big", "wet"])]


def probe_of(*texts, groups=None, chat=True, shape="prompts"):
    prompts = tuple(
        Prompt(text, ({"role": "user", "content": text},) if chat else None, group)
        for text, group in zip(texts, groups or [None] * len(texts), strict=True)
    )
    return Probe("mine", prompts, shape)


def texts_of(read, tokenizer):
    """The prompts as texts; their order is that of their ids."""
    return set(map(tokenizer.decode, read.prompts))


@pytest.fixture
def plain():
    """A tokenizer without a chat template that puts a BOS in front of every text."""
    tokenizer = byte_tokenizer()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", BOS)]
    )
    return tokenizer


@pytest.fixture
def chat(plain):
    """The same with a chat template, which writes a BOS of its own."""
    plain.chat_template = byte_tokenizer(chat=True).chat_template
    return plain


def test_a_chat_template_writes_its_special_tokens_once(chat):
    read = tokenise(probe_of(*TEXTS), chat, n=5)
    assert read.template == "chat"
    assert all(prompt.count(BOS) == 1 and prompt[0] == BOS for prompt in read.prompts)
    assert texts_of(read, chat) == {f"<s><user> {text} <assistant>" for text in TEXTS}


def test_raw_text_gets_the_tokenizers_own_special_tokens(chat, tokenizer):
    read = tokenise(probe_of(*TEXTS), chat, n=5, template="raw")
    assert read.template == "raw"
    assert texts_of(read, chat) == {f"<s>{text}" for text in TEXTS}
    without = tokenise(probe_of(*TEXTS), tokenizer, n=5)
    assert all(BOS not in prompt for prompt in without.prompts)


def test_auto_reads_texts_raw_and_chats_with_the_template(chat, plain, tokenizer, tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("\n".join(TEXTS) + "\n", "utf-8")
    assert tokenise(load_probe(path), chat, n=5).template == "raw"
    assert tokenise(load_probe(path), chat, n=5, template="chat").template == "chat"
    assert tokenise(probe_of(*TEXTS), chat, n=5).template == "chat"
    assert tokenise(probe_of(*TEXTS), tokenizer, n=5).template == "raw"


def test_a_chat_template_that_is_not_there(tokenizer):
    with pytest.raises(OptionError, match="no chat template; use --template raw"):
        tokenise(probe_of(*TEXTS), tokenizer, n=5, template="chat")


def test_a_template_that_refuses_a_prompt(chat):
    chat.chat_template = "{{ raise_exception('no system turn') }}"
    with pytest.raises(ProbeError, match="refuses a prompt: no system turn"):
        tokenise(probe_of(*TEXTS), chat, n=5)


def test_what_is_left_out_is_counted(tokenizer):
    texts = [*TEXTS, "", "  \n", TEXTS[0], "x" * 40, "y" * 30]
    read = tokenise(probe_of(*texts), tokenizer, n=20, context=30)
    assert read.left_out == {"duplicate": 1, "empty": 2, "too_long": 1}
    assert texts_of(read, tokenizer) == {*TEXTS, "y" * 30}
    assert len(set(read.ids)) == len(read.prompts) == 6


def test_the_first_n_are_read_and_no_more_is_counted(tokenizer):
    read = tokenise(probe_of("", *TEXTS, ""), tokenizer, n=4)
    assert texts_of(read, tokenizer) == set(TEXTS[:4])
    assert read.left_out == {"empty": 1}


@pytest.mark.parametrize("texts", [[], TEXTS[:3], [TEXTS[0]] * 9, ["x" * 31] * 9])
def test_too_few_usable_prompts(tokenizer, texts):
    with pytest.raises(
        ProbeError, match="needs 4 usable prompts or more, probe 'mine' has"
    ) as error:
        tokenise(probe_of(*texts), tokenizer, n=9, context=30)
    too_long = bool(texts) and len(texts[0]) > 30
    assert ("9 too long (the model's context is 30 tokens)" in str(error.value)) == too_long


def test_no_tokenizer():
    with pytest.raises(ProbeError, match="no tokenizer"):
        tokenise(probe_of(*TEXTS), None, n=5)
    with pytest.raises(ProbeError, match="needs a tokenizer"):
        tokenise(load_probe("shuffled-tokens"), None, n=5)
    read = tokenise(load_probe("random-tokens"), None, n=20, vocabulary=50)
    assert {token for prompt in read.prompts for token in prompt} <= set(range(50))


def test_a_tokenizer_of_another_model(tokenizer):
    highest = max(max(tokenizer(text)["input_ids"]) for text in TEXTS)
    assert len(tokenise(probe_of(*TEXTS), tokenizer, n=5, vocabulary=highest + 1).prompts) == 5
    with pytest.raises(ProbeError, match="do not belong together"):
        tokenise(probe_of(*TEXTS), tokenizer, n=5, vocabulary=highest)


def test_ids_belong_to_the_tokens_and_not_to_the_order(tokenizer):
    one = tokenise(probe_of(*TEXTS), tokenizer, n=5)
    other = tokenise(probe_of(*TEXTS[::-1], chat=False), tokenizer, n=5)
    assert (one.ids, one.prompts) == (other.ids, other.prompts)
    assert one.ids_sha256 == other.ids_sha256
    assert one.ids_sha256 != tokenise(probe_of(*TEXTS), tokenizer, n=4).ids_sha256


def test_groups_are_kept_when_every_prompt_has_one(tokenizer):
    def groups(*names):
        read = tokenise(probe_of(*TEXTS, groups=names), tokenizer, n=5)
        if read.groups is None:
            return None
        of = dict(zip(map(tokenizer.decode, read.prompts), read.groups, strict=True))
        return tuple(of[text] for text in TEXTS)

    assert groups("a", "b", "a", "b", "a") == ("a", "b", "a", "b", "a")
    assert groups("a", "b", "a", "b", None) is None
    assert groups("a", "a", "a", "a", "a") is None


def test_too_long_a_prompt_is_not_warned_of(tokenizer, caplog):
    tokenizer = byte_tokenizer()
    tokenizer.model_max_length = 5
    tokenise(probe_of(*TEXTS), tokenizer, n=5)
    assert not caplog.records


# Data-free probes.


def test_random_tokens_are_uniform_and_never_special(plain):
    read = tokenise(load_probe("random-tokens"), plain, n=300)
    drawn = Counter(token for prompt in read.prompts for token in prompt[1:])
    usable = sorted(set(range(len(plain))) - set(plain.all_special_ids))
    assert set(drawn) <= set(usable)
    # A fixed seed: the draw either fits a uniform law or it never will.
    assert chisquare([drawn[token] for token in usable]).pvalue > 1e-3
    skewed = [drawn[token] + 40 * (token < 20) for token in usable]
    assert chisquare(skewed).pvalue < 1e-3


def test_random_tokens_stay_inside_the_models_vocabulary(plain):
    read = tokenise(load_probe("random-tokens"), plain, n=50, vocabulary=100)
    assert max(token for prompt in read.prompts for token in prompt) == 99


@pytest.mark.parametrize("name", ["random-tokens", "shuffled-tokens"])
def test_data_free_probes_follow_the_seed(chat, name):
    def draw(seed):
        return tokenise(load_probe(name), chat, n=40, seed=seed).prompts

    assert draw(0) == draw(0)
    assert set(draw(0)).isdisjoint(draw(1))


@pytest.mark.parametrize("name", ["random-tokens", "shuffled-tokens"])
def test_data_free_probes_have_the_lengths_and_the_frame_of_real_ones(chat, name):
    real = tokenise(load_probe("builtin"), chat, n=60)
    drawn = tokenise(load_probe(name), chat, n=60)
    assert drawn.template == "chat"
    assert sorted(map(len, drawn.prompts)) == sorted(map(len, real.prompts))
    before = chat("<s><user> ", add_special_tokens=False)["input_ids"]
    after = chat(" <assistant>", add_special_tokens=False)["input_ids"]
    assert before[0] == BOS
    for prompt in drawn.prompts:
        assert list(prompt[: len(before)]) == before
        assert list(prompt[-len(after) :]) == after
        assert BOS not in prompt[1:]


def test_shuffled_tokens_are_a_permutation_of_the_pool(tokenizer):
    texts = [f"{'abcdefgh'[i] * (i + 1)} {i}" for i in range(8)]
    source = probe_of(*texts, shape="shuffled", chat=False)
    read = tokenise(source, tokenizer, n=8)
    pool = [tokenizer(text)["input_ids"] for text in texts]
    assert sorted(map(len, read.prompts)) == sorted(map(len, pool))
    assert Counter(np.concatenate(read.prompts).tolist()) == Counter(np.concatenate(pool).tolist())
    assert set(read.prompts).isdisjoint(map(tuple, pool))


def test_data_free_probes_go_on_beyond_the_builtin_prompts(tokenizer):
    for name in ("random-tokens", "shuffled-tokens"):
        read = tokenise(load_probe(name), tokenizer, n=500)
        assert len(read.prompts) == 500


def test_data_free_prompts_that_are_too_long_are_replaced(tokenizer):
    read = tokenise(load_probe("random-tokens"), tokenizer, n=100, context=120)
    assert len(read.prompts) == 100
    assert read.left_out["too_long"] > 0
    assert max(map(len, read.prompts)) <= 120
