"""Self-critical sequence training: sampled captions against the greedy one (Rennie et al., 2017).

The reward of a caption y sampled from the model is r(y), its score against the references of the
image; the baseline is that of the greedy caption g, which the model would generate:

    dL/dW = 1/N sum_n (r(y_n) - r(g)) dlog q(y_n|a)/dW

with N = `self_critical_samples` samples. The token probabilities of q are those of p with their
log probabilities divided by `self_critical_temperature`. At 1, where q is p (Rennie et al.), a
model trained on few captions samples many poor ones, and most of the gradient is noise about
captions that it would not generate; below 1 the samples come closer to g. Greedy search is the
same at any temperature. Dropout is off. The doubly stochastic penalty of the samples is added.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from sat_tf.config import Config, DecodingConfig
from sat_tf.data.pipeline import TokenizedCaptions
from sat_tf.data.records import Record
from sat_tf.metrics.registry import Reward, make_reward
from sat_tf.metrics.text import tokenized_references
from sat_tf.model.caption_model import Batch, CaptionModel
from sat_tf.model.generation import generate, sample_captions
from sat_tf.model.hard_attention import per_replica_seed
from sat_tf.model.losses import (
    CaptionLoss,
    Sums,
    doubly_stochastic_penalty,
    negative_log_likelihood,
    step_mask,
)
from sat_tf.search.hypotheses import Decoded
from sat_tf.vocabulary import PAD, UNK, Vocabulary

_SUPPRESSED = -1e9  # a logit whose probability is zero


def one_per_image(captions: TokenizedCaptions) -> TokenizedCaptions:
    """Keep the first caption of each image, so that an epoch takes each image once."""
    _, first = np.unique(captions.image, return_index=True)
    return TokenizedCaptions([captions.tokens[i] for i in first], captions.image[first])


class SelfCriticalLoss(CaptionLoss):
    """The loss of self-critical training.

    Args:
      vocabulary: of the model.
      records: of the training split; their captions are the references.
      config: of the run.

    It holds the references and is not saved with a model: load such a model with `compile=False`.

    Raises:
      UserError: the score needs a package that is not installed.
    """

    def __init__(self, vocabulary: Vocabulary, records: Sequence[Record], config: Config) -> None:
        training, decoding = config.training, config.decoding
        super().__init__(doubly_stochastic_weight=training.doubly_stochastic_weight)
        self._reward = make_reward(training.self_critical, tokenized_references(records))
        self._vocabulary, self._num_samples = vocabulary, training.self_critical_samples
        # No constraints beyond the suppressed tokens: the samples must come from the model.
        self._sampling = DecodingConfig(
            search="sample",
            temperature=training.self_critical_temperature,
            min_length=0,
            max_length=decoding.max_length,
            allow_unk=decoding.allow_unk,
        )
        self._greedy = dataclasses.replace(
            decoding, search="beam", beam_size=1, temperature=1.0, top_k=0, top_p=1.0
        )

    def __call__(self, model: CaptionModel, batch: Batch, training: bool = True) -> Sums:
        """Sample captions and score them.

        Returns:
          Sums over the images, each the mean over an image's samples: `score`, `greedy_score`,
          `reinforce`, `penalty` and `words`, ends included; `captions` counts the images.
        """
        count, temperature = self._num_samples, self._sampling.temperature
        features = model.encode_images(batch, training)
        images = tf.shape(features)[0]
        index = tf.repeat(tf.range(images), count)  # [I N]
        sampled = sample_captions(
            model,
            tf.gather(features, index),
            self._sampling,
            per_replica_seed(model.decoder.seed_generator),
        )
        greedy = generate([model], [features], self._greedy)
        score = self._score(tf.gather(batch["rows"], index), sampled)  # [I N]
        greedy_score = self._score(batch["rows"], greedy)  # [I]
        tokens = tf.stop_gradient(sampled.tokens[:, 0])  # [I N, T]
        output = model({"features": features, "tokens": tokens, "image_index": index})
        suppressed = [PAD] if self._sampling.allow_unk else [PAD, UNK]
        one_hot = tf.one_hot(suppressed, len(self._vocabulary))
        logits = output.logits + _SUPPRESSED * tf.reduce_sum(one_hot, axis=0)
        log_q = -negative_log_likelihood(logits / temperature, tokens)
        advantage = score - tf.gather(greedy_score, index)
        terms = {
            "score": score,
            "reinforce": advantage * log_q,
            "penalty": doubly_stochastic_penalty(output.alphas, tokens),
            "words": tf.reduce_sum(step_mask(tokens), axis=1),
        }
        return {
            **{name: tf.reduce_sum(value) / count for name, value in terms.items()},
            "greedy_score": tf.reduce_sum(greedy_score),
            "captions": tf.cast(images, tf.float32),
        }

    def _score(self, rows: tf.Tensor, decoded: Decoded) -> tf.Tensor:
        """Return the reward of each row's first caption: float32 [I]."""
        scores = tf.numpy_function(
            lambda rows, tokens: _rewards(self._reward, self._vocabulary, rows, tokens),
            [rows, decoded.tokens[:, 0]],
            tf.float32,
        )
        return tf.ensure_shape(scores, [None])

    def total(self, sums: dict[str, Any]) -> Any:
        """Return the loss, summed over the images."""
        return self.doubly_stochastic_weight * sums["penalty"] - sums["score"]

    def reported(self, attention: str) -> tuple[str, ...]:
        """Return the names of the sums worth reporting."""
        del attention
        return ("score", "greedy_score", "penalty")


def _rewards(
    reward: Reward, vocabulary: Vocabulary, rows: np.ndarray, tokens: np.ndarray
) -> np.ndarray:
    return reward(rows, [vocabulary.decode(caption.tolist()) for caption in tokens])
