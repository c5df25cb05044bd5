"""Scores of a split: free-running captions against references, each image once."""

import dataclasses
import functools
from collections.abc import Collection, Sequence

import numpy as np
import tensorflow as tf

from sat_tf.captioning import Caption, make_reader, make_search, read_captions
from sat_tf.config import DecodingConfig
from sat_tf.data.objects import ObjectBoxes
from sat_tf.data.pipeline import (
    ImageSource,
    bucket_in_order,
    caption_batches,
    image_batches,
    iterate,
    tokenize_captions,
)
from sat_tf.data.records import Record
from sat_tf.metrics import diversity
from sat_tf.metrics.attention import attention_measures
from sat_tf.metrics.bootstrap import Interval, intervals
from sat_tf.metrics.metric import Metric, ratio
from sat_tf.metrics.pointing import pointing_measures
from sat_tf.metrics.shapes import shapes_measures
from sat_tf.metrics.state_sensitivity import make_state_sensitivity
from sat_tf.metrics.text import Words, text_measures, words_of_captions
from sat_tf.model.caption_model import CaptionModel
from sat_tf.vocabulary import PAD, Vocabulary

Scores = dict[str, float]

_MOST_NATS = 700.0  # a word; exp of more overflows


@dataclasses.dataclass(frozen=True)
class ScoredSplit:
    """The scores of a split, and the captions found of each image beside its record and objects.

    Of the captions of an image the first, the best, is what was scored.

    measures: scores that images drawn again would tell as well.
    counts: those that they would not.
    """

    measures: dict[str, Metric]
    counts: Scores
    found: list[tuple[Caption, ...]]
    records: Sequence[Record]
    objects: Sequence[ObjectBoxes | None]

    @functools.cached_property
    def scores(self) -> Scores:
        """All of them."""
        return {name: measure.score for name, measure in self.measures.items()} | self.counts

    @functools.cached_property
    def intervals(self) -> dict[str, Interval]:
        """How sure the measures are, at 95 %."""
        return intervals(self.measures)

    @property
    def captions(self) -> list[Caption]:
        """The best of each image."""
        return [best for best, *_ in self.found]


class Scorer:
    """Captions and scores splits with models, whose weights may change in between.

    Args:
      models: one, or an ensemble.
      vocabulary: of the models.
      config: how to search.
      known: see `sat_tf.metrics.text.known_captions`.
      with_meteor: whether METEOR, which takes Java and seconds, is wanted.
    """

    def __init__(
        self,
        models: Sequence[CaptionModel],
        vocabulary: Vocabulary,
        config: DecodingConfig,
        known: Collection[Words] = (),
        with_meteor: bool = False,
    ) -> None:
        self._vocabulary, self._known, self._with_meteor = vocabulary, known, with_meteor
        self._grids = [model.grid for model in models]
        self._search = make_search(models, config)
        self._read = make_reader(models, config)
        self._exchange = make_state_sensitivity(models[0])

    def score(
        self,
        records: Sequence[Record],
        sources: Sequence[ImageSource],
        batch_size: int,
        objects: Sequence[ObjectBoxes | None],
    ) -> ScoredSplit:
        """Captions each image once, and scores the captions, the attention and the models.

        Args:
          records: of the split.
          sources: of their images, one for each model.
          objects: of each image, see `sat_tf.datasets.known_objects.find_objects`.
          batch_size: images captioned, or reference captions read, at a time.
        """
        found: list[tuple[Caption, ...]] = []
        images = [image_batches(len(records), source, batch_size) for source in sources]
        exchanged: list[np.ndarray] = []
        for batches in iterate(tf.data.Dataset.zip(tuple(images)), *sources):
            decoded = self._search(batches)
            found += read_captions(decoded, self._vocabulary, self._grids)
            moves = self._exchange(batches[0], decoded.tokens[:, 0]).numpy()  # [I, T]
            # An image alone has no other one's h to be read with.
            exchanged += list(moves) if len(moves) > 1 else [moves[0, :0]]
        captions = [best for best, *_ in found]
        words = [caption.words for caption in captions]
        measures = text_measures(
            words,
            words_of_captions(records),
            known=self._known,
            with_meteor=self._with_meteor,
        )
        measures["perplexity"] = self._perplexity(records, sources, batch_size)
        measures |= attention_measures(captions)
        moved = [moves[: len(of)] for moves, of in zip(exchanged, words, strict=True)]
        if any(map(len, moved)):
            sums = [float(moves.sum()) for moves in moved]
            measures["state_sensitivity"] = ratio(sums, [len(moves) for moves in moved], 100)
        measures |= pointing_measures(captions, objects)
        scenes = [record.scene for record in records if record.scene is not None]
        if len(scenes) == len(records):
            measures |= shapes_measures(words, scenes)
        return ScoredSplit(measures, diversity.counts(words), found, records, objects)

    def _perplexity(
        self, records: Sequence[Record], sources: Sequence[ImageSource], batch_size: int
    ) -> Metric:
        """Exp of the mean -log p of a word, over all references, their ends included."""
        references = tokenize_captions(records, self._vocabulary)
        plan = bucket_in_order(references, batch_size)
        read = [caption_batches(references, plan, source) for source in sources]
        sums = np.zeros((len(records), 2))
        for batches in iterate(tf.data.Dataset.zip(tuple(read)), *sources):
            first = batches[0]
            images = first["rows"].numpy()[first["image_index"].numpy()]  # of each caption
            log_p = self._read(batches).log_probabilities.numpy().astype(np.float64)
            np.add.at(sums[:, 0], images, -log_p.sum(axis=1))  # sum over T -> [B]
            np.add.at(sums[:, 1], images, np.sum(first["tokens"] != PAD, axis=1))
        return Metric(sums, _exp_of_mean)


def _exp_of_mean(sums: np.ndarray) -> np.ndarray:
    return np.exp(np.minimum(sums[..., 0] / sums[..., 1], _MOST_NATS))
