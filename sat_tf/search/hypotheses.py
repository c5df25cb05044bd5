"""The sequences that a search extends and returns, and the constraints on them."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

NEG_INF = float("-inf")


@dataclasses.dataclass(frozen=True)
class DecodingConstraints:
    """Constraints on sequences, and the normalisation of their scores.

    A suppressed token is skipped; the probabilities of the others stay those of the model, so that
    a score is always the model's.

    Args:
      end_id: token that ends a sequence.
      max_steps: largest number of tokens, the end included; what has not ended by then is cut.
      min_steps: smallest number of tokens before the end.
      suppressed_ids: tokens that are never generated.
      no_repeat_ngram: block repeated n-grams of this size; 0 blocks none.
      length_normalization: "none" ranks by the sum of log probabilities; "length" by that sum
        over the number of tokens n; "gnmt" over ((5 + n) / 6)^exponent (Wu et al., 2016, eq. 14).
      exponent: of "gnmt".
    """

    end_id: int
    max_steps: int
    min_steps: int = 0
    suppressed_ids: tuple[int, ...] = ()
    no_repeat_ngram: int = 0
    length_normalization: str = "none"
    exponent: float = 0.6

    def mask_log_probs(self, log_probs: tf.Tensor, tokens: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
        """Set the log probabilities of tokens that may not come next to minus infinity.

        Args:
          log_probs: of the next token, float32 [N, V]; V is static.
          tokens: the sequences so far, int32 [N, max_steps].
          t: their number of tokens, int32 [].
        """
        ids = np.arange(log_probs.shape[1])
        is_suppressed, is_end = np.isin(ids, self.suppressed_ids), ids == self.end_id  # [V]
        masked = tf.where(is_suppressed | (is_end & (t < self.min_steps)), NEG_INF, log_probs)
        if not 0 < self.no_repeat_ngram <= self.max_steps:
            return masked
        masked = self._block_repeats(masked, tokens, t)
        # A minimum length may leave no token that repeats nothing: then the sequence ends.
        is_stuck = tf.reduce_all(masked == NEG_INF, axis=1, keepdims=True)
        return tf.where(is_stuck & is_end, log_probs, masked)

    def _block_repeats(self, log_probs: tf.Tensor, tokens: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
        """Block the tokens that followed an earlier occurrence of the last n - 1 tokens."""
        n, steps = self.no_repeat_ngram, self.max_steps
        last = tokens[:, n - 1 :]  # the last token of each n-gram, [N, n-grams]
        count = steps - n + 1
        is_repeat = tf.broadcast_to(tf.range(n - 1, steps) < t, tf.shape(last))
        for i in range(n - 1):
            now = tf.gather(tokens, tf.maximum(t - (n - 1) + i, 0), axis=1)
            is_repeat &= tokens[:, i : i + count] == now[:, tf.newaxis]
        rows = tf.broadcast_to(tf.range(tf.shape(tokens)[0])[:, tf.newaxis], tf.shape(last))
        limits = tf.where(is_repeat, NEG_INF, -NEG_INF)
        return tf.tensor_scatter_nd_min(log_probs, tf.stack([rows, last], axis=-1), limits)

    def normalize(self, totals: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        """Return scores: sums of log probabilities, normalised for their `lengths`."""
        lengths = tf.cast(lengths, tf.float32)
        if self.length_normalization == "length":
            return totals / lengths
        if self.length_normalization == "gnmt":
            return totals / ((5.0 + lengths) / 6.0) ** self.exponent
        return totals


# (previous tokens int32 [N], state) ->
# (log probabilities of the next tokens float32 [N, V], state, outputs).
# State and outputs are nests of tensors of N rows each.
StepFunction = Callable[[tf.Tensor, Any], tuple[tf.Tensor, Any, Any]]


class SearchProblem(NamedTuple):
    """What a search over B inputs starts from.

    step_fn: if K hypotheses of an input are kept, rows b K to b K + K - 1 belong to input b.
    state: of the first step, B rows.
    start_tokens: before the first token, int32 [B].
    constraints: on the sequences, and the score.
    output_dtypes: nest of the dtypes of the step's outputs.
    """

    step_fn: StepFunction
    state: Any
    start_tokens: tf.Tensor
    constraints: DecodingConstraints
    output_dtypes: Any

    def repeat(self, count: int) -> "SearchProblem":
        """Return the problem with K = `count` rows for each input."""
        state, start_tokens = tf.nest.map_structure(
            lambda x: tf.repeat(x, count, axis=0), (self.state, self.start_tokens)
        )
        return self._replace(state=state, start_tokens=start_tokens)

    def step(
        self, t: tf.Tensor, sequences: "Hypotheses", state: Any, arrays: Any
    ) -> tuple[tf.Tensor, Any, Any]:
        """Take step t of sequences [N, max_steps], and write its outputs.

        Returns:
          The log probabilities, float32 [N, V], the state and the arrays.
        """
        last = tf.gather(sequences.tokens, tf.maximum(t - 1, 0), axis=1)
        previous = tf.where(t == 0, self.start_tokens, last)
        log_probs, state, outputs = self.step_fn(previous, state)
        arrays = tf.nest.map_structure(lambda array, x: array.write(t, x), arrays, outputs)
        return log_probs, state, arrays

    def loop(self, body: Callable[..., tuple[Any, ...]], is_done: tf.Tensor, *values: Any) -> Any:
        """Repeat a step until all is done or the largest length is reached.

        `body` takes t, `is_done`, the values, the state and the arrays of the steps' outputs, and
        returns all but t. The result are the last values and the arrays.
        """
        arrays = tf.nest.map_structure(
            lambda dtype: tf.TensorArray(dtype, 0, dynamic_size=True, infer_shape=False),
            self.output_dtypes,
        )

        def is_unfinished(t: tf.Tensor, is_done: tf.Tensor, *_: Any) -> tf.Tensor:
            return (t < self.constraints.max_steps) & ((t == 0) | ~tf.reduce_all(is_done))

        _, _, *values, _, arrays = tf.while_loop(
            is_unfinished,
            lambda t, *carried: (t + 1, *body(t, *carried)),
            (tf.constant(0), is_done, *values, self.state, arrays),
        )
        return *values, arrays


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
