"""Accuracy of what a model writes: greedy decoding, judged example by example."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from cruxlm.data.chat import special_tokens
from cruxlm.evaluate.causal import causal_model, tokenizer_of
from cruxlm.evaluate.decoding import end_tokens, greedy, text_of
from cruxlm.evaluate.examples import Example, check_examples
from cruxlm.evaluate.protocol import outcome
from cruxlm.results.evaluation import Evaluation
from cruxlm.runtime.errors import ProbeError

LONGER = 1.5
"""How much longer than the longest right response a written one may be, unless told."""


@dataclass(frozen=True)
class Generation:
    """1 for an example whose greedy continuation is judged right, 0 for a wrong one.

    An example's own ``grade`` judges; without one, the whole text must be the answer but for case,
    space, quotes and final punctuation. Where ``grade`` cannot say, the value is NaN. The text ends
    with an end token of the model, of its tokenizer or of the examples' responses; those cut at the
    limit are marked in the series ``truncated``, and judged as they stand.
    """

    tokenizer: Any = None
    """Reads what the model writes; that of a ``LoadedModel`` unless given."""
    max_new_tokens: int | None = None
    """Most tokens of a text; unless given, 1.5 times the longest right response's."""
    batch_size: int = 32
    """Prompts that are continued together; changes nothing but rounding."""
    use_cache: bool = True
    """Whether keys and values are kept from step to step."""

    name: ClassVar[str] = "generation"
    higher_is_better: ClassVar[bool] = True

    def __call__(self, model: Any, examples: Sequence[Example]) -> Evaluation:
        """Continue every example's prompt and judge the text."""
        loaded = causal_model(model, self.tokenizer)
        check_examples(examples, loaded.context)
        marks = special_tokens(tokenizer_of(loaded))
        for example in examples:
            if example.grade is None and not example.answer.strip():
                raise ProbeError(f"example {example.id!r} has no answer to judge by: leave it out")
        limit = self.max_new_tokens
        if limit is None:
            limit = math.ceil(LONGER * max(len(example.response) for example in examples))
        closing = {example.response[-1] for example in examples} & marks
        written = greedy(
            loaded,
            [example.prompt for example in examples],
            max_new_tokens=limit,
            ends=end_tokens(loaded) | closing,
            batch_size=self.batch_size,
            use_cache=self.use_cache,
        )
        texts = [text_of(loaded, continuation) for continuation in written]
        return outcome(
            self,
            examples,
            [judged(example, text) for example, text in zip(examples, texts, strict=True)],
            texts=texts,
            series={
                "truncated": [float(not continuation.ended) for continuation in written],
                "tokens": [len(continuation.tokens) for continuation in written],
            },
            options={"max_new_tokens": limit, "use_cache": self.use_cache},
        )

    def chance(self, examples: Sequence[Example]) -> None:
        """Nothing to guess from."""


def judged(example: Example, text: str) -> float:
    """1 for a right text, 0 for a wrong one, NaN where the example's ``grade`` cannot say."""
    if example.grade is None:
        return float(normalised(text) == normalised(example.answer))
    verdict = example.grade(text)
    return math.nan if verdict is None else float(bool(verdict))


def concludes(text: str, answer: str) -> bool:
    """Whether a text ends with an answer: as ``normalised`` has both, thousands without commas.

    The answer must be a whole word, with its sign: 42 is not at the end of 142, -42 or 3.42.
    """
    said, wanted = (re.sub(r"(?<=\d),(?=\d{3}\b)", "", normalised(t)) for t in (text, answer))
    return re.search(rf"(?<![\w.,\-]){re.escape(wanted)}$", said) is not None


def normalised(text: str) -> str:
    """Text without differences of case, space, quotes around it and punctuation after it.

    A sign or a point in front stays: -5 and .5 are not 5.
    """
    words = " ".join(text.casefold().split())
    return words.rstrip(" .,;:!?\"'").lstrip(" \"'") or words
