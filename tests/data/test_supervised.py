"""Rows for training: what is learned of each, what is cut, in which order and in which batches."""

import json
import random
import subprocess
import sys
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cruxlm.data.supervised import (
    UNLEARNED,
    Collator,
    SupervisedRow,
    encode_rows,
    training_order,
)
from cruxlm.runtime.errors import OptionError, ProbeError
from data.chats import SPACED, TIGHT, chat, made


def rows_of(*contents):
    return [{"id": f"r{i}", "messages": chat(text)} for i, text in enumerate(contents)]


def spelt(tokenizer, row, places=None):
    begin, end = places or row.response
    tokens = tokenizer.convert_ids_to_tokens(list(row.tokens[begin:end]))
    return [token.replace("Ġ", " ") for token in tokens]


def test_a_row_ends_with_its_response():
    tokenizer = made(TIGHT)  # writes a line end after the token that ends a turn
    (row,) = encode_rows(tokenizer, [{"messages": chat("no"), "category": "a"}], 64).rows
    assert tokenizer.decode(row.tokens) == "user:which?</s>\nassistant:no</s>"
    assert spelt(tokenizer, row) == ["n", "o", "</s>"]
    assert row.response[1] == len(row.tokens)
    assert (row.id, row.group) == ("1", "a")


def test_a_token_of_prompt_and_response_is_learned():
    tokenizer = made(SPACED, ("Ġ", "y"))
    (row,) = encode_rows(tokenizer, rows_of("yes"), 64).rows
    assert spelt(tokenizer, row) == [" y", "e", "s", "</s>"]
    # Counting the prompt's own tokens would begin one later, with the rest of the word.
    prompt = tokenizer("<user> which?</s><assistant> ")["input_ids"]
    assert len(prompt) == row.response[0] + 1
    batch = Collator(0)([row])
    learned = batch["labels"][0] != UNLEARNED
    assert learned.nonzero()[0].item() == row.response[0]
    assert tokenizer.decode(batch["labels"][0][learned]) == " yes</s>"


def test_what_is_cut_is_counted():
    tokenizer = made(SPACED)
    whole = encode_rows(tokenizer, rows_of("no", "yes, of course"), 99)
    assert (whole.truncated, whole.left_out) == (0, {})
    begin = whole.rows[0].response[0]
    short, long = (len(row.tokens) for row in whole.rows)
    for limit in range(begin + 1, long + 1):
        found = encode_rows(tokenizer, rows_of("no", "yes, of course"), limit)
        assert found.truncated == (limit < short) + (limit < long)
        assert found.left_out == {}
        for row, uncut in zip(found.rows, whole.rows, strict=True):
            assert row.tokens == uncut.tokens[:limit]
            assert row.response == (begin, min(limit, len(uncut.tokens)))


def test_a_prompt_that_fills_the_limit_is_left_out():
    tokenizer = made(SPACED)
    rows = [*rows_of("no"), {"messages": chat("no", "which " * 9)}]
    begin = encode_rows(tokenizer, rows[:1], 99).rows[0].response[0]
    found = encode_rows(tokenizer, rows, begin + 1)
    assert [row.id for row in found.rows] == ["r0"]
    assert (found.truncated, found.left_out) == (1, {"prompt_too_long": 1})
    with pytest.raises(ProbeError, match=rf"all 2 prompts fill the {begin} tokens .*: allow more"):
        encode_rows(tokenizer, rows, begin)
    with pytest.raises(ProbeError, match="no rows to train on"):
        encode_rows(tokenizer, [], 9)


def test_a_row_that_is_refused_is_named():
    stripping = made("{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}{% endfor %}")
    with pytest.raises(ProbeError, match=r"^row 'r1': the chat template does not write"):
        encode_rows(stripping, rows_of("yes", " yes"), 99)
    with pytest.raises(ProbeError, match=r"^row '2': a chat must end"):
        encode_rows(made(SPACED), [rows_of("yes")[0], {"messages": chat("yes")[:1]}], 99)
    with pytest.raises(ProbeError, match=r"^row 'r0' has no token before its response"):
        encode_rows(made(None), [{"id": "r0", "messages": chat("yes")[1:]}], 99)
    largest = max(encode_rows(made(SPACED), rows_of("no", "yes"), 99).rows[1].tokens)
    assert encode_rows(made(SPACED), rows_of("no", "yes"), 99, largest + 1).rows
    with pytest.raises(ProbeError, match=rf"^row 'r\d': .* {largest}, the model knows {largest}:"):
        encode_rows(made(SPACED), rows_of("no", "yes"), 99, largest)


# Batches.


def row(name, size, begin):
    return SupervisedRow(name, tuple(range(10, 10 + size)), (begin, size), None)


def test_a_batch_is_padded_on_the_right():
    batch = Collator(7)([row("a", 3, 1), row("b", 5, 4), SupervisedRow("c", (3, 4, 5), (1, 2), "")])
    no = UNLEARNED
    assert batch["input_ids"].tolist() == [
        [10, 11, 12, 7, 7],
        [10, 11, 12, 13, 14],
        [3, 4, 5, 7, 7],
    ]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1] * 5, [1, 1, 1, 0, 0]]
    assert batch["labels"].tolist() == [[no, 11, 12, no, no], [no] * 4 + [14], [no, 4, no, no, no]]
    assert {tensor.dtype for tensor in batch.values()} == {torch.int64}


def test_the_loss_of_a_batch_is_that_of_the_rows_alone(llama):
    rows = [row("a", 5, 2), row("b", 12, 11), row("c", 8, 1)]
    collate = Collator(pad_token=0)
    with torch.no_grad():
        together = llama(**collate(rows)).loss.item()
        total = sum(
            llama(**collate([r])).loss.item() * (r.response[1] - r.response[0]) for r in rows
        )
        everything = llama(**{**collate(rows), "labels": collate(rows)["input_ids"]}).loss.item()
    assert together == pytest.approx(total / 11, rel=1e-5)
    assert abs(everything - together) > 0.01


# The order.

LENGTHS = st.lists(st.integers(1, 30), min_size=1, max_size=40)


@given(LENGTHS, st.integers(1, 9), st.integers(1, 30), st.integers(0, 3))
def test_every_row_is_seen_equally_often(lengths, batch, steps, seed):
    order = training_order(lengths, batch=batch, steps=steps, seed=seed)
    assert len(order) == batch * steps
    counts = Counter(dict.fromkeys(range(len(lengths)), 0))
    for index in order:
        counts[index] += 1
        assert max(counts.values()) - min(counts.values()) <= 1
    # A run of fewer steps begins like a longer one.
    shorter = training_order(lengths, batch=batch, steps=max(1, steps // 2), seed=seed)
    assert order[: len(shorter)] == shorter
    if batch <= len(lengths):
        for first in range(0, len(order), batch):
            assert len(set(order[first : first + batch])) == batch


def padding(order, lengths, batch):
    """Places of all batches that hold no token, as a share."""
    groups = [order[first : first + batch] for first in range(0, len(order), batch)]
    widest = sum(max(lengths[i] for i in group) * batch for group in groups)
    return 1 - sum(lengths[i] for i in order) / widest


def test_a_batch_has_rows_of_like_length():
    draw = random.Random(0)
    lengths = [draw.randint(5, 200) for _ in range(203)]
    order = training_order(lengths, batch=8, steps=100, seed=0)
    assert padding(order, lengths, 8) < 0.05
    blind = [i for _ in range(4) for i in draw.sample(range(203), 203)][:800]
    assert padding(blind, lengths, 8) > 0.3
    # The batches of an epoch are in no order of length.
    heads = [lengths[order[first]] for first in range(0, 200, 8)]
    assert heads not in (sorted(heads), sorted(heads, reverse=True))


def test_batches_are_drawn_anew_in_each_epoch_and_by_the_seed():
    lengths = [5] * 64
    order = training_order(lengths, batch=8, steps=16, seed=0)
    first, second = ([frozenset(order[i : i + 8]) for i in range(at, at + 64, 8)] for at in (0, 64))
    assert not set(first) & set(second)
    assert order != training_order(lengths, batch=8, steps=16, seed=1)
    # Whatever the length, a row may wait for the next epoch and may come early.
    late = Counter()
    for seed in range(60):
        drawn = training_order(list(range(1, 22)), batch=4, steps=5, seed=seed)
        late.update(set(range(21)) - set(drawn))
    assert sum(late.values()) == 60
    assert len(late) >= 5


def test_the_order_is_the_same_in_another_process():
    lengths = [(7 * i) % 31 + 1 for i in range(50)]
    wanted = training_order(lengths, batch=6, steps=40, seed=3)
    code = (
        "import json, sys; from cruxlm.data.supervised import training_order;"
        "print(json.dumps(training_order(json.load(sys.stdin), batch=6, steps=40, seed=3)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(lengths),
        env={"PYTHONHASHSEED": "5", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == wanted


@pytest.mark.parametrize(
    ("lengths", "batch", "steps"), [([], 1, 1), ([3], 0, 1), ([3], 1, 0), ([3], -1, 1)]
)
def test_an_order_of_nothing_is_refused(lengths, batch, steps):
    with pytest.raises(OptionError, match="all must be 1 or more"):
        training_order(lengths, batch=batch, steps=steps, seed=0)
