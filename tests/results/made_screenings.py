"""Screenings made of invented numbers: no model."""

from cruxlm.results.screening import Found, Sample, Screened, ScreenedGroup, Screening


def made_screening(rows=6, text="", blocks=4):
    """``text`` stands in everything that could come from a user's files or a model."""
    screened = tuple(
        Screened(
            id=f"{text}{n}", flagged=n == 1, score=-4.5 if n == 1 else 0.1 * n, threshold=-2.5,
            group=f"response '{text}yes'", block=2, way="last",
            reason=f"{text}apart" if n == 1 else "",
        )
        for n in range(rows)
    )  # fmt: skip
    group = ScreenedGroup(
        name=f"response '{text}yes'", trusted=60, rows=rows, flagged=1,
        blocks={"last": (1, 2), "mean": (2, 3)},
        similarity={"last": (0.1, 0.2, 0.8, 0.7)[:blocks], "mean": (0.1, None, 0.3, 0.9)[:blocks]},
    )  # fmt: skip
    return Screening(
        model=f"{text}model", blocks=tuple(f"{text}layers.{b}" for b in range(blocks)),
        rows=screened, groups=(group,),
        samples=(Sample(f"{text}1", f"{text}prompt", f"{text}response", f"{text}apart"),),
        rule="conformal p-value of 0.01 or less", nominal=0.01,
        key={"triggered": Found(1, 1, 0.2, 1.0), "clean": Found(0, rows - 1, 0.0, 0.4)},
        learned=0.9,
        settings={"pooling": ["last", "mean"], "tokens": "prompt", "rule": "quantile"},
        data={"name": f"{text}rows", "rows": rows, "labelled": True, "left_out": {},
              "benign": f"{text}trusted", "benign_rows": 60},
        finding=f"{text}found", warnings=(f"{text}care",),
        provenance={"versions": {"python": "3"}, "model": {"sha256": "a" * 64}, "seed": 0},
        run={"seconds": 1.0},
    )  # fmt: skip
