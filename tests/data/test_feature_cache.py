"""The feature cache: whole, resumable, bound to what made it, and exact."""

import concurrent.futures
import shutil
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf

from sat_tf.config import ImageConfig
from sat_tf.data import feature_cache
from sat_tf.data.feature_cache import FeatureCache, find_cache
from sat_tf.data.images import decode_image
from sat_tf.data.records import Record
from sat_tf.data.unreadable import LIST_FILE
from sat_tf.errors import UserError

IMAGES = ImageConfig(image_size=12, resize="stretch")
GRID = (2, 3, 5)
COUNT, PER_SHARD = 23, 5


class Encoder:
    """A fixed linear map of an image's pixels, exact in float32; counts the images it encodes."""

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
    """Decode without EXIF, whose tracing takes most of a test's time."""
    return tf.io.decode_image(encoded, channels=3, expand_animations=False)


def fill(
    folder: Path,
    records: Sequence[Record],
    encode=None,
    fingerprint="f" * 64,
    decode=decode_quickly,
) -> FeatureCache:
    with mock.patch.object(feature_cache, "decode_image", decode):
        cache = FeatureCache(folder, records, fingerprint, GRID)
        cache.fill(encode or Encoder(), IMAGES, batch_size=4)
    return cache


def shards_of(folder: Path) -> list[int]:
    """Numbers of the shards that are there."""
    return [int(path.name.split("-")[1]) for path in sorted(folder.glob("shard-*.npy"))]


@pytest.fixture(autouse=True, scope="module")
def small_shards():
    record = int(np.prod(GRID)) * 2 + 4
    with mock.patch.object(feature_cache, "SHARD_BYTES", PER_SHARD * record):
        yield


@pytest.fixture(scope="module")
def filled(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("filled")
    fill(folder, in_memory(pictures()))
    return folder


@pytest.fixture
def cache(filled, tmp_path) -> FeatureCache:
    """A complete cache in a folder of the test's own."""
    shutil.copytree(filled, tmp_path / "cache")
    return FeatureCache(tmp_path / "cache", in_memory(pictures()), "f" * 64, GRID)


def assert_reads_everything(cache: FeatureCache) -> None:
    np.testing.assert_array_equal(cache.read(np.arange(COUNT)), expected(pictures()))


@pytest.mark.parametrize(("place", "decode"), [(in_files, decode_image), (None, decode_quickly)])
def test_reads_the_encoder_s_output_in_any_order(tmp_path, place, decode):
    images = pictures()
    records = place(images, tmp_path / "images") if place else in_memory(images)
    cache = fill(tmp_path / "cache", records, decode=decode)
    order = np.random.default_rng(2).integers(0, COUNT, 60)
    read = cache.read(order)
    assert read.dtype == np.float16
    assert (len(cache), cache.shape) == (COUNT, GRID)
    np.testing.assert_array_equal(read, expected(images)[order])
    assert cache.read(np.zeros([0], np.int64)).shape == (0, *GRID)


def test_shards_are_plain_numpy_arrays(cache):
    shards = np.concatenate([np.load(path) for path, _ in cache.shards])
    np.testing.assert_array_equal(shards["features"], expected(pictures()))


def test_an_index_out_of_range_is_an_error(cache):
    for number in (-1, COUNT):
        with pytest.raises(IndexError):
            cache.read(np.array([number]))


def test_filling_is_announced_and_an_opened_cache_encodes_nothing(tmp_path, capsys):
    fill(tmp_path / "cache", in_memory(pictures()))
    message = f"encoding {COUNT} images into {tmp_path / 'cache'}: 0.0 MB\n"
    assert message in capsys.readouterr().err
    again = Encoder()
    assert_reads_everything(fill(tmp_path / "cache", in_memory(pictures()), again))
    assert again.images == 0
    assert capsys.readouterr().err == ""


def test_resumes_after_an_interruption_at_the_first_missing_shard(tmp_path):
    folder, records = tmp_path / "cache", in_memory(pictures())
    with pytest.raises(KeyboardInterrupt):
        fill(folder, records, Encoder(fail_at=12))  # images 0..11 are encoded
    assert shards_of(folder) == [0, 1]
    assert len(list(folder.iterdir())) == 2
    rest = Encoder()
    assert_reads_everything(fill(folder, records, rest))
    assert rest.images == COUNT - 2 * PER_SHARD


@pytest.mark.parametrize("kept", [slice(-1), slice(20), slice(0)])
def test_a_truncated_shard_is_encoded_again(tmp_path, cache, kept):
    path = cache.shards[3].path
    path.write_bytes(path.read_bytes()[kept])
    opened = FeatureCache(tmp_path / "cache", in_memory(pictures()), "f" * 64, GRID)
    assert [shard.path for shard in opened.missing] == [path]
    with pytest.raises(UserError, match=f"{path}: is missing or truncated; delete this file"):
        opened.read(np.array([3 * PER_SHARD]))
    with pytest.raises(UserError, match=f"{path}: .*damaged"):  # opened before it was truncated
        cache.read(np.array([4 * PER_SHARD - 1]))
    again = Encoder()
    assert_reads_everything(fill(tmp_path / "cache", in_memory(pictures()), again))
    assert again.images == PER_SHARD


def test_a_damaged_record_is_named_and_repaired_as_the_message_says(tmp_path, cache):
    path = cache.shards[1].path
    content = bytearray(path.read_bytes())
    record = int(np.prod(GRID)) * 2 + 4
    content[-PER_SHARD * record + 2 * record + 7] ^= 1  # in the third image of the shard
    path.write_bytes(content)
    intact = [i for i in range(COUNT) if i != PER_SHARD + 2]
    np.testing.assert_array_equal(cache.read(np.array(intact)), expected(pictures())[intact])
    with pytest.raises(UserError, match=rf"{path}: .*image {PER_SHARD + 2} .*delete this file"):
        cache.read(np.array([0, PER_SHARD + 2]))
    path.unlink()
    with pytest.raises(UserError, match=str(path)):
        cache.read(np.array([PER_SHARD]))
    assert_reads_everything(fill(tmp_path / "cache", in_memory(pictures())))


def test_find_cache_opens_complete_caches_alone(tmp_path, cache):
    records = in_memory(pictures())
    assert find_cache(tmp_path / "none", records, "f" * 64, GRID) is None
    found = find_cache(cache.folder, records, "f" * 64, GRID)
    assert found is not None
    assert_reads_everything(found)
    cache.shards[2].path.unlink()
    with pytest.raises(UserError, match="1 of 5 shards are missing"):
        find_cache(cache.folder, records, "f" * 64, GRID)


def test_a_cache_of_another_encoder_is_rejected_by_fingerprint(tmp_path, cache):
    with pytest.raises(UserError, match=f"{'f' * 64}.*{'e' * 64}.*--cache_dir"):
        fill(tmp_path / "cache", in_memory(pictures()), fingerprint="e" * 64)


def test_shards_of_another_encoder_are_replaced_without_their_index(tmp_path, cache):
    (tmp_path / "cache" / "index.json").unlink()
    encode = Encoder(scale=2)
    again = fill(tmp_path / "cache", in_memory(pictures()), encode, fingerprint="e" * 64)
    assert not np.array_equal(again.read(np.arange(COUNT)), expected(pictures()))
    assert shards_of(tmp_path / "cache") == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    "change",
    [
        lambda records: records[:-1],
        lambda records: records[::-1],
        lambda records: [*records[:-1], Record(records[-1].image_id, records[0].image, ())],
    ],
    ids=["fewer", "reordered", "another picture under the same name"],
)
def test_a_complete_cache_of_other_images_is_rejected(tmp_path, cache, change):
    with pytest.raises(UserError, match="complete feature cache of other images"):
        fill(tmp_path / "cache", change(in_memory(pictures())))


def test_unreadable_images_are_named_together_and_may_be_repaired(tmp_path):
    folder, images = tmp_path / "cache", pictures()
    records = in_files(images, tmp_path / "images")
    broken, absent = Path(records[7].image), Path(records[21].image)
    content = {path: path.read_bytes() for path in (broken, absent)}
    broken.write_bytes(content[broken][:40])
    absent.unlink()
    with pytest.raises(UserError) as error:
        fill(folder, records)
    message = str(error.value)
    assert message.startswith(f"2 of {COUNT} images can't be read:")
    assert str(broken) in message
    assert str(absent) in message
    assert shards_of(folder) == [0, 2, 3]
    for path, whole in content.items():
        path.write_bytes(whole)
    rest = Encoder()
    assert_reads_everything(fill(folder, records, rest))
    assert rest.images == 5 + 3  # two shards


def test_unreadable_images_may_be_removed(tmp_path):
    folder, images = tmp_path / "cache", pictures()
    records = in_memory(images)
    with pytest.raises(UserError, match="1 of 23 images can't be read"):
        fill(folder, [*records[:7], Record("broken", b"no image", ()), *records[8:]])
    kept = [*range(7), *range(8, COUNT)]
    cache = fill(folder, [records[i] for i in kept])
    np.testing.assert_array_equal(cache.read(np.arange(COUNT - 1)), expected(images)[kept])
    assert sorted(folder.glob("shard-*")) == [shard.path for shard in cache.shards]


def test_many_unreadable_images_are_listed_up_to_a_limit(tmp_path):
    records = [Record(f"{i}.jpg", f"{tmp_path}/{i}.jpg", ()) for i in range(25)]
    with pytest.raises(UserError) as error:
        fill(tmp_path / "cache", records)
    lines = str(error.value).splitlines()
    assert sum(line.endswith(".jpg: No such file or directory") for line in lines) == 20
    listed = tmp_path / "cache" / LIST_FILE
    assert f"  ... and 5 more: see {listed}" in lines
    assert len(listed.read_text().splitlines()) == 25


@pytest.mark.parametrize("scale", [1e4, np.nan])
def test_features_beyond_float16_are_rejected(tmp_path, scale):
    with pytest.raises(UserError, match=r"image 0: .*65,504.*--preprocessing"):
        fill(tmp_path / "cache", in_memory(pictures()), Encoder(scale=scale))
    assert not shards_of(tmp_path / "cache")


def test_features_in_bfloat16_are_kept_exactly(tmp_path):
    def encode(pixels: tf.Tensor) -> tf.Tensor:
        return tf.cast(Encoder()(pixels), tf.bfloat16)

    cache = fill(tmp_path / "cache", in_memory(pictures()), encode)
    kept = cache.read(np.arange(COUNT))
    pixels = tf.constant(pictures(), tf.float32)
    np.testing.assert_array_equal(kept, tf.cast(encode(pixels), tf.float16).numpy())


def test_a_disk_without_room_is_rejected_before_anything_is_written(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(UserError, match="GB are free: give another --cache_dir"):
        fill(tmp_path / "cache", in_memory(pictures()))
    assert not list((tmp_path / "cache").iterdir())


def test_a_folder_that_is_a_file_is_the_users_error(tmp_path):
    (tmp_path / "cache").write_text("")
    with pytest.raises(UserError, match="--cache_dir"):
        fill(tmp_path / "cache", in_memory(pictures()))


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"format_version": 2, "encoder": ""}'])
def test_a_damaged_index_is_named(tmp_path, cache, content):
    (tmp_path / "cache" / "index.json").write_text(content)
    with pytest.raises(UserError, match=r"index\.json"):
        fill(tmp_path / "cache", in_memory(pictures()))


def test_no_images_are_the_users_error(tmp_path):
    with pytest.raises(UserError, match="no images"):
        fill(tmp_path / "cache", [])


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
