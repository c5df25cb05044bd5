"""Learning rate, early stopping and the progress of a run."""

import dataclasses

import pytest

from sat_tf.config import TrainingConfig
from sat_tf.training.schedule import (
    Progress,
    end_epoch,
    is_finished,
    learning_rate,
    scheduled_sampling,
)

SETTINGS = TrainingConfig(
    learning_rate=0.8, max_epochs=10, patience=4, plateau_factor=0.5, plateau_patience=2
)


def run(config, scores):
    """Progress after epochs with these scores, and the epochs that were the best so far."""
    progress, best = Progress(), []
    for score in scores:
        if end_epoch(config, progress, {}, {config.monitor: score}):
            best.append(progress.epoch)
    return progress, best


def test_history_holds_losses_and_scores():
    progress = Progress()
    progress.add_step({"nll": 3.0})
    end_epoch(SETTINGS, progress, {"loss": 1.5}, {"bleu_4": 2.0})
    assert progress.history == [{"epoch": 1, "step": 1, "loss": 1.5, "bleu_4": 2.0}]
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


def test_stops_after_patience_or_the_last_epoch():
    assert not is_finished(SETTINGS, run(SETTINGS, [2.0, 1.0, 1.0, 1.0])[0])
    assert is_finished(SETTINGS, run(SETTINGS, [2.0, 1.0, 1.0, 1.0, 1.0])[0])
    endless = dataclasses.replace(SETTINGS, patience=0)
    assert not is_finished(endless, run(endless, [2.0] + [1.0] * 8)[0])
    assert is_finished(endless, run(endless, [2.0] + [1.0] * 9)[0])


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
