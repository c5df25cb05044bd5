"""What training minimises: equation (14)."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from sat_tf.config import TrainingSettings
from sat_tf.model.caption_model import CaptionModel
from sat_tf.vocabulary import PAD

Sums = dict[str, tf.Tensor]

_LEAST_MASS = 1e-6  # keeps the logarithm finite where attention has none inside


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


def caption_losses(model: CaptionModel, batch: Mapping[str, tf.Tensor], training: bool) -> Sums:
    """Sums over the captions of a batch, each float32 [].

    `nll`, `penalty` and, for a batch that has `regions`, `supervision` are as above; `captions`
    and `words`, ends included, are counts.
    """
    annotations = model.annotate(batch, training)
    tokens = batch["tokens"]
    logits, alphas, _ = model(annotations, tokens, batch["image_index"], training=training)
    sums = {
        "nll": tf.reduce_sum(negative_log_likelihood(logits, tokens)),
        "penalty": tf.reduce_sum(doubly_stochastic_penalty(alphas, tokens)),
        "captions": tf.cast(tf.shape(tokens)[0], tf.float32),
        "words": tf.reduce_sum(real_steps(tokens)),
    }
    if "regions" in batch:
        sums["supervision"] = tf.reduce_sum(supervision(alphas, batch["regions"]))
    return sums


def total_loss(sums: Mapping[str, Any], settings: TrainingSettings) -> Any:
    """Equation (14) of a batch, and supervision if there is any, summed over its captions.

    Args:
      sums: from `caption_losses`.
      settings: its `doubly_stochastic_weight` and `attention_supervision`.
    """
    total = sums["nll"] + settings.doubly_stochastic_weight * sums["penalty"]
    if "supervision" in sums:
        total += settings.attention_supervision * sums["supervision"]
    return total
