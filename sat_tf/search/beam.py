"""Beam search: the K best sequences found while K are kept at each step."""

from typing import Any, NamedTuple

import tensorflow as tf

from sat_tf.search.hypotheses import NEG_INF, Decoded, Hypotheses, SearchProblem, collect

_BLOCK = 128  # values of which a search compares the largest first


class _Beams(NamedTuple):
    """K hypotheses of each input: sequences [B, K, max_steps], lengths and scores [B, K].

    The scores order them; minus infinity marks an empty beam. Scores of alive hypotheses are sums
    of log probabilities, those of finished ones are normalised.
    """

    sequences: Hypotheses
    lengths: tf.Tensor
    scores: tf.Tensor

    def best(self, count: int) -> "_Beams":
        """Return the `count` best, best first."""
        scores, order = tf.math.top_k(self.scores, count)
        return gather_beams(self, order)._replace(scores=scores)

    def concat(self, other: "_Beams") -> "_Beams":
        """Return the hypotheses of both."""
        return tf.nest.map_structure(lambda *both: tf.concat(both, axis=1), self, other)


def beam_search(problem: SearchProblem, beam_size: int) -> Decoded:
    """Return the K best sequences, best first; finished ones come before those that were cut.

    K alive and K finished hypotheses are kept apart. At each step the alive ones are extended to
    their 2 K best continuations. Of these the best K that do not end stay alive; those that end,
    if they are among the best K, compete with the finished ones. An input is done when K are
    finished and the best alive hypothesis, if it ended now, would not be among them; without
    length normalisation no later one could. With K = 1 this is greedy search.
    """
    batch = tf.shape(problem.start_tokens)[0]
    problem, constraints = problem.repeat(beam_size), problem.constraints
    rows = tf.reshape(tf.range(batch * beam_size), [batch, beam_size])

    def body(
        t: tf.Tensor, is_done: tf.Tensor, alive: _Beams, finished: _Beams, state: Any, arrays: Any
    ) -> tuple[Any, ...]:
        flat = tf.nest.map_structure(
            lambda x: tf.reshape(x, [-1, constraints.max_steps]), alive.sequences
        )  # [B*K, max_steps]
        log_probs, state, arrays = problem.step(t, flat, state, arrays)
        masked = constraints.mask_log_probs(log_probs, flat.tokens, t)
        candidates = _extend(alive, masked, rows, t)
        is_end = tf.gather(candidates.sequences.tokens, t, axis=2) == constraints.end_id  # [B, 2K]
        is_among_best = tf.range(2 * beam_size) < beam_size
        scores = constraints.normalize(candidates.scores, t + 1)
        scores = tf.where(is_end & is_among_best & ~is_done[:, tf.newaxis], scores, NEG_INF)
        finished = finished.concat(candidates._replace(scores=scores)).best(beam_size)
        scores = tf.where(is_end, NEG_INF, candidates.scores)
        alive = candidates._replace(scores=scores).best(beam_size)
        parents = tf.reshape(tf.gather(alive.sequences.rows, t, axis=2), [-1])  # [B*K]
        state = tf.nest.map_structure(lambda x: tf.gather(x, parents), state)
        best_attainable = constraints.normalize(alive.scores[:, 0], t + 1)
        is_done |= finished.scores[:, -1] >= best_attainable
        return is_done, alive, finished, state, arrays

    empty = _Beams(
        Hypotheses.empty([batch, beam_size, constraints.max_steps]),
        tf.zeros([batch, beam_size], tf.int32),
        tf.fill([batch, beam_size], NEG_INF),
    )
    # One hypothesis without tokens; K equal ones would yield each continuation K times.
    first = tf.where(tf.range(beam_size) == 0, 0.0, tf.fill([batch, beam_size], NEG_INF))
    alive, finished, arrays = problem.loop(
        body, tf.zeros([batch], tf.bool), empty._replace(scores=first), empty
    )
    cut = alive._replace(scores=constraints.normalize(alive.scores, alive.lengths))
    best = _without_gaps(finished.concat(cut), beam_size)
    return collect(best.sequences, best.lengths, best.scores, arrays)


def _extend(alive: _Beams, log_probs: tf.Tensor, rows: tf.Tensor, t: tf.Tensor) -> _Beams:
    """Return the 2 K best continuations of each input's hypotheses, best first.

    Args:
      alive: hypotheses of t tokens.
      log_probs: of the next token, float32 [B*K, V].
      rows: row of each hypothesis in `log_probs`, int32 [B, K].
      t: int32 [].
    """
    batch, beam_size = tf.unstack(tf.shape(rows))
    size = tf.shape(log_probs)[1]
    totals = tf.reshape(alive.scores, [-1, 1]) + log_probs  # [B*K, V]
    totals = tf.reshape(totals, [batch, beam_size * size])
    scores, order = _top_k(totals, 2 * rows.shape[1])  # [B, 2K]
    parents, tokens = order // size, order % size
    sequences, rows = gather_beams((alive.sequences, rows), parents)
    token_log_probs = tf.gather_nd(log_probs, tf.stack([rows, tokens], axis=-1))
    lengths = tf.fill(tf.shape(scores), t + 1)
    return _Beams(sequences.append(t, tokens, token_log_probs, rows), lengths, scores)


def _top_k(values: tf.Tensor, k: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Return what `tf.math.top_k` returns of [B, N], sooner if N is large.

    The k largest values lie in the k blocks with the largest maxima, of equal ones the first.
    """
    batch, size = tf.unstack(tf.shape(values))
    padded = tf.pad(values, [[0, 0], [0, -size % _BLOCK]], constant_values=NEG_INF)
    blocks = tf.reshape(padded, [batch, -1, _BLOCK])
    maxima = tf.reduce_max(blocks, axis=2)
    _, chosen = tf.math.top_k(maxima, tf.minimum(k, tf.shape(maxima)[1]))
    chosen = tf.sort(chosen)  # of equal values the first comes first
    candidates = tf.reshape(tf.gather(blocks, chosen, batch_dims=1), [batch, -1])
    largest, order = tf.math.top_k(candidates, k)
    block = tf.gather(chosen, order // _BLOCK, batch_dims=1)
    return largest, block * _BLOCK + order % _BLOCK


def _without_gaps(beams: _Beams, count: int) -> _Beams:
    """Return the first `count` hypotheses, empty beams last and with length 0."""
    is_empty = beams.scores == NEG_INF
    beams = beams._replace(lengths=tf.where(is_empty, 0, beams.lengths))
    order = tf.argsort(tf.cast(is_empty, tf.int32), stable=True)
    return gather_beams(beams, order[:, :count])


def gather_beams(beams: Any, order: tf.Tensor) -> Any:
    """Gather a nest of tensors [B, N, ...] by indices [B, M]: [B, M, ...]."""
    return tf.nest.map_structure(lambda x: tf.gather(x, order, batch_dims=1), beams)
