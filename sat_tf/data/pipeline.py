"""The plan of an epoch, and the tf.data pipeline that carries it out.

The plan is a pure function of seed and epoch: a run that is resumed needs nothing but the number
of steps done. A batch holds captions and each of their images once.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from sat_tf.config import ImageConfig
from sat_tf.data.images import (
    decode_image,
    read_image,
    resize_and_crop,
    unreadable,
    visible_box,
)
from sat_tf.data.objects import ObjectBoxes
from sat_tf.data.records import Record
from sat_tf.errors import UserError
from sat_tf.vocabulary import PAD, Vocabulary, tokenize

BatchPlan = list[np.ndarray]
Batch = dict[str, tf.Tensor]


@dataclasses.dataclass(frozen=True)
class TokenizedCaptions:
    """The captions of a split as token ids.

    Attributes:
      tokens: ids of each caption, its end included: int32 [words + 1].
      image: index of each caption's image: int64 [captions].
      regions: for each caption and the index of each word whose objects are known, the grid cells
        of these objects: bool [rows, columns]. None if regions are not wanted.
      grid: rows and columns of the regions.
    """

    tokens: list[np.ndarray]
    image: np.ndarray
    regions: list[dict[int, np.ndarray]] | None = None
    grid: tuple[int, int] = (0, 0)

    @property
    def lengths(self) -> np.ndarray:
        """Length of each caption, its end included: int64 [captions]."""
        return np.asarray([len(ids) for ids in self.tokens])


def tokenize_captions(
    records: Sequence[Record],
    vocabulary: Vocabulary,
    max_words: int = 0,
    grid: tuple[int, int] | None = None,
    crop: ImageConfig | None = None,
) -> TokenizedCaptions:
    """Return all captions of `records` as token ids, and the regions of their words if wanted.

    Args:
      records: of a split.
      vocabulary: of the run.
      max_words: captions of more words are left out; 0 keeps all.
      grid: rows and columns of the encoder's grid, if regions are wanted; images without known
        objects then have captions without regions.
      crop: how images are resized and cropped; needed with `grid`.

    Raises:
      UserError: regions are wanted, and no caption has one.
    """
    tokens, image, regions = [], [], []
    for index, record in enumerate(records):
        for caption in record.captions:
            words = tokenize(caption)
            if max_words and len(words) > max_words:
                continue
            tokens.append(np.asarray(vocabulary.encode(words), np.int32))
            image.append(index)
            if grid is not None and crop is not None:
                regions.append(_regions(words, record.objects, grid, crop))
    images = np.asarray(image, np.int64)
    if grid is None:
        return TokenizedCaptions(tokens, images)
    if tokens and not any(record.objects for record in records):
        raise UserError(
            "--attention_supervision: --boxes has no boxes of the training images, as of "
            f"{records[0].image_id!r}"
        )
    if tokens and not any(regions):
        raise UserError(
            "--attention_supervision: no word of a training caption names an object of --boxes"
        )
    return TokenizedCaptions(tokens, images, regions, grid)


def _regions(
    words: Sequence[str], objects: ObjectBoxes | None, grid: tuple[int, int], crop: ImageConfig
) -> dict[int, np.ndarray]:
    if objects is None:
        return {}
    return objects.regions(words, grid, visible_box(objects.height, objects.width, crop))


def pad_captions(captions: Sequence[Sequence[int] | np.ndarray]) -> np.ndarray:
    """Captions' ids, padded to the longest of them: int32 [B, T], T at least 1."""
    tokens = np.full((len(captions), max(map(len, captions), default=1)), PAD, np.int32)
    for row, ids in zip(tokens, captions, strict=True):
        row[: len(ids)] = ids
    return tokens


def bucket_by_length(lengths: np.ndarray, batch_size: int, seed: int, epoch: int) -> BatchPlan:
    """Batches of captions of (nearly) equal length, in a new order each epoch.

    Every caption comes once; the last partial batch too.

    Args:
      lengths: of the captions, int [captions].
      batch_size: captions in a batch.
      seed: of the run.
      epoch: counted from 0.

    Returns:
      Numbers of the captions of each batch.
    """
    random = np.random.default_rng([seed, epoch])
    shuffled = random.permutation(len(lengths))
    ordered = shuffled[np.argsort(lengths[shuffled], kind="stable")]
    batches = _chunks(ordered, batch_size)
    return [batches[i] for i in random.permutation(len(batches))]


def group_by_image(image: np.ndarray, batch_size: int, seed: int, epoch: int) -> BatchPlan:
    """Batches that hold all captions of their images, in a new order each epoch.

    A batch takes images until the next one's captions would pass `batch_size`, one at least.

    Args:
      image: number of each caption's image, int [captions], captions of an image in a row.
      batch_size: captions in a batch.
      seed: of the run.
      epoch: counted from 0.

    Returns:
      Numbers of the captions of each batch.
    """
    random = np.random.default_rng([seed, epoch])
    groups = np.split(np.arange(len(image)), np.flatnonzero(np.diff(image)) + 1)
    batches: BatchPlan = []
    waiting: list[np.ndarray] = []
    count = 0
    for i in random.permutation(len(groups)):
        if waiting and count + len(groups[i]) > batch_size:
            batches.append(np.concatenate(waiting))
            waiting, count = [], 0
        waiting.append(groups[i])
        count += len(groups[i])
    if waiting:
        batches.append(np.concatenate(waiting))
    return batches


def bucket_in_order(captions: TokenizedCaptions, batch_size: int) -> BatchPlan:
    """Batches by length in a fixed order, for scoring."""
    return _chunks(np.argsort(captions.lengths, kind="stable"), batch_size)


def _chunks(values: np.ndarray, size: int) -> BatchPlan:
    return [values[start : start + size] for start in range(0, len(values), size)]


class ImageSource(Protocol):
    """Where the pipeline gets what the model takes of an image."""

    def attach(self, dataset: tf.data.Dataset) -> tf.data.Dataset:
        """Adds `images` or `features` to each element, for its image numbers `rows` [I]."""

    def find_read_error(self) -> UserError | None:
        """After reading has failed: what the user can mend, if it is that."""


class ImageReader:
    """Images from files or memory: adds `images`, float32 [I, S, S, 3], 0..255."""

    def __init__(self, records: Sequence[Record], config: ImageConfig) -> None:
        self._files = not records or isinstance(records[0].image, str)
        self._images = [record.image for record in records]
        self._config = config

    def attach(self, dataset: tf.data.Dataset) -> tf.data.Dataset:
        """See `ImageSource`."""
        images = tf.constant(self._images, tf.string)
        size = self._config.image_size

        def load(row: tf.Tensor) -> tf.Tensor:
            image = tf.gather(images, row)
            encoded = tf.io.read_file(image) if self._files else image
            return resize_and_crop(decode_image(encoded), self._config)

        def add(element: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            spec = tf.TensorSpec([size, size, 3], tf.float32)
            return {**element, "images": tf.map_fn(load, element["rows"], fn_output_signature=spec)}

        return dataset.map(add, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)

    def find_read_error(self) -> UserError | None:
        """See `ImageSource`: the first image that can't be read."""
        for image in self._images:
            try:
                decode_image(read_image(image))
            except tf.errors.InvalidArgumentError as error:
                return unreadable(image, error)
            except UserError as error:
                return error
        return None


class CachedFeatures:
    """Features from the feature cache: adds `features`, float16 [I, rows, columns, D].

    Args:
      read_rows: image numbers int64 [I] -> float16 [I, rows, columns, D]; called from several
        threads.
      shape: rows, columns and D.
    """

    def __init__(
        self, read_rows: Callable[[np.ndarray], np.ndarray], shape: tuple[int, int, int]
    ) -> None:
        self._read_rows = read_rows
        self._shape = shape
        self._problem: UserError | None = None

    def attach(self, dataset: tf.data.Dataset) -> tf.data.Dataset:
        """See `ImageSource`."""

        def add(element: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            features = tf.numpy_function(self._try_to_read, [element["rows"]], tf.float16)
            return {**element, "features": tf.ensure_shape(features, [None, *self._shape])}

        return dataset.map(add, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)

    def find_read_error(self) -> UserError | None:
        """See `ImageSource`: what the cache complained of."""
        return self._problem

    def _try_to_read(self, rows: np.ndarray) -> np.ndarray:
        try:
            return self._read_rows(rows)
        except UserError as error:
            # TensorFlow would pass it on as an error of its own, with a stack trace.
            self._problem = error
            raise


def iter_batches(batches: Iterable[Any], *sources: ImageSource) -> Iterator[Any]:
    """The batches of a pipeline that reads from `sources`.

    Raises:
      UserError: something of a source can't be read.
    """
    try:
        yield from batches
    except tf.errors.OpError as error:
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
) -> tf.data.Dataset:
    """The batches of `plan`, from step `skip` on.

    Each is a dictionary: `images` or `features` (see the source) of its I images; `rows`
    int64 [I], their numbers; `image_index` int32 [B], which of the I a caption describes;
    `tokens` int32 [B, T], padded; `captions` float32 [], the size of the whole minibatch; and, if
    the captions have them, `regions` bool [B, T, L]. Under a strategy with R replicas each
    minibatch comes as R elements that share it.

    Args:
      captions: of the split.
      plan: numbers of the captions of each minibatch.
      source: of the images.
      skip: minibatches left out at the start.
      context: of `tf.distribute`, if there are several replicas.
    """
    replicas = context.num_replicas_in_sync if context else 1
    pipelines = context.num_input_pipelines if context else 1
    here = context.input_pipeline_id if context else 0
    mine = range(here * replicas // pipelines, (here + 1) * replicas // pipelines)

    fields: dict[str, tuple[tf.DType, list[int | None]]] = {
        "rows": (tf.int64, [None]),
        "image_index": (tf.int32, [None]),
        "tokens": (tf.int32, [None, None]),
        "captions": (tf.float32, []),
    }
    if captions.regions is not None:
        fields["regions"] = (tf.bool, [None, None, None])

    def take(position: np.ndarray) -> tuple[Any, ...]:
        step, replica = divmod(int(position), len(mine))
        batch = plan[step]
        share = np.array_split(batch, replicas)[mine[replica]]
        rows, image_index = np.unique(captions.image[share], return_inverse=True)
        tokens = pad_captions([captions.tokens[i] for i in share])
        taken = (rows, image_index.astype(np.int32), tokens, np.float32(len(batch)))
        if captions.regions is None:
            return taken
        regions = np.zeros((*tokens.shape, *captions.grid), np.bool_)  # [B, T, rows, columns]
        for caption, row in zip(share, regions, strict=True):
            for word, cells in captions.regions[caption].items():
                row[word] = cells
        return (*taken, regions.reshape(*tokens.shape, np.prod(captions.grid)))  # [B, T, L]

    def element(position: tf.Tensor) -> dict[str, tf.Tensor]:
        values = tf.numpy_function(take, [position], [dtype for dtype, _ in fields.values()])
        return {
            name: tf.ensure_shape(value, shape)
            for (name, (_, shape)), value in zip(fields.items(), values, strict=True)
        }

    dataset = tf.data.Dataset.range(skip * len(mine), len(plan) * len(mine))
    dataset = dataset.map(element, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return source.attach(dataset).prefetch(tf.data.AUTOTUNE)


def image_batches(count: int, source: ImageSource, batch_size: int) -> tf.data.Dataset:
    """Images 0 … count-1 in order, each once: dictionaries of `rows` and what `source` adds."""
    dataset = tf.data.Dataset.range(count).batch(batch_size).map(lambda rows: {"rows": rows})
    return source.attach(dataset).prefetch(tf.data.AUTOTUNE)
