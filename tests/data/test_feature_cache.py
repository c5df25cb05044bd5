"""The feature cache: whole, resumable, addressed by what made it, and exact."""

import concurrent.futures
import shutil
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from sat_tf.config import ImageConfig
from sat_tf.data import feature_cache, pipeline
from sat_tf.data.feature_cache import FeatureCache, find_cache
from sat_tf.data.records import Record
from sat_tf.data.unreadable import LIST_FILE
from sat_tf.errors import UserError

IMAGES = ImageConfig(image_size=12, resize="stretch")
GRID = (2, 3, 5)
COUNT, PER_SHARD = 23, 5
RECORD_BYTES = int(np.prod(GRID)) * 2 + 4
DECODER = pipeline._decoder


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


def fill(
    folder: Path, records: Sequence[Record], encode=None, fingerprint="f" * 64
) -> FeatureCache:
    cache = FeatureCache(folder, records, fingerprint, GRID)
    cache.fill(encode or Encoder(), IMAGES, batch_size=4)
    return cache


def shards_of(folder: Path) -> list[Path]:
    return sorted(folder.glob("shard-*.npy"))


def shard_with(cache: FeatureCache, index: int) -> tuple[Path, int]:
    """The file with the features of an image, and which record of it they are."""
    wanted = expected(pictures())[index]
    for path in shards_of(cache.folder):
        for row, features in enumerate(np.load(path)["features"]):
            if np.array_equal(features, wanted):
                return path, row
    raise AssertionError(f"no features of image {index}")


def quick_decoder(config: ImageConfig):
    """Decode what needs no resizing: TensorFlow takes seconds to optimize the whole decoder."""

    def decode(encoded: tf.Tensor) -> tf.Tensor:
        pixels = tf.io.decode_image(encoded, channels=3, expand_animations=False)
        return tf.cast(
            tf.ensure_shape(pixels, [config.image_size, config.image_size, 3]), tf.float32
        )

    return lambda images: tf.map_fn(decode, images, fn_output_signature=tf.float32)


@pytest.fixture(autouse=True, scope="module")
def small_shards_of_simple_images():
    with (
        mock.patch.object(feature_cache, "SHARD_BYTES", PER_SHARD * RECORD_BYTES),
        mock.patch.object(pipeline, "_decoder", quick_decoder),
    ):
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


@pytest.mark.parametrize(("place", "decoder"), [(in_files, DECODER), (None, quick_decoder)])
def test_reads_the_encoder_s_output_in_any_order(tmp_path, monkeypatch, place, decoder):
    monkeypatch.setattr(pipeline, "_decoder", decoder)
    images = pictures()
    records = place(images, tmp_path / "images") if place else in_memory(images)
    cache = fill(tmp_path / "cache", records)
    order = np.random.default_rng(2).integers(0, COUNT, 60)
    read = cache.read(order)
    assert read.dtype == np.float16
    assert (len(cache), cache.shape) == (COUNT, GRID)
    np.testing.assert_array_equal(read, expected(images)[order])
    assert cache.read(np.zeros([0], np.int64)).shape == (0, *GRID)


def test_shards_are_plain_numpy_arrays(cache):
    shards = [np.load(path) for path in shards_of(cache.folder)]
    assert sorted(map(len, shards)) == [3, 5, 5, 5, 5]
    kept = {record["features"].tobytes() for shard in shards for record in shard}
    assert kept == {features.tobytes() for features in expected(pictures())}


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
    assert len(list(folder.iterdir())) == len(shards_of(folder)) == 2
    rest = Encoder()
    assert_reads_everything(fill(folder, records, rest))
    assert rest.images == COUNT - 2 * PER_SHARD


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content[:-1],
        lambda content: content[:-40],
        lambda content: content[:20],
        lambda content: b"",
        lambda content: b"PK\3\4" + content[4:],
        lambda content: content.replace(b"(5,)", b"(7,)"),
        lambda content: content.replace(b"(5,)", b"(0,)"),
        # The padding of the header has room for as many digits.
        lambda content: content.replace(b"(5,), }" + b" " * 30, b"(" + b"9" * 30 + b",), }"),
        lambda content: content.replace(b"(2, 3, 5)", b"(3, 2, 5)"),
        lambda content: content.replace(b"'descr'", b"'\xff\xff(['"),
    ],
)
def test_a_shard_that_is_not_whole_is_encoded_again(tmp_path, cache, change):
    path, _ = shard_with(cache, 3)
    content = path.read_bytes()
    changed = change(content)
    assert changed != content
    path.write_bytes(changed)
    again = Encoder()
    opened = fill(tmp_path / "cache", in_memory(pictures())[::-1], again)
    assert again.images == PER_SHARD
    np.testing.assert_array_equal(opened.read(np.arange(COUNT)), expected(pictures())[::-1])
    # The same images in another order are another shard: nothing else replaces this one.
    assert not path.exists()
    assert len(shards_of(opened.folder)) == 5


def test_an_image_without_features_is_named(cache):
    path, _ = shard_with(cache, 3)
    path.unlink()
    with pytest.raises(UserError, match=f"{path}: can't be read .*delete this file"):
        cache.read(np.array([3]))  # opened before it was deleted
    opened = FeatureCache(cache.folder, in_memory(pictures()), "f" * 64, GRID)
    assert len(opened.missing) == PER_SHARD
    with pytest.raises(UserError, match=f"{cache.folder}: has no features of image 3"):
        opened.read(np.array([3]))


def test_a_damaged_record_is_named_and_repaired_as_the_message_says(tmp_path, cache):
    index = PER_SHARD + 2
    path, row = shard_with(cache, index)
    content = bytearray(path.read_bytes())
    content[np.load(path, mmap_mode="r").offset + row * RECORD_BYTES + 7] ^= 1
    path.write_bytes(content)
    intact = [i for i in range(COUNT) if i != index]
    np.testing.assert_array_equal(cache.read(np.array(intact)), expected(pictures())[intact])
    with pytest.raises(UserError, match=rf"{path}: .*image {index} .*delete this file"):
        cache.read(np.array([0, index]))
    path.unlink()
    assert_reads_everything(fill(tmp_path / "cache", in_memory(pictures())))


def test_find_cache_opens_complete_caches_alone(tmp_path, cache):
    records = in_memory(pictures())
    assert find_cache(tmp_path / "none", records, "f" * 64, GRID) is None
    assert find_cache(cache.folder, records, "e" * 64, GRID) is None  # of another encoder
    found = find_cache(cache.folder, records, "f" * 64, GRID)
    assert found is not None
    assert_reads_everything(found)
    path, _ = shard_with(cache, 12)
    path.unlink()
    with pytest.raises(UserError, match=r"no features of 5 images, the first image 1[0-4]:"):
        find_cache(cache.folder, records, "f" * 64, GRID)


def test_find_cache_reports_damage_where_nothing_else_is_left(tmp_path):
    cache = fill(tmp_path / "cache", in_memory(pictures(1)))
    (path,) = shards_of(cache.folder)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match="no features of 1 images"):
        find_cache(cache.folder, in_memory(pictures(1)), "f" * 64, GRID)


def test_features_of_another_encoder_are_not_read(tmp_path, cache):
    encode = Encoder(scale=2)
    again = fill(tmp_path / "cache", in_memory(pictures()), encode, fingerprint="e" * 64)
    assert encode.images == COUNT
    assert not np.array_equal(again.read(np.arange(COUNT)), expected(pictures()))
    assert_reads_everything(cache)


def test_a_grown_data_set_has_its_new_images_encoded(tmp_path, cache):
    grown = pictures(COUNT + 7)
    assert np.array_equal(grown[:COUNT], pictures())
    records = in_memory(grown)[::-1]  # in another order
    encode = Encoder()
    found = fill(tmp_path / "cache", records, encode)
    assert encode.images == 7
    np.testing.assert_array_equal(found.read(np.arange(len(records))), expected(grown)[::-1])


def test_images_are_known_by_their_content(tmp_path, cache):
    """A data set may rename, leave out or share images; another picture may have the same name."""
    records = [
        Record(f"renamed {record.image_id}", record.image, ()) for record in in_memory(pictures())
    ]
    encode = Encoder()
    assert_reads_everything(fill(tmp_path / "cache", records, encode))
    found = fill(tmp_path / "cache", in_files(pictures()[5:9], tmp_path / "images"), encode)
    np.testing.assert_array_equal(found.read(np.arange(4)), expected(pictures())[5:9])
    assert encode.images == 0


def test_another_picture_of_the_same_name_and_size_is_encoded(tmp_path):
    """All pictures of a size have files of a size in an uncompressed format."""
    path = tmp_path / "image.bmp"
    encode = Encoder()
    for picture in pictures(2):
        PIL.Image.fromarray(picture).save(path)
        cache = fill(tmp_path / "cache", [Record("image.bmp", str(path), ())], encode)
        np.testing.assert_array_equal(cache.read(np.array([0])), expected(picture[None]))
    assert encode.images == 2


def test_equal_images_are_encoded_once(tmp_path):
    images = np.concatenate([pictures(3), pictures(3)])
    encode = Encoder()
    cache = fill(tmp_path / "cache", in_memory(images), encode)
    assert encode.images == 3
    np.testing.assert_array_equal(cache.read(np.arange(6)), expected(images))


def test_two_processes_that_encode_the_same_images_write_the_same_files(tmp_path):
    first, second = (
        FeatureCache(tmp_path / "cache", in_memory(pictures()), "f" * 64, GRID) for _ in range(2)
    )
    first.fill(Encoder(), IMAGES)
    second.fill(Encoder(), IMAGES)
    assert len(shards_of(first.folder)) == 5
    assert_reads_everything(first)


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
    assert sum(len(np.load(path)) for path in shards_of(folder)) == COUNT - 2
    for path, whole in content.items():
        path.write_bytes(whole)
    rest = Encoder()
    assert_reads_everything(fill(folder, records, rest))
    assert rest.images == 2


def test_unreadable_images_may_be_removed(tmp_path):
    folder, images = tmp_path / "cache", pictures()
    records = in_memory(images)
    with pytest.raises(UserError, match="1 of 23 images can't be read"):
        fill(folder, [*records[:7], Record("broken", b"no image", ()), *records[8:]])
    kept = [*range(7), *range(8, COUNT)]
    cache = fill(folder, [records[i] for i in kept])
    np.testing.assert_array_equal(cache.read(np.arange(COUNT - 1)), expected(images)[kept])


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
