"""A run under examination: its files, and samples of its data, each read when a check asks."""

import functools
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from sat_tf.captioner import Run
from sat_tf.config import Settings
from sat_tf.data.batches import CachedAnnotations, EncodedImages, image_batches, iterate
from sat_tf.data.caption_statistics import SplitStatistics, split_statistics
from sat_tf.data.captions import Record
from sat_tf.data.datasets import load_splits
from sat_tf.errors import UserError
from sat_tf.evaluation.scoring import ScoredSplit, Scorer
from sat_tf.model.annotations import ENCODE_BATCH
from sat_tf.run_folder import BEST, METRICS_FILE
from sat_tf.training.checkpoints import has_state

# Images that are looked at of each split: enough to tell, few enough to encode anew.
_SAMPLED = {"train": 64, "dev": 256}
_BATCH = 64  # images captioned, or captions read, at a time


def encode_with(network: Callable[[tf.Tensor], tf.Tensor], squares: np.ndarray) -> np.ndarray:
    """Annotations by a network, few images at a time: [n, S, S, 3] -> float32 [n, ..., D]."""
    parts = [squares[i : i + ENCODE_BATCH] for i in range(0, len(squares), ENCODE_BATCH)]
    return np.concatenate([tf.cast(network(tf.constant(p)), tf.float32).numpy() for p in parts])


class Sample(NamedTuple):
    """Images of a split, evenly spread over it.

    numbers: of the images in their split, int64 [n].
    records: of the images.
    squares: as the encoder sees them, float32 [n, S, S, 3], 0..255.
    annotations: by the run's encoder, now, float32 [n, rows, columns, D].
    """

    numbers: np.ndarray
    records: list[Record]
    squares: np.ndarray
    annotations: np.ndarray


class Patient:
    """A run, its best weights, and what it learned from.

    Args:
      workdir: folder of the run.
      settings: of the run, with the changes asked for.
    """

    def __init__(self, workdir: str | os.PathLike[str], settings: Settings) -> None:
        self.workdir = Path(workdir)
        self.settings = settings

    @functools.cached_property
    def run(self) -> Run:
        """Vocabulary and model; raises `UserError` if its files are damaged or do not fit."""
        return Run.load(self.workdir, self.settings)

    @functools.cached_property
    def was_trained(self) -> bool:
        """Whether it was trained in this folder, not imported."""
        return has_state(self.workdir)

    @functools.cached_property
    def records(self) -> dict[str, tuple[Record, ...]]:
        """Of train and dev; raises `UserError` if the data set is not as it should be."""
        return dict(load_splits(self.settings.data, tuple(_SAMPLED)))

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
    def scored(self) -> ScoredSplit:
        """The validation images of `dev`, captioned as the settings say, and scored."""
        run, (_, records, _, annotations) = self.run, self.dev
        half = annotations.astype(np.float16)  # as the cache holds them
        source = CachedAnnotations(lambda rows: half[rows], half.shape[1:])
        scorer = Scorer([run.model], run.vocabulary, self.settings.decoding)
        return scorer.score(records, [source], _BATCH, [None] * len(records))

    @functools.cached_property
    def history(self) -> list[dict[str, float]]:
        """The losses and scores of each epoch; raises `UserError` if they can't be read."""
        path = self.workdir / METRICS_FILE
        try:
            return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: can't be read: {error}") from None

    @functools.cached_property
    def best_epoch(self) -> int:
        """The epoch after which the best weights were saved, counted from 1.

        Raises:
          UserError: the record of the epochs does not reach so far.
        """
        prefix = tf.train.latest_checkpoint(self.workdir / BEST) or ""
        epoch = int(prefix.rpartition("-")[2] or 0)
        if not 0 < epoch <= len(self.history):
            raise UserError(
                f"{self.workdir / METRICS_FILE}: tells of {len(self.history)} epochs; the best "
                f"weights are of epoch {epoch}"
            )
        return epoch

    def read(self, records: Sequence[Record]) -> np.ndarray:
        """Images as the encoder sees them: float32 [n, S, S, 3], 0..255."""
        source = EncodedImages(records, self.settings.images)
        batches = image_batches(len(records), source, ENCODE_BATCH)
        return np.concatenate([batch["images"].numpy() for batch in iterate(batches, source)])

    def encode(self, squares: np.ndarray) -> np.ndarray:
        """Annotations by the run's encoder: [n, S, S, 3] -> float32 [n, rows, columns, D]."""
        return encode_with(self._encoder, squares)

    @functools.cached_property
    def _encoder(self) -> tf.types.experimental.GenericFunction:
        return tf.function(self.run.model.encoder, reduce_retracing=True)

    def _sample(self, split: str) -> Sample:
        records = self.records[split]
        last = len(records) - 1
        numbers = np.unique(np.linspace(0, last, _SAMPLED[split]).astype(np.int64))
        chosen = [records[number] for number in numbers]
        squares = self.read(chosen)
        return Sample(numbers, chosen, squares, self.encode(squares))
