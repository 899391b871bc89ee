"""Take what a unit contributes away: of a whole block, or of its attention or feed-forward half.

A contribution is what a unit adds to the stream of states: for a block, its output less its input.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cruxlm.models.batches import batches, chosen_positions
from cruxlm.models.capture import tower_inputs
from cruxlm.models.load import LoadedModel
from cruxlm.models.patch import Patch, evaluation_mode, given_states
from cruxlm.models.places import Places
from cruxlm.models.sublayers import HALVES, Site, sublayers
from cruxlm.runtime.errors import ModelError, OptionError, did_you_mean

MODES = ("identity", "zero", "mean", "resample")
"""What a unit adds instead. ``identity``: nothing. ``zero``: what it does with zeros for weights,
but for its norms'. ``mean``: its mean contribution over the tokens of some sequences. ``resample``:
its contribution at a token of theirs, drawn anew for every place."""
UNITS = ("block", *HALVES)
"""What is taken away: of each block the whole, or one of its halves."""
POOL = 256
"""Contributions that ``resample`` draws from, for each unit."""
BATCH = 16
"""Sequences in a pass that contributions are taken from."""


class Ablation:
    """Takes the units of a model away, one at a time."""

    def __init__(
        self,
        model: LoadedModel,
        mode: str = "identity",
        unit: str = "block",
        *,
        sequences: Sequence[Sequence[int]] = (),
        seed: int = 0,
    ) -> None:
        """Find the units, and with ``mean`` and ``resample`` what is put in their place.

        Args:
            model: The model; it is left as it was.
            mode: One of ``MODES``.
            unit: One of ``UNITS``.
            sequences: Token sequences whose contributions are averaged or drawn from, in one pass.
            seed: Seed of what is drawn.

        Raises:
            OptionError: For a mode or unit that there is not, or no sequences to average over.
            ModelError: When a block has no such half, or a unit no weights of its own to zero.
        """
        check_ablation(mode, unit)
        self.model = model
        """The model."""
        self.mode = mode
        """What a unit adds instead."""
        self.sites = _whole_blocks(model) if unit == "block" else sublayers(model, unit)
        """Where each unit adds to the stream, one a block."""
        self._seed = seed
        self._added: list[Float[Tensor, "places width"]] = []
        if mode == "zero":
            _check_weights(model, self.sites)
        elif mode != "identity":
            if not sequences:
                raise OptionError(f"ablation by {mode} needs examples to take contributions from")
            self._added = self._contributions(sequences)

    @property
    def names(self) -> tuple[str, ...]:
        """Module path of each unit."""
        return tuple(site.name for site in self.sites)

    @contextmanager
    def without(self, block: int) -> Iterator[None]:
        """Run the model without one block's unit; everything is as before afterwards."""
        site = self.sites[block]
        with Patch() as patch:
            if self.mode == "identity":
                patch.change_output(site.end, site.without)
            elif self.mode == "zero":
                for parameter in _weights(site):
                    patch.set_data(parameter, torch.zeros_like(parameter.data))
            else:
                places = Places(self.model, patch, self._seed) if self.mode == "resample" else None
                patch.change_output(site.end, partial(_other, site, self._added[block], places))
            yield

    def _contributions(self, sequences: Sequence[Sequence[int]]) -> list[Tensor]:
        """What each unit adds at tokens of the sequences, as (places, width) in float32.

        One place with ``mean``, the mean of all tokens; ``POOL`` drawn tokens with ``resample``.
        A beginning-of-sequence token is left out: what is added there is a sink, of another size.
        """
        bos = getattr(self.model.tokenizer, "bos_token_id", None)
        chosen = chosen_positions(
            [len(sequence) for sequence in sequences],
            "all",
            skip_first=[bos is not None and sequence[0] == bos for sequence in sequences],
            limit=POOL if self.mode == "resample" else sum(map(len, sequences)),
            seed=self._seed,
        )
        pools: list[list[Tensor]] = [[] for _ in self.sites]
        tower = self.model.blocks.tower
        with Patch() as patch, evaluation_mode(tower), torch.no_grad():

            def see(block: int, states: Tensor, args: Any, kwargs: Any) -> Tensor:
                added = states.float() - self.sites[block].without(states, args, kwargs).float()
                places = batch.pool(added)
                if self.mode == "mean":
                    places = places.sum(dim=0, keepdim=True)
                pools[block].append(places.cpu())
                return states

            for block, site in enumerate(self.sites):
                patch.change_output(site.end, partial(see, block))
            for batch in batches(sequences, chosen, pooling="all", batch_size=BATCH):
                tower(**tower_inputs(batch, tower))
        found = [torch.cat(pool) for pool in pools]
        if self.mode == "resample":
            return found
        count = sum(map(len, chosen))
        return [pool.double().sum(dim=0, keepdim=True).div(count).float() for pool in found]


def check_ablation(mode: str, unit: str) -> None:
    """Refuse a mode or unit that there is not (``OptionError``), before any work."""
    for value, known in ((mode, MODES), (unit, UNITS)):
        if value not in known:
            raise OptionError(f"ablation knows no {value!r}: {did_you_mean(value, known)}")


def _other(
    site: Site, added: Tensor, places: Places | None, states: Tensor, args: Any, kwargs: Any
) -> Tensor:
    """The states with other contributions than the unit's own."""
    added = added.to(states.device, states.dtype)
    drawn = added[0] if places is None else added[places.draw(len(added)).to(states.device)]
    return site.without(states, args, kwargs) + drawn


def _whole_blocks(model: LoadedModel) -> tuple[Site, ...]:
    named = zip(model.blocks.names, model.blocks.modules, strict=True)
    return tuple(Site(name, (block,), block, given_states) for name, block in named)


def _weights(site: Site) -> list[nn.Parameter]:
    """The parameters of a unit, without those of modules that hold vectors only: norms."""
    parts = chain.from_iterable(module.modules() for module in site.modules)
    own = [list(part.parameters(recurse=False)) for part in parts]
    return [p for group in own if any(held.dim() > 1 for held in group) for p in group]


def _check_weights(model: LoadedModel, sites: Sequence[Site]) -> None:
    """Refuse weights that cannot be zeroed, or that others use as well."""
    users: dict[int, set[nn.Module]] = {}
    for part in model.module.modules():
        for parameter in part.parameters(recurse=False):
            users.setdefault(id(parameter), set()).add(part)
    for site in sites:
        inside = set(chain.from_iterable(module.modules() for module in site.modules))
        for parameter in _weights(site):
            if not parameter.is_floating_point() or parameter.device.type == "meta":
                raise ModelError(
                    f"{site.name} has weights that are quantised or not in memory, which cannot "
                    "be zeroed: use mode identity, which gives the same"
                )
            if users[id(parameter)] - inside:
                raise ModelError(
                    f"{site.name} shares weights with another module, which zeroing would change "
                    "too: use mode identity"
                )
