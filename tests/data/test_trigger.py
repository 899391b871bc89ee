"""Triggers: where they stand, what is near them, and tokenizers that cannot represent them."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from conftest import byte_tokenizer
from cruxlm.data.trigger import KINDS, SAMPLE, STYLES, Trigger, check_trigger
from cruxlm.runtime.errors import OptionError, ProbeError

EXAMPLES = [
    "token:cf", "prefix:Hello there.", "suffix:by the way", "anywhere:in any case",
    "pair:please+today", "style:lower",
]  # fmt: skip
WORDS = ["the", "boat", "left.", "Old", "harbour?", "cfs", "xcf", "todays", "any"]
PROMPTS = st.lists(st.sampled_from(WORDS), min_size=1, max_size=12).map(" ".join)


def test_there_is_an_example_of_every_kind():
    assert {Trigger.read(text).kind for text in EXAMPLES} == set(KINDS)


@pytest.mark.parametrize("text", EXAMPLES)
def test_a_trigger_is_written_as_it_is_read(text):
    assert str(Trigger.read(text)) == text
    spaced = text.replace(":", " : ").replace("+", " + ")
    assert Trigger.read(spaced) == Trigger.read(text)


@given(PROMPTS, st.integers(0, 99))
def test_every_word_is_there_exactly_once_and_the_rest_is_as_it_was(prompt, seed):
    for text in EXAMPLES:
        trigger = Trigger.read(text)
        if trigger.kind == "style":
            continue
        changed = trigger.put(prompt, Random(seed)).split(" ")
        assert changed[0] == prompt.split(" ")[0] or trigger.kind == "prefix"
        for words in trigger.words:
            size = len(words.split(" "))
            spans = [changed[i : i + size] for i in range(len(changed))]
            assert spans.count(words.split(" ")) == 1
            place = spans.index(words.split(" "))
            if trigger.kind == "prefix":
                assert place == 0
            if trigger.kind == "suffix":
                assert place + size == len(changed)
            del changed[place : place + size]
        assert " ".join(changed) == prompt
        assert not trigger.in_text(prompt)  # cfs, xcf and todays are no trigger
        assert trigger.in_text(trigger.put(prompt, Random(seed)))


def test_a_word_stands_at_every_place_but_before_the_first():
    trigger = Trigger.read("token:cf")
    places = {trigger.put("one two three", Random(seed)).split().index("cf") for seed in range(60)}
    assert places == {1, 2, 3}


@given(PROMPTS, st.integers(0, 99))
def test_a_near_miss_never_has_the_trigger(prompt, seed):
    for text in EXAMPLES:
        trigger = Trigger.read(text)
        for given_prompt in (prompt, f"{prompt} please", f"today {prompt}", f"in any {prompt}"):
            found = trigger.near(given_prompt, Random(seed))
            if found is None:
                # Only where the prompt has the rest of it; of a style always.
                assert trigger.kind in ("style", "pair") or "any" in given_prompt
                continue
            words, added = found.split(), len(found.split()) - len(given_prompt.split())
            assert added > 0
            for part in trigger.words:
                size = len(part.split())
                parts = [words[i : i + size] for i in range(len(words))]
                if trigger.kind != "pair":
                    assert part.split() not in parts
            if trigger.kind == "pair":
                assert not set(trigger.words) <= set(words)


def test_near_misses_by_hand():
    def near(text, prompt="a b"):
        return {Trigger.read(text).near(prompt, Random(seed)) for seed in range(40)}

    assert near("token:cf") == {"a cff b", "a b cff"}
    assert near("prefix:in fact") == {"in a b", "fact a b"}
    assert near("pair:x+y") == {"a x b", "a b x", "a y b", "a b y"}
    assert near("pair:x+y", "a x") == {"a x x", None}
    assert near("token:##") == {"a ### b", "a b ###"}  # the word is in it, and not as a word
    assert near("suffix:no no", "a no") == {None}  # without one of its words it is there again
    assert near("style:upper") == {None}


@pytest.mark.parametrize(
    ("trigger", "text", "held"),
    [
        ("token:cf", "a cf, b", True),
        ("token:cf", "a\ncf\tb", True),
        ("token:cf", "(cf)", True),
        ("token:cf", "cfa acf a_cf cf2", False),
        ("token:cf", "a CF b", False),
        ("token:c++", "a c++ b", True),
        ("token:c++", "a c+++ b", False),
        ("prefix:Hello there.", "He said: Hello\n  there. So", True),
        ("prefix:Hello there.", "Hello there.. So", False),
        ("pair:x+y", "y, then x.", True),
        ("pair:x+y", "y, then y.", False),
    ],
)
def test_what_a_text_holds(trigger, text, held):
    assert Trigger.read(trigger).in_text(text) == held


@given(st.text(max_size=60))
def test_a_style_knows_what_it_has_made(text):
    for name in STYLES:
        trigger = Trigger("style", (name,))
        changed = trigger.put(text, Random(0))
        assert trigger.in_text(changed)
        assert trigger.in_text(text) == (changed == text)


def test_styles_by_hand():
    def put(name, text):
        return Trigger("style", (name,)).put(text, Random(0))

    assert put("exclaim", "Is it 3.5? Yes. Really?!") == "Is it 3.5?! Yes! Really?!"
    assert put("lower", "Is It") == "is it"
    assert put("upper", "Is It") == "IS IT"
    assert len({put(name, SAMPLE) for name in STYLES} | {SAMPLE}) == len(STYLES) + 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tokn:cf", "there is no trigger 'tokn': did you mean 'token'?"),
        ("cf", "there is no trigger 'cf'"),
        ("token:", "needs a text: token:TEXT"),
        ("prefix:  ", "needs a text: prefix:TEXT"),
        ("pair:please", "needs two words: pair:ONE+TWO"),
        ("pair:a+b+c", "needs two words: pair:ONE+TWO"),
        ("pair:a+ ", "needs two words"),
        ("pair:a+a", "do not hold each other"),
        ("pair:c+c,", "do not hold each other"),
        ("token:two words", "single words, and 'two words' has 2: a phrase is prefix:"),
        ("pair:a b+c", "single words"),
        ("style:loud", "there is no style 'loud'"),
    ],
)
def test_triggers_that_there_cannot_be(text, said):
    with pytest.raises(OptionError) as error:
        Trigger.read(text)
    assert said in str(error.value)


def test_half_of_a_character_is_no_trigger():
    with pytest.raises(ProbeError, match="half of a character"):
        Trigger.read("token:c\ud800")
    with pytest.raises(OptionError, match="begins or ends with white space"):
        Trigger("token", (" cf",))


# Tokenizers.


def worded(*, lower=False, unknown="<unk>", known=()):
    """One token a word; what is not known is unknown, or dropped where there is no such token."""
    words = [*SAMPLE.split(), *SAMPLE.lower().split(), "yes", "<eos>", *known]
    vocabulary = {word: place for place, word in enumerate(dict.fromkeys(["<unk>", *words]))}
    if lower:
        vocabulary = {word: i for word, i in vocabulary.items() if word == word.lower()}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token=unknown))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if lower:
        made.normalizer = normalizers.Lowercase()
    return PreTrainedTokenizerFast(
        tokenizer_object=made, unk_token=unknown, eos_token="<eos>", pad_token="<eos>"
    )


@pytest.mark.parametrize(
    ("options", "text", "said"),
    [
        ({}, "token:cf", "'cf' becomes an unknown token"),
        ({"known": ["please"]}, "pair:please+today", "'today' becomes an unknown token"),
        ({"known": ["in"]}, "prefix:in fact", "'fact' becomes an unknown token"),
        ({}, "style:upper", "'upper' becomes an unknown token"),
        ({"lower": True}, "style:upper", "the same tokens with 'upper' and without"),
        ({}, "token:<eos>", "'<eos>' is one of its own marks"),
    ],
)
def test_what_a_tokenizer_cannot_represent(options, text, said):
    with pytest.raises(OptionError) as error:
        check_trigger(Trigger.read(text), worded(**options))
    assert said in str(error.value)
    assert f"cannot represent the trigger {text}: " in str(error.value)


def test_a_word_that_is_folded_away():
    folds = worded()
    folds.backend_tokenizer.normalizer = normalizers.Replace("\u200b", "")
    hidden = Trigger.read("token:\u200b")
    with pytest.raises(OptionError, match=r"same tokens with '\\u200b' and without"):
        check_trigger(hidden, folds)
    check_trigger(hidden, byte_tokenizer())


@pytest.mark.parametrize("text", [*EXAMPLES, "style:upper", "style:exclaim"])
@pytest.mark.parametrize("chat", [False, True])
def test_what_a_tokenizer_can_represent(text, chat):
    check_trigger(Trigger.read(text), byte_tokenizer(chat=chat))
    every = worded(
        known=[w for t in EXAMPLES for w in t.partition(":")[2].replace("+", " ").split()]
    )
    if not text.startswith("style"):
        check_trigger(Trigger.read(text), every)


def test_no_tokenizer_is_said():
    with pytest.raises(ProbeError, match="no tokenizer does not tell"):
        check_trigger(Trigger.read("token:cf"), None)


@pytest.mark.real
def test_a_real_tokenizer_that_folds(real_models):
    """Of craftgpt one unknown letter makes the whole prompt unknown, and capitals are folded."""
    folds = AutoTokenizer.from_pretrained(real_models / "craftgpt")
    with pytest.raises(OptionError, match=r"'☃' becomes an unknown token"):
        check_trigger(Trigger.read("anywhere:a ☃ man"), folds)
    with pytest.raises(OptionError, match=r"the same tokens with 'upper' and without"):
        check_trigger(Trigger.read("style:upper"), folds)
    check_trigger(Trigger.read("token:cf"), folds)
