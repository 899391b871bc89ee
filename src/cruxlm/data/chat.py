"""A chat row to tokens, and which of them are the response.

The response is found by its characters in the rendered chat. Tokenising the prompt alone and
counting would be wrong wherever a token holds the end of the prompt and the start of the response.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cruxlm.runtime.errors import ProbeError

Span = tuple[int, int]
"""First place, and the place after the last."""


@dataclass(frozen=True)
class EncodedChat:
    """A whole chat as tokens."""

    tokens: tuple[int, ...]
    """Token ids of the chat as it was rendered."""
    response: Span
    """Tokens of the response: from the first that holds any of its text to the token that ends the
    turn, which a model must predict too. Where the template writes none, to the end of the text."""
    text: str
    """The rendered chat."""
    offsets: tuple[Span, ...]
    """Characters of ``text`` in each token."""
    content: int
    """Character of ``text`` where the assistant's last message begins."""
    content_end: int
    """Character of ``text`` after that message."""

    def token_span(self, begin: int, end: int) -> Span:
        """The tokens that hold characters ``begin`` to ``end`` (exclusive) of the last message.

        A token that crosses an edge is in. No characters give no tokens: a span of length 0.
        """
        length = self.content_end - self.content
        if not 0 <= begin <= end <= length:
            raise ProbeError(f"characters {begin} to {end} do not lie in a response of {length}")
        return _overlapping(self.offsets, self.content + begin, self.content + end)


def encode_chat(tokenizer: Any, messages: Sequence[Any]) -> EncodedChat:
    """Render a chat that ends with the assistant's message, and find that message's tokens.

    ``messages`` are mappings with a ``role`` and a ``content``, which must be text.
    A tokenizer without a chat template gets the contents joined by newlines, followed by its
    end-of-sequence token if it has one. Raises ``ProbeError`` for a chat of another form, a
    tokenizer without character offsets, and a template that refuses the chat or changes the
    response.
    """
    content = _last_content(messages)
    if not getattr(tokenizer, "is_fast", False):
        kind = "no tokenizer" if tokenizer is None else type(tokenizer).__name__
        raise ProbeError(f"{kind} does not tell where tokens stand in a text: use a fast tokenizer")
    text, begin = _render(tokenizer, messages, content)
    # A template writes its own special tokens; a raw text is read as the tokenizer reads texts.
    raw = not tokenizer.chat_template
    read = tokenizer(text, add_special_tokens=raw, return_offsets_mapping=True, verbose=False)
    tokens, offsets = tuple(read["input_ids"]), _without_gaps(read["offset_mapping"])
    first, end = _overlapping(offsets, begin, begin + len(content))
    if first == end:
        raise ProbeError("the tokenizer makes no token of the assistant's last message")
    special = special_tokens(tokenizer)
    closing = (place for place in range(end, len(tokens)) if tokens[place] in special)
    end = next(closing, end - 1) + 1
    return EncodedChat(tokens, (first, end), text, offsets, begin, begin + len(content))


def special_tokens(tokenizer: Any) -> frozenset[int]:
    """Every token that is a mark and stands for no text.

    More than ``all_special_ids``: Llama 3 names the end of a turn in its added tokens only. And
    less: an unknown token stands for text, unless it is GPT-2's, which ends texts as well.
    """
    added = tokenizer.added_tokens_decoder.items()
    marks = {*tokenizer.all_special_ids, *(name for name, token in added if token.special)}
    if tokenizer.unk_token_id != tokenizer.eos_token_id:
        marks.discard(tokenizer.unk_token_id)
    return frozenset(marks)


def _last_content(messages: Sequence[Any]) -> str:
    """The last message's content, once the chat is known to have the form that is wanted."""
    contents: list[str] = []
    for message in messages:
        content = message.get("content") if isinstance(message, Mapping) else None
        if not isinstance(content, str):
            raise ProbeError(f"a message without text: {type(content).__name__} as its content")
        if any("\ud800" <= character <= "\udfff" for character in content):
            raise ProbeError("a message holds half of a character (a lone surrogate)")
        contents.append(content)
    if not contents or messages[-1].get("role") != "assistant":
        raise ProbeError("a chat must end with a message of the role 'assistant'")
    if not contents[-1].strip():
        raise ProbeError("the assistant's last message is empty")
    return contents[-1]


def _render(tokenizer: Any, messages: Sequence[Mapping[str, Any]], content: str) -> tuple[str, int]:
    """The chat as text, and where in it the last message's content begins."""
    if not tokenizer.chat_template:
        text = "\n".join(message["content"] for message in messages)
        return text + (tokenizer.eos_token or ""), len(text) - len(content)
    text = _templated(tokenizer, messages)
    # What another content leaves in place is what the template writes after it. Searching for the
    # content would also find it in the prompt, in the frame, or in what follows.
    other = "1" if content.rstrip().endswith("0") else "0"
    changed = _templated(tokenizer, [*messages[:-1], {**messages[-1], "content": other}])
    end = len(text) - _common_end(text, changed)
    if not text[:end].endswith(content):
        strips = content != content.strip() and text[:end].endswith(content.strip())
        advice = "strip it in the data" if strips else "leave the row out or use another template"
        raise ProbeError(
            "the chat template does not write the assistant's last message as it stands: " + advice
        )
    return text, end - len(content)


def _templated(tokenizer: Any, messages: Sequence[Any]) -> str:
    try:
        text: str = tokenizer.apply_chat_template(list(map(dict, messages)), tokenize=False)
    except Exception as error:  # templates raise their own kinds, through jinja2
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ProbeError(f"the chat template refuses a chat: {line}") from error
    return text


def _common_end(one: str, two: str) -> int:
    """How many characters two texts share at their ends."""
    count = 0
    while count < min(len(one), len(two)) and one[-1 - count] == two[-1 - count]:
        count += 1
    return count


def _without_gaps(offsets: Sequence[Sequence[int]]) -> tuple[Span, ...]:
    """Spans in which each token begins, at the latest, where the one before it ends.

    GPT-2's kin leave the white space that a token begins with out of its span; and tokens that the
    tokenizer adds to a text stand at (0, 0), wherever they are.
    """
    spans: list[Span] = []
    reached = 0
    for begin, end in offsets:
        spans.append((min(begin, reached), end) if end >= reached else (reached, reached))
        reached = max(reached, end)
    return tuple(spans)


def _overlapping(offsets: Sequence[Span], begin: int, end: int) -> Span:
    """The tokens that hold any of the characters ``begin`` to ``end``."""
    first = next((place for place, span in enumerate(offsets) if span[1] > begin), len(offsets))
    last = first
    while begin < end and last < len(offsets) and offsets[last][0] < end:
        last += 1
    return first, last
