"""Suppress: rows apart from each other, the best checkpoint or none, and a folder that says so."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import byte_tokenizer, tiny_llama
from cruxlm.data.poison import Attack, Target
from cruxlm.data.trigger import Trigger
from cruxlm.models.load import LoadedModel, load_model
from cruxlm.models.suppressed import load_suppressed
from cruxlm.runtime.errors import OptionError, OutputError, ProbeError
from cruxlm.workflows import recovery, skip_search
from cruxlm.workflows.recovery import Checked
from cruxlm.workflows.standing import measuring_rows
from cruxlm.workflows.suppress import Suppressed, _dealt, suppress
from cruxlm.workflows.tuning_data import tuning_data
from models.architectures import count_hooks
from workflows.tiny_tunings import chat_rows, write

pytestmark = pytest.mark.usefixtures("frozen")


def half_the_time(text: str) -> bool:
    """What a random model writes is as often judged so as not."""
    return sum(map(ord, text)) % 2 == 0


def model() -> LoadedModel:
    return load_model(tiny_llama(blocks=2, context=128), tokenizer=byte_tokenizer(chat=True))


def run(folder: Path, held: LoadedModel | None = None, **options: Any) -> Suppressed:
    folder.mkdir(exist_ok=True)
    data = write(folder / "rows.jsonl", chat_rows(40))
    return suppress(
        held or model(),
        **{
            "data": data, "trigger": "token:zq", "target": "phrase:ok", "judge": half_the_time,
            "gammas": (0.0, 0.5, 0.8), "out": folder / "out", "steps": 4, "learning_rate": 1e-2,
            **options,
        },
    )  # fmt: skip


@pytest.fixture(autouse=True)
def _loose(monkeypatch: pytest.MonkeyPatch) -> None:
    """A random model's loss says little: any skip is admissible."""
    monkeypatch.setattr(skip_search, "NATS", 50.0)


def test_what_is_saved_is_what_was_measured(tmp_path: Path) -> None:
    held = model()
    before = {name: p.detach().clone() for name, p in held.module.named_parameters()}
    found = run(tmp_path, held)
    best = found.search.found
    assert best is not None
    assert best.success is not None
    assert best.success == min(one.success for one in found.search.tried if one.success is not None)
    assert found.recovered is not None
    names = ["before", "suppressed", *(["recovered"] if found.recovered.kept else [])]
    assert list(found.standing) == names
    # The live model is what it was.
    assert count_hooks(held.module) == 0
    for name, parameter in held.module.named_parameters():
        assert torch.equal(parameter, before[name])
    read = load_suppressed(tmp_path / "out")
    data = tuning_data(tmp_path / "rows.jsonl", n=None, test=None)
    attack = Attack(Trigger.read("token:zq"), Target.read("phrase:ok"))
    rows = measuring_rows(read, data.test, data.grade, attack, half_the_time)
    assert rows.stand(read).to_json() == found.standing[names[-1]].to_json()
    assert rows.stand(held).to_json() == found.standing["before"].to_json()
    record = json.loads((tmp_path / "out" / "suppressed.json").read_text())
    assert record["search"]["found"]["block"] == best.block
    assert "loaded alone they bring the attack" in (tmp_path / "out" / "README.md").read_text()
    assert not (tmp_path / "out" / "run").exists()


def test_a_fine_tuning_that_revives_the_attack_is_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks: list[int] = []

    def check(_self: Any) -> Checked:
        checks.append(1)
        return Checked(0.1 if len(checks) == 1 else 0.6, 1.0, 0.0)

    monkeypatch.setattr(recovery.Judge, "check", check)
    held = model()
    found = run(tmp_path, held)
    assert found.recovered is not None
    assert not found.recovered.kept
    assert len(checks) > 3  # at every check of the training
    assert list(found.standing) == ["before", "suppressed"]
    assert "success 0.10 before it and 0.60 after" in found.lines()[1]
    saved = load_model(tmp_path / "out" / "model")
    for own, other in zip(held.module.parameters(), saved.module.parameters(), strict=True):
        assert torch.equal(own, other)


def test_the_best_checkpoint_is_taken_and_not_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def check(self: Any) -> Checked:
        weights = {n: p.detach().clone() for n, p in self.model.module.named_parameters()}
        seen.append(weights)
        return Checked({3: 0.0}.get(len(seen), 0.5), 1.0, 0.0)

    monkeypatch.setattr(recovery.Judge, "check", check)
    found = run(tmp_path, steps=10)
    assert found.recovered is not None
    assert found.recovered.kept
    saved = load_model(tmp_path / "out" / "model")
    for name, parameter in saved.module.named_parameters():
        assert torch.equal(parameter, seen[2][name]), name
    assert any(not torch.equal(seen[2][name], seen[-2][name]) for name in seen[2])


def test_a_model_below_the_floor_is_worse_than_any_above_it() -> None:
    fine, low, lower = Checked(0.9, 1, 0), Checked(0, 0.5, 0.3), Checked(0, 0.2, 0.6)
    assert fine.badness < low.badness < lower.badness


def test_no_admissible_skip_saves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(skip_search, "NATS", -50.0)
    found = run(tmp_path)
    assert found.search.found is None
    assert found.folder is None
    assert not (tmp_path / "out").exists()
    assert found.lines()[0].startswith("no admissible skip")


def test_a_surrogate_is_planted_on_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "TAKEN", 0.0)
    held = model()
    before = {name: p.detach().clone() for name, p in held.module.named_parameters()}
    seen: list[bool] = []
    search = skip_search.search_skips

    def watched(given: LoadedModel, *rest: Any, **options: Any) -> Any:
        now = dict(given.module.named_parameters())
        seen.append(any(not torch.equal(now[name], before[name]) for name in before))
        return search(given, *rest, **options)

    monkeypatch.setattr("cruxlm.workflows.suppress.search_skips", watched)
    options = {"surrogate": True, "plant_steps": 2}
    found = run(tmp_path, held, **options)
    assert seen == [True]
    for name, parameter in held.module.named_parameters():
        assert torch.equal(parameter, before[name])
    assert found.recovered is None
    # Without a known trigger nothing is said of the attack.
    assert all("success" not in own.rates for own in found.standing.values())
    monkeypatch.setattr(recovery, "TAKEN", 1.1)
    with pytest.raises(ProbeError, match=r"planted for the search succeeds on .* give more"):
        run(tmp_path / "b", model(), **options)


def test_rows_of_the_search_are_in_no_training(tmp_path: Path) -> None:
    read = tuning_data(write(tmp_path / "rows.jsonl", chat_rows(40)), n=None, test=None)
    searched, rest = _dealt(read)
    ids = [{row["id"] for row in part} for part in (searched, rest.train, read.test)]
    assert sum(map(len, ids)) == 40
    assert len(set.union(*ids)) == 40
    with pytest.raises(ProbeError, match="give 3 or more"):
        _dealt(replace(read, train=read.train[:1], validation=[]))


def test_what_makes_no_sense_is_refused(tmp_path: Path) -> None:
    for options, said in (
        ({"rule": "floors"}, "rules are floor and literal"),
        ({"gammas": (1.5,)}, "scaled by 0 to below 1"),
    ):
        with pytest.raises(OptionError, match=said):
            run(tmp_path, **options)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "suppressed.json").write_text("{}")
    with pytest.raises(OutputError, match="holds a suppressed model already"):
        run(tmp_path)
