"""The sequences that a search extends and returns."""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

# (previous tokens int32 [N], state) ->
# (log probabilities of the next tokens float32 [N, V], state, outputs).
# State and outputs are nests of tensors of N rows each.
StepFunction = Callable[[tf.Tensor, Any], tuple[tf.Tensor, Any, Any]]


class Decoded(NamedTuple):
    """K sequences for each of B inputs; T is the length of the longest one.

    Where fewer than K sequences are possible, the others have length 0 and a score of minus
    infinity.

    tokens: int32 [B, K, T], zero after the last token of a sequence.
    lengths: int32 [B, K], the end token included.
    scores: float32 [B, K], see `DecodingConstraints.normalize`; higher is better.
    log_probs: of each token in nats, float32 [B, K, T], zero after the last.
    step_outputs: the outputs of the steps, each tensor [B, K, T, ...], zero after the last token.
    """

    tokens: tf.Tensor
    lengths: tf.Tensor
    scores: tf.Tensor
    log_probs: tf.Tensor
    step_outputs: Any


class Hypotheses(NamedTuple):
    """Sequences being extended, [..., max_steps] each.

    A hypothesis keeps, for each token, the row of the step that generated it. The outputs of the
    steps stay where they were written and are gathered once, at the end.

    tokens: int32.
    log_probs: of the tokens, float32.
    rows: row of the step function's batch that generated the token, int32.
    """

    tokens: tf.Tensor
    log_probs: tf.Tensor
    rows: tf.Tensor

    @classmethod
    def empty(cls, shape: list[Any]) -> "Hypotheses":
        """Return sequences without tokens."""
        return cls(tf.zeros(shape, tf.int32), tf.zeros(shape), tf.zeros(shape, tf.int32))

    def append(
        self, t: tf.Tensor, tokens: tf.Tensor, log_probs: tf.Tensor, rows: tf.Tensor
    ) -> "Hypotheses":
        """Return the sequences with the t-th token set; the arguments are [...]."""
        is_now = tf.range(self.tokens.shape[-1]) == t  # [max_steps]
        values = (tokens, log_probs, rows)
        return Hypotheses(
            *(
                tf.where(is_now, value[..., tf.newaxis], field)
                for field, value in zip(self, values, strict=True)
            )
        )

    def previous(self, t: tf.Tensor, start_tokens: tf.Tensor) -> tf.Tensor:
        """Return the tokens [N] before step t of sequences [N, max_steps]."""
        last = tf.gather(self.tokens, tf.maximum(t - 1, 0), axis=1)
        return tf.where(t == 0, start_tokens, last)


def output_arrays(dtypes: Any) -> Any:
    """Return an empty TensorArray for each of the step's outputs, given the nest of dtypes."""
    return tf.nest.map_structure(
        lambda dtype: tf.TensorArray(dtype, 0, dynamic_size=True, infer_shape=False), dtypes
    )


def write_outputs(arrays: Any, t: tf.Tensor, outputs: Any) -> Any:
    """Write the outputs of step t."""
    return tf.nest.map_structure(lambda array, value: array.write(t, value), arrays, outputs)


def collect(hypotheses: Hypotheses, lengths: tf.Tensor, scores: tf.Tensor, arrays: Any) -> Decoded:
    """Cut hypotheses [B, K, max_steps] to the longest length and gather their step outputs."""
    steps = tf.maximum(tf.reduce_max(lengths), 0)  # reduce_max of an empty batch is negative
    is_token = tf.sequence_mask(lengths, steps)  # [B, K, T]
    rows = tf.where(is_token, hypotheses.rows[..., :steps], 0)
    shape = tf.shape(rows)

    def gather(array: tf.TensorArray) -> tf.Tensor:
        values = array.stack()[:steps]  # [T, N, ...]
        by_step = tf.transpose(tf.reshape(rows, [shape[0] * shape[1], steps]))  # [T, B*K]
        gathered = tf.gather(values, by_step, axis=1, batch_dims=1)  # [T, B*K, ...]
        rest = tf.shape(values)[2:]
        order = tf.concat([[1, 0], tf.range(2, tf.rank(values))], axis=0)
        gathered = tf.reshape(tf.transpose(gathered, order), tf.concat([shape, rest], axis=0))
        mask = tf.reshape(is_token, tf.concat([shape, tf.ones_like(rest)], axis=0))
        return tf.where(mask, gathered, tf.zeros_like(gathered))  # [B, K, T, ...]

    return Decoded(
        tf.where(is_token, hypotheses.tokens[..., :steps], 0),
        lengths,
        scores,
        tf.where(is_token, hypotheses.log_probs[..., :steps], 0.0),
        tf.nest.map_structure(gather, arrays),
    )
