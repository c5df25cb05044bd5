"""The batch plan of an epoch, and the pipeline that carries it out."""

import numpy as np
import pytest
import tensorflow as tf

from sat_tf.config import ImageConfig
from sat_tf.data import pipeline
from sat_tf.data.pipeline import (
    CachedFeatures,
    ImageReader,
    TokenizedCaptions,
    bucket_by_length,
    bucket_in_order,
    caption_batches,
    group_by_image,
    image_batches,
    iter_batches,
    tokenize_captions,
)
from sat_tf.data.records import Record
from sat_tf.errors import UserError
from sat_tf.vocabulary import END, Vocabulary

LENGTHS = np.random.default_rng(0).integers(3, 12, 107)
IMAGE = np.sort(np.random.default_rng(1).integers(0, 30, 107))
PLANNERS = [
    lambda seed, epoch: bucket_by_length(LENGTHS, 10, seed, epoch),
    lambda seed, epoch: group_by_image(IMAGE, 10, seed, epoch),
]


@pytest.mark.parametrize("planner", PLANNERS)
def test_every_caption_comes_once_in_an_epoch(planner):
    plan = planner(0, 3)
    assert sorted(np.concatenate(plan).tolist()) == list(range(107))


@pytest.mark.parametrize("planner", PLANNERS)
def test_the_plan_is_a_function_of_seed_and_epoch(planner):
    def flat(seed, epoch):
        return np.concatenate(planner(seed, epoch)).tolist()

    assert flat(0, 3) == flat(0, 3)
    assert flat(0, 3) != flat(0, 4)
    assert flat(0, 3) != flat(1, 3)


def test_batches_by_length_are_full_but_one_and_of_near_equal_length():
    plan = bucket_by_length(LENGTHS, 10, 0, 0)
    assert sorted(map(len, plan)) == [7, *[10] * 10]
    assert np.mean([np.ptp(LENGTHS[batch]) for batch in plan]) < 1.0
    assert len({int(LENGTHS[batch].min()) for batch in plan[:4]}) > 1, "batches are not shuffled"


def test_batches_by_image_keep_an_image_together():
    plan = group_by_image(IMAGE, 10, 0, 0)
    images = [set(IMAGE[batch].tolist()) for batch in plan]
    assert sum(map(len, images)) == len(set(IMAGE.tolist()))
    assert all(len(batch) <= 10 or len(seen) == 1 for batch, seen in zip(plan, images, strict=True))


@pytest.fixture
def records():
    def png(shade):
        pixels = np.full([8, 8, 3], shade, np.uint8)
        return tf.io.encode_png(pixels).numpy()

    return [
        Record("a", png(10), ("a dog", "one dog runs fast")),
        Record("b", png(20), ("a cat .",)),
        Record("c", png(30), ("a bird", "birds", "two birds fly")),
    ]


@pytest.fixture
def captions(records):
    texts = [caption.replace(".", "").split() for record in records for caption in record.captions]
    return tokenize_captions(records, Vocabulary.build(texts))


def test_captions_are_numbered_with_their_end(captions):
    assert captions.lengths.tolist() == [3, 5, 3, 3, 2, 4]
    assert captions.image.tolist() == [0, 0, 1, 2, 2, 2]
    assert all(ids[-1] == END for ids in captions.tokens)


def test_too_long_captions_are_left_out(records):
    vocabulary = Vocabulary.build([["a"]])
    assert tokenize_captions(records, vocabulary, max_words=2).image.tolist() == [0, 1, 2, 2]


@pytest.fixture
def source():
    grids = np.arange(3 * 2 * 2 * 4, dtype=np.float16).reshape(3, 2, 2, 4)
    return CachedFeatures(lambda rows: grids[rows], (2, 2, 4))


def test_a_batch_holds_each_image_once(captions, source):
    plan = [np.array([5, 0, 3])]
    (batch,) = caption_batches(captions, plan, source)
    assert batch["rows"].numpy().tolist() == [0, 2]
    assert batch["image_index"].numpy().tolist() == [1, 0, 1]
    assert batch["features"].shape == (2, 2, 2, 4)
    assert batch["features"][1, 0, 0, 0].numpy() == 32.0
    assert batch["captions"].numpy() == 3.0
    for row, caption in zip(batch["tokens"].numpy(), plan[0], strict=True):
        ids = captions.tokens[caption]
        assert row[: len(ids)].tolist() == ids.tolist()
        assert not row[len(ids) :].any()


def test_shapes_repeat_where_each_is_compiled(source):
    random = np.random.default_rng(0)
    lengths = random.integers(1, 21, 400)
    captions = TokenizedCaptions([np.full(n, 3) for n in lengths], random.integers(0, 3, 400))
    plan = bucket_by_length(captions.lengths, 16, seed=0, epoch=0)
    batches = list(caption_batches(captions, plan, source, repeats_shapes=True))
    assert {batch["tokens"].shape[1] for batch in batches} == {8, 16, 24}
    for batch, chosen in zip(batches, plan, strict=True):
        assert len(batch["features"]) == len(batch["image_index"]) == len(chosen)
        rows = tf.gather(batch["rows"], batch["image_index"])
        assert rows.numpy().tolist() == captions.image[chosen].tolist()
        assert np.count_nonzero(batch["tokens"]) == lengths[chosen].sum()


def test_skipped_steps_are_those_of_the_start(captions, source):
    plan = bucket_in_order(captions, 2)
    whole = [batch["tokens"].numpy().tolist() for batch in caption_batches(captions, plan, source)]
    late = caption_batches(captions, plan, source, skip=1)
    assert [batch["tokens"].numpy().tolist() for batch in late] == whole[1:]


def test_replicas_share_a_minibatch(captions, source):
    context = tf.distribute.InputContext(1, 0, 2)
    plan = [np.arange(5), np.array([5])]
    parts = list(caption_batches(captions, plan, source, context=context))
    assert [len(part["tokens"]) for part in parts] == [3, 2, 1, 0]
    assert [float(part["captions"]) for part in parts] == [5, 5, 1, 1]


STRETCH = ImageConfig(image_size=8, resize="stretch")


@pytest.fixture
def png_alone(monkeypatch):
    """Replaces the decoding and resizing of any format and size, which take seconds to trace."""
    monkeypatch.setattr(pipeline, "decode_image", tf.io.decode_png)
    monkeypatch.setattr(pipeline, "resize_and_crop", lambda pixels, _: tf.cast(pixels, tf.float32))


def test_images_are_read_from_memory(records, png_alone):
    batches = list(image_batches(3, ImageReader(records, STRETCH), 2))
    assert [len(batch["images"]) for batch in batches] == [2, 1]
    assert batches[1]["images"].numpy().tolist() == np.full([1, 8, 8, 3], 30.0).tolist()


def test_images_are_read_from_files_and_an_unreadable_one_is_named(records, tmp_path, png_alone):
    paths = []
    for name, content in (("a.png", records[0].image), ("broken.jpg", b"no image")):
        (tmp_path / name).write_bytes(content)
        paths.append(Record(name, str(tmp_path / name), ("a dog",)))
    source = ImageReader(paths, STRETCH)
    batches = iter_batches(image_batches(2, source, 1), source)
    assert next(batches)["images"].numpy().tolist() == np.full([1, 8, 8, 3], 10.0).tolist()
    with pytest.raises(UserError, match=r"broken\.jpg"):
        next(batches)


def test_no_caption_is_no_batch(source):
    assert not list(caption_batches(TokenizedCaptions([], np.zeros(0, np.int64)), [], source))


def test_an_error_of_the_cache_is_raised_as_it_is(captions):
    def read(rows):
        raise UserError("shard 3 is damaged")

    source = CachedFeatures(read, (2, 2, 4))
    batches = caption_batches(captions, bucket_in_order(captions, 2), source)
    with pytest.raises(UserError, match="shard 3 is damaged"):
        list(iter_batches(batches, source))


def test_regions_come_with_the_words_they_belong_to(source):
    left, right = np.array([[True, False]] * 2), np.array([[False, True]] * 2)
    captions = TokenizedCaptions(
        [np.array([3, 4, END], np.int32), np.array([5, END], np.int32)],
        np.array([0, 1]),
        [{1: left}, {0: right}],
        (2, 2),
    )
    (batch,) = caption_batches(captions, [np.array([1, 0])], source)
    regions = batch["regions"].numpy()
    assert regions.shape == (2, 3, 4)
    assert np.argwhere(regions).tolist() == [[0, 0, 1], [0, 0, 3], [1, 1, 0], [1, 1, 2]]
