"""Files appear whole or not at all."""

import json

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


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b""])
def test_unreadable_json_is_named(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"x\.json: can't be read as scores"):
        storage.read_json(path, "scores")


def test_missing_json_is_named(tmp_path):
    with pytest.raises(UserError, match=r"x\.json: no such file \(scores\)"):
        storage.read_json(tmp_path / "x.json", "scores")


def test_written_json_ends_in_a_newline(tmp_path):
    storage.write_json(tmp_path / "x.json", {})
    text = (tmp_path / "x.json").read_text()
    assert text.endswith("\n")
    assert json.loads(text) == {}


@pytest.mark.parametrize("check", [storage.check_target, storage.check_new_folder])
def test_where_nothing_can_be_written_is_told_before_the_work(tmp_path, check):
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file" / "x.json", "/proc/x/y.json"):
        with pytest.raises(UserError, match=f"--output={path}: nothing can be written there"):
            check(str(path), "output")
    check(str(tmp_path / "new" / "folders" / "x.json"), "output")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_new_folder_is_one_that_is_not_there(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for path in (tmp_path, tmp_path / "link"):
        with pytest.raises(UserError, match="is there already"):
            storage.check_new_folder(str(path), "export_dir")


def test_unpaired_surrogates_are_written_as_escapes(tmp_path):
    """Python has them in names of files that are not Unicode."""
    storage.write_json(tmp_path / "a.json", {"gr\udcf6n": "\u7ea2"})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert '"gr\\udcf6n": "\u7ea2"' in text
    assert json.loads(text) == {"gr\udcf6n": "\u7ea2"}
