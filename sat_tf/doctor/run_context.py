"""A run under examination: its files, and samples of its data, each read when a check asks."""

import functools
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from sat_tf.captioner import Run
from sat_tf.config import Config
from sat_tf.data.feature_cache import FeatureCache, find_cache
from sat_tf.data.pipeline import CachedFeatures, ImageReader, image_batches, iter_batches
from sat_tf.data.records import Record
from sat_tf.datasets import load_splits
from sat_tf.datasets.statistics import SplitStatistics, split_statistics
from sat_tf.errors import UserError
from sat_tf.evaluator import EvaluationResult, Evaluator
from sat_tf.model.encoder import encoder_fingerprint
from sat_tf.model.feature_source import ENCODE_BATCH, cache_folder
from sat_tf.training.checkpoints import has_state
from sat_tf.workdir import BEST, METRICS_FILE

_SPLITS = ("train", "dev")
_RECORDED = ("loss", "perplexity")
# Images of each split that are encoded anew: enough to tell, few enough for large networks.
_ENCODED = 64
# Validation images that are captioned: all of Flickr8k's, so that their scores can be compared.
CAPTIONED = 1_000
_BATCH = 64  # images captioned, or captions read, at a time


def encode_with(network: Callable[[tf.Tensor], tf.Tensor], image_batch: np.ndarray) -> np.ndarray:
    """Annotations by a network, few images at a time: [n, S, S, 3] -> float32 [n, ..., D]."""
    parts = [image_batch[i : i + ENCODE_BATCH] for i in range(0, len(image_batch), ENCODE_BATCH)]
    return np.concatenate([tf.cast(network(tf.constant(p)), tf.float32).numpy() for p in parts])


class Sample(NamedTuple):
    """Images of a split, evenly spread over it.

    numbers: of the images in their split, int64 [n].
    records: of the images.
    image_batch: as the encoder sees them, float32 [n, S, S, 3], 0..255.
    annotations: by the run's encoder, now, float32 [n, rows, columns, D].
    """

    numbers: np.ndarray
    records: list[Record]
    image_batch: np.ndarray
    annotations: np.ndarray


class RunContext:
    """A run, its best weights, and what it learned from.

    Args:
      workdir: folder of the run.
      config: of the run, with the changes asked for.
    """

    def __init__(self, workdir: str | os.PathLike[str], config: Config) -> None:
        self.workdir = Path(workdir)
        self.config = config

    @functools.cached_property
    def run(self) -> Run:
        """Vocabulary and model; raises `UserError` if its files are damaged or do not fit."""
        return Run.load(self.workdir, self.config)

    @functools.cached_property
    def was_trained(self) -> bool:
        """Whether it was trained in this folder, not imported; its last state may be gone."""
        return has_state(self.workdir) or (self.workdir / METRICS_FILE).exists()

    @functools.cached_property
    def records(self) -> dict[str, tuple[Record, ...]]:
        """Of train and dev; raises `UserError` if the data set is not as it should be."""
        return dict(load_splits(self.config.data, _SPLITS, objects_for=()))

    @functools.cached_property
    def statistics(self) -> dict[str, SplitStatistics]:
        """Words and lengths of the captions of train and dev."""
        return {split: split_statistics(records) for split, records in self.records.items()}

    @functools.cached_property
    def train(self) -> Sample:
        """Some training images."""
        return self._sample("train")

    @functools.cached_property
    def dev(self) -> Sample:
        """Some validation images."""
        return self._sample("dev")

    @functools.cached_property
    def scored(self) -> EvaluationResult:
        """Validation images, all or many, captioned as the config say, and scored."""
        numbers, records = self._choose("dev", CAPTIONED)
        try:
            cache = self.cache("dev")
        except UserError:  # the check of the cache tells of it
            cache = None
        if cache is None:
            # Float16, as a cache holds them.
            kept = np.concatenate(
                [self.encode(part).astype(np.float16) for part in self._read(records)]
            )
            source = CachedFeatures(lambda rows: kept[rows], kept.shape[1:])
        else:
            source = CachedFeatures(lambda rows: cache.read(numbers[rows]), cache.shape)
        evaluator = Evaluator(
            [self.run.model], self.run.vocabulary, self.config.decoding, self.config.images
        )
        return evaluator.evaluate(records, [source], _BATCH)

    @functools.cached_property
    def history(self) -> list[dict[str, float]]:
        """`_RECORDED` of each epoch; raises `UserError` if they can't be read."""
        path = self.workdir / METRICS_FILE
        epochs = []
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            try:
                entry = json.loads(line)
                epochs.append({name: float(entry[name]) for name in _RECORDED})
            except (KeyError, TypeError, ValueError):
                reason = f"is no record of an epoch with {' and '.join(_RECORDED)}"
                raise UserError(f"{path}:{number}: {reason}") from None
        return epochs

    @functools.cached_property
    def best_epoch(self) -> int:
        """The epoch after which the best weights were saved, counted from 1.

        Raises:
          UserError: the record of the epochs does not reach so far.
        """
        prefix = tf.train.latest_checkpoint(self.workdir / BEST) or ""
        number = prefix.rpartition("-")[2]
        epoch = int(number) if number.isdecimal() else 0
        if not 0 < epoch <= len(self.history):
            raise UserError(
                f"{self.workdir / METRICS_FILE}: tells of {len(self.history)} epochs, not of that "
                f"of the best weights ({Path(prefix).name})"
            )
        return epoch

    def cache_folder(self, split: str) -> Path:
        """Where the annotations of a split by the run's encoder are kept, if they are."""
        return cache_folder(self.config, self.encoder_fingerprint, split)

    @functools.cached_property
    def encoder_fingerprint(self) -> str:
        """See `sat_tf.model.encoder.encoder_fingerprint`."""
        return encoder_fingerprint(self.run.model.encoder, self.config.images)

    def cache(self, split: str) -> FeatureCache | None:
        """The annotations of a split that are kept, see `find_cache`; None if there are none."""
        if not self.config.encoder.cache_features:
            return None
        folder, shape = self.cache_folder(split), self.run.model.encoder.output_shape[1:]
        return find_cache(folder, self.records[split], self.encoder_fingerprint, shape)

    def read(self, records: Sequence[Record]) -> np.ndarray:
        """Images as the encoder sees them: float32 [n, S, S, 3], 0..255."""
        return np.concatenate([*self._read(records)])

    def _read(self, records: Sequence[Record]) -> Iterator[np.ndarray]:
        source = ImageReader(records, self.config.images)
        for batch in iter_batches(image_batches(len(records), source, ENCODE_BATCH), source):
            yield batch["images"].numpy()

    def encode(self, image_batch: np.ndarray) -> np.ndarray:
        """Annotations by the run's encoder: [n, S, S, 3] -> float32 [n, rows, columns, D]."""
        return encode_with(self._encoder, image_batch)

    @functools.cached_property
    def _encoder(self) -> tf.types.experimental.GenericFunction:
        return tf.function(self.run.model.encoder, reduce_retracing=True, autograph=False)

    def _sample(self, split: str) -> Sample:
        numbers, records = self._choose(split, _ENCODED)
        image_batch = self.read(records)
        return Sample(numbers, records, image_batch, self.encode(image_batch))

    def _choose(self, split: str, most: int) -> tuple[np.ndarray, list[Record]]:
        """Images evenly spread over a split, by number; all of them if they are not more."""
        records = self.records[split]
        count = min(most, len(records))
        numbers = np.linspace(0, len(records) - 1, count).round().astype(np.int64)
        return numbers, [records[number] for number in numbers]
