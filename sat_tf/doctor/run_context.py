"""The run that is checked: its files and samples of its data, each read when a check needs it."""

import contextlib
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
from sat_tf.data.unreadable import leave_out, read_left_out
from sat_tf.datasets import load_splits
from sat_tf.datasets.statistics import SplitStatistics, split_statistics
from sat_tf.errors import UserError
from sat_tf.evaluator import EvaluationResult, Evaluator
from sat_tf.metrics.faithfulness import FRACTIONS, ORDERS
from sat_tf.model.encoder import ENCODE_BATCH, cache_folder, encoder_fingerprint
from sat_tf.model.weights import has_state, newest_checkpoint
from sat_tf.occlusion import Occlusion
from sat_tf.storage import BEST, METRICS_FILE

Network = Callable[[tf.Tensor], tf.Tensor]

_SPLITS = ("train", "dev")
# Images of each split that are encoded: enough for the checks, few enough for large networks.
_ENCODED = 64
# Validation images that are captioned: all of Flickr8k's, so that their scores can be compared.
CAPTIONED = 1_000
COVERED = 32  # validation images whose parts are covered
_BATCH_SIZE = 64  # images captioned, or captions scored, at a time


class Sample(NamedTuple):
    """Images of a split, evenly spaced over it."""

    indices: np.ndarray  # of the images in their split, int64 [n]
    records: list[Record]
    images: np.ndarray  # input of the encoder, float32 [n, S, S, 3], 0..255
    features: np.ndarray  # by the encoder as it is now, float32 [n, rows, columns, D]


class Epoch(NamedTuple):
    """What the history of a run says of an epoch."""

    loss: float
    perplexity: float


class RunContext:
    """A run with its best weights and a config with overrides, and its data set."""

    def __init__(self, workdir: str | os.PathLike[str], config: Config) -> None:
        self.workdir = Path(workdir)
        self.config = config

    @functools.cached_property
    def run(self) -> Run:
        """Vocabulary and model; raises `UserError` if files are damaged or do not match."""
        return Run.load(self.workdir, self.config)

    @functools.cached_property
    def was_trained(self) -> bool:
        """Whether the run was trained in this folder, not imported."""
        return has_state(self.workdir) or (self.workdir / METRICS_FILE).exists()

    @functools.cached_property
    def records(self) -> dict[str, tuple[Record, ...]]:
        """Training and validation split; raises `UserError` if the data set has problems."""
        loaded = load_splits(self.config.data, _SPLITS, objects_for=())
        return leave_out(loaded, read_left_out(self.workdir))

    @functools.cached_property
    def statistics(self) -> dict[str, SplitStatistics]:
        """Words and lengths of the captions of both splits."""
        return {split: split_statistics(records) for split, records in self.records.items()}

    @functools.cached_property
    def train(self) -> Sample:
        """Sample of the training split."""
        return self._sample("train")

    @functools.cached_property
    def dev(self) -> Sample:
        """Sample of the validation split."""
        return self._sample("dev")

    @functools.cached_property
    def _evaluator(self) -> Evaluator:
        (_, vocabulary, model, _), config = self.run, self.config
        # As in a validation: without slow scores, of which no check makes use.
        return Evaluator([model], vocabulary, config.decoding, config.images, monitor="perplexity")

    @functools.cached_property
    def evaluation(self) -> EvaluationResult:
        """Captions and scores of the validation split, or of `CAPTIONED` images of it."""
        indices, records = self._choose("dev", CAPTIONED)
        features = None
        # Damage is reported by the check of the cache.
        with contextlib.suppress(UserError):
            cache = self.cache("dev")
            features = cache.read(indices) if cache else None
        if features is None:
            parts = [self.encode(images).astype(np.float16) for images in self._read(records)]
            features = np.concatenate(parts)
        source = CachedFeatures(lambda rows: features[rows], features.shape[1:])
        return self._evaluator.evaluate(records, [source], _BATCH_SIZE)

    @functools.cached_property
    def _occlusion(self) -> Occlusion:
        return Occlusion(self.run.model, self.run.vocabulary, self.config.decoding)

    @functools.cached_property
    def falls(self) -> tuple[float, float]:
        """What covering a tenth of an image costs a content word, in nats.

        The cells that the word attended to most; and those of its caption's mean map. Means over
        the captions of `COVERED` images of the validation split.
        """
        records, captions = self.evaluation.records, self.evaluation.captions
        measured = self._occlusion.measure_sample(
            records, captions, self.config.images, COVERED, FRACTIONS[:1]
        )
        sums = np.sum(measured, axis=0)
        falls = dict(zip(ORDERS, sums / max(sums[-1], 1), strict=False))
        return float(falls["attended"]), float(falls["average"])

    @functools.cached_property
    def history(self) -> list[Epoch]:
        """All epochs; raises `UserError` if they can't be read."""
        path = self.workdir / METRICS_FILE
        epochs = []
        for number, line in enumerate(path.read_text("utf-8", "replace").splitlines(), start=1):
            try:
                entry = json.loads(line)
                epochs.append(Epoch(*(float(entry[name]) for name in Epoch._fields)))
            except (KeyError, TypeError, ValueError, OverflowError, RecursionError):
                reason = f"not a record of an epoch with {' and '.join(Epoch._fields)}"
                raise UserError(f"{path}:{number}: {reason}") from None
        return epochs

    @functools.cached_property
    def best_epoch(self) -> int:
        """Epoch of the best weights, from 1; raises `UserError` if the history lacks it."""
        prefix = newest_checkpoint(self.workdir / BEST)
        epoch = int(prefix.name.rpartition("-")[2]) if prefix else 0
        if not 0 < epoch <= len(self.history):
            raise UserError(
                f"{self.workdir / METRICS_FILE}: has {len(self.history)} epochs, but not that of "
                f"the best weights ({prefix.name if prefix else 'there are none'})"
            )
        return epoch

    @functools.cached_property
    def encoder_fingerprint(self) -> str:
        """See `sat_tf.model.encoder.encoder_fingerprint`."""
        return encoder_fingerprint(self.run.model.encoder, self.config.images)

    @property
    def cache_folder(self) -> Path:
        """The folder of cached features, whether it exists or not."""
        return cache_folder(self.config, self.encoder_fingerprint)

    def cache(self, split: str) -> FeatureCache | None:
        """Return the cached features of a split, see `find_cache`; None if there are none."""
        if not self.config.encoder.cache_features:
            return None
        shape = self.run.model.encoder.output_shape[1:]
        records = self.records[split]
        return find_cache(self.cache_folder, records, self.encoder_fingerprint, shape)

    def read(self, records: Sequence[Record]) -> np.ndarray:
        """Read images as input of the encoder: float32 [n, S, S, 3], 0..255."""
        return np.concatenate([*self._read(records)])

    def _read(self, records: Sequence[Record]) -> Iterator[np.ndarray]:
        source = ImageReader(records, self.config.images)
        for batch in iter_batches(image_batches(len(records), source, ENCODE_BATCH), source):
            yield batch["images"].numpy()

    def encode(self, images: np.ndarray, network: Network | None = None) -> np.ndarray:
        """Encode in small batches by the run's encoder, or by another network.

        [n, S, S, 3], 0..255 -> float32 [n, rows, columns, D].
        """
        network = network or self.run.model.encoder
        batches = [images[i : i + ENCODE_BATCH] for i in range(0, len(images), ENCODE_BATCH)]
        parts = [tf.cast(network(tf.constant(batch)), tf.float32) for batch in batches]
        return np.concatenate(parts)

    def _sample(self, split: str) -> Sample:
        indices, records = self._choose(split, _ENCODED)
        images = self.read(records)
        return Sample(indices, records, images, self.encode(images))

    def _choose(self, split: str, limit: int) -> tuple[np.ndarray, list[Record]]:
        """Return indices and records of up to `limit` images, evenly spaced over a split."""
        records = self.records[split]
        count = min(limit, len(records))
        indices = np.linspace(0, len(records) - 1, count).round().astype(np.int64)
        return indices, [records[index] for index in indices]
