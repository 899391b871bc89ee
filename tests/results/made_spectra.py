"""Spectra and interventions made of invented numbers: no model."""

import numpy as np

from cruxlm.results.interventions import Effect, Intervened, Interventions
from cruxlm.results.spectra import BlockSpectrum, Component, Spectra


def made_spectra(blocks=8, k=4, text=""):
    """``text`` stands in everything that could come from a user's files or a model."""
    draw = np.random.default_rng(0)

    def several():
        return tuple(draw.uniform(0, 1, k).tolist())

    nothing = (None,) * k
    spectra = tuple(
        BlockSpectrum(
            rank=40, effective_rank=20.5, participation=9.0, energy=tuple(np.cumsum(several()) / k),
            largest_dimension=0.2, next_block=several() if b < blocks - 1 else nothing,
            neighbours=several(), shift=float(draw.uniform(0, 0.3)) if b else None,
            shift_stderr=0.01 if b else None, shares=several() if b > 1 else nothing,
            shares_stderr=several() if b > 1 else nothing, before=several() if b > 1 else nothing,
            smallest=0.01 if b > 1 else None, random=-0.02 if b > 1 else None,
        )
        for b in range(blocks)
    )  # fmt: skip
    components = tuple(
        Component(
            number=n + 1, energy=0.3 / (n + 1), share=0.2, share_stderr=0.05,
            up=(f"{text}up", "a"), down=(f"{text}down",), most=(f"{text}most",), least=("least",),
            groups=0.1, parts=None if n else 0.4,
        )
        for n in range(k)
    )  # fmt: skip
    return Spectra(
        model=f"{text}model", blocks=tuple(f"{text}layers.{b}" for b in range(blocks)), k=k,
        spectra=spectra, components={1: components, 3: components},
        probe={"name": f"{text}probe", "n": 40, "pooling": "last", "template": "chat",
               "ids_sha256": "0" * 64},
        finding=f"{text}found", warnings=(f"{text}care",),
        provenance={"versions": {"python": "3"}, "model": {"sha256": "a" * 64}, "seed": 0,
                    "blocks": "1,3"},
        run={"seconds": 1.0},
    )  # fmt: skip


def made_interventions(count=6, text=""):
    """As many interventions; the second one's accuracy is known of no example."""
    effect = Effect(0.5, -0.4, 0.1, -0.02, -0.38, 0.12, 50)
    unclear = Effect(0.5, -0.04, 0.1, -0.02, -0.02, 0.12, 50)
    none = Effect(None, None, None, None, None, None, 0)
    found = tuple(
        Intervened(n, f"top {n + 1}", "remove",
                   {"accuracy": none if n == 1 else effect, "loss_response": unclear})
        for n in range(count)
    )  # fmt: skip
    return Interventions(
        model=f"{text}model", blocks=tuple(f"layers.{b}" for b in range(max(count, 8))),
        where="all", intact={"accuracy": 0.9, "loss_response": 0.3}, found=found,
        data={"name": f"{text}rows", "examples": 50, "rows": f"{text}all rows", "sha256": "b"},
        finding=f"{text}found", warnings=(f"{text}care",),
        provenance={"versions": {"python": "3"}, "model": {"sha256": "a" * 64}, "seed": 0},
        run={"seconds": 1.0},
    )  # fmt: skip
