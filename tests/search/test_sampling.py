"""Greedy search and sampling over a step function without a network."""

import dataclasses

import markov
import numpy as np
import pytest
import tensorflow as tf
from markov import END, Chain

from sat_tf.search.hypotheses import DecodingConstraints
from sat_tf.search.sampling import categorical, greedy_search, sample

CONSTRAINTS = DecodingConstraints(end_id=END, max_steps=8)


def run_sample(chain, num_samples, constraints=CONSTRAINTS, **options):
    return sample(chain.problem(constraints), num_samples=num_samples, **options)


def first_tokens(decoded, number=0):
    return decoded.tokens[number, :, 0].numpy()


@pytest.mark.parametrize("compiled", [False, True])
def test_greedy_follows_the_most_probable_word_to_its_end(compiled):
    chain = Chain(inputs=6, words=6)

    def run():
        return greedy_search(chain.problem(CONSTRAINTS))

    decoded = tf.function(run)() if compiled else run()
    assert len(set(decoded.lengths.numpy().ravel())) > 1
    for number in range(6):
        path = [chain.start, chain.start]
        while len(path) < 2 + 8 and END not in path[2:]:
            path.append(int(chain.log_p[number, len(path) - 2, path[-2], path[-1]].argmax()))
        sequence, n = tuple(path[2:]), len(path) - 2
        assert decoded.lengths[number, 0] == n
        assert decoded.tokens[number, 0, :n].numpy().tolist() == list(sequence)
        assert not decoded.tokens[number, 0, n:].numpy().any()
        total = sum(chain.score(number, sequence))
        assert decoded.scores[number, 0].numpy() == pytest.approx(total, abs=1e-5)
        locations, betas = zip(*chain.outputs(number, sequence), strict=True)
        assert decoded.step_outputs[0][number, 0, :n].numpy().argmax(-1).tolist() == list(locations)
        assert decoded.step_outputs[1][number, 0, :n].numpy().tolist() == list(betas)


def test_greedy_stops_at_the_limit():
    chain = Chain(inputs=2)
    chain.log_p[..., END] = markov.NEVER
    constraints = dataclasses.replace(CONSTRAINTS, max_steps=5)
    decoded = greedy_search(chain.problem(constraints))
    assert decoded.lengths.numpy().tolist() == [[5], [5]]


def test_an_empty_batch_gives_nothing():
    assert run_sample(Chain(inputs=0), 3).tokens.shape == (0, 3, 0)


def test_shares_of_samples_are_the_probabilities():
    chain = Chain(inputs=1, words=5)
    sampled = first_tokens(run_sample(chain, 4000))
    shares = np.bincount(sampled, minlength=5) / 4000
    expected = np.exp(chain.log_p[0, 0, chain.start, chain.start])
    np.testing.assert_allclose(shares, expected, atol=0.03)


def test_temperature_sharpens():
    chain = Chain(inputs=1, words=5)
    expected = np.exp(chain.log_p[0, 0, chain.start, chain.start] / 0.5)
    shares = np.bincount(first_tokens(run_sample(chain, 4000, temperature=0.5)), minlength=5) / 4000
    np.testing.assert_allclose(shares, expected / expected.sum(), atol=0.03)


def test_a_seed_repeats_its_samples_and_another_does_not():
    chain = Chain(inputs=3, words=6)
    one, same, other = (run_sample(chain, 20, seed=seed).tokens.numpy() for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert one.shape != other.shape or (one != other).any()


def test_top_k_samples_the_k_most_probable():
    chain = Chain(inputs=1, words=6)
    likely = np.argsort(-chain.log_p[0, 0, chain.start, chain.start])
    assert set(first_tokens(run_sample(chain, 500, top_k=2))) == set(likely[:2])


def test_top_p_samples_the_fewest_that_reach_it():
    chain = Chain(inputs=1, words=4)
    chain.log_p[0, 0, chain.start, chain.start] = np.log([0.15, 0.05, 0.3, 0.5])
    assert set(first_tokens(run_sample(chain, 500, top_p=0.79))) == {2, 3}
    assert set(first_tokens(run_sample(chain, 500, top_p=0.81))) == {0, 2, 3}
    assert set(first_tokens(run_sample(chain, 500, top_p=0.01))) == {3}


def test_shares_of_whole_sequences_are_their_probabilities():
    """By temperature, then the top k, then the top p, at each step with noise of its own."""
    chain, num_samples = Chain(inputs=1, words=5, seed=3), 6000
    constraints = DecodingConstraints(end_id=END, max_steps=2)

    def likely(log_p):
        p = np.exp(log_p / 0.7)
        p[np.argsort(-p)[3:]] = 0  # top_k=3
        p /= p.sum()
        order = np.argsort(-p)
        p[order[1 + np.flatnonzero(np.cumsum(p[order]) >= 0.8)[0] :]] = 0  # top_p=0.8
        return p / p.sum()

    first = likely(chain.log_p[0, 0, chain.start, chain.start])
    expected = np.array([first[a] * likely(chain.log_p[0, 1, chain.start, a]) for a in range(5)])
    expected[END] = first[END], *[0] * 4  # it ends there: no second word, written as 0
    decoded = run_sample(chain, num_samples, constraints, temperature=0.7, top_k=3, top_p=0.8)
    shares = np.zeros((5, 5))
    np.add.at(shares, tuple(decoded.tokens[0].numpy().T), 1 / num_samples)
    assert (expected > 0).sum() > 3
    np.testing.assert_allclose(shares, expected, atol=0.03)


def test_samples_obey_the_constraints():
    chain = Chain(inputs=2, words=5)
    constraints = dataclasses.replace(
        CONSTRAINTS, suppressed_ids=(2,), min_steps=3, no_repeat_ngram=2
    )
    decoded = run_sample(chain, 200, constraints)
    for number in range(2):
        for tokens, length in zip(decoded.tokens[number], decoded.lengths[number], strict=True):
            assert markov.is_allowed(tuple(tokens[:length].numpy().tolist()), constraints)


def test_scores_are_the_models_whatever_the_temperature():
    chain = Chain(inputs=2, words=5)
    decoded = run_sample(chain, 10, temperature=0.3, top_k=3)
    for number in range(2):
        for k in range(10):
            n = int(decoded.lengths[number, k])
            total = sum(chain.score(number, tuple(decoded.tokens[number, k, :n].numpy())))
            assert decoded.scores[number, k].numpy() == pytest.approx(total, abs=1e-4)


def test_a_sample_does_not_depend_on_the_rest_of_the_batch():
    whole = Chain(inputs=5, words=6, seed=7)
    together = run_sample(whole, 6, temperature=1.5)
    assert len({tuple(row) for row in together.tokens.numpy().reshape(30, -1)}) > 5
    for number in range(5):
        alone = Chain(words=6)
        alone.log_p = whole.log_p[number : number + 1]
        single = run_sample(alone, 6, temperature=1.5)
        steps = single.tokens.shape[2]
        np.testing.assert_array_equal(single.tokens[0], together.tokens[number, :, :steps])
        np.testing.assert_array_equal(single.lengths[0], together.lengths[number])


def test_categorical_inverts_the_cumulative_distribution():
    size = 300  # of three blocks, the last one not whole
    random = np.random.default_rng(0)
    p = random.dirichlet(np.full(size, 0.2)) * (np.arange(size) % 7 > 0)  # some are impossible
    p /= p.sum()
    with np.errstate(divide="ignore"):
        logits = np.log(p).clip(-1e9).astype(np.float32)
    uniform = np.linspace(0.0, 1.0, 20_000, endpoint=False).astype(np.float32)
    uniform = np.append(uniform, np.float32(1 - 2**-24))
    tokens = categorical(tf.tile(logits[np.newaxis], [len(uniform), 1]), uniform).numpy()
    shares = np.bincount(tokens, minlength=size) / len(tokens)
    np.testing.assert_allclose(shares, p, atol=2e-4)
    assert (p[tokens] > 0).all()
    assert (np.diff(tokens) >= 0).all()
