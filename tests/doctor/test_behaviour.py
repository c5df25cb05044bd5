"""Checks of what a run has learned, each with a planted fault."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from planted_faults import (
    assert_fails,
    change_captions,
    check,
    fork,
    fork_with_images,
    rename_best_epoch,
)

from sat_tf.doctor import Status, behaviour, run_context
from sat_tf.vocabulary import END


@pytest.mark.parametrize(
    ("curves", "advice"),
    [
        ({"loss": [3, 2, 1, 1.1], "perplexity": [9, 4, 4.1, 5]}, ""),
        ({"loss": [3, 2, 1, 0.5], "perplexity": [4, 3, 2, 2.7]}, "--dropout"),
        ({"loss": [3, 2, 1], "perplexity": [2, 3, 4]}, "--dropout"),
        ({"loss": [4, 3, 2, 1], "perplexity": [9, 2, 2.3, 2]}, "--dropout"),
        ({"loss": [3, 2, np.nan], "perplexity": [4, 3, 2]}, "--dropout"),
        ({"loss": [3, 1, 2.5], "perplexity": [4, 4, 4]}, "--learning_rate"),
    ],
    ids=["correct", "overfits", "from the start", "selected late", "not finite", "diverges"],
)
def test_training_curves(run, curves, advice):
    entries = [
        dict(zip(curves, values, strict=True)) for values in zip(*curves.values(), strict=True)
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    rename_best_epoch(run, 3)
    result = check("training_curves", run)
    assert (result.status is Status.FAIL) == bool(advice)
    assert advice in result.advice


def test_perplexity_fails_on_changed_weights(context, weights):
    kernel = weights["decoder/deep_output/output_projection/kernel"]
    kernel.assign(0.5 * kernel)
    assert_fails(behaviour.perplexity(context), "when the weights were saved, after epoch 5")


def test_perplexity_of_a_sample_has_an_interval(context, monkeypatch):
    monkeypatch.setattr(run_context, "CAPTIONED", 10)
    result = behaviour.perplexity(fork(context))
    assert result.status is Status.PASS
    assert "on 10 validation images" in result.evidence
    assert result.values["low"] < result.values["now"] < result.values["high"]


def test_attention_fails_if_it_ignores_h(context, weights):
    kernel = weights["decoder/lstm_0/attention/query_projection/kernel"]
    kernel.assign(tf.zeros_like(kernel))
    assert_fails(behaviour.attention(context), "h of another caption 0.0 %")


@pytest.mark.parametrize(
    ("sensitivity", "change", "words", "locations", "status"),
    [
        (3.0, 20.0, 2, 9, Status.PASS),
        (0.1, 20.0, 2, 9, Status.FAIL),
        (3.0, 0.1, 2, 9, Status.FAIL),
        (3.0, 0.0, 1, 9, Status.PASS),  # captions of one word: there is no change to measure
        (None, 20.0, 2, 9, Status.SKIP),  # a single caption
        (0.0, 0.0, 2, 1, Status.SKIP),
    ],
)
def test_attention_must_depend_on_h_and_change(sensitivity, change, words, locations, status):
    scores = {"attention_change": change}
    if sensitivity is not None:
        scores["state_sensitivity"] = sensitivity
    captions = [SimpleNamespace(words=["a"] * words)]
    context = SimpleNamespace(
        run=SimpleNamespace(model=SimpleNamespace(num_locations=locations)),
        evaluation=SimpleNamespace(scores=scores, captions=captions),
    )
    assert behaviour.attention(context).status is status


def test_caption_diversity_fails_on_one_caption_for_all(context, weights):
    weights["flatten_grid/scale"].assign(1e6)
    result = behaviour.caption_diversity(context)
    assert_fails(result, "3% of 36 captions are distinct", "100.0%")


DIFFERENT = [f"dog {number}" for number in range(20)]


@pytest.mark.parametrize(
    ("captions", "references", "status"),
    [
        (DIFFERENT, DIFFERENT, Status.PASS),
        ([*DIFFERENT[:15], *["dog 1"] * 5], DIFFERENT, Status.FAIL),  # one is too frequent
        (["dog 1", "dog 2", "dog 3", "dog 4", "dog 5"] * 4, DIFFERENT, Status.PASS),
        ([f"dog {number // 9}" for number in range(54)], DIFFERENT, Status.FAIL),  # too few
        (["dog 1"] * 20, ["A dog."] * 20, Status.PASS),  # references are as uniform
        (["dog 1"] * 7, DIFFERENT, Status.SKIP),
    ],
)
def test_caption_diversity_is_relative_to_references(captions, references, status):
    evaluation = SimpleNamespace(
        captions=[SimpleNamespace(text=text) for text in captions],
        records=[SimpleNamespace(captions=(text,)) for text in references],
    )
    context = SimpleNamespace(evaluation=evaluation)
    assert behaviour.caption_diversity(context).status is status


def test_truncation_fails_if_captions_do_not_end(context, weights):
    bias = weights["decoder/deep_output/output_projection/bias"]
    bias.assign(bias - 1e3 * tf.one_hot(END, bias.shape[0]))
    assert_fails(behaviour.truncation(context), "100.0% are truncated at --max_length=12")


def test_truncation_fails_if_max_length_is_too_small(run):
    result = check("truncation", run, max_length=7)
    assert_fails(result, "truncated at --max_length=7", "100.0% are longer")
    assert result.values["truncated"] > 0.5


def test_truncation_fails_if_training_leaves_captions_out(context, monkeypatch):
    data = dataclasses.replace(context.config.data, max_caption_words=7)
    monkeypatch.setattr(context, "config", dataclasses.replace(context.config, data=data))
    result = behaviour.truncation(context)
    assert_fails(result, "100.0% left out by --max_caption_words=7")
    assert result.values["truncated"] == 0


def test_alignment_fails_on_captions_shifted_by_a_line(context, photographs):
    change_captions(photographs, lambda captions: captions[1:] + captions[:1])
    result = behaviour.alignment(fork_with_images(context, data_dir=str(photographs)))
    assert_fails(result, "of train", "dev")


@pytest.mark.parametrize("shifted", [False, True])
def test_alignment_fails_if_the_last_caption_of_each_image_is_shifted(
    context, photographs, shifted
):
    path = photographs / "captions.csv"
    head, *rows = path.read_text().splitlines()
    names, captions, splits = zip(*(row.split(",") for row in rows), strict=True)
    last = captions[1:] + captions[:1] if shifted else captions
    each = zip(names, captions, captions, last, splits, strict=True)
    lines = [f"{name},{one},{split}" for name, *three, split in each for one in three]
    path.write_text("\n".join([head, *lines]))
    result = behaviour.alignment(fork_with_images(context, data_dir=str(photographs)))
    assert max(result.values["train"], result.values["dev"]) < 0.25
    if shifted:
        assert_fails(result, "of caption 3 of each image alone")
    else:
        assert result.status is Status.PASS


def test_own_ranks_ignore_how_likely_a_caption_is_in_itself():
    fits = np.array([[3.0, 0, 0], [0, 3, 0], [0, 0, 3]])
    assert behaviour.own_ranks(fits).tolist() == [0, 0, 0]
    assert behaviour.own_ranks(fits + np.array([0, -100, 50])).tolist() == [0, 0, 0]
    assert behaviour.own_ranks(-fits).tolist() == [1, 1, 1]


def test_own_ranks_count_ties_half():
    assert behaviour.own_ranks(np.zeros((5, 5))).tolist() == [0.5] * 5
    ties = np.array([[1.0, 1, -2], [1, 1, -2], [-2, -2, 4]])
    assert behaviour.own_ranks(ties).tolist() == [0.25, 0.25, 0]


def test_own_ranks_of_random_captions_average_one_half():
    log_p = np.random.default_rng(0).normal(size=(64, 64)) + 9 * np.eye(64)
    assert behaviour.own_ranks(log_p).mean() < 0.01
    shifted = np.roll(log_p, 1, axis=1)
    assert behaviour.own_ranks(shifted).mean() == pytest.approx(0.5, abs=0.1)


def test_overfit_batch_fails_on_two_images_with_equal_features(context, photographs, monkeypatch):
    """One bit, over eight words, is less than the limit per word: that per caption fails."""
    monkeypatch.setattr(behaviour, "_OVERFIT_STEPS", 150)  # enough, as the last line shows
    path = photographs / "captions.csv"
    head, *rows = path.read_text().splitlines()
    path.write_text("\n".join([head, rows[0], rows[143], rows[-1]]))
    changed = fork_with_images(context, data_dir=str(photographs))
    changed.train.features[1] = changed.train.features[0]
    result = behaviour.overfit_batch(changed)
    assert_fails(result, "per caption on 2 training captions (0.7 if")
    assert result.values["nats_per_word"] < 0.1


def test_captions_that_are_certain_but_for_each_word_are_not_memorised():
    assert behaviour._is_memorised(16, 0.09, 1.3)
    assert not behaviour._is_memorised(16, 0.11, 1.3)
    assert not behaviour._is_memorised(16, 0.09, 1.4)
