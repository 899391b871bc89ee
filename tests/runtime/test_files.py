"""Several files at once: all of them, or everything as it was."""

import os
from pathlib import Path

import pytest

from cruxlm.runtime.errors import OutputError
from cruxlm.runtime.files import check_writable, write_all

OLD = {"a.json": b"old a", "b.bin": b"old b"}
NEW = {"a.json": b"new a", "b.bin": b"new b", "c.html": b"new c"}


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def failing(call, error):
    """``error`` at the given call (counted from 1), the real thing at all others."""
    calls = 0

    def wrap(real):
        def wrapped(*args, **kwargs):
            nonlocal calls
            calls += 1
            if calls == call:
                raise error
            return real(*args, **kwargs)

        return wrapped

    return wrap


FULL = OSError(28, "No space left on device")


def test_files_are_written_and_replaced(tmp_path):
    folder = tmp_path / "deep" / "out"
    write_all(folder, OLD)
    write_all(folder, NEW)
    assert contents(folder) == NEW


def test_other_files_stay(tmp_path):
    (tmp_path / "mine.txt").write_bytes(b"mine")
    write_all(tmp_path, NEW)
    assert contents(tmp_path) == {**NEW, "mine.txt": b"mine"}


@pytest.mark.parametrize("error", [FULL, KeyboardInterrupt()], ids=["full disk", "Ctrl-C"])
@pytest.mark.parametrize(
    ("owner", "name", "call"),
    [
        (os, "fsync", 1),
        (os, "fsync", 3),
        (Path, "replace", 1),  # a.json is set aside
        (Path, "replace", 2),  # the new a.json comes in
        (Path, "replace", 4),  # the new b.bin
        (Path, "replace", 5),  # c.html, which was not there
    ],
)
def test_a_failure_in_the_middle_leaves_everything_as_it_was(
    tmp_path, monkeypatch, error, owner, name, call
):
    folder = tmp_path / "out"
    write_all(folder, OLD)
    monkeypatch.setattr(owner, name, failing(call, error)(getattr(owner, name)))
    expected = OutputError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected):
        write_all(folder, NEW)
    assert contents(folder) == OLD


@pytest.mark.parametrize("call", [1, 2, 3])
def test_a_failure_leaves_no_folder_behind(tmp_path, monkeypatch, call):
    monkeypatch.setattr(os, "fsync", failing(call, FULL)(os.fsync))
    with pytest.raises(OutputError, match=r"cannot write to .*out: No space left on device"):
        write_all(tmp_path / "deep" / "deeper" / "out", NEW)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_the_place_of_a_file(tmp_path):
    write_all(tmp_path, OLD)
    (tmp_path / "c.html").mkdir()
    with pytest.raises(OutputError, match="cannot write to"):
        write_all(tmp_path, NEW)
    (tmp_path / "c.html").rmdir()
    assert contents(tmp_path) == OLD


def test_new_files_have_the_usual_permissions(tmp_path):
    write_all(tmp_path, OLD)
    (tmp_path / "usual").write_bytes(b"")
    assert (tmp_path / "a.json").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_check_writable_writes_nothing(tmp_path):
    check_writable(tmp_path)
    check_writable(tmp_path / "deep" / "out")
    check_writable(Path("relative"))
    assert list(tmp_path.iterdir()) == []


def test_a_file_where_a_folder_should_be(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"")
    with pytest.raises(OutputError, match=r"--out .*file is not a folder"):
        check_writable(file)
    with pytest.raises(OutputError, match=r"--out .*deep/out: .*file is not a folder"):
        check_writable(file / "deep" / "out")


def test_a_link_to_nowhere(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "absent")
    with pytest.raises(OutputError, match="is not a folder"):
        check_writable(tmp_path / "link")


def test_a_name_that_is_too_long(tmp_path):
    with pytest.raises(OutputError, match="File name too long"):
        check_writable(tmp_path / ("a" * 300))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="is root")
def test_no_write_access(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="no write access"):
        check_writable(tmp_path / "out")


def test_no_write_access_as_the_system_says_it(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(OutputError, match=r"no write access to .*: choose another --out"):
        check_writable(tmp_path / "out")
