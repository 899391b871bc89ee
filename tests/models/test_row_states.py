"""States of rows on disk: what they are, when they are found again, and what they serve for."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor, nn

from conftest import tiny_llama
from cruxlm.models.fingerprint import bytes_sha256
from cruxlm.models.load import LoadedModel, load_model
from cruxlm.models.patch import Patch
from cruxlm.models.prefix import Prefix
from cruxlm.models.row_states import RowStates, cached_states, pad_states
from cruxlm.runtime.cache import Cache
from cruxlm.runtime.errors import ModelError, OptionError
from models.architectures import CLOSE, HEADS

BLOCK = 2


@pytest.fixture
def rows() -> list[list[int]]:
    generator = torch.Generator().manual_seed(0)
    lengths = (5, 9, 9, 1, 12, 7, 3, 9, 12, 2, 6)
    return [torch.randint(3, 300, (n,), generator=generator).tolist() for n in lengths]


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path)


@pytest.fixture
def model() -> LoadedModel:
    return load_model(tiny_llama(blocks=4))


class Count:
    """How many rows were computed."""

    def __init__(self) -> None:
        self.rows = 0

    def __call__(self, done: int) -> None:
        self.rows += done


@pytest.fixture
def states(rows: list[list[int]], cache: Cache) -> Any:
    """Asks for the states of the rows; them, and how many rows were computed."""

    def call(model: LoadedModel, block: int = BLOCK, **options: Any) -> tuple[RowStates, int]:
        count = Count()
        given = {"rows": rows, "batch_size": 4, "cache": cache, "tick": count, **options}
        return cached_states(model, given.pop("rows"), block, **given), count.rows

    return call


def plain(model: LoadedModel, row: list[int], block: int = BLOCK) -> Tensor:
    """A block's input, of a row alone, as a plain hook sees it."""
    seen: list[Tensor] = []
    handle = model.blocks.modules[block].register_forward_pre_hook(
        lambda _module, args: seen.append(args[0])
    )
    with torch.no_grad():
        model.module(torch.tensor([row]))
    handle.remove()
    return seen[0][0]


# What they are.


@pytest.mark.parametrize("block", [0, 1, 3])
def test_every_row_has_the_states_that_it_has_alone(
    model: LoadedModel, rows: list[list[int]], states: Any, block: int
) -> None:
    for computed in (len(rows), 0):
        found, count = states(model, block)
        assert count == computed
        assert len(found) == len(rows)
        for given, row in zip(found, rows, strict=True):
            assert given.shape == (len(row), 32)
            torch.testing.assert_close(given, plain(model, row, block), **CLOSE)
    assert torch.equal(found[-1], found[len(rows) - 1])
    assert all(torch.equal(a, b) for a, b in zip(found[2:7:2], list(found)[2:7:2], strict=True))
    with pytest.raises(IndexError):
        found[len(rows)]
    found[0].zero_()  # a copy: what is on disk stays
    assert found[0].abs().min() > 0


def test_bfloat16_comes_back_bit_for_bit(states: Any) -> None:
    model = load_model(tiny_llama(blocks=4).to(torch.bfloat16))
    first, count = states(model)
    again, none = states(model)
    assert (count, none) == (11, 0)
    assert first[0].dtype == torch.bfloat16
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    torch.testing.assert_close(first[4], plain(model, states_row(states, 4)), atol=0.5, rtol=0.1)


def states_row(states: Any, index: int) -> list[int]:
    """The row of that index, from the fixture's own closure."""
    rows: list[list[int]] = states.__closure__[1].cell_contents
    return rows[index]


def test_rows_become_a_batch() -> None:
    rows = [torch.ones(2, 3), 2 * torch.ones(4, 3)]
    right, left = pad_states(rows, 5), pad_states(rows, 5, "left")
    assert right.shape == left.shape == (2, 5, 3)
    assert right[:, :, 0].tolist() == [[1, 1, 0, 0, 0], [2, 2, 2, 2, 0]]
    assert left[:, :, 0].tolist() == [[0, 0, 0, 1, 1], [0, 2, 2, 2, 2]]


def test_training_above_on_them_is_training_the_whole(rows: list[list[int]], states: Any) -> None:
    """Three epochs; the oracle is the whole model with the blocks below frozen."""

    def train(cached: bool) -> tuple[list[float], dict[str, Tensor]]:
        model = load_model(tiny_llama(blocks=4))
        module = model.module.train()
        module.requires_grad_(False)
        for block in model.blocks.modules[BLOCK:]:
            block.requires_grad_(True)
        prefix = Prefix(model, BLOCK)
        kept = states(model)[0] if cached else None
        optimizer = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], 1e-3)
        losses = []
        for step in range(9):
            batch = [(4 * step + k) % len(rows) for k in range(4)]
            longest = max(len(rows[i]) for i in batch)
            ids = torch.tensor([rows[i] + [0] * (longest - len(rows[i])) for i in batch])
            labels = torch.where(ids > 0, ids, -100)
            given = {"input_ids": ids, "attention_mask": (ids > 0).long(), "labels": labels}
            if kept is None:
                loss = module(**given).loss
            else:
                with prefix.from_states(pad_states([kept[i] for i in batch], longest)):
                    loss = module(**given).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(float(loss.detach()))
        return losses, {n: p.detach() for n, p in module.named_parameters()}

    whole, part = train(cached=False), train(cached=True)
    assert whole[0] == pytest.approx(part[0], abs=1e-5)
    for name, value in whole[1].items():
        torch.testing.assert_close(part[1][name], value, atol=1e-4, rtol=1e-3)
    assert whole[0][-1] < whole[0][0] - 0.05


# When they are found again.


def test_what_is_above_the_block_does_not_matter(model: LoadedModel, states: Any) -> None:
    states(model)
    with torch.no_grad():
        for block in model.blocks.modules[BLOCK:]:
            for parameter in block.parameters():
                parameter.add_(1)
        model.module.lm_head.weight.add_(1)
    assert states(model)[1] == 0
    assert states(load_model(tiny_llama(blocks=4)))[1] == 0  # another model of the same content


@pytest.mark.parametrize(
    "name",
    [
        "model.embed_tokens.weight",
        "model.layers.0.self_attn.q_proj.weight",
        "model.layers.1.post_attention_layernorm.weight",
    ],
)
def test_the_last_bit_of_every_weight_below_matters(
    model: LoadedModel, states: Any, name: str
) -> None:
    states(model)
    weight = model.module.get_parameter(name)
    with torch.no_grad():  # one that no sample of some values would see
        flat = weight.view(-1)
        flat[-2] = torch.nextafter(flat[-2], flat.new_tensor(9.0))
    assert states(model)[1] == 11


def test_what_else_matters(model: LoadedModel, rows: list[list[int]], states: Any) -> None:
    states(model)
    assert states(model, 1)[1] == 11
    assert states(model, batch_size=3)[1] == 11
    assert states(model, rows=rows[:-1])[1] == 10
    assert states(model, rows=rows[::-1])[1] == 11
    assert states(model, rows=[[*rows[0][:-1], 7], *rows[1:]])[1] == 11
    with torch.autocast("cpu", torch.bfloat16):
        assert states(model)[1] == 11
    model.module.set_attn_implementation("eager")
    assert states(model)[1] == 11
    model.module.config.rope_theta = 7.0
    assert states(model)[1] == 11
    assert states(load_model(tiny_llama(blocks=4)))[1] == 0


@pytest.mark.parametrize("library", [torch, transformers])
def test_versions_matter(
    model: LoadedModel, states: Any, monkeypatch: pytest.MonkeyPatch, library: Any
) -> None:
    states(model)
    monkeypatch.setattr(library, "__version__", "0.0.1")
    assert states(model)[1] == 11


def test_names_of_a_model_do_not_matter(model: LoadedModel, states: Any) -> None:
    states(model)
    model.module.config._name_or_path = "elsewhere"
    model.module.config.use_cache = False
    assert states(model)[1] == 0


def test_a_change_that_no_description_tells_of_is_seen(model: LoadedModel, states: Any) -> None:
    """A hook below: the rows that are computed anew do not agree with those on disk."""
    usual = states(model)[0]
    with Patch() as patch:
        patch.skip(model.blocks.modules[0])
        changed, count = states(model)
        assert count == 11
        assert (changed[4] - usual[4]).abs().max() > 1e-2
    again, count = states(model)
    assert count == 11
    assert all(torch.equal(a, b) for a, b in zip(again, usual, strict=True))


def test_damage_is_seen(model: LoadedModel, states: Any, cache: Cache) -> None:
    usual = list(states(model)[0])
    (data,) = cache.folder.glob("*/states.*")
    held = np.fromfile(data, np.float32)
    held[5] += 1e-4  # less than rounding would be
    held.tofile(data)
    again, count = states(model)
    assert count == 11
    assert all(torch.equal(a, b) for a, b in zip(again, usual, strict=True))


def test_the_users_cache_is_used_by_default(
    model: LoadedModel, states: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRUX_CACHE", str(tmp_path / "own"))
    assert states(model, cache=None)[1] == 11
    assert list((tmp_path / "own").glob("*/entry.json"))
    assert states(model, cache=None)[1] == 0


# What is refused.


def test_rows_without_tokens(model: LoadedModel, states: Any) -> None:
    for rows in ([], [[5, 6], []]):
        with pytest.raises(OptionError, match="a row has none"):
            states(model, rows=rows)


def test_a_model_that_reads_padding_is_refused(states: Any, rows: list[list[int]]) -> None:
    """FNet mixes all places, and takes no mask."""
    options = {k: v for k, v in HEADS.items() if k != "num_attention_heads"}
    config = transformers.FNetConfig(**{**options, "vocab_size": 300})
    model = load_model(transformers.FNetModel(config).eval())
    with pytest.raises(ModelError, match="it reads padding, whatever its mask says"):
        states(model, 1)
    assert states(model, 1, rows=[row for row in rows if len(row) == 9])[1] == 3


def test_states_that_are_not_finite_are_refused(model: LoadedModel, states: Any) -> None:
    with torch.no_grad():
        model.module.model.layers[1].mlp.down_proj.weight.mul_(1e38)
    with pytest.raises(ModelError, match=r"model\.layers\.2 reads states that are not finite"):
        states(model)
    assert states(model, 1)[1] == 11


def test_weights_that_are_not_in_memory_are_refused(model: LoadedModel) -> None:
    module = model.module.to("meta")
    with pytest.raises(ModelError, match=r"embed_tokens\.weight is not in memory"):
        bytes_sha256(load_model(module).module)


def test_states_are_those_of_evaluation(model: LoadedModel, states: Any) -> None:
    usual = states(model)[0]
    for block in model.blocks.modules:
        block.self_attn.attention_dropout = 0.9
    model.module.train()
    assert states(model)[1] == 0  # it agrees, and does not when dropout is on
    assert all(part.training for part in model.module.modules())
    assert isinstance(usual[0], Tensor)
    assert not usual[0].requires_grad
    assert not any(vars(part).get("forward") for part in nn.ModuleList([model.module]).modules())
