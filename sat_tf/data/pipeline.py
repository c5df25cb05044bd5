"""The batch plan of an epoch, and the tf.data pipeline that carries it out.

The plan is a pure function of seed and epoch: a run that resumes needs only the number of steps
done. A batch has captions, and each of their images once.
"""

import abc
import collections
import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from sat_tf.config import ImageConfig
from sat_tf.data.image_bytes import read_image
from sat_tf.data.images import crop_objects, decode_image, load_image, resize_and_crop
from sat_tf.data.records import Record
from sat_tf.errors import UserError
from sat_tf.vocabulary import PAD, Vocabulary, tokenize
from sat_tf.workers import is_of_another_worker

# Indices of the captions of each minibatch.
BatchPlan = list[np.ndarray]
Batch = dict[str, tf.Tensor]

_RECENT = 4096  # images that may be read ahead of an error, and more
_REPEATED_STEPS = 8  # T of batches whose shapes repeat is a multiple of it


@dataclasses.dataclass(frozen=True)
class TokenizedCaptions:
    """The captions of a split as token ids."""

    tokens: list[np.ndarray]  # of each caption, its end included: int32 [words + 1]
    image: np.ndarray  # index of each caption's image: int64 [captions]
    # For each caption, by index of the word, the cells of the objects that the word mentions: bool
    # [rows, columns]. None if they are not wanted.
    regions: list[dict[int, np.ndarray]] | None = None
    grid: tuple[int, int] = (0, 0)  # rows and columns of the regions

    @property
    def lengths(self) -> np.ndarray:
        """Length of each caption, its end included: int64 [captions]."""
        return np.asarray([len(ids) for ids in self.tokens])


def tokenize_captions(
    records: Sequence[Record],
    vocabulary: Vocabulary,
    max_words: int = 0,
    regions_of: tuple[tuple[int, int], ImageConfig] | None = None,
) -> TokenizedCaptions:
    """Return all captions of `records` as token ids, and the regions of their words if wanted.

    Captions of more than `max_words` are left out; 0 keeps all. Regions need the rows and columns
    of the encoder's grid, and how images are resized and cropped. Images without known objects have
    none.

    Raises:
      UserError: regions are wanted, and no caption has one.
    """
    grid, config = regions_of or ((0, 0), None)
    tokens, image, regions = [], [], []
    for index, record in enumerate(records):
        objects = crop_objects(record.objects, config) if config else None
        for caption in record.captions:
            words = tokenize(caption)
            if max_words and len(words) > max_words:
                continue
            tokens.append(np.asarray(vocabulary.encode(words), np.int32))
            image.append(index)
            mentions = objects.visible_mentions(words, grid) if objects else {}
            regions.append({word: seen.cells for word, seen in mentions.items()})
    images = np.asarray(image, np.int64)
    if not regions_of:
        return TokenizedCaptions(tokens, images)
    if tokens and not any(regions):
        what = "no word of a training caption names an object of --boxes"
        if not any(record.objects for record in records):
            what = f"--boxes has no training image, as {records[0].image_id!r}"
        raise UserError(f"--attention_supervision: {what}")
    return TokenizedCaptions(tokens, images, regions, grid)


def pad_captions(
    captions: Sequence[Sequence[int] | np.ndarray], multiple_of: int = 1
) -> np.ndarray:
    """Return token ids, int32 [B, T]; T is the length of the longest caption, rounded up."""
    longest = max(map(len, captions), default=1)
    steps = -(-longest // multiple_of) * multiple_of
    tokens = np.full((len(captions), steps), PAD, np.int32)
    for row, ids in zip(tokens, captions, strict=True):
        row[: len(ids)] = ids
    return tokens


def bucket_by_length(lengths: np.ndarray, batch_size: int, seed: int, epoch: int) -> BatchPlan:
    """Plan batches of captions of (nearly) equal length, in a new order each epoch.

    Every caption, of `lengths` [captions], comes once; the last partial batch is kept.
    """
    random = np.random.default_rng([seed, epoch])
    shuffled = random.permutation(len(lengths))
    ordered = shuffled[np.argsort(lengths[shuffled], kind="stable")]
    batches = _split(ordered, batch_size)
    return [batches[i] for i in random.permutation(len(batches))]


def group_by_image(image: np.ndarray, batch_size: int, seed: int, epoch: int) -> BatchPlan:
    """Plan batches that have all captions of their images, in a new order each epoch.

    A batch takes images until the captions of the next one would exceed `batch_size`, but at least
    one image. `image` [captions] is the index of each caption's image, those of an image in a row.
    """
    random = np.random.default_rng([seed, epoch])
    groups = np.split(np.arange(len(image)), np.flatnonzero(np.diff(image)) + 1)
    batches: list[list[np.ndarray]] = []
    size = batch_size
    for i in random.permutation(len(groups)):
        if not batches or size + len(groups[i]) > batch_size:
            batches.append([])
            size = 0
        batches[-1].append(groups[i])
        size += len(groups[i])
    return [np.concatenate(batch) for batch in batches]


def bucket_in_order(captions: TokenizedCaptions, batch_size: int) -> BatchPlan:
    """Plan batches by length in a fixed order, for scoring."""
    return _split(np.argsort(captions.lengths, kind="stable"), batch_size)


def _split(values: np.ndarray, size: int) -> BatchPlan:
    return [values[start : start + size] for start in range(0, len(values), size)]


class ImageSource(abc.ABC):
    """Images or features of a split, by the indices of its images."""

    @abc.abstractmethod
    def find_read_error(self) -> UserError | None:
        """Return what the user can correct after reading has failed, if it is that."""

    @abc.abstractmethod
    def _load(self, rows: tf.Tensor) -> Batch:
        """Return `images` or `features` of the images with the indices `rows` [I]."""

    def attach(self, dataset: tf.data.Dataset) -> tf.data.Dataset:
        """Add `images` or `features` to each element, of its image indices `rows`, and prefetch."""

        @tf.autograph.experimental.do_not_convert
        def add(element: Batch) -> Batch:
            return {**element, **self._load(element["rows"])}

        dataset = dataset.map(add, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        return dataset.prefetch(tf.data.AUTOTUNE)


@functools.cache
def _decoder(config: ImageConfig) -> Callable[[tf.Tensor], tf.Tensor]:
    """Return a function from encoded images, string [I], to float32 [I, S, S, 3].

    It is traced once: each epoch's datasets would take longer to trace it than to read few images.
    """
    spec = tf.TensorSpec([config.image_size, config.image_size, 3], tf.float32)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def decode(images: tf.Tensor) -> tf.Tensor:
        return tf.map_fn(
            lambda encoded: resize_and_crop(decode_image(encoded), config),
            images,
            fn_output_signature=spec,
        )

    return decode


class ImageReader(ImageSource):
    """Images from files or memory: `images`, float32 [I, S, S, 3], 0 to 255."""

    def __init__(self, records: Sequence[Record], config: ImageConfig) -> None:
        self._images = [record.image for record in records]
        self._config = config
        # Rows of the images read last, the one that could not be read among them.
        self._recent: collections.deque[int] = collections.deque(maxlen=_RECENT)

    def find_read_error(self) -> UserError | None:
        """Return the error of the image that was read last of those that can't be read."""
        for row in dict.fromkeys([*reversed(self._recent), *range(len(self._images))]):
            try:
                load_image(self._images[row], compiled=True)
            except UserError as error:
                return error
        return None

    def _load(self, rows: tf.Tensor) -> Batch:
        # In Python: what is no regular file could not be read safely, HEIC not be decoded.
        encoded = tf.numpy_function(self._read, [rows], tf.string)
        return {"images": _decoder(self._config)(tf.ensure_shape(encoded, [None]))}

    def _read(self, rows: np.ndarray) -> np.ndarray:
        self._recent.extend(rows.tolist())
        # As objects: NumPy's own bytes lose zeros at their end.
        return np.array([read_image(self._images[row]) for row in rows], np.object_)


class CachedFeatures(ImageSource):
    """Features from the cache: `features`, float16 [I, rows, columns, D].

    Args:
      read_rows: image indices int64 [I] -> float16 [I, rows, columns, D]; called from several
        threads.
      shape: rows, columns and D.
    """

    def __init__(
        self, read_rows: Callable[[np.ndarray], np.ndarray], shape: tuple[int, int, int]
    ) -> None:
        self._read_rows, self._shape = read_rows, shape
        self._error: UserError | None = None

    def _load(self, rows: tf.Tensor) -> Batch:
        features = tf.numpy_function(self._read, [rows], tf.float16)
        return {"features": tf.ensure_shape(features, [None, *self._shape])}

    def find_read_error(self) -> UserError | None:
        """Return the error of the cache."""
        return self._error

    def _read(self, rows: np.ndarray) -> np.ndarray:
        try:
            return self._read_rows(rows)
        except UserError as error:
            # TensorFlow would raise one of its own errors instead, with a stack trace.
            self._error = error
            raise


def iter_batches(batches: Iterable[Any], *sources: ImageSource) -> Iterator[Any]:
    """Yield the batches of a pipeline; `UserError` if something of its sources can't be read."""
    try:
        yield from batches
    except tf.errors.OpError as error:
        if is_of_another_worker(error):
            raise
        for source in sources:
            problem = source.find_read_error()
            if problem is not None:
                raise problem from error
        raise


def caption_batches(
    captions: TokenizedCaptions,
    plan: BatchPlan,
    source: ImageSource,
    *,
    skip: int = 0,
    context: tf.distribute.InputContext | None = None,
    repeats_shapes: bool = False,
) -> tf.data.Dataset:
    """Return the batches of `plan`, from step `skip` on.

    Each is a dictionary: `images` or `features` (see the source) of its I images; `rows`
    int64 [I], their indices; `image_index` int32 [B], which of the I a caption describes;
    `tokens` int32 [B, T], padded; `captions` float32 [], the size of the whole minibatch; `first`
    int32 [], the position of the first caption in it; and, if the captions have them, `regions`
    bool [B, T, L]. Under a strategy with R replicas each minibatch comes as R elements that share
    it; `context` says which are for this pipeline.

    With `repeats_shapes`, batches come in few shapes, for what is compiled for each anew: T is a
    multiple of 8, and each caption has a copy of its image, I = B.
    """
    replicas = context.num_replicas_in_sync if context else 1
    pipelines = context.num_input_pipelines if context else 1
    pipeline = context.input_pipeline_id if context else 0
    local = range(pipeline * replicas // pipelines, (pipeline + 1) * replicas // pipelines)
    rows, columns = captions.grid
    fields: dict[str, tuple[tf.DType, list[int | None]]] = {
        "rows": (tf.int64, [None]),
        "image_index": (tf.int32, [None]),
        "tokens": (tf.int32, [None, None]),
        "captions": (tf.float32, []),
        "first": (tf.int32, []),
    }
    if captions.regions is not None:
        fields["regions"] = (tf.bool, [None, None, rows * columns])

    def collate(position: np.ndarray) -> tuple[Any, ...]:
        step, replica = divmod(int(position), len(local))
        shares = np.array_split(plan[step], replicas)
        share = shares[local[replica]]
        first = np.int32(sum(map(len, shares[: local[replica]])))
        images, image_index = captions.image[share], np.arange(len(share))
        if not repeats_shapes:
            images, image_index = np.unique(images, return_inverse=True)
        steps = _REPEATED_STEPS if repeats_shapes else 1
        tokens = pad_captions([captions.tokens[i] for i in share], multiple_of=steps)
        size = np.float32(len(plan[step]))
        values = (images, image_index.astype(np.int32), tokens, size, first)
        if captions.regions is None:
            return values
        regions = np.zeros((*tokens.shape, rows * columns), np.bool_)  # [B, T, L]
        for caption, row in zip(share, regions, strict=True):
            for word, cells in captions.regions[caption].items():
                row[word] = cells.ravel()
        return (*values, regions)

    @tf.autograph.experimental.do_not_convert
    def element(position: tf.Tensor) -> Batch:
        values = tf.numpy_function(collate, [position], [dtype for dtype, _ in fields.values()])
        return {
            name: tf.ensure_shape(value, shape)
            for (name, (_, shape)), value in zip(fields.items(), values, strict=True)
        }

    dataset = tf.data.Dataset.range(skip * len(local), len(plan) * len(local))
    dataset = dataset.map(element, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return source.attach(dataset)


def image_batches(
    count: int, source: ImageSource, batch_size: int, shard: tuple[int, int] = (0, 1)
) -> tf.data.Dataset:
    """Return images 0 … count-1 in order, each once: `rows` and what `source` adds.

    Workers take turns with the batches; `shard` is the index of this one, and their number.
    """
    rows = tf.data.Dataset.from_tensor_slices({"rows": tf.range(count, dtype=tf.int64)})
    return source.attach(rows.batch(batch_size).shard(shard[1], shard[0]))
