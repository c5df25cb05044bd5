"""Scores of a split: free-running captions against references, each image once."""

import dataclasses
import math
from collections.abc import Callable, Sequence

import tensorflow as tf

from sat_tf.data.batches import (
    Batch,
    ImageSource,
    caption_batches,
    image_batches,
    iterate,
    number_captions,
    plan_in_order,
)
from sat_tf.data.captions import Record
from sat_tf.decoding.captions import Caption, make_captioner, read_captions
from sat_tf.evaluation.bleu import bleu_scores
from sat_tf.evaluation.shapes_scores import shapes_scores
from sat_tf.model.caption_model import CaptionModel
from sat_tf.model.losses import Sums, caption_losses
from sat_tf.vocabulary import Vocabulary, tokenize

Scores = dict[str, float]

_MOST_NATS = 700.0  # a word; exp of more overflows


@dataclasses.dataclass(frozen=True)
class ScoredSplit:
    """The scores of a split, and the captions that were scored beside their records."""

    scores: Scores
    captions: list[Caption]
    records: Sequence[Record]


class Scorer:
    """Captions and scores splits with a model, whose weights may change in between.

    Args:
      model: whose captions are scored.
      vocabulary: of the model.
      max_words: a caption's words at most.
    """

    def __init__(self, model: CaptionModel, vocabulary: Vocabulary, max_words: int) -> None:
        self._model = model
        self._vocabulary = vocabulary
        self._search = make_captioner(model, max_words)
        self._losses: Callable[[Batch], Sums] | None = None

    def score(self, records: Sequence[Record], source: ImageSource, batch_size: int) -> ScoredSplit:
        """Captions each image once, and scores the captions and the model.

        Args:
          records: of the split.
          source: of their images.
          batch_size: images captioned, or reference captions read, at a time.
        """
        captions: list[Caption] = []
        for batch in iterate(image_batches(len(records), source, batch_size), source):
            captions += read_captions(self._search(batch), self._vocabulary, self._model.grid)
        scores = text_scores(captions, records)
        scores["perplexity"] = self._perplexity(records, source, batch_size)
        return ScoredSplit(scores, captions, records)

    def _perplexity(self, records: Sequence[Record], source: ImageSource, batch_size: int) -> float:
        """Exp of the mean -log p of a word, over all references, their ends included."""
        references = number_captions(records, self._vocabulary)
        plan = plan_in_order(references, batch_size)
        batches = caption_batches(references, plan, source)
        if self._losses is None:
            # Of any batch size and length: else each new pair would be compiled anew.
            self._losses = tf.function(
                lambda batch: caption_losses(self._model, batch, training=False),
                input_signature=[batches.element_spec],
            )
        nll = words = 0.0
        for batch in iterate(batches, source):
            sums = self._losses(batch)
            nll += float(sums["nll"])
            words += float(sums["words"])
        return math.exp(min(nll / words, _MOST_NATS))


def text_scores(captions: Sequence[Caption], records: Sequence[Record]) -> Scores:
    """BLEU of one caption an image against all its references.

    On shapes also whether the captions are true, and where their words looked.
    """
    references = [[" ".join(tokenize(text)) for text in record.captions] for record in records]
    scores = bleu_scores([caption.text for caption in captions], references)
    scenes = [record.scene for record in records if record.scene is not None]
    if len(scenes) == len(captions):
        words = [caption.words for caption in captions]
        scores |= shapes_scores(words, scenes, [caption.alphas for caption in captions])
    return scores


def score_table(scores: Scores) -> str:
    """The scores, one a line, aligned."""
    width = max(len(name) for name in scores)
    return "\n".join(f"{name:<{width}}  {value:8.2f}" for name, value in scores.items())
