"""Scores of a split: free-running captions against references, each image once."""

import math
from collections.abc import Callable, Sequence

import tensorflow as tf

from sat_tf.data.batches import (
    Captions,
    ImageSource,
    caption_batches,
    image_batches,
    iterate,
    plan_in_order,
)
from sat_tf.data.captions import Record
from sat_tf.decoding.captions import Caption, read_captions
from sat_tf.decoding.greedy import Decoded
from sat_tf.evaluation.bleu import bleu_scores
from sat_tf.evaluation.shapes_scores import shapes_scores
from sat_tf.vocabulary import Vocabulary, tokenize

Scores = dict[str, float]


def caption_split(
    search: Callable[[dict[str, tf.Tensor]], Decoded],
    vocabulary: Vocabulary,
    grid: tuple[int, int],
    source: ImageSource,
    count: int,
    batch_size: int,
) -> list[Caption]:
    """A caption for each of the `count` images of `source`, in their order.

    Args:
      search: from `sat_tf.decoding.captions.make_captioner`.
      vocabulary: of the model.
      grid: rows and columns of its annotations.
      source: of the images.
      count: how many there are.
      batch_size: images captioned at a time.
    """
    captions: list[Caption] = []
    for batch in iterate(image_batches(count, source, batch_size), source):
        captions.extend(read_captions(search(batch), vocabulary, grid))
    return captions


def perplexity(
    losses: Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]],
    captions: Captions,
    source: ImageSource,
    batch_size: int,
) -> float:
    """Exp of the mean -log p of a word, over all reference captions, their ends included.

    Args:
      losses: from a batch to its sums `nll` and `words`, without dropout.
      captions: the references.
      source: of the images.
      batch_size: captions scored at a time.
    """
    nll = words = 0.0
    batches = caption_batches(captions, plan_in_order(captions, batch_size), source)
    for batch in iterate(batches, source):
        sums = losses(batch)
        nll += float(sums["nll"])
        words += float(sums["words"])
    return math.exp(min(nll / max(words, 1.0), 700.0))  # beyond it exp overflows


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
