"""What training minimises: equation (14)."""

from collections.abc import Mapping

import tensorflow as tf

from sat_tf.model.caption_model import CaptionModel
from sat_tf.vocabulary import PAD

Sums = dict[str, tf.Tensor]


def real_steps(tokens: tf.Tensor) -> tf.Tensor:
    """1 at the steps of a caption, its end included, and 0 at padded ones: float32 [B, T]."""
    return tf.cast(tf.not_equal(tokens, PAD), tf.float32)


def negative_log_likelihood(logits: tf.Tensor, tokens: tf.Tensor) -> tf.Tensor:
    """-log p(y|a) of each caption, in nats, summed over its steps.

    Args:
      logits: float32 [B, T, V].
      tokens: int32 [B, T]; padded steps count for nothing.

    Returns:
      float32 [B].
    """
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(tokens, logits)  # [B, T]
    return tf.reduce_sum(losses * real_steps(tokens), axis=1)  # sum over T -> [B]


def doubly_stochastic_penalty(alphas: tf.Tensor, tokens: tf.Tensor) -> tf.Tensor:
    """sum_i (1 - sum_t alpha_ti)^2 of each caption: every place is to be looked at (4.2.1).

    Args:
      alphas: float32 [B, T, L].
      tokens: int32 [B, T]; padded steps count for nothing.

    Returns:
      float32 [B], summed over L. (arctic-captions averages over L and sums over the batch, so
      that its weight means something else for each batch size.)
    """
    coverage = tf.reduce_sum(alphas * real_steps(tokens)[..., tf.newaxis], axis=1)  # [B, L]
    return tf.reduce_sum(tf.square(1.0 - coverage), axis=1)  # sum over L -> [B]


def caption_losses(model: CaptionModel, batch: Mapping[str, tf.Tensor], training: bool) -> Sums:
    """Sums over the captions of a batch, each float32 [].

    `nll` and `penalty` are as above; `captions` and `words`, ends included, are counts.
    """
    annotations = model.annotate(batch, training)
    tokens = batch["tokens"]
    logits, alphas, _ = model(annotations, tokens, batch["image_index"], training=training)
    return {
        "nll": tf.reduce_sum(negative_log_likelihood(logits, tokens)),
        "penalty": tf.reduce_sum(doubly_stochastic_penalty(alphas, tokens)),
        "captions": tf.cast(tf.shape(tokens)[0], tf.float32),
        "words": tf.reduce_sum(real_steps(tokens)),
    }
