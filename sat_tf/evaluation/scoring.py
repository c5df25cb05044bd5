"""Scores of a split: free-running captions against references, each image once."""

import dataclasses
import math
from collections.abc import Sequence

import tensorflow as tf

from sat_tf.captioning import Caption, make_reader, make_search, read_captions
from sat_tf.config import DecodingSettings
from sat_tf.data.batches import (
    ImageSource,
    caption_batches,
    image_batches,
    iterate,
    number_captions,
    plan_in_order,
)
from sat_tf.data.captions import Record
from sat_tf.data.shapes_objects import scene_objects
from sat_tf.evaluation import cider
from sat_tf.evaluation.attention_scores import attention_measures
from sat_tf.evaluation.bleu import bleu_scores
from sat_tf.evaluation.pointing import pointing_measures
from sat_tf.evaluation.shapes_scores import shapes_measures
from sat_tf.model.caption_model import CaptionModel
from sat_tf.vocabulary import PAD, Vocabulary, tokenize

Scores = dict[str, float]

_MOST_NATS = 700.0  # a word; exp of more overflows


@dataclasses.dataclass(frozen=True)
class ScoredSplit:
    """The scores of a split, and the captions found of each image beside its record.

    Of the captions of an image the first, the best, is what was scored.
    """

    scores: Scores
    found: list[tuple[Caption, ...]]
    records: Sequence[Record]

    @property
    def captions(self) -> list[Caption]:
        """The best of each image."""
        return [best for best, *_ in self.found]


class Scorer:
    """Captions and scores splits with models, whose weights may change in between.

    Args:
      models: one, or an ensemble.
      vocabulary: of the models.
      settings: how to search.
    """

    def __init__(
        self, models: Sequence[CaptionModel], vocabulary: Vocabulary, settings: DecodingSettings
    ) -> None:
        self._vocabulary = vocabulary
        self._grids = [model.grid for model in models]
        self._search = make_search(models, settings)
        self._read = make_reader(models, settings)

    def score(
        self, records: Sequence[Record], sources: Sequence[ImageSource], batch_size: int
    ) -> ScoredSplit:
        """Captions each image once, and scores the captions and the models.

        Args:
          records: of the split.
          sources: of their images, one for each model.
          batch_size: images captioned, or reference captions read, at a time.
        """
        found: list[tuple[Caption, ...]] = []
        images = [image_batches(len(records), source, batch_size) for source in sources]
        for batches in iterate(tf.data.Dataset.zip(tuple(images)), *sources):
            found += read_captions(self._search(batches), self._vocabulary, self._grids)
        scores = text_scores([best for best, *_ in found], records)
        scores["perplexity"] = self._perplexity(records, sources, batch_size)
        return ScoredSplit(scores, found, records)

    def _perplexity(
        self, records: Sequence[Record], sources: Sequence[ImageSource], batch_size: int
    ) -> float:
        """Exp of the mean -log p of a word, over all references, their ends included."""
        references = number_captions(records, self._vocabulary)
        plan = plan_in_order(references, batch_size)
        read = [caption_batches(references, plan, source) for source in sources]
        nll = words = 0.0
        for batches in iterate(tf.data.Dataset.zip(tuple(read)), *sources):
            nll -= float(tf.reduce_sum(self._read(batches).log_probabilities))
            words += int(tf.math.count_nonzero(batches[0]["tokens"] != PAD))
        return math.exp(min(nll / words, _MOST_NATS))


def text_scores(captions: Sequence[Caption], records: Sequence[Record]) -> Scores:
    """BLEU of one caption an image against all its references, and CIDEr if it can be had.

    And what attention does.

    On shapes also whether the captions are true, and where their words looked.
    """
    references = [[" ".join(tokenize(text)) for text in record.captions] for record in records]
    texts = [caption.text for caption in captions]
    scores = bleu_scores(texts, references)
    if cider.is_available():
        scores["cider"] = cider.cider_score(texts, references)
    measures = attention_measures(captions)
    scenes = [record.scene for record in records if record.scene is not None]
    if len(scenes) == len(captions):
        measures |= shapes_measures([caption.words for caption in captions], scenes)
        measures |= pointing_measures(captions, [scene_objects(scene) for scene in scenes])
    return scores | {name: measure.score for name, measure in measures.items()}


def score_table(scores: Scores) -> str:
    """The scores, one a line, aligned."""
    width = max(len(name) for name in scores)
    return "\n".join(f"{name:<{width}}  {value:8.2f}" for name, value in scores.items())
