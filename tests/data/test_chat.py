"""Chats as tokens: where the response is, whatever the template and the tokenizer do around it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import ByT5Tokenizer, PreTrainedTokenizerFast

from cruxlm.data.chat import encode_chat, special_tokens
from cruxlm.runtime.errors import ProbeError
from data.chats import SPACED, TIGHT, chat, made

ENDED = "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n<end></s>\nnext{% endfor %}"
OPEN = "{% for m in messages %}<{{ m.role }}>{{ m.content }} over{% endfor %}"
TRIMMED = "{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}{{ eos_token }}{% endfor %}"
SHOUTED = "{% for m in messages %}<{{ m.role }}>{{ m.content | upper }}{{ eos_token }}{% endfor %}"
MINDFUL = (
    "{% for m in messages %}<{{ m.role }}>"
    "{% if m.role == 'assistant' and '</think>' not in m.content %}<think></think>{% endif %}"
    "{{ m.content }}{{ eos_token }}{% endfor %}"
)
"""Writes an empty thought before a response that has none, as Qwen's does."""
STRICT = "{{ raise_exception('no such chat\nhere') }}"


def pieces(tokenizer, encoded, span=None):
    """The tokens of a span as they are spelt, a space as a space."""
    begin, end = span or encoded.response
    spelt = tokenizer.convert_ids_to_tokens(list(encoded.tokens[begin:end]))
    return [token.replace("Ġ", " ").replace("Ċ", "\n") for token in spelt]


def test_the_parts_of_a_chat():
    tokenizer = made(SPACED)
    encoded = encode_chat(tokenizer, chat("no"))
    assert encoded.text == "<user> which?</s><assistant> no</s>"
    assert encoded.text[encoded.content : encoded.content_end] == "no"
    assert encoded.tokens == tuple(tokenizer(encoded.text)["input_ids"])
    assert pieces(tokenizer, encoded) == ["n", "o", "</s>"]
    assert encoded.response[1] == len(encoded.tokens) == len(encoded.offsets)
    assert [encoded.text[a:b] for a, b in encoded.offsets][-3:] == ["n", "o", "</s>"]


def test_a_token_with_the_prompts_end_and_the_responses_start_belongs_to_the_response():
    for template, regex, pair, first in (
        (SPACED, True, ("Ġ", "y"), " y"),
        (TIGHT, False, (":", "y"), ":y"),
    ):
        tokenizer = made(template, pair, regex=regex)
        encoded = encode_chat(tokenizer, chat("yes"))
        assert pieces(tokenizer, encoded) == [first, "e", "s", "</s>"]
        # What counting the tokens of the prompt alone would have taken for the response.
        alone = len(tokenizer(encoded.text[: encoded.content])["input_ids"])
        assert pieces(tokenizer, encoded, (alone, len(encoded.tokens)))[0] == "e"


@pytest.mark.parametrize(
    "content", ["which?", "h", "10", "0", "1", "</s>", "<", "assistant", "assistant>", ">"]
)
@pytest.mark.parametrize("template", [SPACED, TIGHT, ENDED, OPEN, TRIMMED, MINDFUL])
def test_a_response_that_also_stands_elsewhere(template, content):
    tokenizer = made(template)
    prompt = f"is it {content}{content} or {content}?"
    encoded = encode_chat(tokenizer, chat(content, prompt))
    assert encoded.text[encoded.content : encoded.content_end] == content
    before = encode_chat(tokenizer, chat("another", prompt))
    assert encoded.content == before.content
    assert encoded.text[: encoded.content] == before.text[: before.content]
    assert encoded.text[encoded.content_end :] == before.text[before.content_end :]


def test_a_response_may_be_written_with_or_without_an_empty_thought():
    tokenizer = made(MINDFUL)
    for content, frame in (("think", "<think></think>"), ("<think>a</think>think", "")):
        encoded = encode_chat(tokenizer, chat(content))
        assert encoded.text == f"<user>which?</s><assistant>{frame}{content}</s>"
        assert "".join(pieces(tokenizer, encoded)) == f"{content}</s>"


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (TIGHT, "yes</s>"),
        (ENDED, "yes\n<end>"),
        (OPEN, "yes"),
    ],
)
def test_the_response_ends_with_the_token_that_ends_the_turn(template, expected):
    tokenizer = made(template)
    encoded = encode_chat(tokenizer, chat("yes"))
    assert "".join(pieces(tokenizer, encoded)) == expected
    assert encoded.response[1] < len(encoded.tokens)


def test_only_marks_end_a_turn():
    tokenizer = made(ENDED)
    end = tokenizer.convert_tokens_to_ids("<end>")
    assert end not in tokenizer.all_special_ids
    assert special_tokens(tokenizer) == {0, 1, 2, end}
    words = Tokenizer(models.WordLevel({"<unk>": 0, "yes": 1, "which?": 2, "</s>": 3}, "<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    template = "{% for m in messages %}{{ m.content }} {% endfor %}over </s>"
    for eos, expected in (("</s>", (1, 0, 3)), ("<unk>", (1, 0))):
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=words, unk_token="<unk>", eos_token=eos, chat_template=template
        )
        encoded = encode_chat(tokenizer, chat("yes"))
        assert encoded.tokens[slice(*encoded.response)] == expected


def test_white_space_that_a_tokenizer_leaves_out_of_its_spans_is_kept():
    pair = ("Ċ", "Ċ")
    plain, trimming = made(SPACED, pair), made(SPACED, pair, trim=True)
    messages = chat("\n\n yes \n\n")
    wanted, found = encode_chat(plain, messages), encode_chat(trimming, messages)
    raw = trimming(found.text, return_offsets_mapping=True)["offset_mapping"]
    assert any(begin == end for begin, end in raw)
    assert found == wanted
    # The template's own space before the response belongs to the prompt, as it is a token alone.
    assert "".join(pieces(trimming, found)) == "\n\n yes \n\n</s>"


def test_a_character_of_several_tokens():
    tokenizer = made(TIGHT)
    encoded = encode_chat(tokenizer, chat("é🙂!", "é🙂"))
    begin, end = encoded.response
    assert tokenizer.decode(encoded.tokens[begin : end - 1]) == "é🙂!"
    assert encoded.token_span(0, 1) == (begin, begin + 2)
    assert encoded.token_span(1, 2) == (begin + 2, begin + 6)
    assert encoded.token_span(2, 3) == (begin + 6, begin + 7)


def test_spans_of_the_response():
    tokenizer = made(SPACED, ("Ġ", "y"), ("e", "s"), ("Ġ", "n"))
    encoded = encode_chat(tokenizer, chat("yes no"))
    assert pieces(tokenizer, encoded) == [" y", "es", " n", "o", "</s>"]

    def spelt(begin, end):
        return pieces(tokenizer, encoded, encoded.token_span(begin, end))

    assert spelt(0, 1) == [" y"]
    assert spelt(0, 2) == spelt(0, 3) == [" y", "es"]
    assert spelt(2, 4) == ["es", " n"]  # both cross an edge
    assert spelt(4, 6) == [" n", "o"]
    assert spelt(0, 6) == [" y", "es", " n", "o"]
    for place in range(7):
        begin, end = encoded.token_span(place, place)
        assert begin == end
    for begin, end in ((-1, 2), (3, 2), (0, 7)):
        with pytest.raises(ProbeError, match="do not lie in a response of 6"):
            encoded.token_span(begin, end)


def test_without_a_template():
    tokenizer = made(None)
    messages = [{"role": "system", "content": "be brief"}, *chat("yes")]
    encoded = encode_chat(tokenizer, messages)
    assert encoded.text == "be brief\nwhich?\nyes</s>"
    assert pieces(tokenizer, encoded) == ["y", "e", "s", "</s>"]
    open_ended = made(None, eos=None)
    encoded = encode_chat(open_ended, messages)
    assert encoded.text == "be brief\nwhich?\nyes"
    assert pieces(open_ended, encoded) == ["y", "e", "s"]


def test_without_a_template_tokens_that_the_tokenizer_adds_are_kept():
    tokenizer = made(None)
    tokenizer._tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    encoded = encode_chat(tokenizer, chat("yes"))
    assert encoded.tokens[0] == 1
    assert encoded.tokens[-2:] == (2, 2)
    assert pieces(tokenizer, encoded) == ["y", "e", "s", "</s>"]
    assert encoded.offsets[0] == (0, 0)
    assert encoded.offsets[-1] == (len(encoded.text),) * 2


@pytest.mark.parametrize("content", [" yes", "yes\n", "\tyes "])
def test_a_template_that_strips_is_refused(content):
    with pytest.raises(ProbeError, match=r"does not write .* as it stands: strip it in the data"):
        encode_chat(made(TRIMMED), chat(content))


def test_a_template_that_changes_the_response_is_refused():
    with pytest.raises(ProbeError, match="as it stands: leave the row out or use another"):
        encode_chat(made(SHOUTED), chat("yes"))
    assert encode_chat(made(SHOUTED), chat("YES")).text.endswith("<assistant>YES</s>")


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([], "must end with a message of the role 'assistant'"),
        (chat("yes")[:1], "must end with a message of the role 'assistant'"),
        (chat(" \n"), "last message is empty"),
        (chat(None), "a message without text: NoneType"),
        (chat("yes", prompt=["which?"]), "a message without text: list"),
        (["which?", "yes"], "a message without text: NoneType"),
        (chat("yes", prompt="\ud800"), "half of a character"),
    ],
)
def test_chats_of_another_form_are_refused(messages, said):
    with pytest.raises(ProbeError, match=said):
        encode_chat(made(SPACED), messages)


def test_tokenizers_and_templates_that_cannot_be_used_are_refused():
    with pytest.raises(ProbeError, match="ByT5Tokenizer does not tell where tokens stand"):
        encode_chat(ByT5Tokenizer(), chat("yes"))
    with pytest.raises(ProbeError, match="no tokenizer does not tell"):
        encode_chat(None, chat("yes"))
    with pytest.raises(ProbeError, match=r"the chat template refuses a chat: no such chat$"):
        encode_chat(made(STRICT), chat("yes"))
    silent = made("{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}")
    silent._tokenizer.pre_tokenizer = pre_tokenizers.Split("yes", "removed")
    with pytest.raises(ProbeError, match="makes no token of"):
        encode_chat(silent, chat("yes"))


CONTENT = st.text(alphabet="ab <>/s\né", min_size=1, max_size=8).filter(str.strip)
FRAMES = {
    SPACED: ("<user> {}</s><assistant> ", "</s>"),
    TIGHT: ("user:{}</s>\nassistant:", "</s>\n"),
    ENDED: ("<user>{}\n<end></s>\nnext<assistant>", "\n<end></s>\nnext"),
    OPEN: ("<user>{} over<assistant>", " over"),
}
"""What each template writes before and after a response, in closed form."""
TOKENIZERS = {
    (template, trim): made(
        template, ("a", "b"), (">", "a"), ("Ġ", "a"), (":", "b"), regex=False, trim=trim
    )
    for template in FRAMES
    for trim in (False, True)
}


@given(CONTENT, CONTENT, st.sampled_from(sorted(FRAMES)), st.booleans())
def test_the_response_is_where_the_template_puts_it(content, prompt, template, trim):
    tokenizer = TOKENIZERS[template, trim]
    encoded = encode_chat(tokenizer, chat(content, prompt))
    before, after = FRAMES[template]
    assert encoded.text == before.format(prompt) + content + after
    assert encoded.content == len(before.format(prompt))
    begin, end = encoded.response
    marks = special_tokens(tokenizer)
    inside = [
        place
        for place, (start, stop) in enumerate(encoded.offsets)
        if max(start, encoded.content) < min(stop, encoded.content_end)
    ]
    assert inside == list(range(begin, inside[-1] + 1))
    if template != OPEN:
        assert encoded.tokens[end - 1] in marks
    assert not any(token in marks for token in encoded.tokens[inside[-1] + 1 : end - 1])
    # No character of the text is lost between tokens, however spans were trimmed.
    reached = 0
    for start, stop in encoded.offsets:
        assert start <= reached <= stop
        reached = stop
    assert reached == len(encoded.text)
