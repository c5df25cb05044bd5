"""A step function without a network: the next token depends on the last two and on the time.

Its alpha and beta record the path of a hypothesis, so that a test can check that they follow it
through every reordering.
"""

import itertools

import numpy as np
import tensorflow as tf

from sat_tf.search.hypotheses import SearchProblem

END, L = 1, 5
NEVER = -1e9


class Chain:
    """Random log probabilities of a token after the two before it: [inputs, time, V, V, V]."""

    # Time is modulo this; without time, sequences of the same pairs would have equal scores.
    period = 10

    def __init__(self, inputs=2, words=4, seed=0, peaked=1.0):
        random = np.random.default_rng(seed)
        shape = (inputs, self.period, words, words)
        self.words = words
        self.log_p = np.log(random.dirichlet(peaked * np.ones(words), shape)).astype(np.float32)
        # PAD, id 0, is an ordinary token here; the start is two of the last token.
        self.start = words - 1

    @property
    def first(self):
        return tf.fill(tf.shape(self.log_p)[:1], self.start)

    @property
    def state(self):
        """The token before the last, the number of the input, the number of tokens."""
        return self.first, tf.range(tf.shape(self.log_p)[0]), tf.zeros_like(self.first)

    def step(self, tokens, state):
        before, inputs, t = state
        index = tf.stack([inputs, t % self.period, before, tokens], axis=-1)
        log_p = tf.gather_nd(tf.convert_to_tensor(self.log_p), index)
        alpha = tf.one_hot((before + 2 * tokens) % L, L)
        beta = tf.cast(10 * inputs + t + 1, tf.float32)
        return log_p, (tokens, inputs, t + 1), (alpha, beta)

    def problem(self, constraints, step=None):
        """What a search over the chain starts from."""
        dtypes = (tf.float32, tf.float32)
        return SearchProblem(step or self.step, self.state, self.first, constraints, dtypes)

    def score(self, number, sequence):
        """Log probability of each token of a sequence."""
        path = (self.start, self.start, *sequence)
        return [
            float(self.log_p[number, t % self.period, a, b, c])
            for t, (a, b, c) in enumerate(zip(path, path[1:], path[2:], strict=False))
        ]

    def outputs(self, number, sequence):
        """Alpha's place and beta, for each token of a sequence."""
        path = (self.start, self.start, *sequence)
        return [
            ((a + 2 * b) % L, 10.0 * number + t + 1)
            for t, (a, b) in enumerate(itertools.pairwise(path[:-1]))
        ]


def is_allowed(sequence, constraints):
    """Whether the constraints let a sequence come."""
    n = constraints.no_repeat_ngram
    grams = [sequence[i : i + n] for i in range(len(sequence) - n + 1)] if n else []
    return (
        not set(sequence) & set(constraints.suppressed_ids)
        and len(set(grams)) == len(grams)
        and not (END in sequence and sequence.index(END) < constraints.min_steps)
    )


def normalized(total, length, constraints):
    if constraints.length_normalization == "length":
        return total / length
    if constraints.length_normalization == "gnmt":
        return total / ((5 + length) / 6) ** constraints.exponent
    return total


def all_sequences(chain, number, constraints):
    """Every sequence there is with its score: (has ended, score, sequence), best first."""
    others = [word for word in range(chain.words) if word != END]
    found = []
    for length in range(1, constraints.max_steps + 1):
        for words in itertools.product(others, repeat=length - 1):
            endings = [END] if length < constraints.max_steps else range(chain.words)
            for last in endings:
                sequence = (*words, last)
                if is_allowed(sequence, constraints):
                    total = sum(chain.score(number, sequence))
                    found.append((last == END, normalized(total, length, constraints), sequence))
    return sorted(found, reverse=True)


def beam_by_hand(chain, number, constraints, beam_size, stops=True):
    """The same search with lists, one input at a time; it may also go on to the longest length."""
    live, ended = [(0.0, ())], []
    for length in range(1, constraints.max_steps + 1):
        candidates = [
            (total + chain.score(number, (*sequence, word))[-1], (*sequence, word))
            for total, sequence in live
            for word in range(chain.words)
            if is_allowed((*sequence, word), constraints)
        ]
        candidates = sorted(candidates, reverse=True)[: 2 * beam_size]
        ended += [
            (normalized(total, length, constraints), sequence)
            for total, sequence in candidates[:beam_size]
            if sequence[-1] == END
        ]
        ended = sorted(ended, reverse=True)[:beam_size]
        live = [one for one in candidates if one[1][-1] != END][:beam_size]
        if not live:
            break
        hope = normalized(live[0][0], length, constraints)
        if stops and len(ended) == beam_size and ended[-1][0] >= hope:
            break
    cut = [(normalized(total, length, constraints), sequence) for total, sequence in live]
    return (ended + cut)[:beam_size]
