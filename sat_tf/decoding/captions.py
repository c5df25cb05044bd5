"""Captions of images: the search run on the caption model, and words made of its ids."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import tensorflow as tf

from sat_tf.decoding.greedy import Decoded, greedy_search
from sat_tf.model.caption_model import CaptionModel
from sat_tf.model.decoder import START
from sat_tf.vocabulary import END, Vocabulary


@dataclasses.dataclass(frozen=True)
class Caption:
    """A caption and where each of its words looked.

    words: its n words, without the end.
    log_probability: of the caption, its end included, in nats.
    alphas: float32 [n, rows, columns], each summing to 1.
    betas: float32 [n].
    """

    words: tuple[str, ...]
    log_probability: float
    alphas: np.ndarray
    betas: np.ndarray

    @property
    def text(self) -> str:
        """The words with spaces between them."""
        return " ".join(self.words)

    def __str__(self) -> str:
        return self.text


def make_captioner(
    model: CaptionModel, max_words: int
) -> Callable[[Mapping[str, tf.Tensor]], Decoded]:
    """A compiled function from a batch (see `CaptionModel.annotate`) to captions of its images.

    Args:
      model: ready to use.
      max_words: a caption's words at most; one that has not ended by then is cut.
    """

    @tf.function(reduce_retracing=True)
    def search(batch: Mapping[str, tf.Tensor]) -> Decoded:
        annotations = model.locations(model.annotate(batch))  # [I, L, D]
        memory = model.cell.prepare(annotations)

        def step(tokens, state):  # type: ignore[no-untyped-def]
            logits, state, look = model.cell.next_word(tokens, state, memory)
            return logits, state, (look.alpha, look.beta)

        return greedy_search(
            step,
            model.cell.initial_state(memory.annotations),
            tf.fill([tf.shape(annotations)[0]], START),
            end=END,
            max_steps=max_words,
            locations=tf.shape(annotations)[1],
        )

    return search


def read_captions(
    decoded: Decoded, vocabulary: Vocabulary, grid: tuple[int, int]
) -> Iterator[Caption]:
    """The captions of a batch, one for each image, on a grid of (rows, columns)."""
    batch = Decoded(*(values.numpy() for values in decoded))
    for ids, score, alphas, betas in zip(
        batch.tokens, batch.scores, batch.alphas, batch.betas, strict=True
    ):
        words = tuple(vocabulary.words_of(ids.tolist()))
        yield Caption(
            words, float(score), alphas[: len(words)].reshape(-1, *grid), betas[: len(words)]
        )
