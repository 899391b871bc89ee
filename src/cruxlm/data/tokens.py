"""Prompts to token lists: the chat template or raw text, what is left out and why, sample ids."""

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from cruxlm.data.probes import Probe, Prompt
from cruxlm.runtime.errors import OptionError, ProbeError

Template = Literal["auto", "chat", "raw"]
FEWEST = 4
"""Fewest prompts that a scan can be made of: debiased similarity is not defined below."""


@dataclass(frozen=True)
class TokenisedProbe:
    """The prompts that a model will read, as token lists without padding."""

    name: str
    """The probe's name."""
    ids: tuple[str, ...]
    """A hash of each prompt's tokens, ascending: the same in any file, whatever its order."""
    prompts: tuple[tuple[int, ...], ...]
    """Token ids of each prompt."""
    groups: tuple[str, ...] | None
    """Group of each prompt; None when not every prompt has one."""
    template: str
    """``chat`` or ``raw``."""
    left_out: dict[str, int]
    """Prompts passed over, by reason: ``empty``, ``too_long``, ``duplicate``."""

    @property
    def ids_sha256(self) -> str:
        """One hash for the set of samples, whatever their order."""
        return hashlib.sha256("\n".join(self.ids).encode()).hexdigest()


def tokenise(
    probe: Probe,
    tokenizer: Any,
    *,
    n: int,
    template: Template = "auto",
    context: int | None = None,
    vocabulary: int | None = None,
    seed: int = 0,
) -> TokenisedProbe:
    """The first ``n`` usable prompts of a probe as tokens.

    Left out and counted: empty prompts, prompts longer than ``context``, and prompts whose tokens
    stood before (a repeated sample would put its self-similarity off the Gram's diagonal, and undo
    the debiasing). ``auto`` uses the chat template for chats when the tokenizer has one.
    """
    chosen = _template(probe, tokenizer, template)
    encode = _encoder(tokenizer, chosen, needed=probe.shape == "prompts" or tokenizer is not None)
    sequences: Iterator[tuple[tuple[int, ...], Prompt]]
    if probe.shape == "prompts":
        sequences = ((encode(prompt), prompt) for prompt in probe.prompts)
    else:
        sequences = _data_free(probe, tokenizer, encode, n, vocabulary, seed)
    left_out: Counter[str] = Counter()
    kept: dict[str, tuple[tuple[int, ...], Prompt]] = {}
    for tokens, prompt in sequences:
        name = hashlib.sha256(",".join(map(str, tokens)).encode()).hexdigest()[:16]
        if vocabulary and max(tokens, default=0) >= vocabulary:
            raise ProbeError(
                f"the tokenizer gives token {max(tokens)}, the model knows {vocabulary}: "
                "they do not belong together"
            )
        if not tokens or not prompt.text.strip():
            left_out["empty"] += 1
        elif context is not None and len(tokens) > context:
            left_out["too_long"] += 1
        elif name in kept:
            left_out["duplicate"] += 1
        else:
            kept[name] = (tokens, prompt)
        if len(kept) == n:
            break
    if len(kept) < FEWEST:
        counts = sorted(left_out.items())
        why = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in counts)
        limit = f" (the model's context is {context} tokens)" if left_out["too_long"] else ""
        raise ProbeError(
            f"a scan needs {FEWEST} usable prompts or more, probe {probe.name!r} has {len(kept)}; "
            f"left out: {why or 'none'}{limit}"
        )
    # From here on prompts stand in the order of their ids: nothing depends on the file's order.
    ordered = sorted(kept.items())
    groups = [prompt.group for _, (_, prompt) in ordered]
    return TokenisedProbe(
        name=probe.name,
        ids=tuple(name for name, _ in ordered),
        prompts=tuple(tokens for _, (tokens, _) in ordered),
        groups=tuple(map(str, groups)) if None not in groups and len(set(groups)) > 1 else None,
        template=chosen,
        left_out=dict(sorted(left_out.items())),
    )


def _template(probe: Probe, tokenizer: Any, asked: Template) -> Literal["chat", "raw"]:
    has_template = bool(getattr(tokenizer, "chat_template", None))
    if asked == "chat" and not has_template:
        raise OptionError("--template chat: the tokenizer has no chat template; use --template raw")
    if asked == "auto":
        chats = any(prompt.messages for prompt in probe.prompts)
        return "chat" if has_template and chats else "raw"
    return asked


def _encoder(tokenizer: Any, template: str, *, needed: bool) -> Callable[[Prompt], tuple[int, ...]]:
    if tokenizer is None:
        if needed:
            raise ProbeError("the model has no tokenizer: pass one, or use --probe random-tokens")
        return lambda _prompt: ()

    def encode(prompt: Prompt) -> tuple[int, ...]:
        if template == "chat":
            # A template writes its own special tokens: the tokenizer must not add them again.
            messages = prompt.messages or ({"role": "user", "content": prompt.text},)
            try:
                text = tokenizer.apply_chat_template(
                    list(messages), tokenize=False, add_generation_prompt=True
                )
            except Exception as error:  # templates raise their own kinds, through jinja2
                line = str(error).splitlines()[0] if str(error) else type(error).__name__
                raise ProbeError(f"the chat template refuses a prompt: {line}") from error
            return tuple(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
        return tuple(tokenizer(prompt.text, verbose=False)["input_ids"])

    return encode


def _data_free(
    probe: Probe,
    tokenizer: Any,
    encode: Callable[[Prompt], tuple[int, ...]],
    n: int,
    vocabulary: int | None,
    seed: int,
) -> Iterator[tuple[tuple[int, ...], Prompt]]:
    """Random or shuffled tokens in the places of the built-in prompts' own tokens.

    Their lengths are those of the built-in prompts, cycled as often as ``n`` needs; inside a chat
    template the frame is kept and only the content replaced.
    """
    draw = random.Random(seed)
    if tokenizer is None:
        if probe.shape == "shuffled":
            raise ProbeError("probe 'shuffled-tokens' needs a tokenizer: use random-tokens")
        if not vocabulary:
            raise ProbeError("random tokens need a vocabulary size: the model has none")
        contents = [(1,) * len(prompt.text.split()) for prompt in probe.prompts]
        before: tuple[int, ...] = ()
        after: tuple[int, ...] = ()
        special: set[int] = set()
    else:
        contents = [
            tuple(tokenizer(prompt.text, add_special_tokens=False, verbose=False)["input_ids"])
            for prompt in probe.prompts
        ]
        before, after = _frame(encode)
        special = set(tokenizer.all_special_ids)
        vocabulary = min(vocabulary or len(tokenizer), len(tokenizer))
    if probe.shape == "random":
        pool: Iterable[int] = [token for token in range(vocabulary or 0) if token not in special]
        choices = list(pool)
    else:
        choices = [token for content in contents for token in content if token not in special]
        draw.shuffle(choices)
    if not choices:
        raise ProbeError(f"probe {probe.name!r}: the tokenizer has no tokens to draw from")
    position = 0
    for index in range(2 * n):  # twice, for the few that come out alike or too long
        length = max(1, len(contents[index % len(contents)]))
        if probe.shape == "random":
            drawn = draw.choices(choices, k=length)
        else:
            if position + length > len(choices):
                draw.shuffle(choices)
                position = 0
            drawn = choices[position : position + length]
            position += length
        yield (*before, *drawn, *after), Prompt(probe.name, None, None)


def _frame(
    encode: Callable[[Prompt], tuple[int, ...]],
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The tokens that stand before and after every prompt's content.

    Found as the common start and end of two encodings that share nothing else.
    """
    one, two = (encode(Prompt(text, None, None)) for text in ("0", "Zebra crossing"))
    shorter = min(len(one), len(two))
    start = 0
    while start < shorter and one[start] == two[start]:
        start += 1
    end = 0
    while end < shorter - start and one[-1 - end] == two[-1 - end]:
        end += 1
    return one[:start], one[len(one) - end :]
