"""Random numbers for places: the same however a place is read, and spread evenly."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from conftest import tiny_llama
from cruxlm.models.load import load_model
from cruxlm.models.patch import Patch
from cruxlm.models.places import Places
from cruxlm.runtime.errors import ModelError

ROWS = [list(range(3, 15)), list(range(20, 25)), list(range(3, 10))]


def drawn(model: nn.Module, seed: int = 0, count: int = 1000, **inputs: Any) -> Tensor:
    with Patch() as patch, torch.no_grad():
        places = Places(load_model(model), patch, seed)
        model(**inputs)
        return places.draw(count)


def alone(model: nn.Module, row: list[int], **options: Any) -> Tensor:
    return drawn(model, input_ids=torch.tensor([row]), **options)[0]


@pytest.mark.parametrize("side", ["left", "right"])
def test_batches_and_padding_change_nothing(side: str) -> None:
    model = tiny_llama(blocks=2)
    tokens, mask = torch.full((3, 12), 5), torch.zeros(3, 12, dtype=torch.long)
    spans = [slice(12 - len(r), None) if side == "left" else slice(len(r)) for r in ROWS]
    for row, span in enumerate(spans):
        tokens[row, span] = torch.tensor(ROWS[row])
        mask[row, span] = 1
    found = drawn(model, input_ids=tokens, attention_mask=mask)
    for row, span in enumerate(spans):
        assert torch.equal(found[row, span], alone(model, ROWS[row]))


def test_what_was_read_decides() -> None:
    model = tiny_llama(blocks=2)
    row = ROWS[0]
    found = alone(model, row)
    assert torch.equal(found[:7], alone(model, ROWS[2]))  # the same beginning
    assert not torch.equal(found, alone(model, row, seed=1))
    changed = alone(model, [row[0], 99, *row[2:]])
    assert found[0] == changed[0]
    assert (found[1:] != changed[1:]).float().mean() > 0.9
    repeated = alone(model, [7] * 40)
    assert len(repeated.unique()) > 30  # one token, many places


def test_a_cache_changes_nothing() -> None:
    model = tiny_llama(blocks=2)
    prompts = torch.tensor([ROWS[0], [0] * 5 + ROWS[2]])
    mask = (torch.arange(12) >= torch.tensor([[0], [5]])).long()
    steps: list[Tensor] = []
    with Patch() as patch, torch.no_grad():
        places = Places(load_model(model), patch, 0)
        patch.watch_output(model.model.layers[0], lambda _: steps.append(places.draw(1000)))
        written = model.generate(
            prompts, attention_mask=mask, max_new_tokens=6, do_sample=False, pad_token_id=0
        )
        assert [step.shape[1] for step in steps] == [12, 1, 1, 1, 1, 1]
    found = torch.cat(steps, dim=1)
    assert torch.equal(found[0], alone(model, written[0, :-1].tolist()))
    assert torch.equal(found[1, 5:], alone(model, written[1, 5:-1].tolist()))


def test_the_numbers_are_spread_evenly() -> None:
    model = tiny_llama(blocks=1)
    rows = torch.randint(0, 300, (64, 64), generator=torch.Generator().manual_seed(0))
    counts = drawn(model, count=16, input_ids=rows).flatten().bincount(minlength=16)
    # 256 each, give or take 15.5: five standard deviations.
    assert counts.sum() == 4096
    assert (counts - 256).abs().max() < 80


def test_a_model_that_is_given_no_tokens_is_refused() -> None:
    model = tiny_llama(blocks=1)
    with pytest.raises(ModelError, match="without token ids"):
        drawn(model, inputs_embeds=torch.zeros(1, 4, 32))


def test_a_cache_without_a_mask_changes_nothing() -> None:
    """Without padding, ``generate`` leaves the mask out."""
    model = tiny_llama(blocks=2)
    row = torch.tensor([ROWS[0]])
    with Patch() as patch, torch.no_grad():
        places = Places(load_model(model), patch, 0)
        first = model(input_ids=row[:, :7], use_cache=True)
        steps = [places.draw(1000)]
        model(input_ids=row[:, 7:], past_key_values=first.past_key_values)
        steps.append(places.draw(1000))
    assert torch.equal(torch.cat(steps, 1)[0], alone(model, ROWS[0]))
