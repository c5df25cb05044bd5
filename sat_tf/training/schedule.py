"""Learning rate, early stopping and the progress of a run: pure functions and a saved state."""

import dataclasses
import math
from collections.abc import Mapping

from sat_tf.config import TrainingConfig
from sat_tf.metrics.registry import SCORES


@dataclasses.dataclass
class Progress:
    """How far a run has come; part of each checkpoint.

    Attributes:
      epoch: epochs completed.
      step: steps completed in the current epoch.
      total_steps: steps completed in all.
      factor: of the learning rate, reduced on plateaus.
      best_score: best value of the monitored score, if there is one.
      best_epoch: the epoch that reached it.
      plateau_epochs: epochs since the last improvement or reduction of the learning rate.
      sums: of the losses over the current epoch.
      history: losses and scores of each epoch.
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

    def add_step(self, sums: Mapping[str, float]) -> None:
        """Count a step and add its sums to those of the epoch."""
        self.step += 1
        self.total_steps += 1
        for name, value in sums.items():
            self.sums[name] = self.sums.get(name, 0.0) + value


def learning_rate(
    training: TrainingConfig, step: int, steps_per_epoch: int, factor: float
) -> float:
    """Return the learning rate of a step, counted from 0; `factor` is `Progress.factor`."""
    rate = training.learning_rate * factor
    if training.learning_rate_schedule == "cosine":
        completed = step / (training.max_epochs * steps_per_epoch)
        rate *= 0.5 * (1.0 + math.cos(math.pi * min(completed, 1.0)))
    if step < training.warmup_steps:
        rate *= (step + 1) / training.warmup_steps
    return rate


def scheduled_sampling(training: TrainingConfig, step: int, steps_per_epoch: int) -> float:
    """Return the probability of scheduled sampling at a step, counted from 0."""
    completed = step / (training.max_epochs * steps_per_epoch)
    return training.scheduled_sampling * min(completed, 1.0)


def smaller_steps(training: TrainingConfig) -> str:
    """Return the settings that make the steps of another training smaller, as advice."""
    clip = "a smaller --clip_norm" if training.clip_norm else "with --clip_norm=5"
    return f"a smaller --learning_rate or {clip}"


def end_epoch(
    training: TrainingConfig,
    progress: Progress,
    losses: Mapping[str, float],
    scores: Mapping[str, float],
) -> str:
    """Add an epoch to the progress; return why it is the best so far, "" if it is not.

    Of equal scores the lower perplexity is better. A score that is the worst there is, such as a
    BLEU-4 of 0, says nothing about the learning rate: such epochs count for no plateau.

    Args:
      training: names the monitored score and the schedule.
      progress: is updated.
      losses: of the epoch, and what else is recorded of it.
      scores: of the validation split, with the monitored score and the perplexity.
    """
    score, best = SCORES[training.monitor], progress.best_score
    value, perplexity = scores[training.monitor], scores["perplexity"]
    why = ""
    if best is None or score.is_better(value, best):
        why = "best"
    elif value == best and perplexity < progress.history[progress.best_epoch - 1]["perplexity"]:
        still = "still" if value == score.worst else "again"
        why = f"best: {training.monitor} {still} {value:g}, lower perplexity"
    progress.epoch += 1
    progress.step, progress.sums = 0, {}
    if why:
        progress.best_score, progress.best_epoch = value, progress.epoch
    if why or _is_at_worst(training, progress):
        progress.plateau_epochs = 0
    else:
        progress.plateau_epochs += 1
    if (
        training.learning_rate_schedule == "plateau"
        and progress.plateau_epochs >= training.plateau_patience
    ):
        progress.factor *= training.plateau_factor
        progress.plateau_epochs = 0
    entry = {"epoch": progress.epoch, "step": progress.total_steps}
    progress.history.append({**entry, **losses, **scores})
    return why


def why_finished(training: TrainingConfig, progress: Progress) -> str:
    """Return why training is finished, and which epoch is the best; "" if it is to go on.

    Patience does not run out while the monitored score is still the worst there is.
    """
    monitor, best = training.monitor, progress.best_epoch
    waited = 0 if _is_at_worst(training, progress) else progress.epoch - best
    if progress.epoch >= training.max_epochs:
        reason = f"all {progress.epoch} epochs are completed (--max_epochs)"
    elif 0 < training.patience <= waited:
        reason = f"{monitor} has not improved for {waited} epochs (--patience)"
    else:
        return ""
    if not best or progress.best_score is None:  # there was no epoch
        return reason
    if _is_at_worst(training, progress):
        return (
            f"{reason}; {monitor} was {progress.best_score:g} after each, so that the best is "
            f"epoch {best}, of the lowest perplexity"
        )
    last = ", the last: more may be better" if best == progress.epoch else ""
    return f"{reason}; the best is epoch {best} ({monitor} {progress.best_score:.2f}){last}"


def _is_at_worst(training: TrainingConfig, progress: Progress) -> bool:
    return progress.best_score == SCORES[training.monitor].worst
