"""Beam search: the K best sequences found while K are kept at each step."""

from typing import Any, NamedTuple

import tensorflow as tf

from sat_tf.search.constraints import NEG_INF, DecodingConstraints
from sat_tf.search.hypotheses import Decoded, Paths, StepFunction, finish, look_arrays


class _Beam(NamedTuple):
    """K hypotheses of each input: paths [B, K, max_steps], lengths and scores [B, K].

    Scores order them; minus infinity marks a place that is empty. Those that live have the sum of
    their log probabilities, those that have ended are normalised.
    """

    paths: Paths
    lengths: tf.Tensor
    scores: tf.Tensor

    def best(self, count: int) -> "_Beam":
        """The `count` best, best first."""
        scores, order = tf.math.top_k(self.scores, count)
        return _take(self, order)._replace(scores=scores)

    def joined(self, other: "_Beam") -> "_Beam":
        """Both."""
        return tf.nest.map_structure(lambda *both: tf.concat(both, axis=1), self, other)


def beam_search(
    step: StepFunction,
    state: Any,
    first: tf.Tensor,
    rules: DecodingConstraints,
    look_dtypes: Any,
    *,
    beam_size: int,
) -> Decoded:
    """The K best sequences, best first; those that have ended come before those that were cut.

    Hypotheses that live and those that have ended are kept apart, K of each. At each step the K
    that live become their 2 K best continuations; of these the best K that do not end live on, and
    those that end, if they are among the best K, stand against what has ended before. An input is
    done when K have ended and the best one that lives, were it to end here, would not be among
    them; without length normalisation nothing that comes later could. With K = 1 this is greedy
    search.

    Args:
      step: gives the next tokens' log probabilities; rows b K to b K + K - 1 are input b's.
      state: of the first step, B rows.
      first: what stands before the first token, int32 [B].
      rules: what may come, and the score.
      look_dtypes: of the step's looks, as the same nest.
      beam_size: K.
    """
    batch = tf.shape(first)[0]
    rows = tf.reshape(tf.range(batch * beam_size), [batch, beam_size])

    def more(t: tf.Tensor, done: tf.Tensor, *_: Any) -> tf.Tensor:
        return (t < rules.max_steps) & ((t == 0) | ~tf.reduce_all(done))

    def body(
        t: tf.Tensor, done: tf.Tensor, live: _Beam, ended: _Beam, state: Any, arrays: Any
    ) -> tuple[Any, ...]:
        walked = tf.reshape(live.paths.tokens, [-1, rules.max_steps])  # [B*K, max_steps]
        before = tf.gather(walked, tf.maximum(t - 1, 0), axis=1)
        before = tf.where(t == 0, tf.repeat(first, beam_size), before)
        log_probabilities, state, looks = step(before, state)
        arrays = tf.nest.map_structure(lambda array, look: array.write(t, look), arrays, looks)
        allowed = rules.allowed(log_probabilities, walked, t)
        candidates = _continue(live, allowed, rows, t)
        ends = tf.gather(candidates.paths.tokens, t, axis=2) == rules.end  # [B, 2K]
        among_best = tf.range(2 * beam_size) < beam_size
        score = rules.normalized(candidates.scores, t + 1)
        score = tf.where(ends & among_best & ~done[:, tf.newaxis], score, NEG_INF)
        ended = ended.joined(candidates._replace(scores=score)).best(beam_size)
        score = tf.where(ends, NEG_INF, candidates.scores)
        live = candidates._replace(scores=score).best(beam_size)
        parents = tf.gather(live.paths.rows, t, axis=2)  # [B, K]
        state = tf.nest.map_structure(lambda x: tf.gather(x, tf.reshape(parents, [-1])), state)
        hope = rules.normalized(live.scores[:, 0], t + 1)
        return t + 1, done | (ended.scores[:, -1] >= hope), live, ended, state, arrays

    nothing = _Beam(
        Paths.empty([batch, beam_size, rules.max_steps]),
        tf.zeros([batch, beam_size], tf.int32),
        tf.fill([batch, beam_size], NEG_INF),
    )
    # One hypothesis, of no token; K equal ones would give each continuation K times.
    one = tf.where(tf.range(beam_size) == 0, 0.0, tf.fill([batch, beam_size], NEG_INF))
    state = tf.nest.map_structure(lambda x: tf.repeat(x, beam_size, axis=0), state)
    _, _, live, ended, _, arrays = tf.while_loop(
        more,
        body,
        (
            tf.constant(0),
            tf.zeros([batch], tf.bool),
            nothing._replace(scores=one),
            nothing,
            state,
            look_arrays(look_dtypes),
        ),
    )
    cut = live._replace(scores=rules.normalized(live.scores, live.lengths))
    best = _first_that_are(ended.joined(cut), beam_size)
    return finish(best.paths, best.lengths, best.scores, arrays)


def _continue(live: _Beam, allowed: tf.Tensor, rows: tf.Tensor, t: tf.Tensor) -> _Beam:
    """The 2 K best continuations of each input's hypotheses, best first.

    Args:
      live: hypotheses of t tokens.
      allowed: log probabilities of what may come next, float32 [B*K, V].
      rows: numbers of the hypotheses' rows in `allowed`, int32 [B, K].
      t: int32 [].
    """
    batch, beam_size = tf.unstack(tf.shape(rows))
    size = tf.shape(allowed)[1]
    totals = tf.reshape(live.scores, [-1, 1]) + allowed  # [B*K, V]
    totals = tf.reshape(totals, [batch, beam_size * size])
    scores, order = tf.math.top_k(totals, 2 * rows.shape[1])  # [B, 2K]
    parents, tokens = order // size, order % size
    paths, rows = _take((live.paths, rows), parents)
    gained = tf.gather_nd(allowed, tf.stack([rows, tokens], axis=-1))
    return _Beam(paths.extended(t, tokens, gained, rows), tf.fill(tf.shape(scores), t + 1), scores)


def _first_that_are(beam: _Beam, count: int) -> _Beam:
    """The first `count` hypotheses that are no empty places; then these, without length."""
    missing = beam.scores == NEG_INF
    beam = beam._replace(lengths=tf.where(missing, 0, beam.lengths))
    return _take(beam, tf.argsort(tf.cast(missing, tf.int32), stable=True)[:, :count])


def _take(beam: Any, order: tf.Tensor) -> Any:
    """Of tensors [B, N, ...] those of `order` [B, M]: [B, M, ...]."""
    return tf.nest.map_structure(lambda x: tf.gather(x, order, batch_dims=1), beam)
