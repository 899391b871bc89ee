"""A scan on disk: what is written, that it comes back equal, and that damage is refused."""

import json
import math
import random
import shutil
from collections import Counter

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from cruxlm.results.scan import Scan
from cruxlm.results.scores import plain
from cruxlm.runtime.errors import OptionError, ResultError
from results.made_scans import made_scan

GAPS = [math.nan, 0.3, 0.2, math.nan, 0.4, 0.25, 0.1, 0.15]


@pytest.fixture(scope="module")
def scan():
    return made_scan(8, probes=("builtin", "other.v2", "other"), values=GAPS)


@pytest.fixture(scope="module")
def saved(scan, tmp_path_factory):
    return scan.save(tmp_path_factory.mktemp("scans") / "out")


@pytest.fixture
def folder(saved, tmp_path):
    """A copy to damage."""
    return shutil.copytree(saved, tmp_path / "out")


def edited(folder, change):
    path = folder / "scan.json"
    record = json.loads(path.read_text("utf-8"))
    change(record)
    path.write_text(json.dumps(record), "utf-8")


def strict(text):
    """JSON as the standard has it."""

    def refuse(word):
        raise AssertionError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_three_files_are_written(saved):
    names = sorted(path.name for path in saved.iterdir())
    assert names == ["report.html", "scan.json", "scan.safetensors"]


def test_a_saved_scan_comes_back_equal(scan, saved):
    for path in (saved, saved / "scan.json", str(saved)):
        back = Scan.load(path)
        assert back.to_json() == scan.to_json()
        assert back.files() == scan.files()
        for held, other in [(scan.scores, back.scores)] + [
            (scan.controls[name], back.controls[name]) for name in scan.controls
        ]:
            assert list(held) == list(other)
            for label, scores in held.items():
                assert set(scores.tensors) == set(other[label].tensors)
                for name, array in {**scores.tensors, "halves": scores.halves}.items():
                    found = {**other[label].tensors, "halves": other[label].halves}[name]
                    assert found.dtype == array.dtype
                    assert np.array_equal(found, array, equal_nan=True)
                assert np.array_equal(scores.values, other[label].values, equal_nan=True)


def test_undefined_is_null_on_disk_and_nan_in_memory(scan, saved):
    record = strict((saved / "scan.json").read_text("utf-8"))
    written = record["criteria"]["dynamics"]["values"]
    assert written == [None if math.isnan(value) else value for value in GAPS]
    assert np.array_equal(Scan.load(saved)["dynamics"].values, GAPS, equal_nan=True)


def test_no_nan_of_any_kind_gets_into_json():
    held = {
        "a": [math.nan, (math.inf, 1.5)],
        "b": {"c": np.float32(2), "d": np.array([[1.0, math.nan]])},
        "e": np.int64(3),
        "f": [True, None, "nan"],
    }
    assert plain(held) == {
        "a": [None, [None, 1.5]],
        "b": {"c": 2.0, "d": [[1.0, None]]},
        "e": 3,
        "f": [True, None, "nan"],
    }
    json.dumps(plain(held), allow_nan=False)


def test_the_schema(saved):
    record = strict((saved / "scan.json").read_text("utf-8"))
    assert record["format"] == "crux.scan/1"
    assert set(record) == {
        "format", "model", "blocks", "parameters", "probes", "criteria", "controls", "selection",
        "selections", "exports", "agreement", "finding", "provenance", "run", "tensors_sha256",
    }  # fmt: skip
    assert len(record["blocks"]) == 8
    for probe in record["probes"].values():
        assert {"n", "ids_sha256", "pooling", "template", "left_out"} <= set(probe)
    for label, scores in record["criteria"].items():
        series = {"delta"} if label.startswith("dynamics") else set()
        assert set(scores) == series | {
            "criterion", "preset", "probe", "evaluator", "reference", "unit", "names", "values",
            "stderr", "options", "evidence", "warnings",
        }  # fmt: skip
        assert len(scores["values"]) == len(scores["names"]) == 8
    assert {"criterion", "blocks", "reasons"} <= set(record["selection"])
    assert [other["ends"] for other in record["selections"]] == ["skip", "keep"]


def test_labels_and_tensors(saved):
    labels = ["dynamics", "dynamics:paper", "block_influence"]
    labels += [f"{label}@{probe}" for probe in ("other.v2", "other") for label in labels[:3]]
    record = strict((saved / "scan.json").read_text("utf-8"))
    assert list(record["criteria"]) == labels
    tensors = load_file(saved / "scan.safetensors")
    assert tensors["dynamics.cka"].shape == (8, 8)
    assert tensors["untrained/dynamics.cka"].shape == (8, 8)
    assert tensors["dynamics:paper@other.v2.halves"].shape == (5, 8)
    # Nothing of one probe may go to another whose name it begins with.
    assert set(Scan.load(saved)["dynamics@other"].tensors) == {"cka"}


def test_a_loaded_scan_can_be_printed_chosen_from_and_saved(saved, tmp_path):
    scan = Scan.load(saved)
    assert "dynamics" in repr(scan)
    assert "<svg" in scan._repr_html_()
    assert scan.select(2).blocks == (1, 4)
    assert scan.select(by="block_influence", rule="top:1", ends="keep").blocks == (4,)
    with pytest.raises(OptionError, match="did you mean 'dynamics'"):
        scan.select(by="dynamcs")
    with pytest.raises(OptionError, match="not both"):
        scan.select(2, rule="peaks")
    again = scan.save(tmp_path / "again")
    assert (again / "scan.json").read_bytes() == (saved / "scan.json").read_bytes()


def test_names_may_hold_anything(tmp_path):
    scan = made_scan(6, probes=("a/b\\c\ud800\u202e\n\x00", "\u4e2d."), text='"\udcff</script>\x1b')
    saved = scan.save(tmp_path)
    strict((saved / "scan.json").read_text("utf-8"))
    assert Scan.load(saved).to_json() == scan.to_json()


# Damage.


def test_no_scan_there(tmp_path):
    for path in (tmp_path, tmp_path / "absent", tmp_path / "absent" / "scan.json"):
        with pytest.raises(ResultError, match="there is no scan at"):
            Scan.load(path)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ResultError, match="there is no scan at"):
        Scan.load(tmp_path / "file" / "deep")
    with pytest.raises(ResultError, match="File name too long"):
        Scan.load(tmp_path / ("a" * 300))


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_scan(folder, share):
    path = folder / "scan.json"
    data = path.read_bytes()
    path.write_bytes(data[: int(share * (len(data) - 2))])
    with pytest.raises(ResultError, match=r"scan\.json is damaged"):
        Scan.load(folder)


@pytest.mark.parametrize(
    "content",
    [b"{}", b"[]", b"3", b'{"format": "crux.scan/0"}', b'{"format": 1}', b"\xff\xfe", b"[" * 99999],
)
def test_a_foreign_file(folder, content):
    (folder / "scan.json").write_bytes(content)
    with pytest.raises(ResultError, match=r"scan\.json is damaged"):
        Scan.load(folder)


def test_a_scan_of_an_older_version_has_no_exports(saved, tmp_path):
    record = json.loads((saved / "scan.json").read_text("utf-8"))
    del record["exports"]
    (tmp_path / "scan.json").write_text(json.dumps(record), "utf-8")
    shutil.copy(saved / "scan.safetensors", tmp_path)
    assert Scan.load(tmp_path).exports == ()


def test_exports_are_read_back(tmp_path):
    scan = made_scan(text="<'\"\n:")
    assert scan.exports
    scan.save(tmp_path)
    assert Scan.load(tmp_path).exports == scan.exports


def test_every_missing_key_is_named(saved, tmp_path):
    record = json.loads((saved / "scan.json").read_text("utf-8"))
    places = [((), key) for key in record if key not in ("format", "exports")]
    places += [(("criteria", "dynamics"), key) for key in record["criteria"]["dynamics"]]
    places += [(("selection",), key) for key in record["selection"]]
    places += [(("probes", "builtin"), key) for key in record["probes"]["builtin"]]
    places.remove((("criteria", "dynamics"), "delta"))  # a criterion's own curve
    places.remove((("probes", "builtin"), "samples"))
    shutil.copy(saved / "scan.safetensors", tmp_path)
    for path, key in places:
        damaged = json.loads(json.dumps(record))
        held = damaged
        for step in path:
            held = held[step]
        del held[key]
        (tmp_path / "scan.json").write_text(json.dumps(damaged), "utf-8")
        with pytest.raises(ResultError, match=f"lacks '{key}'"):
            Scan.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda r: r["parameters"].pop(), "parameters: 7 values, expected 8"),
        (lambda r: r["criteria"]["dynamics"]["values"].pop(), "dynamics values: 7 values"),
        (lambda r: r["criteria"]["dynamics"]["stderr"].append(0), "dynamics stderr: 9 values"),
        (lambda r: r["criteria"]["dynamics"]["delta"].pop(), "delta has 7 values for 8 units"),
        (lambda r: r["controls"]["untrained"]["dynamics"]["values"].pop(), "values: 7 values"),
        (lambda r: r["selection"]["reasons"].pop(), "reasons of a selection: 1 values"),
        (lambda r: r["selection"]["frequency"].pop(), "frequency of a selection: 7 values"),
        (lambda r: r["selection"].update(blocks=[1, 8]), "selection blocks: no such block of 8"),
        (lambda r: r["selections"][1].update(ties=[-1]), "selection ties: no such block of 8"),
        (lambda r: r["selection"].update(criterion="x"), "scores that are not there"),
        (lambda r: r["probes"].pop("builtin"), "a probe that is not there"),
        (lambda r: r["criteria"]["dynamics"]["evidence"].update(incomplete=[9]), "no such block"),
        (lambda r: r["criteria"]["dynamics"]["values"].__setitem__(1, "x"), r"values\[1\] is str"),
        (lambda r: r["criteria"]["dynamics"]["values"].__setitem__(1, True), r"\[1\] is bool"),
        (lambda r: r["criteria"]["dynamics"].update(delta=["x"] * 8), "not a list of numbers"),
        (lambda r: r.update(blocks="abcdefgh"), "blocks is str, not list"),
        (lambda r: r.update(finding=None), "finding is NoneType, not str"),
        (lambda r: r.update(tensors_sha256="0"), "is not the one that was saved with it"),
    ],
)  # fmt: skip
def test_parts_that_do_not_fit(folder, change, said):
    edited(folder, change)
    with pytest.raises(ResultError, match=rf"scan\.json is damaged: .*{said}"):
        Scan.load(folder)


def places(value, path=()):
    """The paths of everything in an object, and of the first two things in every list."""
    held = list(value.items()) if isinstance(value, dict) else []
    held = list(enumerate(value))[:2] if isinstance(value, list) else held
    for key, inner in held:
        yield (*path, key)
        yield from places(inner, (*path, key))


OTHER_KINDS = (None, 3, "x", [], {}, True, [1])


def test_a_value_of_another_kind_is_refused_or_does_no_harm(saved, tmp_path):
    """Whatever is put wherever: a scan that loads can be shown and chosen from."""
    text = (saved / "scan.json").read_text("utf-8")
    shutil.copy(saved / "scan.safetensors", tmp_path)
    draw = random.Random(0)
    outcomes = Counter()
    for path in draw.sample(list(places(json.loads(text))), 120):
        damaged = held = json.loads(text)
        for step in path[:-1]:
            held = held[step]
        held[path[-1]] = draw.choice(OTHER_KINDS)
        (tmp_path / "scan.json").write_text(json.dumps(damaged), "utf-8")
        try:
            scan = Scan.load(tmp_path)
        except ResultError:
            outcomes["refused"] += 1
        else:
            repr(scan)
            scan._repr_html_()
            scan.select(1)
            outcomes["harmless"] += 1
    assert min(outcomes.values()) > 20


@pytest.mark.parametrize("damage", ["absent", "truncated", "another"])
def test_tensors_that_do_not_belong_to_the_scan(folder, damage):
    path = folder / "scan.safetensors"
    if damage == "absent":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:-5])
    else:
        save_file({"dynamics.cka": np.zeros((8, 8))}, path)
    with pytest.raises(ResultError, match=r"scan\.json is damaged: scan\.safetensors"):
        Scan.load(folder)
