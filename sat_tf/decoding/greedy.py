"""Greedy search: at each step the most probable word."""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

StepFunction = Callable[[tf.Tensor, Any], tuple[tf.Tensor, Any, tuple[tf.Tensor, tf.Tensor]]]


class Decoded(NamedTuple):
    """Captions and where each word looked; T is the longest one's length.

    tokens: int32 [B, T], zero after the end token.
    lengths: int32 [B], the end token included.
    scores: float32 [B], sum of the words' log probabilities.
    alphas: float32 [B, T, L], zero after the end.
    betas: float32 [B, T], zero after the end.
    """

    tokens: tf.Tensor
    lengths: tf.Tensor
    scores: tf.Tensor
    alphas: tf.Tensor
    betas: tf.Tensor


def greedy_search(
    step: StepFunction,
    state: Any,
    first: tf.Tensor,
    *,
    end: int,
    max_steps: int,
    locations: int | tf.Tensor,
) -> Decoded:
    """Follows the most probable word until every caption has ended.

    Args:
      step: (tokens int32 [B], state) -> (logits float32 [B, V], state, (alpha float32 [B, L],
        beta float32 [B, 1])).
      state: tensors or a nest of them, whatever `step` takes.
      first: what stands before the first word, int32 [B].
      end: id of the end token.
      max_steps: captions stop here, ended or not.
      locations: L.
    """
    batch = tf.shape(first)[0]

    def array(dtype: tf.DType, shape: list[Any]) -> tf.TensorArray:
        return tf.TensorArray(dtype, 0, dynamic_size=True, element_shape=shape)

    def more(t: tf.Tensor, done: tf.Tensor, *_: Any) -> tf.Tensor:
        return tf.logical_and(t < max_steps, tf.logical_not(tf.reduce_all(done)))

    def body(
        t: tf.Tensor, done: tf.Tensor, tokens: tf.Tensor, state: Any, arrays: Any, sums: Any
    ) -> tuple[Any, ...]:
        logits, state, (alpha, beta) = step(tokens, state)
        live = tf.logical_not(done)
        chosen = tf.argmax(logits, axis=-1, output_type=tf.int32)  # [B]
        gained = tf.reduce_max(tf.nn.log_softmax(logits), axis=-1)  # [B]
        lengths, scores = sums
        sums = (lengths + tf.cast(live, tf.int32), scores + tf.where(live, gained, 0.0))
        weight = tf.cast(live, tf.float32)[:, tf.newaxis]
        words, alphas, betas = arrays
        arrays = (
            words.write(t, tf.where(live, chosen, 0)),
            alphas.write(t, alpha * weight),
            betas.write(t, beta * weight),
        )
        return t + 1, tf.logical_or(done, chosen == end), chosen, state, arrays, sums

    arrays = (
        array(tf.int32, [None]),
        array(tf.float32, [None, None]),
        array(tf.float32, [None, 1]),
    )
    sums = (tf.zeros([batch], tf.int32), tf.zeros([batch]))
    steps, _, _, _, arrays, (lengths, scores) = tf.while_loop(
        more, body, (tf.constant(0), tf.zeros([batch], tf.bool), first, state, arrays, sums)
    )
    words, alphas, betas = (values.stack() for values in arrays)
    return Decoded(
        tf.transpose(tf.reshape(words, [steps, batch])),
        lengths,
        scores,
        tf.transpose(tf.reshape(alphas, [steps, batch, locations]), [1, 0, 2]),
        tf.transpose(tf.reshape(betas, [steps, batch])),
    )
