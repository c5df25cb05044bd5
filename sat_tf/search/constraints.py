"""Which sequences a search may return, and the score that ranks them."""

import dataclasses

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
          log_probs: of the next token, float32 [N, V].
          tokens: the sequences so far, int32 [N, max_steps].
          t: their number of tokens, int32 [].
        """
        ids = tf.range(tf.shape(log_probs)[1])
        suppressed = tf.constant(self.suppressed_ids, tf.int32)
        is_blocked = tf.reduce_any(ids[:, tf.newaxis] == suppressed, axis=1)
        is_blocked |= (ids == self.end_id) & (t < self.min_steps)  # [V]
        masked = tf.where(is_blocked, NEG_INF, log_probs)
        if not 0 < self.no_repeat_ngram <= self.max_steps:
            return masked
        masked = self._block_repeats(masked, tokens, t)
        # A minimum length may leave no token that repeats nothing: then the sequence ends.
        is_stuck = tf.reduce_all(masked == NEG_INF, axis=1, keepdims=True)
        return tf.where(is_stuck & (ids == self.end_id), log_probs, masked)

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
