"""When training slows down and when it stops: pure functions and a state that is saved."""

import dataclasses
import math

from sat_tf.config import TrainingConfig
from sat_tf.metrics.registry import SCORES


@dataclasses.dataclass
class Progress:
    """How far a run has come; saved with each checkpoint.

    epoch: epochs done.
    step: steps done in the present epoch.
    total_steps: steps done in all.
    factor: of the learning rate, from the plateaus met.
    best_score: best validation score so far, if any.
    best_epoch: the epoch that reached it.
    plateau_epochs: epochs since the last improvement or decay.
    sums: of the present epoch's losses.
    history: the scores of each epoch.
    """

    epoch: int = 0
    step: int = 0
    total_steps: int = 0
    factor: float = 1.0
    best_score: float | None = None
    best_epoch: int = 0
    plateau_epochs: int = 0
    sums: dict[str, float] = dataclasses.field(default_factory=dict)
    history: list[dict[str, float]] = dataclasses.field(default_factory=list)


def learning_rate(config: TrainingConfig, step: int, steps_per_epoch: int, factor: float) -> float:
    """Learning rate of step `step`, counted from 0; `factor` is what plateaus left of it."""
    rate = config.learning_rate * factor
    if config.learning_rate_schedule == "cosine":
        share = step / (config.max_epochs * steps_per_epoch)
        rate *= 0.5 * (1.0 + math.cos(math.pi * min(share, 1.0)))
    if step < config.warmup_steps:
        rate *= (step + 1) / config.warmup_steps
    return rate


def sampled_inputs(config: TrainingConfig, step: int, steps_per_epoch: int) -> float:
    """Probability of scheduled sampling at step `step`, counted from 0."""
    share = step / (config.max_epochs * steps_per_epoch)
    return config.scheduled_sampling * min(share, 1.0)


def is_better(name: str, score: float, best: float | None) -> bool:
    """Whether `score` improves on `best`."""
    if best is None:
        return True
    return score > best if SCORES[name].higher_is_better else score < best


def end_epoch(config: TrainingConfig, progress: Progress, scores: dict[str, float]) -> bool:
    """Books an epoch's validation scores into `progress`; returns whether they are the best."""
    score = scores[config.monitor]
    better = is_better(config.monitor, score, progress.best_score)
    progress.epoch += 1
    progress.step = 0
    progress.sums = {}
    if better:
        progress.best_score, progress.best_epoch = score, progress.epoch
        progress.plateau_epochs = 0
    else:
        progress.plateau_epochs += 1
    if (
        config.learning_rate_schedule == "plateau"
        and progress.plateau_epochs >= config.plateau_patience
    ):
        progress.factor *= config.plateau_factor
        progress.plateau_epochs = 0
    return better


def is_finished(config: TrainingConfig, progress: Progress) -> bool:
    """Whether all epochs are done, or no score has improved for `patience` of them."""
    waited = progress.epoch - progress.best_epoch
    return progress.epoch >= config.max_epochs or 0 < config.patience <= waited
