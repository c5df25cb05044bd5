"""Occlusion: how probable the words of a caption are while parts of the image are covered.

If attention is faithful, a word loses more of its probability when the cells that it attended to
are covered than when others are (deletion and insertion: Petsiuk et al., 2018).
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from sat_tf.config import DecodingConfig, ImageConfig
from sat_tf.data.pipeline import ImageReader, image_batches, iter_batches
from sat_tf.data.records import Record
from sat_tf.metrics.faithfulness import FRACTIONS, faithfulness, no_faithfulness
from sat_tf.model.caption_model import CaptionModel
from sat_tf.model.generation import Caption, Generator
from sat_tf.progress import progress_bar
from sat_tf.vocabulary import CONTENT, Vocabulary, word_class

_BATCH = 32  # covered images encoded at a time


class Occlusion:
    """Covers images and scores captions of what is left.

    The weights of the model may change between calls. `decoding` says which context hard attention
    uses.
    """

    def __init__(
        self, model: CaptionModel, vocabulary: Vocabulary, decoding: DecodingConfig
    ) -> None:
        self._grid, self._vocabulary, self._decoding = model.grid, vocabulary, decoding
        self._generator = Generator([model])

    def log_probs(self, image: np.ndarray, words: Sequence[str], masks: np.ndarray) -> np.ndarray:
        """Return log p of each word of a caption, given the words before it and a covered image.

        Args:
          image: the encoder's input, float32 [S, S, 3], 0 to 255.
          words: n.
          masks: bool [M, rows, columns]; the cells that are covered, by the image's mean colour.

        Returns:
          float32 [M, n], in nats.
        """
        tokens = np.asarray(self._vocabulary.encode(words), np.int32)
        mean = image.mean(axis=(0, 1))  # over the pixels: [3]
        found = []
        for start in range(0, len(masks), _BATCH):
            is_covered = _enlarge(masks[start : start + _BATCH], len(image))[..., np.newaxis]
            covered = np.where(is_covered, mean, image).astype(np.float32)
            batch = {"images": covered, "tokens": np.tile(tokens, (len(covered), 1))}
            scores = self._generator.score(
                [tf.nest.map_structure(tf.constant, batch)], self._decoding
            )
            found.append(scores.log_probs.numpy()[:, : len(words)])
        return np.concatenate(found)

    def measure_sample(
        self,
        records: Sequence[Record],
        captions: Sequence[Caption],
        config: ImageConfig,
        count: int,
        fractions: Sequence[float] = FRACTIONS,
    ) -> list[np.ndarray]:
        """Return what `measure` does for `count` images of a split, evenly spaced, or `UserError`.

        Of other images it is zeros; of no images, if `count` is 0, nothing at all.
        """
        if not count:
            return []
        measured = [no_faithfulness() for _ in records]
        chosen = np.linspace(0, len(records) - 1, min(count, len(records))).round().astype(int)
        source = ImageReader([records[index] for index in chosen], config)
        images = image_batches(len(chosen), source, batch_size=1)
        bar = progress_bar(images, desc="covering", unit="image", leave=False)
        for index, batch in zip(chosen.tolist(), iter_batches(bar, source), strict=True):
            image = batch["images"][0].numpy()
            measured[index] = self.measure(image, captions[index], index, fractions)
        return measured

    def measure(
        self,
        image: np.ndarray,
        caption: Caption,
        seed: int,
        fractions: Sequence[float] = FRACTIONS,
    ) -> np.ndarray:
        """Return the `faithfulness` of the content words of a caption, summed over them.

        Args:
          image: see `log_probs`.
          caption: of the image.
          seed: of the random order, and of the order of cells with equal attention.
          fractions: of the cells, the shares that are covered.
        """
        words = [n for n, word in enumerate(caption.words) if word_class(word) == CONTENT]
        if not words:  # as in the captions of a model that has learned nothing yet
            return no_faithfulness()
        cells = self._grid[0] * self._grid[1]
        random = np.random.default_rng(seed)
        ties = random.permutation(cells).argsort()  # ranks of cells with equal attention

        def rank(weights: np.ndarray) -> np.ndarray:
            """Return the rank of each cell, 0 of the most weight: [n, L] -> [n, L]."""
            keys = np.broadcast_to(ties, weights.shape), -weights
            return np.lexsort(keys).argsort(axis=1)

        alphas = caption.alphas.reshape(-1, cells)  # [T, L]
        most = rank(alphas[words])
        shuffled = np.array([random.permutation(cells).argsort() for _ in words])
        average = np.broadcast_to(rank(alphas.mean(axis=0, keepdims=True)), most.shape)
        ranks = np.stack([most, cells - 1 - most, shuffled, average], axis=1)  # [n, orders, L]
        counts = [max(1, round(fraction * cells)) for fraction in fractions]
        masks = ranks[:, :, np.newaxis] < np.reshape(counts, [-1, 1])  # [n, orders, fractions, L]
        # Before them the image as it is, and the image without anything.
        ends = np.repeat([[False], [True]], cells, axis=1)
        every = np.concatenate([ends, masks.reshape(-1, cells)]).reshape(-1, *self._grid)
        log_probs = self.log_probs(image, caption.words, every)
        # Of each word, from the images that were covered for it.
        covered = log_probs[2:].reshape(*masks.shape[:3], -1)[np.arange(len(words)), ..., words]
        return faithfulness(log_probs[0, words], covered, log_probs[1, words], fractions).sum(
            axis=0
        )


def _enlarge(masks: np.ndarray, size: int) -> np.ndarray:
    """Return masks of cells as masks of pixels: [M, rows, columns] -> [M, size, size]."""
    rows, columns = (np.arange(size) * cells // size for cells in masks.shape[1:])
    return masks[:, rows[:, np.newaxis], columns]
