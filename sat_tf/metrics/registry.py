"""The registry of scores: what a score is called, what it needs, how it is computed.

A score is registered once, by a decorator around the function that computes it:

    @register("mean_length", group="words")
    def mean_length(data: EvaluationData) -> Metric:
        return mean([len(caption.split()) for caption in data.captions])

Evaluation, `--monitor`, rewards of self-critical training, tables, TensorBoard's groups and the
bootstrap read the registry. It imports no TensorFlow.
"""

import dataclasses
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from sat_tf.config import Config
from sat_tf.data.objects import Box, ObjectBoxes
from sat_tf.errors import UserError
from sat_tf.shapes.scenes import Scene

_T = TypeVar("_T")


class Metric(NamedTuple):
    """A score of a corpus as a function of per-image statistics, so that it can be bootstrapped.

    statistics: what each image contributes, float64 [N, S].
    compute: maps statistics summed over images, [..., S], to scores, [...].
    can_resample: False for a score of the corpus as a whole, which has one row of statistics.
    """

    statistics: np.ndarray
    compute: Callable[[np.ndarray], np.ndarray]
    can_resample: bool = True

    @property
    def score(self) -> float:
        """The score of all images."""
        return float(self.compute(self.statistics.sum(axis=0)))  # sum over N: [S]


def ratio(numerators: Sequence[float], denominators: Sequence[float], scale: float = 1) -> Metric:
    """Return `scale` times the ratio of two sums over images; 0 where the denominator is 0.

    Args:
      numerators: one an image.
      denominators: one an image.
      scale: a factor, such as 100 for percent.
    """

    def compute(sums: np.ndarray) -> np.ndarray:
        numerator, denominator = sums[..., 0], sums[..., 1]
        zeros = np.zeros_like(numerator)
        return scale * np.divide(numerator, denominator, out=zeros, where=denominator > 0)

    statistics = np.stack([numerators, denominators], axis=1).astype(np.float64)  # [N, 2]
    return Metric(statistics, compute)


def mean(values: Sequence[float]) -> Metric:
    """Return the mean over images of a score that each image has by itself."""
    return ratio(values, [1.0] * len(values))


def corpus_score(value: float) -> Metric:
    """Return a score that a bootstrap would bias, as a resampled image adds nothing new to it."""
    return Metric(np.array([[value]], np.float64), lambda sums: sums[..., 0], can_resample=False)


class AttendedCaption(Protocol):
    """A caption of n words with its attention maps, such as `sat_tf.captioning.Caption`."""

    @property
    def words(self) -> Sequence[str]:
        """The words, without the end token."""

    @property
    def alphas(self) -> np.ndarray:
        """Float [n, rows, columns]; each map sums to 1, or less with a null location."""

    @property
    def betas(self) -> np.ndarray:
        """Float [n]; all 1 if the model has no gating scalar."""


@dataclasses.dataclass(frozen=True, eq=False)
class EvaluationData:
    """What scores are computed from: lists with one entry an image; None is not available.

    Captions and references are tokenized, with one space between words.

    Attributes:
      captions: one caption an image; may be empty strings.
      references: the references of each image, which may differ in number.
      training_captions: all captions of the training images.
      attended: the captions with their attention maps.
      objects: the objects of each image; None for an image without known objects.
      crops: the part of each image that the encoder sees; not available: the whole images.
      scenes: the scene of each image of the embedded data set.
      log_likelihoods: of each image, the sum of log p over the tokens of its references and the
        number of these tokens, ends included: float64 [N, 2].
      state_sensitivities: of each word, how far alpha moves with another caption's LSTM state, see
        `sat_tf.metrics.state_sensitivity`: arrays of n words, or of none where the image was alone
        in its batch.
    """

    captions: Sequence[str]
    references: Sequence[Sequence[str]]
    training_captions: Collection[str] | None = None
    attended: Sequence[AttendedCaption] | None = None
    objects: Sequence[ObjectBoxes | None] | None = None
    crops: Sequence[Box] | None = None
    scenes: Sequence[Scene] | None = None
    log_likelihoods: np.ndarray | None = None
    state_sensitivities: Sequence[np.ndarray] | None = None
    _shared: dict[Any, Any] = dataclasses.field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.captions:
            raise UserError("no caption to score: the split has no image")
        for number, references in enumerate(self.references, start=1):
            if not references:
                raise UserError(f"image {number} of the split has no reference caption to score by")

    def shared(self, function: Callable[["EvaluationData"], _T]) -> _T:
        """Return `function(self)`, computed once for all scores that share these statistics."""
        if function not in self._shared:
            self._shared[function] = function(self)
        return self._shared[function]


@dataclasses.dataclass(frozen=True)
class Need:
    """A condition without which a score is not computed.

    Attributes:
      reason: what is missing where the condition does not hold; follows the score's name.
      is_installed: whether this installation meets it.
      is_in_data: whether these captions meet it.
      is_in_run: whether the validations of a training run with this config meet it.
    """

    reason: str
    is_installed: Callable[[], bool] = lambda: True
    is_in_data: Callable[[EvaluationData], bool] = lambda data: True
    is_in_run: Callable[[Config], bool] = lambda config: True


# (image numbers [B], captions) -> float32 [B]: the score of each caption against the references of
# its image.
Reward = Callable[[np.ndarray, Sequence[str]], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Score:
    """A registered score.

    Attributes:
      name: as tables, files and `--monitor` call it.
      compute: the function of the evaluation data.
      group: of curves in TensorBoard.
      needs: what it is not computed without.
      higher_is_better: whether `--monitor` maximizes it.
      can_monitor: whether `--monitor` takes it.
      is_slow: whether validations leave it out unless it is monitored.
      make_reward: makes the reward of `--self_critical` from the tokenized references of each
        image, if the score can be one.
    """

    name: str
    compute: Callable[[EvaluationData], Metric]
    group: str
    needs: tuple[Need, ...] = ()
    higher_is_better: bool = True
    can_monitor: bool = True
    is_slow: bool = False
    make_reward: Callable[[Sequence[Sequence[str]]], Reward] | None = None

    @property
    def missing(self) -> str:
        """Why this installation cannot compute it, or nothing."""
        return next((need.reason for need in self.needs if not need.is_installed()), "")


SCORES: dict[str, Score] = {}  # all registered scores by name, in the order of tables

_Compute = TypeVar("_Compute", bound=Callable[[EvaluationData], Metric])


def register(name: str, **attributes: Any) -> Callable[[_Compute], _Compute]:
    """Return a decorator that registers a function as the score `name`, see `Score`."""

    def decorate(compute: _Compute) -> _Compute:
        if name in SCORES:
            raise ValueError(f"the score {name} is registered twice")
        SCORES[name] = Score(name, compute, **attributes)
        return compute

    return decorate


def compute_scores(data: EvaluationData, monitor: str | None = None) -> dict[str, Metric]:
    """Compute every score that this installation and these data allow, by name.

    Args:
      data: captions and what is known of them.
      monitor: the monitored score, in a validation, which leaves other slow scores out.
    """
    return {
        name: score.compute(data)
        for name, score in SCORES.items()
        if not (score.is_slow and monitor not in (None, name))
        and not score.missing
        and all(need.is_in_data(data) for need in score.needs)
    }


def left_out() -> dict[str, str]:
    """Return why this installation cannot compute scores, by their names."""
    return {name: score.missing for name, score in SCORES.items() if score.missing}


def check_scores(config: Config) -> None:
    """Check that a training run can compute the scores of `--monitor` and `--self_critical`.

    Raises:
      UserError: there is no such score, or the run or the installation lacks what it needs.
    """
    training = config.training
    names = [name for name, score in SCORES.items() if score.can_monitor]
    if training.monitor not in names:
        raise UserError(f"--monitor={training.monitor}: must be one of {', '.join(names)}")
    for need in SCORES[training.monitor].needs:
        if not (need.is_installed() and need.is_in_run(config)):
            raise UserError(f"--monitor={training.monitor} {need.reason}")
    rewards = ["none", *(name for name, score in SCORES.items() if score.make_reward)]
    if training.self_critical not in rewards:
        raise UserError(
            f"--self_critical={training.self_critical}: must be one of {', '.join(rewards)}"
        )
    if training.self_critical != "none" and SCORES[training.self_critical].missing:
        missing = SCORES[training.self_critical].missing
        raise UserError(f"--self_critical={training.self_critical} {missing}")


def make_reward(name: str, references: Sequence[Sequence[str]]) -> Reward:
    """Make the reward of `--self_critical=name` from the tokenized references of each image."""
    make = SCORES[name].make_reward
    assert make, f"{name} cannot be a reward"  # see `check_scores`
    return make(references)
