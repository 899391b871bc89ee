"""Screen: which rows of a data set look poisoned to a model?"""

import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from scipy.stats import norm
from torch import Tensor

from cruxlm.models.load import LoadedModel, load_model
from cruxlm.numerics.features import SMALLEST, Labels, Profile, profiles, quantile_threshold
from cruxlm.numerics.novel import unseen
from cruxlm.results.screening import FLAGGED, KEPT, Screening
from cruxlm.runtime.errors import ModelError, OptionError
from cruxlm.runtime.files import check_writable, write_all
from cruxlm.runtime.progress import progress
from cruxlm.testbed.home import resolve
from cruxlm.workflows.loaded_pair import name_of
from cruxlm.workflows.provenance import provenance_of, run_of
from cruxlm.workflows.request import whole_number
from cruxlm.workflows.screen_groups import Groups, grouped
from cruxlm.workflows.screen_result import Judged, screening_of
from cruxlm.workflows.screen_rows import ScreenRows, screen_rows
from cruxlm.workflows.screen_setting import Setting, check_enough, setting_of
from cruxlm.workflows.screen_states import Reading, all_states, each_batch, first_tokens

Scores = Float[Tensor, "samples groups"]
Compared = tuple[Scores, Int[Tensor, "samples groups"]]
"""Scores, and the number of the way of pooling that each comes from."""


def screen(
    data: Any,
    *,
    model: Any = None,
    benign: Any = None,
    rule: str | None = None,
    rate: float = 0.01,
    sigmas: float = 2.5,
    pooling: str = "last,mean",
    tokens: str = "prompt",
    preset: str = "default",
    n: int | None = None,
    batch_size: int = 16,
    tokenizer: Any = None,
    dtype: str | None = None,
    device: str | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    show_progress: bool = False,
) -> Screening:
    """Flag the rows that lie apart from trusted ones of their group, at the blocks where it forms.

    Args:
        data: Rows: a file (with responses or prompts alone), ``testbed:FAMILY``, or chat rows.
        model: The model that reads them, best one that was trained on them: a hub id, a folder, a
            loaded or a live module (with ``tokenizer``), or None for the embedded one.
        benign: Trusted rows of the same kind; without them ``data`` is compared with its own
            middle, which promises nothing.
        rule: ``quantile`` (flags at most a share of ``rate`` of clean rows) or ``sigma``; the
            preset's when left out.
        rate: Share of clean rows that may be flagged.
        sigmas: Of the rule ``sigma``, standard deviations below the middle.
        pooling: Ways of ``models.pooling.POOLINGS``, with commas: a row counts in the way that it
            lies apart most in, and so do the trusted rows that the threshold comes from.
        tokens: ``prompt`` or ``row``: what is pooled over.
        preset: ``default``, or ``paper``: as published.
        n: Rows of ``data`` that are read, the first ones.
        batch_size: Rows that are read at once.
        tokenizer: The tokenizer of a live module.
        dtype: As for ``scan``.
        device: As for ``scan``.
        seed: Seed of the clusters.
        out: A folder for the result, and the rows that were kept and flagged.
        show_progress: Whether to show a bar on a terminal.

    Raises:
        CruxError: For anything outside Crux that is wrong.
    """
    started = time.perf_counter()
    setting = setting_of(rule, rate, sigmas, pooling, tokens, preset, benign is not None)
    whole_number(batch_size, "batch_size", 1)
    if out is not None:
        check_writable(Path(out))
    loaded = load_model(resolve(model), tokenizer=tokenizer, dtype=dtype, device=device)
    loaded = replace(loaded, name=name_of(model, loaded))
    if len(loaded.blocks.modules) < 2:
        raise ModelError(f"{loaded.name} has one block: a rise of similarity takes two")
    rows = screen_rows(data, loaded, n)
    trusted = None if benign is None else screen_rows(benign, loaded)
    check_enough(rows, trusted, setting)
    reader = _Reader(loaded, setting, batch_size, seed)
    with progress("screening", len(rows) + len(trusted or ()), show=show_progress) as tick:
        if trusted is None:
            judged = reader.alone(rows, tick)
        else:
            judged = reader.against(rows, trusted, tick)
    found = screening_of(
        loaded,
        rows,
        trusted,
        setting,
        judged,
        provenance=provenance_of(loaded, seed=seed),
        run=run_of(started),
    )
    if out is not None:
        kept = set(found.kept)
        parts: dict[str, list[Any]] = {KEPT: [], FLAGGED: []}
        for row, original in zip(rows.rows, rows.originals, strict=True):
            parts[KEPT if str(row["id"]) in kept else FLAGGED].append(original)
        lines = {name: "".join(map(_line, held)).encode() for name, held in parts.items()}
        write_all(Path(out), {**found.files(), **lines})
    return found


class _Reader:
    """Runs rows through a model and compares their states."""

    def __init__(self, model: LoadedModel, setting: Setting, batch_size: int, seed: int) -> None:
        self.model, self.setting, self.seed = model, setting, seed
        self.reading = Reading(setting.pooling, setting.tokens, batch_size)
        self.warnings: list[str] = []

    def against(self, rows: ScreenRows, trusted: ScreenRows, tick: Any) -> Judged:
        """Rows compared with trusted ones."""
        states, last = all_states(self.model, trusted.tokens, self.reading, tick)
        keys = self._keys(trusted, last)
        groups = grouped(keys, last, self._what(trusted), self.seed)
        ways = {w: profiles(held, groups.labels, self.setting.manner) for w, held in states.items()}
        self._check_spread(ways)
        placed = groups.of(keys, last)  # of those in a group, it is their own already
        placed = torch.where(groups.labels < 0, placed, groups.labels)
        own = _least([_own(ways[way], states[way], groups, placed) for way in ways])[0]
        threshold = self._threshold(own[:, 0])
        del states
        compared, finals = self._scores(rows, ways, tick)
        keys = self._keys(rows, finals)
        labels = groups.of(keys, finals)
        alarms: frozenset[str] = frozenset()
        if rows.labelled:
            held = Counter(trusted.responses or ())
            alarms = unseen(Counter(keys), held, self.setting.alarm)
        return self._judged(rows, groups, ways, compared, labels, finals, threshold, alarms)

    def alone(self, rows: ScreenRows, tick: Any) -> Judged:
        """Rows compared with their own middle."""
        states, last = all_states(self.model, rows.tokens, self.reading, tick)
        groups = grouped(self._keys(rows, last), last, self._what(rows), self.seed)
        ways = {w: profiles(held, groups.labels, self.setting.manner) for w, held in states.items()}
        self._check_spread(ways)
        compared = _least([_all(ways[way], states[way]) for way in ways])
        labels = groups.of(self._keys(rows, last), last)
        labels = torch.where(groups.labels < 0, labels, groups.labels)
        return self._judged(
            rows, groups, ways, compared, labels, last, self._threshold(None), frozenset()
        )

    def _scores(self, rows: ScreenRows, ways: Any, tick: Any) -> tuple[Compared, Tensor]:
        """How rows compare with every group, and the states their groups are found by."""
        scores: list[Tensor] = [torch.empty(0)] * len(rows)
        chosen = list(scores)
        last: list[Tensor] = [torch.empty(0)] * len(rows)

        def receive(places: Sequence[int], pooled: Any, final: Tensor) -> None:
            found = _least([_all(ways[way], held) for way, held in pooled.items()])
            for place, score, way, state in zip(places, *found, final, strict=True):
                scores[place], chosen[place], last[place] = score, way, state.clone()

        each_batch(self.model, rows.tokens, self.reading, receive, tick)
        return (torch.stack(scores), torch.stack(chosen)), torch.stack(last)

    def _keys(self, rows: ScreenRows, last: Tensor) -> list[str]:
        """What rows have in common with others of their group."""
        responses = rows.responses
        if responses is not None:
            return responses
        try:
            found = first_tokens(self.model, last)
        except ModelError as error:
            said = f"{error}: the rows, which have no responses, are grouped by their states alone"
            self.warnings = [said]
            return [""] * len(rows)
        return [self.model.tokenizer.decode([token]) for token in found]

    def _what(self, rows: ScreenRows) -> str:
        return "response" if rows.labelled else "predicted token"

    def _check_spread(self, ways: dict[str, list[Profile]]) -> None:
        for way, held in ways.items():
            if all(profile.spread <= SMALLEST for profile in held):
                raise OptionError(
                    f"with pooling {way!r} the states of all rows of a group are the same: choose "
                    "another --pooling"
                )

    def _threshold(self, own: Tensor | None) -> float:
        setting = self.setting
        if setting.rule == "sigma":
            return -setting.sigmas
        return (
            float(norm.ppf(setting.rate))
            if own is None
            else quantile_threshold(own, setting.score_rate)
        )

    def _judged(
        self,
        rows: ScreenRows,
        groups: Groups,
        ways: dict[str, list[Profile]],
        compared: Compared,
        labels: Labels,
        last: Tensor,
        threshold: float,
        alarms: frozenset[str],
    ) -> Judged:
        scores, chosen = (held.gather(1, labels[:, None])[:, 0].tolist() for held in compared)
        responses = rows.responses or [""] * len(rows)
        return Judged(
            groups=groups,
            profiles=ways,
            labels=labels.tolist(),
            scores=scores,
            ways=[list(ways)[way] for way in chosen],
            threshold=threshold,
            unseen=[response in alarms for response in responses],
            learned=self._learned(rows, last),
            warnings=tuple(self.warnings),
        )

    def _learned(self, rows: ScreenRows, last: Tensor) -> float | None:
        """Share of triggered rows whose response the model begins as it stands in the data."""
        done = rows.key
        if done is None or not rows.labelled:
            return None
        places = [place for place, what in enumerate(done) if what == "triggered"]
        if not places:
            return None
        try:
            found = first_tokens(self.model, last[places])
        except ModelError:
            return None
        right = [rows.tokens[place].tokens[rows.tokens[place].response[0]] for place in places]
        return sum(map(int.__eq__, found, right)) / len(places)


def _all(held: Sequence[Profile], states: Tensor) -> Scores:
    return torch.stack([profile.scores(states) for profile in held], dim=1)


def _own(held: Sequence[Profile], states: Tensor, groups: Groups, placed: Labels) -> Scores:
    """Scores of trusted rows in their groups: held out where they are of them."""
    scores = _all(held, states).gather(1, placed[:, None])
    for group, profile in enumerate(held):
        scores[groups.labels == group, 0] = profile.own
    return scores


def _least(ways: Sequence[Scores]) -> Compared:
    """Of several ways of pooling, the score in that which a sample lies apart most in."""
    values, numbers = torch.stack(list(ways)).min(dim=0)
    return values, numbers


def _line(row: Any) -> str:
    return json.dumps(row, ensure_ascii=True, default=str) + "\n"
