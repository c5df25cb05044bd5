"""What searches walk along, and what they return."""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

# (the tokens before, int32 [N]; state) ->
# (log probabilities of the next ones, float32 [N, V]; state; looks)
# State and looks are any nests of tensors of N rows each.
StepFunction = Callable[[tf.Tensor, Any], tuple[tf.Tensor, Any, Any]]


class Decoded(NamedTuple):
    """K sequences for each of B inputs; T is the longest one's length.

    Where fewer than K sequences are possible the rest have length 0 and a score of minus infinity.

    tokens: int32 [B, K, T], zero after a sequence's last.
    lengths: int32 [B, K], the end token included.
    scores: float32 [B, K], see `DecodingConstraints.normalized`.
    log_probabilities: of each token, float32 [B, K, T], zero after the last.
    looks: what the steps gave beside, each tensor [B, K, T, ...], zero after the last.
    """

    tokens: tf.Tensor
    lengths: tf.Tensor
    scores: tf.Tensor
    log_probabilities: tf.Tensor
    looks: Any


class Paths(NamedTuple):
    """Sequences under way, [..., max_steps] each.

    tokens: int32.
    log_probabilities: of the tokens, float32.
    rows: which row of the step function's batch gave the token, and so its looks; int32.
    """

    tokens: tf.Tensor
    log_probabilities: tf.Tensor
    rows: tf.Tensor

    @classmethod
    def empty(cls, shape: list[Any]) -> "Paths":
        """No tokens yet."""
        return cls(tf.zeros(shape, tf.int32), tf.zeros(shape), tf.zeros(shape, tf.int32))

    def extended(
        self, t: tf.Tensor, tokens: tf.Tensor, log_probabilities: tf.Tensor, rows: tf.Tensor
    ) -> "Paths":
        """With one token more, at place `t`; the arguments are [...]."""
        here = tf.range(self.tokens.shape[-1]) == t  # [max_steps]
        values = (tokens, log_probabilities, rows)
        return Paths(
            *(
                tf.where(here, value[..., tf.newaxis], path)
                for path, value in zip(self, values, strict=True)
            )
        )


def look_arrays(dtypes: Any) -> Any:
    """A growing array for each of the looks, whose dtypes come as the same nest."""
    return tf.nest.map_structure(
        lambda dtype: tf.TensorArray(dtype, 0, dynamic_size=True, infer_shape=False), dtypes
    )


def finish(paths: Paths, lengths: tf.Tensor, scores: tf.Tensor, arrays: Any) -> Decoded:
    """Cuts paths [B, K, max_steps] to the longest one's length and fetches their looks."""
    steps = tf.maximum(tf.reduce_max(lengths), 0)  # of an empty batch the smallest int32
    real = tf.sequence_mask(lengths, steps)  # [B, K, T]
    rows = tf.where(real, paths.rows[..., :steps], 0)
    shape = tf.shape(rows)

    def fetch(array: tf.TensorArray) -> tf.Tensor:
        values = array.stack()[:steps]  # [T, N, ...]
        by_step = tf.transpose(tf.reshape(rows, [shape[0] * shape[1], steps]))  # [T, B*K]
        fetched = tf.gather(values, by_step, axis=1, batch_dims=1)  # [T, B*K, ...]
        rest = tf.shape(values)[2:]
        order = tf.concat([[1, 0], tf.range(2, tf.rank(values))], axis=0)
        fetched = tf.reshape(tf.transpose(fetched, order), tf.concat([shape, rest], axis=0))
        mask = tf.reshape(real, tf.concat([shape, tf.ones_like(rest)], axis=0))
        return tf.where(mask, fetched, tf.zeros_like(fetched))

    return Decoded(
        tf.where(real, paths.tokens[..., :steps], 0),
        lengths,
        scores,
        tf.where(real, paths.log_probabilities[..., :steps], 0.0),
        tf.nest.map_structure(fetch, arrays),
    )
