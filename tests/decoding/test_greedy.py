"""Greedy search over a step function that is no network at all."""

import numpy as np
import pytest
import tensorflow as tf

from sat_tf.decoding.greedy import greedy_search

END, V, L = 1, 6, 3


@pytest.fixture
def chain():
    """Log probabilities of a random Markov chain, [V + 1, V]; the last row is the start."""
    return np.log(np.random.default_rng(0).dirichlet(np.ones(V), V + 1)).astype(np.float32)


def search(chain, starts, max_steps=8):
    """Decodes from several first rows at once; alpha tells the word before, beta the step."""

    def step(tokens, counter):
        logits = tf.gather(tf.constant(chain), tokens)
        alpha = tf.one_hot(tokens % L, L)
        return logits, counter + 1.0, (alpha, counter[:, tf.newaxis])

    first = tf.constant(starts)
    return greedy_search(
        step, tf.ones_like(first, tf.float32), first, end=END, max_steps=max_steps, locations=L
    )


def follow(chain, word, max_steps=8):
    words, score = [], 0.0
    while len(words) < max_steps and END not in words:
        score += chain[word].max() - np.log(np.exp(chain[word]).sum())
        word = int(chain[word].argmax())
        words.append(word)
    return words, score


@pytest.mark.parametrize("compiled", [False, True])
def test_follows_the_most_probable_word_to_its_end(chain, compiled):
    chain[2] = -9.0
    chain[2, END] = 0.0  # one that ends at once, whatever the others do
    starts = [V, 2, 3]
    run = tf.function(lambda: search(chain, starts)) if compiled else lambda: search(chain, starts)
    decoded = run()
    for b, start in enumerate(starts):
        words, score = follow(chain, start)
        assert decoded.lengths[b] == len(words)
        assert decoded.tokens[b, : len(words)].numpy().tolist() == words
        assert not decoded.tokens[b, len(words) :].numpy().any()
        assert not decoded.alphas[b, len(words) :].numpy().any()
        assert decoded.scores[b].numpy() == pytest.approx(score, abs=1e-5)
        before = [start, *words[:-1]]
        assert decoded.alphas[b, : len(words)].numpy().argmax(-1).tolist() == [
            word % L for word in before
        ]
        assert decoded.betas[b, : len(words)].numpy().tolist() == [
            float(t + 1) for t in range(len(words))
        ]


def test_stops_when_all_are_done(chain):
    chain[2] = -9.0
    chain[2, END] = 0.0
    assert search(chain, [2, 2]).tokens.shape[1] == 1


def test_stops_at_the_limit(chain):
    chain[:, END] = -30.0
    decoded = search(chain, [V, 3], max_steps=5)
    assert decoded.tokens.shape == (2, 5)
    assert decoded.lengths.numpy().tolist() == [5, 5]


def test_an_empty_batch_gives_no_captions(chain):
    decoded = search(chain, np.zeros([0], np.int32))
    assert decoded.tokens.shape[0] == 0
