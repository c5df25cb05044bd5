"""Searches that follow one path: greedy search and sampling."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from sat_tf.search.constraints import NEG_INF, DecodingConstraints
from sat_tf.search.hypotheses import Decoded, Paths, StepFunction, finish, look_arrays

_LEAST = 1e-30  # keeps logarithms finite


def greedy_search(
    step: StepFunction, state: Any, first: tf.Tensor, rules: DecodingConstraints, look_dtypes: Any
) -> Decoded:
    """Takes the most probable token at each step: K = 1.

    Args:
      step: gives the next tokens' log probabilities, for the B inputs.
      state: of the first step, B rows.
      first: what stands before the first token, int32 [B].
      rules: what may come.
      look_dtypes: of the step's looks, as the same nest.
    """

    def choose(allowed: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
        del t
        return tf.argmax(allowed, axis=-1, output_type=tf.int32)

    return follow(choose, step, state, first, rules, look_dtypes, paths=1)


def sample(
    step: StepFunction,
    state: Any,
    first: tf.Tensor,
    rules: DecodingConstraints,
    look_dtypes: Any,
    *,
    draws: int,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int = 0,
) -> Decoded:
    """Draws each token from the model's distribution: K = `draws`, in no order.

    The same seed draws the same for an input, whatever stands beside it in the batch: the k-th
    draws of all inputs share their random numbers.

    Args:
      step: gives the next tokens' log probabilities; rows b K to b K + K - 1 are input b's.
      state: of the first step, B rows.
      first: what stands before the first token, int32 [B].
      rules: what may come.
      look_dtypes: of the step's looks, as the same nest.
      draws: sequences for each input.
      temperature: divides the log probabilities; below 1 the probable becomes more so.
      top_k: only so many of the most probable tokens; 0: any.
      top_p: only the fewest of the most probable tokens that together reach this probability.
      seed: of the random numbers.
    """

    def choose(allowed: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
        logits = filter_top_k_top_p(allowed / temperature, top_k, top_p)
        size = tf.shape(logits)[1]
        # The largest sum with Gumbel noise is a draw from the softmax.
        uniform = tf.random.stateless_uniform([draws, size], tf.stack([seed, t]), minval=_LEAST)
        gumbel = -tf.math.log(-tf.math.log(uniform))
        noisy = tf.reshape(logits, [-1, draws, size]) + gumbel
        return tf.reshape(tf.argmax(noisy, axis=-1, output_type=tf.int32), [-1])

    state, first = tf.nest.map_structure(lambda x: tf.repeat(x, draws, axis=0), (state, first))
    return follow(choose, step, state, first, rules, look_dtypes, paths=draws)


def filter_top_k_top_p(logits: tf.Tensor, top_k: int, top_p: float) -> tf.Tensor:
    """Logits [N, V], minus infinity where they are not among the top ones."""
    if top_k:
        least = tf.math.top_k(logits, tf.minimum(top_k, tf.shape(logits)[1])).values[:, -1:]
        logits = tf.where(logits >= least, logits, NEG_INF)
    if top_p < 1.0:
        ordered = tf.sort(logits, direction="DESCENDING")
        before = tf.cumsum(tf.nn.softmax(ordered), axis=-1, exclusive=True)
        kept = tf.where(before < top_p, ordered, -NEG_INF)
        logits = tf.where(logits >= tf.reduce_min(kept, -1, keepdims=True), logits, NEG_INF)
    return logits


def follow(
    choose: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
    step: StepFunction,
    state: Any,
    first: tf.Tensor,
    rules: DecodingConstraints,
    look_dtypes: Any,
    paths: int,
) -> Decoded:
    """Walks until every path has ended; `choose` picks tokens [N] of what is allowed [N, V]."""
    rows = tf.range(tf.shape(first)[0])  # [N]

    def more(t: tf.Tensor, done: tf.Tensor, *_: Any) -> tf.Tensor:
        return (t < rules.max_steps) & ((t == 0) | ~tf.reduce_all(done))

    def body(
        t: tf.Tensor, done: tf.Tensor, lengths: tf.Tensor, walked: Paths, state: Any, arrays: Any
    ) -> tuple[Any, ...]:
        before = tf.where(t == 0, first, tf.gather(walked.tokens, tf.maximum(t - 1, 0), axis=1))
        log_probabilities, state, looks = step(before, state)
        tokens = choose(rules.allowed(log_probabilities, walked.tokens, t), t)
        gained = tf.gather(log_probabilities, tokens, batch_dims=1)
        walked = walked.extended(t, tokens, gained, rows)
        arrays = tf.nest.map_structure(lambda array, look: array.write(t, look), arrays, looks)
        lengths += tf.cast(~done, tf.int32)
        return t + 1, done | (tokens == rules.end), lengths, walked, state, arrays

    nothing = tf.zeros_like(rows)
    start = Paths.empty([tf.shape(first)[0], rules.max_steps])
    _, _, lengths, walked, _, arrays = tf.while_loop(
        more,
        body,
        (tf.constant(0), nothing > 0, nothing, start, state, look_arrays(look_dtypes)),
    )
    walked, lengths = tf.nest.map_structure(lambda x: _by_input(x, paths), (walked, lengths))
    real = tf.sequence_mask(lengths, rules.max_steps)
    totals = tf.reduce_sum(tf.where(real, walked.log_probabilities, 0.0), axis=-1)
    return finish(walked, lengths, rules.normalized(totals, lengths), arrays)


def _by_input(rows: tf.Tensor, paths: int) -> tf.Tensor:
    """[B * K, ...] -> [B, K, ...]."""
    shape = tf.shape(rows)
    return tf.reshape(rows, tf.concat([[shape[0] // paths, paths], shape[1:]], axis=0))
