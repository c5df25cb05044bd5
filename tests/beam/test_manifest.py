"""The manifest: inputs in shards, and what may not change."""

import pyarrow
import pyarrow.parquet
import pytest

from sat_tf.beam.manifest import INPUTS_FILE, Manifest, names_of, open_manifest
from sat_tf.errors import UserError

DEPENDS_ON = {"model": "m", "search": "s", "output_format": "jsonl", "attention": False}


def opened(folder, paths, num_shards=0, **changed):
    return open_manifest(folder, paths, num_shards, **{**DEPENDS_ON, **changed})


@pytest.mark.parametrize("num_shards", [1, 2, 5, 16, 17])
def test_shards_hold_the_inputs_in_order(tmp_path, num_shards):
    table = str(tmp_path / "a.parquet")
    pyarrow.parquet.write_table(pyarrow.table({"image": [b"x"] * 11}), table)
    paths = ["a.jpg", "b.jpg", table, "odd \udcff\n.jpg", "c.jpg", "d.jpg"]
    expected = ["a.jpg", "b.jpg", *(f"{table}:{row}" for row in range(11)), *paths[3:]]
    if num_shards > len(expected):
        with pytest.raises(UserError, match="there are only 16 images"):
            opened(tmp_path / "out", paths, num_shards)
        return
    manifest = opened(tmp_path / "out", paths, num_shards)
    assert manifest == Manifest.load(tmp_path / "out")
    inputs = map(manifest.inputs_of, range(num_shards))
    names = [[name for one in of_shard for name in names_of(one)] for of_shard in inputs]
    assert [name for of_shard in names for name in of_shard] == expected
    assert [len(of_shard) for of_shard in names] == [*map(manifest.size, range(num_shards))]
    assert max(map(len, names)) - min(map(len, names)) <= 1


def test_a_shard_has_a_thousand_images_unless_told(tmp_path):
    manifest = opened(tmp_path, [f"{number}.jpg" for number in range(2001)])
    assert manifest.num_shards == 3


def test_the_same_inputs_resume(tmp_path):
    paths = [f"{number}.jpg" for number in range(20)]
    manifest = opened(tmp_path, paths, 4)
    assert opened(tmp_path, paths, 4) == opened(tmp_path, paths) == manifest


@pytest.mark.parametrize(
    ("paths", "num_shards", "changed", "message"),
    [
        (["b.jpg", "a.jpg"], 0, {}, r"of another inputs \(\w{16}, here \w{16}\)"),
        (["a.jpg", "b.jpg"], 2, {}, r"of another num_shards \(1, here 2\)"),
        (["a.jpg"], 0, {}, r"of another num_images \(2, here 1\)"),
        (["a.jpg", "b.jpg"], 0, {"model": "n"}, r"of another model \(m, here n\)"),
        (["a.jpg", "b.jpg"], 0, {"search": "n"}, "of another search"),
        (["a.jpg", "b.jpg"], 0, {"attention": True}, "of another attention"),
    ],
)
def test_other_work_in_the_same_folder_is_rejected(tmp_path, paths, num_shards, changed, message):
    opened(tmp_path, ["a.jpg", "b.jpg"])
    before = (tmp_path / INPUTS_FILE).read_bytes()
    with pytest.raises(UserError, match=message):
        opened(tmp_path, paths, num_shards, **changed)
    assert (tmp_path / INPUTS_FILE).read_bytes() == before


@pytest.mark.parametrize("content", ["[]", "{}", '{"format_version": 1}', '{"format_version": 0}'])
def test_what_is_no_manifest_is_rejected(tmp_path, content):
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(UserError, match=r"manifest\.json: is "):
        opened(tmp_path, ["a.jpg"])
