"""The cache of annotations: whole, resumable, bound to what made it, and exact."""

import concurrent.futures
import shutil
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf

from sat_tf.config import ImageConfig
from sat_tf.data import feature_cache, feature_shards
from sat_tf.data.feature_cache import FeatureCache, prepare_cache
from sat_tf.data.feature_shards import shard_path
from sat_tf.data.images import decode_image
from sat_tf.data.records import Record
from sat_tf.errors import UserError

IMAGES = ImageConfig(image_size=12, resize="stretch")
GRID = (2, 3, 5)
COUNT, PER_SHARD = 23, 5


class Encoder:
    """A fixed linear map of an image's pixels, exact in float32; counts what it is given."""

    def __init__(self, fail_at: int | None = None, scale: float = 1.0) -> None:
        shape = (IMAGES.image_size**2 * 3, int(np.prod(GRID)))
        signs = np.random.default_rng(1).integers(-1, 2, shape)
        self.matrix = (signs / 8 * scale).astype(np.float32)
        self.images = 0
        self.fail_at = fail_at

    def __call__(self, pixels: tf.Tensor) -> np.ndarray:
        pixels = np.asarray(pixels)
        assert pixels.dtype == np.float32
        assert pixels.shape[1:] == (IMAGES.image_size, IMAGES.image_size, 3)
        self.images += len(pixels)
        if self.fail_at is not None and self.images > self.fail_at:
            raise KeyboardInterrupt
        return (pixels.reshape(len(pixels), -1) @ self.matrix).reshape(-1, *GRID)


def pictures(count: int = COUNT) -> np.ndarray:
    size = (count, IMAGES.image_size, IMAGES.image_size, 3)
    return np.random.default_rng(0).integers(0, 256, size, np.uint8)


def in_memory(images: np.ndarray) -> list[Record]:
    return [
        Record(f"image {i}", tf.io.encode_png(image).numpy(), ("a square",))
        for i, image in enumerate(images)
    ]


def in_files(images: np.ndarray, folder: Path) -> list[Record]:
    folder.mkdir()
    records = []
    for record in in_memory(images):
        path = folder / f"{record.image_id}.png"
        path.write_bytes(record.image)
        records.append(Record(record.image_id, str(path), record.captions))
    return records


def expected(images: np.ndarray) -> np.ndarray:
    return Encoder()(images.astype(np.float32)).astype(np.float16)


def decode_quickly(encoded: tf.Tensor) -> tf.Tensor:
    """Without EXIF, whose tracing takes most of a test's time."""
    return tf.io.decode_image(encoded, channels=3, expand_animations=False)


def prepare(
    folder: Path,
    records: Sequence[Record],
    encode=None,
    fingerprint="f" * 64,
    decode=decode_quickly,
) -> FeatureCache:
    encode = encode or Encoder()
    with mock.patch.object(feature_cache, "decode_image", decode):
        return prepare_cache(folder, records, encode, IMAGES, fingerprint, batch_size=4)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(feature_shards, "SHARD_BYTES", PER_SHARD * int(np.prod(GRID)) * 2)


@pytest.fixture
def cache(tmp_path) -> FeatureCache:
    return prepare(tmp_path / "cache", in_memory(pictures()))


@pytest.mark.parametrize("kind", ["files", "memory"])
def test_reads_what_the_encoder_gave_in_any_order(tmp_path, kind):
    images = pictures()
    records = in_memory(images) if kind == "memory" else in_files(images, tmp_path / "images")
    cache = prepare(tmp_path / "cache", records, decode=decode_image)
    order = np.random.default_rng(2).integers(0, COUNT, 60)
    read = cache.read(order)
    assert read.dtype == np.float16
    assert (len(cache), cache.shape) == (COUNT, GRID)
    np.testing.assert_array_equal(read, expected(images)[order])
    assert cache.read(np.zeros([0], np.int64)).shape == (0, *GRID)


def test_a_number_outside_the_records_is_refused(cache):
    for number in (-1, COUNT):
        with pytest.raises(IndexError):
            cache.read(np.array([number]))


def test_is_announced_and_then_opened_without_encoding(tmp_path, capsys):
    prepare(tmp_path / "cache", in_memory(pictures()))
    assert (
        f"encoding {COUNT} images into {tmp_path / 'cache'}: 0.0 MB, under a minute"
        in capsys.readouterr().err
    )
    again = Encoder()
    prepare(tmp_path / "cache", in_memory(pictures()), again)
    assert again.images == 0
    assert capsys.readouterr().err == ""


def test_goes_on_after_an_interruption_and_keeps_whole_shards(tmp_path):
    folder, records = tmp_path / "cache", in_memory(pictures())
    overhead = 1 + 2 * 4  # for the grid, and for the estimate of time
    with pytest.raises(KeyboardInterrupt):
        prepare(folder, records, Encoder(fail_at=overhead + 12))  # images 0..11 come through
    assert shard_path(folder, 1).exists()
    assert sorted(folder.glob("*")) == [
        folder / "index.json",
        *(shard_path(folder, i) for i in (0, 1)),
    ]
    rest = Encoder()
    cache = prepare(folder, records, rest)
    assert rest.images == COUNT - 2 * PER_SHARD + 2 * 4
    np.testing.assert_array_equal(cache.read(np.arange(COUNT)), expected(pictures()))


@pytest.mark.parametrize("kept", [slice(-1), slice(20)])
def test_a_truncated_shard_is_made_anew(tmp_path, cache, kept):
    path = shard_path(tmp_path / "cache", 3)
    path.write_bytes(path.read_bytes()[kept])
    cache = prepare(tmp_path / "cache", in_memory(pictures()))
    np.testing.assert_array_equal(cache.read(np.arange(COUNT)), expected(pictures()))


def test_damage_is_found_on_reading_and_mended_as_the_message_says(tmp_path, cache):
    path = shard_path(tmp_path / "cache", 1)
    content = bytearray(path.read_bytes())
    content[2 * int(np.prod(GRID)) * 2 + 7] ^= 1  # in the third image of the shard
    path.write_bytes(content)
    good = [i for i in range(COUNT) if i != PER_SHARD + 2]
    np.testing.assert_array_equal(cache.read(np.array(good)), expected(pictures())[good])
    with pytest.raises(UserError, match=rf"{path}: .*image {PER_SHARD + 2} .*delete this file"):
        cache.read(np.array([0, PER_SHARD + 2]))
    path.unlink()
    with pytest.raises(UserError, match=str(path)):
        cache.read(np.array([PER_SHARD]))
    cache = prepare(tmp_path / "cache", in_memory(pictures()))
    np.testing.assert_array_equal(cache.read(np.arange(COUNT)), expected(pictures()))


def test_another_encoder_is_refused_by_name(tmp_path, cache):
    with pytest.raises(UserError, match=f"{'f' * 64}.*{'e' * 64}.*--cache_dir"):
        prepare(tmp_path / "cache", in_memory(pictures()), fingerprint="e" * 64)


def test_shards_of_another_encoder_are_not_trusted_without_their_index(tmp_path, cache):
    (tmp_path / "cache" / "index.json").unlink()
    encode = Encoder(scale=2)
    again = prepare(tmp_path / "cache", in_memory(pictures()), encode, fingerprint="e" * 64)
    assert not np.array_equal(again.read(np.arange(COUNT)), expected(pictures()))


@pytest.mark.parametrize(
    "change",
    [
        lambda records: records[:-1],
        lambda records: records[::-1],
        lambda records: [*records[:-1], Record(records[-1].image_id, records[0].image, ())],
    ],
    ids=["fewer", "reordered", "another picture under the same name"],
)
def test_a_whole_cache_of_other_images_is_refused(tmp_path, cache, change):
    with pytest.raises(UserError, match="which are not these"):
        prepare(tmp_path / "cache", change(in_memory(pictures())))


def test_unreadable_images_are_named_together_and_mending_them_is_enough(tmp_path):
    folder, images = tmp_path / "cache", pictures()
    records = in_files(images, tmp_path / "images")
    broken, absent = Path(records[7].image), Path(records[21].image)
    content = {path: path.read_bytes() for path in (broken, absent)}
    broken.write_bytes(content[broken][:40])
    absent.unlink()
    with pytest.raises(UserError) as error:
        prepare(folder, records)
    message = str(error.value)
    assert message.startswith(f"2 of {COUNT} images can't be read:")
    assert str(broken) in message
    assert str(absent) in message
    assert not shard_path(folder, 1).exists()
    assert not shard_path(folder, 4).exists()
    for path, whole in content.items():
        path.write_bytes(whole)
    rest = Encoder()
    cache = prepare(folder, records, rest)
    assert rest.images == 5 + 3 + 2 * 4  # two shards, and the estimate
    np.testing.assert_array_equal(cache.read(np.arange(COUNT)), expected(images))


def test_many_unreadable_images_are_listed_up_to_a_limit(tmp_path):
    records = [Record(f"{i}.jpg", f"{tmp_path}/{i}.jpg", ()) for i in range(25)]
    with pytest.raises(UserError) as error:
        prepare(tmp_path / "cache", records)
    lines = str(error.value).splitlines()
    assert sum(line.endswith(".jpg") for line in lines) == 20
    assert "  ... and 5 more" in lines


@pytest.mark.parametrize("scale", [1e4, np.nan])
def test_annotations_beyond_float16_are_refused(tmp_path, scale):
    with pytest.raises(UserError, match=r"image 0: .*65,504.*--preprocessing"):
        prepare(tmp_path / "cache", in_memory(pictures()), Encoder(scale=scale))
    assert not shard_path(tmp_path / "cache", 0).exists()


def test_annotations_in_bfloat16_are_kept_exactly(tmp_path):
    def encode(pixels: tf.Tensor) -> tf.Tensor:
        return tf.cast(Encoder()(pixels), tf.bfloat16)

    cache = prepare(tmp_path / "cache", in_memory(pictures()), encode)
    kept = cache.read(np.arange(COUNT))
    pixels = tf.constant(pictures(), tf.float32)
    np.testing.assert_array_equal(kept, tf.cast(encode(pixels), tf.float16).numpy())


def test_a_disk_without_room_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(UserError, match="GB are free: give another --cache_dir"):
        prepare(tmp_path / "cache", in_memory(pictures()))
    assert not list((tmp_path / "cache").iterdir())


def test_a_folder_that_is_a_file_is_the_users_error(tmp_path):
    (tmp_path / "cache").write_text("")
    with pytest.raises(UserError, match="--cache_dir"):
        prepare(tmp_path / "cache", in_memory(pictures()))


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"format_version": 1, "dtype": "float16"}'])
def test_a_damaged_index_is_named(tmp_path, cache, content):
    (tmp_path / "cache" / "index.json").write_text(content)
    with pytest.raises(UserError, match=r"index\.json"):
        prepare(tmp_path / "cache", in_memory(pictures()))


def test_no_images_are_the_users_error(tmp_path):
    with pytest.raises(UserError, match="no images"):
        prepare(tmp_path / "cache", [])


def test_serves_several_threads_at_once(cache):
    want = expected(pictures())
    orders = [np.random.default_rng(i).integers(0, COUNT, 50) for i in range(16)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for order, read in zip(orders, pool.map(cache.read, orders), strict=True):
            np.testing.assert_array_equal(read, want[order])


def test_feeds_a_pipeline(cache):
    rows = tf.data.Dataset.range(COUNT).batch(4)
    pipeline = rows.map(
        lambda row: tf.numpy_function(cache.read, [row], tf.float16), num_parallel_calls=4
    )
    np.testing.assert_array_equal(np.concatenate(list(pipeline)), expected(pictures()))
