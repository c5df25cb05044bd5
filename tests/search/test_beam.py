"""Beam search against all sequences, and against the same search in plain Python."""

import dataclasses
import functools

import markov
import numpy as np
import pytest
import tensorflow as tf
from markov import END, Chain

from sat_tf.search.beam import beam_search
from sat_tf.search.hypotheses import DecodingConstraints
from sat_tf.search.sampling import greedy_search

CONSTRAINTS = DecodingConstraints(end_id=END, max_steps=4)
VARIANTS = [
    CONSTRAINTS,
    dataclasses.replace(CONSTRAINTS, length_normalization="length"),
    dataclasses.replace(CONSTRAINTS, length_normalization="gnmt", exponent=0.9),
    dataclasses.replace(CONSTRAINTS, min_steps=2),
    dataclasses.replace(CONSTRAINTS, suppressed_ids=(2,)),
    dataclasses.replace(CONSTRAINTS, no_repeat_ngram=1),
    dataclasses.replace(CONSTRAINTS, no_repeat_ngram=2),
    dataclasses.replace(
        CONSTRAINTS,
        no_repeat_ngram=2,
        min_steps=1,
        suppressed_ids=(0,),
        length_normalization="length",
    ),
]
NAMES = ["plain", "length", "gnmt", "minimum", "suppressed_ids", "no word", "no pair", "all"]


def search(chain, constraints, beam_size):
    decoded = beam_search(chain.problem(constraints), beam_size)
    return tf.nest.map_structure(lambda x: x.numpy(), decoded)


@functools.cache
def compiled_search(constraints, beam_size, words):
    """Function from log probabilities of any number of inputs to what `search` returns."""
    chain = Chain(words=words)

    @tf.function(reduce_retracing=True, autograph=False)
    def run(log_p):
        chain.log_p = log_p
        return beam_search(chain.problem(constraints), beam_size)

    spec = tf.TensorSpec([None, *chain.log_p.shape[1:]])
    run.get_concrete_function(spec)
    return lambda chain: tf.nest.map_structure(lambda x: x.numpy(), run(chain.log_p))


def hypotheses(decoded, number):
    """(score, sequence) of those that are there, in their order."""
    return [
        (float(score), tuple(tokens[:length].tolist()))
        for score, tokens, length in zip(
            decoded.scores[number], decoded.tokens[number], decoded.lengths[number], strict=True
        )
        if length
    ]


def assert_same(found, expected):
    assert [sequence for _, sequence in found] == [sequence for _, sequence in expected]
    np.testing.assert_allclose([s for s, _ in found], [s for s, _ in expected], atol=1e-5)


@pytest.mark.parametrize("constraints", VARIANTS, ids=NAMES)
def test_a_beam_that_prunes_nothing_finds_the_best_of_all_sequences(constraints):
    chain = Chain(inputs=3)
    beam_size = 3**3 * 4 + 13  # as many as there are sequences
    decoded = search(chain, constraints, beam_size)
    for number in range(3):
        expected = markov.all_sequences(chain, number, constraints)
        assert_same(hypotheses(decoded, number), [one[1:] for one in expected])


def test_every_beam_up_to_the_exhaustive_one():
    """Each is the search by hand; from where nothing is pruned on, it is the best of all."""
    chain, constraints = Chain(inputs=2, seed=9), dataclasses.replace(CONSTRAINTS, max_steps=3)
    of_all = [[one[1:] for one in markov.all_sequences(chain, n, constraints)] for n in range(2)]
    exhaustive = len(of_all[0])
    for beam_size in (*range(1, 7), 12, 20, exhaustive):
        decoded = search(chain, constraints, beam_size)
        for number in range(2):
            found = hypotheses(decoded, number)
            assert_same(found, markov.beam_by_hand(chain, number, constraints, beam_size))
            if beam_size >= 3**2 * chain.words:  # of the last step
                assert_same(found, of_all[number][:beam_size])


@pytest.mark.parametrize("beam_size", [2, 7, 40])
@pytest.mark.parametrize("constraints", VARIANTS, ids=NAMES)
def test_beams_equal_the_search_in_plain_python(constraints, beam_size):
    chain = Chain(inputs=4, seed=beam_size)
    decoded = search(chain, constraints, beam_size)
    for number in range(4):
        assert_same(
            hypotheses(decoded, number), markov.beam_by_hand(chain, number, constraints, beam_size)
        )


@pytest.mark.parametrize("beam_size", [1, 2, 3, 5])
def test_stopping_early_changes_nothing_without_normalisation(beam_size):
    chain, constraints = Chain(inputs=8, seed=5), dataclasses.replace(CONSTRAINTS, max_steps=12)
    decoded = search(chain, constraints, beam_size)
    for number in range(8):
        to_the_last = markov.beam_by_hand(chain, number, constraints, beam_size, stops=False)
        assert_same(hypotheses(decoded, number), to_the_last)


@pytest.mark.parametrize("constraints", VARIANTS, ids=NAMES)
def test_one_beam_is_greedy_search(constraints):
    chain = Chain(inputs=30, words=6, seed=1)
    constraints = dataclasses.replace(constraints, max_steps=9)
    beam = search(chain, constraints, 1)
    greedy = greedy_search(chain.problem(constraints))
    for one, other in zip(tf.nest.flatten(beam), tf.nest.flatten(greedy), strict=True):
        np.testing.assert_allclose(one, other.numpy(), atol=1e-5)


@pytest.mark.parametrize("constraints", [VARIANTS[0], VARIANTS[-1]], ids=["plain", "all"])
def test_a_batch_equals_one_by_one(constraints):
    """Those that are done early wait for the others, and stay as they are."""
    whole = Chain(inputs=12, words=5, seed=2, peaked=0.3)
    constraints = dataclasses.replace(constraints, max_steps=9)
    run = compiled_search(constraints, 3, 5)
    together = run(whole)
    assert len(set(together.lengths[:, 0])) > 1
    for number in range(12):
        alone = Chain(words=5)
        alone.log_p = whole.log_p[number : number + 1]
        assert_same(hypotheses(run(alone), 0), hypotheses(together, number))


def test_the_same_in_eager_and_graph():
    chain = Chain(inputs=6, seed=3)
    eager, graph = search(chain, CONSTRAINTS, 3), compiled_search(CONSTRAINTS, 3, 4)(chain)
    for one, other in zip(tf.nest.flatten(eager), tf.nest.flatten(graph), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_outputs_and_probabilities_follow_their_hypothesis():
    chain = Chain(inputs=5, words=5, seed=4)
    decoded = search(chain, dataclasses.replace(CONSTRAINTS, max_steps=6), 4)
    alphas, betas = decoded.step_outputs
    reordered = 0
    for number in range(5):
        for k, (_, sequence) in enumerate(hypotheses(decoded, number)):
            n = len(sequence)
            locations, expected_betas = zip(*chain.outputs(number, sequence), strict=True)
            assert alphas[number, k, :n].argmax(-1).tolist() == list(locations)
            assert betas[number, k, :n].tolist() == list(expected_betas)
            assert not alphas[number, k, n:].any()
            assert not betas[number, k, n:].any()
            np.testing.assert_allclose(
                decoded.log_probs[number, k, :n], chain.score(number, sequence), atol=1e-6
            )
            assert not decoded.tokens[number, k, n:].any()
            reordered += sequence[0] != decoded.tokens[number, 0, 0]
    assert reordered, "every hypothesis began alike: the test shows nothing"


def test_without_an_end_the_best_are_cut():
    chain = Chain(inputs=2)
    chain.log_p[..., END] = markov.NEVER
    decoded = search(chain, CONSTRAINTS, 3)
    assert decoded.lengths.tolist() == [[4, 4, 4]] * 2
    assert np.isfinite(decoded.scores).all()


def test_finished_sequences_come_before_cut_ones():
    chain = Chain(inputs=1)
    chain.log_p[..., END] = -9.0
    decoded = search(chain, CONSTRAINTS, 12)
    ended = [END in sequence for _, sequence in hypotheses(decoded, 0)]
    assert ended == sorted(ended, reverse=True)
    assert len(set(ended)) == 2


def test_more_beams_than_sequences_leave_beams_empty():
    decoded = search(Chain(inputs=2), DecodingConstraints(end_id=END, max_steps=1), 9)
    assert decoded.lengths.tolist() == [[1] * 4 + [0] * 5] * 2
    assert (decoded.scores[:, 4:] == -np.inf).all()
    assert not decoded.tokens[:, 4:].any()
    assert not decoded.log_probs[:, 4:].any()


def test_a_sequence_without_allowed_tokens_ends():
    """A minimum length and no word twice: after the three words there are only the end is left."""
    chain = Chain(inputs=3)
    constraints = DecodingConstraints(end_id=END, max_steps=9, min_steps=7, no_repeat_ngram=1)
    decoded = search(chain, constraints, 2)
    for number in range(3):
        found = hypotheses(decoded, number)
        assert len(found) == 2
        for score, sequence in found:
            assert sorted(sequence[:3]) == [0, 2, 3]
            assert sequence[3:] == (END,)
            assert score == pytest.approx(sum(chain.score(number, sequence)), abs=1e-5)


def test_stops_when_all_are_done():
    chain = Chain(inputs=2)
    chain.log_p[...] = -9.0
    chain.log_p[..., END] = 0.0
    calls = []

    def step(tokens, state):
        calls.append(1)
        return chain.step(tokens, state)

    decoded = beam_search(chain.problem(CONSTRAINTS, step), 1)
    assert len(calls) == 1
    assert decoded.tokens.shape == (2, 1, 1)


def test_an_empty_batch_gives_nothing():
    chain = Chain(inputs=0)
    for decoded in (search(chain, CONSTRAINTS, 3), compiled_search(CONSTRAINTS, 3, 4)(chain)):
        assert decoded.tokens.shape == (0, 3, 0)
