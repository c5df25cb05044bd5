"""Files appear whole or not at all."""

import contextlib
import errno
import json
import os
import subprocess
import sys
import time
from unittest import mock

import numpy as np
import pytest

from sat_tf import storage
from sat_tf.errors import UserError


def test_atomic_path_moves_the_file_in_place(tmp_path):
    target = tmp_path / "new" / "scores.json"
    with storage.atomic_path(target) as temporary:
        assert temporary.suffix == ".json"
        assert not target.exists()
        temporary.write_text("whole")
    assert target.read_text() == "whole"
    assert [path.name for path in target.parent.iterdir()] == ["scores.json"]


def test_atomic_path_keeps_the_old_file_when_the_body_fails(tmp_path):
    target = tmp_path / "scores.json"
    target.write_text("old")
    with pytest.raises(RuntimeError), storage.atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_json_round_trip(tmp_path):
    value = {"caption": "zwei Hunde, möglichst groß", "scores": [1, 2.5, None]}
    storage.write_json(tmp_path / "x.json", value)
    assert storage.read_json(tmp_path / "x.json", "scores") == value
    assert "groß" in (tmp_path / "x.json").read_text(encoding="utf-8")


def test_json_refuses_nan_and_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        storage.write_json(tmp_path / "x.json", {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe{", b"", b"[" * 10**5, b"9" * 5000])
def test_unreadable_json_is_named(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"x\.json: can't be read as scores"):
        storage.read_json(path, "scores")


def test_numbers_that_json_does_not_have_are_none(tmp_path):
    path = tmp_path / "x.json"
    path.write_text("[NaN, Infinity, -Infinity, 1e999, 1.5, 2]")
    assert storage.read_json(path, "scores") == [None] * 4 + [1.5, 2]


def test_missing_json_is_named(tmp_path):
    with pytest.raises(UserError, match=r"x\.json: no such file \(scores\)"):
        storage.read_json(tmp_path / "x.json", "scores")


def test_written_json_ends_in_a_newline(tmp_path):
    storage.write_json(tmp_path / "x.json", {})
    text = (tmp_path / "x.json").read_text()
    assert text.endswith("\n")
    assert json.loads(text) == {}


@pytest.mark.parametrize("kind", ["file", "folder", "new folder"])
def test_where_nothing_can_be_written_is_told_before_the_work(tmp_path, kind):
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file" / "x.json", "/proc/x/y.json"):
        with pytest.raises(UserError, match=f"--output={path}: nothing can be written there"):
            storage.check_target(str(path), "output", kind)
    storage.check_target(str(tmp_path / "new" / "folders" / "x.json"), "output", kind)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_new_folder_is_one_that_is_not_there(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for path in (tmp_path, tmp_path / "link"):
        with pytest.raises(UserError, match="is there already"):
            storage.check_target(str(path), "export_dir", "new folder")


def test_a_folder_to_write_to_may_be_there(tmp_path):
    (tmp_path / "file").write_text("")
    for name in ("", "new", "new/below"):
        storage.check_target(str(tmp_path / name), "output", "folder")
    for name in ("file", "file/below"):
        with pytest.raises(UserError, match="--output="):
            storage.check_target(str(tmp_path / name), "output", "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def make_leftover(folder, age):
    left = folder / ".writing-abc"
    (left / "half").mkdir(parents=True)
    os.utime(left, (time.time() - age,) * 2)
    return left


def test_what_a_killed_process_left_is_removed(tmp_path):
    left = make_leftover(tmp_path, age=60)
    storage.write_json(tmp_path / "x.json", {})
    assert not left.exists()


def test_what_another_process_writes_is_left_alone(tmp_path):
    """As long as it lives; a younger folder may not have its lock yet."""
    young = make_leftover(tmp_path, age=0)
    storage.write_json(tmp_path / "x.json", {})
    assert young.exists()
    program = (
        "import pathlib, sys; from sat_tf.storage import temporary_folder\n"
        "with temporary_folder(pathlib.Path(sys.argv[1])) as folder: print(folder); input()"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "sub")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        left = process.stdout.readline().decode().strip()
        os.utime(left, (0, 0))
        storage.write_json(tmp_path / "sub" / "x.json", {})
        assert os.path.exists(left)
        process.kill()
    storage.write_json(tmp_path / "sub" / "x.json", {})
    assert not os.path.exists(left)


def test_a_lock_is_held_once(tmp_path):
    lock = storage.exclusive_lock(tmp_path / "lock")
    with lock, pytest.raises(BlockingIOError), storage.exclusive_lock(tmp_path / "lock"):
        pass
    with storage.exclusive_lock(tmp_path / "lock"):
        pass


class TensorFlowError(Exception):
    """What tensorflow-datasets raises on a full disk is no OSError either."""


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError("8000 requested and 512 written"),  # NumPy
        TensorFlowError("Failed to finalize: /x/y; No space left on device"),
    ],
)
def test_a_full_disk_is_one_error_with_the_path(tmp_path, error):
    target = storage.atomic_path(tmp_path / "x.npy")
    with pytest.raises(OSError, match="No space left") as raised, target:
        raise error
    assert (raised.value.errno, raised.value.filename) == (errno.ENOSPC, str(tmp_path / "x.npy"))


def test_a_full_disk_in_earnest():
    """Linux has a device that is always full."""
    raised = pytest.raises(OSError, match="No space left")
    with raised as error, storage.writing("x.npy"), open("/dev/full", "wb", buffering=0) as full:
        np.zeros(10_000).tofile(full)
    assert error.value.filename == "x.npy"


def test_errors_of_other_files_and_kinds_stay_as_they_are(tmp_path):
    other = FileNotFoundError(errno.ENOENT, "No such file", "a.jpg")
    for error in (other, ValueError("x"), UserError("x")):
        with pytest.raises(type(error)) as raised, storage.writing(tmp_path / "x"):
            raise error
        assert raised.value is error


def test_paths_are_split_at_commas_that_are_in_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("lr=1,bs=8", "a", "b"):
        (tmp_path / name).mkdir()
    assert storage.split_paths("lr=1,bs=8") == ["lr=1,bs=8"]
    assert storage.split_paths("a,lr=1,bs=8,b") == ["a", "lr=1,bs=8", "b"]
    assert storage.split_paths("a,none,b") == ["a", "none", "b"]
    assert storage.split_paths("a") == ["a"]


def test_unpaired_surrogates_are_written_as_escapes(tmp_path):
    """Python has them in names of files that are not Unicode."""
    storage.write_json(tmp_path / "a.json", {"gr\udcf6n": "\u7ea2"})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert '"gr\\udcf6n": "\u7ea2"' in text
    assert json.loads(text) == {"gr\udcf6n": "\u7ea2"}


def test_one_writer_at_a_time(tmp_path):
    first, second = (storage.sole_writer(tmp_path, "is taken") for _ in range(2))
    with first, pytest.raises(UserError, match="is taken"), second:
        pass
    with storage.sole_writer(tmp_path, "is taken"):
        pass


def test_a_file_system_without_locks_has_writers_too(tmp_path, monkeypatch):
    for number, allowed in ((errno.ENOLCK, True), (errno.EACCES, False)):
        error = OSError(number, "no lock")
        monkeypatch.setattr(storage, "exclusive_lock", mock.Mock(side_effect=error))
        expected = contextlib.nullcontext() if allowed else pytest.raises(OSError, match="no lock")
        with expected, storage.sole_writer(tmp_path, "is taken"):
            pass
