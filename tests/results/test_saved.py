"""Reading saved results: absent, foreign, damaged, and of a version that does not exist yet."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cruxlm.cli.main import run
from cruxlm.results.attacked import Attacked
from cruxlm.results.comparison import Comparison
from cruxlm.results.defence import Defence
from cruxlm.results.evaluation import Evaluation
from cruxlm.results.interventions import Interventions
from cruxlm.results.plan import Plan
from cruxlm.results.saved import check_record, read_record, record_bytes
from cruxlm.results.scan import Scan
from cruxlm.results.screening import Screening
from cruxlm.results.spectra import Spectra
from cruxlm.results.tuning import Tuning
from cruxlm.results.verification import Verification
from cruxlm.runtime.errors import NewerResultError, ResultError
from results.made_attacks import made_attacked
from results.made_comparisons import made_comparison
from results.made_defences import made_defence
from results.made_scans import made_scan
from results.made_screenings import made_screening
from results.made_spectra import made_interventions, made_spectra
from results.made_verifications import made_verification
from results.test_notebook import plan
from results.test_tuning import evaluation, made_tuning

KINDS = {
    "attacked": (Attacked, made_attacked),
    "comparison": (Comparison, made_comparison),
    "defence": (Defence, made_defence),
    "evaluation": (Evaluation, lambda: evaluation([1.0, 2.0])),
    "interventions": (Interventions, made_interventions),
    "plan": (Plan, plan),
    "scan": (Scan, lambda: made_scan(6)),
    "screening": (Screening, made_screening),
    "spectra": (Spectra, made_spectra),
    "tuning": (Tuning, made_tuning),
    "verification": (Verification, lambda: made_verification(6, 1)),
}


@pytest.fixture(params=list(KINDS))
def saved(request, tmp_path):
    """Kind, class, path of its file."""
    kind, make = KINDS[request.param]
    made = make()
    assert f"{request.param}.json" in made.files()
    alone = request.param in ("plan", "evaluation")
    made.save(tmp_path / f"{request.param}.json" if alone else tmp_path)
    return request.param, kind, tmp_path / f"{request.param}.json"


def changed(path, **changes):
    record = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**record, **changes}), "utf-8")


def test_files_are_what_save_writes(saved):
    _, kind, path = saved
    held = kind.load(path).files()
    assert {n: (path.parent / n).read_bytes() for n in held} == held
    assert sorted(p.name for p in path.parent.iterdir()) == sorted(held)


def test_a_newer_one_says_that_it_is_newer(saved):
    name, kind, path = saved
    for version in ("2", "17"):
        # A later version may look like anything.
        path.write_text(json.dumps({"format": f"crux.{name}/{version}", "blocks": {"new": 1}}))
        with pytest.raises(NewerResultError) as refused:
            kind.load(path)
        said = str(refused.value)
        assert said.startswith(f"{path}: made by a newer Crux (crux.{name}/{version}")
        assert said.endswith("pip install --upgrade cruxlm")
        assert "damaged" not in said


def test_what_is_no_later_version_is_not_called_newer(saved):
    name, kind, path = saved
    for form in (f"crux.{name}/0", f"crux.{name}/x", f"crux.{name}s/2", f"crux.{name}/2/3",
                 f"other.{name}/2", 2, None, ["crux"], f"crux.{name}/" + "9" * 5000):  # fmt: skip
        changed(path, format=form)
        with pytest.raises(ResultError, match=rf"is not an? {name} of format crux\.{name}/1") as no:
            kind.load(path)
        assert not isinstance(no.value, NewerResultError)


def test_another_kind_of_result_is_named(saved):
    _, kind, path = saved
    changed(path, format="crux.other/1")
    with pytest.raises(ResultError, match=r"; it is crux\.other/1$"):
        kind.load(path)


def test_a_part_from_a_newer_version(tmp_path):
    """A tuning of this version whose plan is of a later one."""
    record = made_tuning().to_json()
    record["plan"]["format"] = "crux.plan/2"
    (tmp_path / "tuning.json").write_text(json.dumps(record))
    said = r"tuning\.json: made by a newer Crux \(crux\.plan/2"
    with pytest.raises(NewerResultError, match=said):
        Tuning.load(tmp_path)


def test_keys_that_a_newer_crux_added_do_no_harm(saved):
    name, kind, path = saved
    changed(path, added={"x": [1]})
    if name != "verification":
        assert kind.load(path).to_json() == KINDS[name][1]().to_json()
    else:
        kind.load(path)


def test_the_command_line_says_it_in_one_line(tmp_path, capfd):
    made_tuning().save(tmp_path)
    changed(tmp_path / "tuning.json", format="crux.tuning/2")
    assert run(["show", str(tmp_path)]) == 2
    said, error = capfd.readouterr()
    assert said == ""
    assert error.count("\n") == 1
    assert "made by a newer Crux" in error


def test_what_is_not_there_and_what_cannot_be_read(tmp_path):
    def build(held, _):
        return held

    for absent in (tmp_path / "x", tmp_path / "x" / "y.json"):
        with pytest.raises(ResultError, match=f"^there is no evaluation at {absent}"):
            read_record(absent, "evaluation", build)
    (tmp_path / "e.json").write_text("[" * 100_000)
    with pytest.raises(ResultError, match=r"e\.json is damaged"):
        read_record(tmp_path, "evaluation", build, "e.json")
    with pytest.raises(ResultError, match="is damaged"):
        read_record(tmp_path, "evaluation", build)  # a folder, where a file is meant
    (tmp_path / "e.json").write_text('{"a": 1}')
    assert read_record(str(tmp_path), "evaluation", build, "e.json") == {"a": 1}
    with pytest.raises(ZeroDivisionError):  # a bug stays a bug
        read_record(tmp_path / "e.json", "evaluation", lambda *_: 1 / 0)


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda held: st.lists(held) | st.dictionaries(st.text(), held),
))  # fmt: skip
def test_no_record_is_a_bug(record):
    with pytest.raises(ResultError):
        check_record(record, "plan", "crux.plan/1", dict[str, int])


@given(st.dictionaries(st.text(), st.text() | st.floats(allow_nan=False, allow_infinity=False)))
def test_bytes_come_back(record):
    assert json.loads(record_bytes(record).decode("utf-8")) == record


def test_a_lone_surrogate_is_written_as_its_escape():
    assert json.loads(record_bytes({"a": "\ud800"})) == {"a": "\ud800"}
    with pytest.raises(ValueError, match="not JSON compliant"):
        record_bytes([float("nan")])
