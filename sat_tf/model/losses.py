"""The parts of what training minimises: equation (14), and what settings add to it."""

import tensorflow as tf

from sat_tf.vocabulary import PAD

_LEAST_MASS = 1e-6  # keeps the logarithm finite where attention has none inside


def real_steps(tokens: tf.Tensor) -> tf.Tensor:
    """1 at the steps of a caption, its end included, and 0 at padded ones: float32 [B, T]."""
    return tf.cast(tf.not_equal(tokens, PAD), tf.float32)


def word_log_probabilities(logits: tf.Tensor, tokens: tf.Tensor) -> tf.Tensor:
    """Log p(y_t), in nats; padded steps hold values that mean nothing.

    Args:
      logits: float32 [B, T, V].
      tokens: int32 [B, T].

    Returns:
      float32 [B, T].
    """
    return -tf.nn.sparse_softmax_cross_entropy_with_logits(tokens, logits)


def negative_log_likelihood(logits: tf.Tensor, tokens: tf.Tensor) -> tf.Tensor:
    """-log p(y|a) of each caption, in nats, summed over its steps.

    Args:
      logits: float32 [B, T, V].
      tokens: int32 [B, T]; padded steps count for nothing.

    Returns:
      float32 [B].
    """
    losses = -word_log_probabilities(logits, tokens)  # [B, T]
    return tf.reduce_sum(losses * real_steps(tokens), axis=1)  # sum over T -> [B]


def uniform_cross_entropy(logits: tf.Tensor, tokens: tf.Tensor) -> tf.Tensor:
    """-1/V sum_v log p(v), summed over the steps: where label smoothing pulls.

    Args:
      logits: float32 [B, T, V].
      tokens: int32 [B, T]; padded steps count for nothing.

    Returns:
      float32 [B], in nats.
    """
    mean = tf.reduce_mean(tf.nn.log_softmax(logits), axis=2)  # mean over V -> [B, T]
    return -tf.reduce_sum(mean * real_steps(tokens), axis=1)  # sum over T -> [B]


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


def supervision(alphas: tf.Tensor, regions: tf.Tensor) -> tf.Tensor:
    """-log of attention's mass inside the object's box, at the words that name one.

    Strongly supervised attention after Liu et al., 2017 (Attention Correctness in Neural Image
    Captioning); the paper has no such term.

    Args:
      alphas: float32 [B, T, L].
      regions: cells of each word's object, bool [B, T, L]; words without any, padded steps among
        them, count for nothing.

    Returns:
      float32 [B], in nats, summed over T.
    """
    named = tf.cast(tf.reduce_any(regions, axis=2), tf.float32)  # [B, T]
    mass = tf.reduce_sum(alphas * tf.cast(regions, tf.float32), axis=2)  # sum over L -> [B, T]
    return -tf.reduce_sum(named * tf.math.log(mass + _LEAST_MASS), axis=1)  # sum over T -> [B]
