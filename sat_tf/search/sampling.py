"""Searches that extend each sequence by one token per step: greedy search and sampling."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from sat_tf.search.hypotheses import NEG_INF, Decoded, Hypotheses, SearchProblem, collect

_TINY = 1e-30  # keeps logarithms finite
_LARGEST_FRACTION = 1 - 1e-6
_BLOCK = 128  # tokens, about the root of V


def greedy_search(problem: SearchProblem) -> Decoded:
    """Take the most probable token at each step: K = 1."""

    def select(log_probs: tf.Tensor, tokens: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
        masked = problem.constraints.mask_log_probs(log_probs, tokens, t)
        return tf.argmax(masked, axis=-1, output_type=tf.int32)

    return decode_loop(select, problem)


def sample(
    problem: SearchProblem,
    *,
    num_samples: int,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int = 0,
) -> Decoded:
    """Sample each token from the model's distribution: K = `num_samples`, in no order.

    The k-th samples of all inputs share their random numbers: the samples of an input depend on
    the seed, not on the other inputs of the batch.

    Args:
      problem: of the B inputs.
      num_samples: sequences for each input.
      temperature: divides the log probabilities; values below 1 sharpen the distribution.
      top_k: sample among this many most probable tokens; 0 for all.
      top_p: sample among the fewest most probable tokens that together reach this probability.
      seed: of the random numbers.
    """

    def select(log_probs: tf.Tensor, tokens: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
        masked = problem.constraints.mask_log_probs(log_probs, tokens, t)
        logits = filter_top_k_top_p(masked / temperature, top_k, top_p)
        size = tf.shape(logits)[1]
        # The argmax of logits with Gumbel noise is a sample from their softmax.
        uniform = tf.random.stateless_uniform(
            [num_samples, size], tf.stack([seed, t]), minval=_TINY
        )
        noise = -tf.math.log(-tf.math.log(uniform))
        noisy = tf.reshape(logits, [-1, num_samples, size]) + noise
        return tf.reshape(tf.argmax(noisy, axis=-1, output_type=tf.int32), [-1])

    return decode_loop(select, problem.repeat(num_samples), num_samples)


def categorical(logits: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
    """Sample a token of each row by the inverse of the cumulative distribution.

    One number a row: `tf.random.stateless_categorical` takes one for each of the V logits.

    Args:
      logits: float32 [N, V].
      uniform: 0 to 1, exclusive, float32 [N].

    Returns:
      int32 [N].
    """
    rows, size = tf.unstack(tf.shape(logits))
    probabilities = tf.pad(tf.nn.softmax(logits), [[0, 0], [0, -size % _BLOCK]])
    # First among blocks, as a cumulative sum over V takes twice as long as all the rest.
    blocks = tf.reshape(probabilities, [rows, -1, _BLOCK])
    block, uniform = _invert(tf.reduce_sum(blocks, axis=2), uniform)
    token, _ = _invert(tf.gather(blocks, block, batch_dims=1), uniform)
    return block * _BLOCK + token


def _invert(weights: tf.Tensor, uniform: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return where the cumulative share of weights [N, M] exceeds a number [N].

    Returns:
      The index, int32 [N], and the place of the number within that weight, 0 to 1, float32 [N].
    """
    cumulative = tf.cumsum(weights, axis=1)  # [N, M]
    # Within the sum, rounded as it may be.
    wanted = tf.clip_by_value(uniform, 0.0, _LARGEST_FRACTION) * cumulative[:, -1]
    index = tf.reduce_sum(tf.cast(cumulative <= wanted[:, tf.newaxis], tf.int32), axis=1)
    weight, end = (tf.gather(x, index, batch_dims=1) for x in (weights, cumulative))
    return index, (wanted - (end - weight)) / weight


def filter_top_k_top_p(logits: tf.Tensor, top_k: int, top_p: float) -> tf.Tensor:
    """Set logits [N, V] to minus infinity where they are not among the top ones."""
    if top_k:
        smallest = tf.math.top_k(logits, tf.minimum(top_k, tf.shape(logits)[1])).values[:, -1:]
        logits = tf.where(logits >= smallest, logits, NEG_INF)
    if top_p < 1.0:
        ordered = tf.sort(logits, direction="DESCENDING")
        before = tf.cumsum(tf.nn.softmax(ordered), axis=-1, exclusive=True)
        kept = tf.where(before < top_p, ordered, -NEG_INF)
        logits = tf.where(logits >= tf.reduce_min(kept, -1, keepdims=True), logits, NEG_INF)
    return logits


def decode_loop(
    select: Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor],
    problem: SearchProblem,
    num_sequences: int = 1,
) -> Decoded:
    """Extend sequences by one token per step until all have ended.

    Args:
      select: picks tokens int32 [N] from log probabilities [N, V], after the tokens so far
        [N, max_steps], at step t.
      problem: of N = B K rows; `select` masks the tokens that the constraints forbid.
      num_sequences: K, sequences of each input.
    """
    constraints = problem.constraints
    rows = tf.range(tf.shape(problem.start_tokens)[0])  # [N]

    def body(
        t: tf.Tensor,
        is_done: tf.Tensor,
        lengths: tf.Tensor,
        sequences: Hypotheses,
        state: Any,
        arrays: Any,
    ) -> tuple[Any, ...]:
        log_probs, state, arrays = problem.step(t, sequences, state, arrays)
        tokens = select(log_probs, sequences.tokens, t)
        token_log_probs = tf.gather(log_probs, tokens, batch_dims=1)
        sequences = sequences.append(t, tokens, token_log_probs, rows)
        lengths += tf.cast(~is_done, tf.int32)
        is_done |= tokens == constraints.end_id
        return is_done, lengths, sequences, state, arrays

    zeros = tf.zeros_like(rows)
    empty = Hypotheses.empty([tf.size(rows), constraints.max_steps])
    lengths, sequences, arrays = problem.loop(body, zeros > 0, zeros, empty)
    sequences, lengths = tf.nest.map_structure(
        lambda x: _split_rows(x, num_sequences), (sequences, lengths)
    )
    is_token = tf.sequence_mask(lengths, constraints.max_steps)
    totals = tf.reduce_sum(tf.where(is_token, sequences.log_probs, 0.0), axis=-1)
    return collect(sequences, lengths, constraints.normalize(totals, lengths), arrays)


def _split_rows(rows: tf.Tensor, count: int) -> tf.Tensor:
    """Reshape [B * count, ...] to [B, count, ...]."""
    shape = tf.shape(rows)
    return tf.reshape(rows, tf.concat([[shape[0] // count, count], shape[1:]], axis=0))
