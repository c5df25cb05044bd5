"""Learning rate, early stopping and the progress of a run."""

import dataclasses
from itertools import zip_longest

import pytest

from sat_tf.config import TrainingConfig
from sat_tf.training.schedule import (
    Progress,
    end_epoch,
    learning_rate,
    scheduled_sampling,
    smaller_steps,
    why_finished,
)

SETTINGS = TrainingConfig(
    learning_rate=0.8, max_epochs=10, patience=4, plateau_factor=0.5, plateau_patience=2
)


def run(config, scores, perplexities=()):
    """Progress after epochs with these scores, and the epochs that were the best so far.

    Without perplexities they are all equal.
    """
    progress, best = Progress(), []
    for score, perplexity in zip_longest(scores, perplexities, fillvalue=9.0):
        if end_epoch(config, progress, {}, {"perplexity": perplexity, config.monitor: score}):
            best.append(progress.epoch)
    return progress, best


def test_history_holds_losses_and_scores():
    progress = Progress()
    progress.add_step({"nll": 3.0})
    scores = {"bleu_4": 2.0, "perplexity": 9.0}
    end_epoch(SETTINGS, progress, {"loss": 1.5}, scores)
    assert progress.history == [{"epoch": 1, "step": 1, "loss": 1.5, **scores}]
    assert (progress.step, progress.sums, progress.total_steps) == (0, {}, 1)


def test_best_epochs_are_those_that_improve():
    progress, best = run(SETTINGS, [1.0, 3.0, 3.0, 2.0, 4.0])
    assert best == [1, 2, 5]
    assert (progress.best_score, progress.best_epoch) == (4.0, 5)


@pytest.mark.parametrize("score", ["perplexity", "attention_entropy"])
def test_lower_is_better_for_some_scores(score):
    config = dataclasses.replace(SETTINGS, monitor=score)
    assert run(config, [9.0, 7.0, 8.0])[1] == [1, 2]


def test_plateaus_lower_the_rate():
    factors = [run(SETTINGS, [1.0] * n)[0].factor for n in range(1, 6)]
    assert factors == [1.0, 1.0, 0.5, 0.5, 0.25]


def test_only_the_plateau_schedule_has_plateaus():
    config = dataclasses.replace(SETTINGS, learning_rate_schedule="constant")
    assert run(config, [1.0] * 9)[0].factor == 1.0


def test_of_equal_scores_the_lower_perplexity_is_better():
    scores, perplexities = [0.0, 0.0, 0.0, 1.0, 1.0, 1.0], [40.0, 32.0, 33.0, 35.0, 36.0, 34.0]
    progress, best = run(SETTINGS, scores, perplexities)
    assert best == [1, 2, 4, 6]
    assert (progress.best_score, progress.best_epoch) == (1.0, 6)


def test_the_log_says_why_an_epoch_is_the_best():
    progress = Progress()
    reasons = [
        end_epoch(SETTINGS, progress, {}, {"bleu_4": score, "perplexity": perplexity})
        for score, perplexity in ((0.0, 9.0), (0.0, 8.0), (2.5, 7.0), (2.5, 6.0), (2.5, 6.0))
    ]
    assert reasons == [
        "best",
        "best: bleu_4 still 0, lower perplexity",
        "best",
        "best: bleu_4 again 2.5, lower perplexity",
        "",
    ]


def test_neither_patience_nor_plateaus_count_while_the_score_is_the_worst_there_is():
    """Not improved since epoch 1: by score and perplexity, in nine epochs of a patience of 4."""
    progress, _ = run(SETTINGS, [0.0] * 9)
    assert (progress.best_epoch, progress.factor) == (1, 1.0)
    assert not why_finished(SETTINGS, progress)
    progress, _ = run(SETTINGS, [0.0] * 4 + [1.0, 0.0, 0.0])
    assert progress.factor == 0.5
    assert not why_finished(SETTINGS, progress)
    assert why_finished(SETTINGS, run(SETTINGS, [0.0] * 4 + [1.0] + [0.0] * 4)[0])


def test_stops_after_patience_or_the_last_epoch():
    assert not why_finished(SETTINGS, Progress())
    assert not why_finished(SETTINGS, run(SETTINGS, [2.0, 1.0, 1.0, 1.0])[0])
    assert why_finished(SETTINGS, run(SETTINGS, [2.0, 1.0, 1.0, 1.0, 1.0])[0]) == (
        "bleu_4 has not improved for 4 epochs (--patience); the best is epoch 1 (bleu_4 2.00)"
    )
    endless = dataclasses.replace(SETTINGS, patience=0)
    completed = "all 10 epochs are completed (--max_epochs); the best is epoch"
    assert not why_finished(endless, run(endless, [2.0] + [1.0] * 8)[0])
    assert why_finished(endless, run(endless, [2.0] + [1.0] * 9)[0]) == (
        f"{completed} 1 (bleu_4 2.00)"
    )
    assert why_finished(endless, run(endless, [1.0] * 9 + [2.0])[0]) == (
        f"{completed} 10 (bleu_4 2.00), the last: more may be better"
    )
    assert why_finished(endless, run(endless, [0.0] * 10)[0]) == (
        "all 10 epochs are completed (--max_epochs); bleu_4 was 0 after each, so that the best is "
        "epoch 1, of the lowest perplexity"
    )


def test_cosine_falls_from_the_rate_to_zero():
    config = dataclasses.replace(SETTINGS, learning_rate_schedule="cosine")
    rates = [learning_rate(config, step, 100, 1.0) for step in (0, 500, 1000)]
    assert rates == pytest.approx([0.8, 0.4, 0.0])


def test_warmup_rises_linearly():
    config = dataclasses.replace(SETTINGS, warmup_steps=4, learning_rate_schedule="constant")
    rates = [learning_rate(config, step, 100, 0.5) for step in range(6)]
    assert rates == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4, 0.4])


def test_scheduled_sampling_rises_to_its_share():
    config = TrainingConfig(scheduled_sampling=0.4, max_epochs=5)
    assert [scheduled_sampling(config, step, 10) for step in (0, 25, 50, 60)] == pytest.approx(
        [0.0, 0.2, 0.4, 0.4]
    )


def test_smaller_steps_are_those_that_the_run_does_not_have():
    assert smaller_steps(TrainingConfig()) == "a smaller --learning_rate or a smaller --clip_norm"
    without = TrainingConfig(clip_norm=0.0)
    assert smaller_steps(without) == "a smaller --learning_rate or with --clip_norm=5"
