"""What a search may return, and by what score it ranks."""

import dataclasses

import tensorflow as tf

NEG_INF = float("-inf")


@dataclasses.dataclass(frozen=True)
class DecodingConstraints:
    """Which sequences may come, and how those of different lengths compare.

    A token that is barred is passed over; the others' probabilities stay what the model gave, so
    that a score is always the model's own.

    Args:
      end: id of the token that ends a sequence.
      max_steps: tokens at most, the end included; what has not ended by then is cut.
      min_steps: tokens at least before the end.
      barred: ids that never come.
      no_repeat_ngram: n, if no n tokens in a row may come twice in a sequence; 0 if they may.
      length_normalization: "none" ranks by the sum of log probabilities; "length" by that sum
        over the number of tokens n; "gnmt" over ((5 + n) / 6)^exponent (Wu et al., 2016, eq. 14).
      exponent: of "gnmt".
    """

    end: int
    max_steps: int
    min_steps: int = 0
    barred: tuple[int, ...] = ()
    no_repeat_ngram: int = 0
    length_normalization: str = "none"
    exponent: float = 0.6

    def allowed(self, log_probabilities: tf.Tensor, tokens: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
        """The log probabilities, minus infinity where a token may not come next.

        Args:
          log_probabilities: of the next token, float32 [N, V].
          tokens: the sequences so far, int32 [N, max_steps].
          t: how many tokens they have, int32 [].
        """
        ids = tf.range(tf.shape(log_probabilities)[1])
        bars = tf.reduce_any(ids[:, tf.newaxis] == tf.constant(self.barred, tf.int32), axis=1)
        bars |= (ids == self.end) & (t < self.min_steps)  # [V]
        allowed = tf.where(bars, NEG_INF, log_probabilities)
        if not 0 < self.no_repeat_ngram <= self.max_steps:
            return allowed
        allowed = self._without_repeats(allowed, tokens, t)
        # A minimum length may leave nothing to say but what was said: then it ends.
        stuck = tf.reduce_all(allowed == NEG_INF, axis=1, keepdims=True)
        return tf.where(stuck & (ids == self.end), log_probabilities, allowed)

    def _without_repeats(self, allowed: tf.Tensor, tokens: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
        """Bars what followed, earlier in the sequence, the same n - 1 tokens as stand last."""
        n, steps = self.no_repeat_ngram, self.max_steps
        last = tokens[:, n - 1 :]  # the last token of each n-gram, [N, n-grams]
        count = steps - n + 1
        repeats = tf.broadcast_to(tf.range(n - 1, steps) < t, tf.shape(last))
        for i in range(n - 1):
            now = tf.gather(tokens, tf.maximum(t - (n - 1) + i, 0), axis=1)
            repeats &= tokens[:, i : i + count] == now[:, tf.newaxis]
        rows = tf.broadcast_to(tf.range(tf.shape(tokens)[0])[:, tf.newaxis], tf.shape(last))
        limits = tf.where(repeats, NEG_INF, -NEG_INF)
        return tf.tensor_scatter_nd_min(allowed, tf.stack([rows, last], axis=-1), limits)

    def normalized(self, totals: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        """Scores of sequences: sums of log probabilities, normalised for their `lengths`."""
        lengths = tf.cast(lengths, tf.float32)
        if self.length_normalization == "length":
            return totals / lengths
        if self.length_normalization == "gnmt":
            return totals / ((5.0 + lengths) / 6.0) ** self.exponent
        return totals
