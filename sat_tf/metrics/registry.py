"""The registry of scores: what a score is called, what it needs, how it is computed.

    @register("mean_length", group="words")
    def mean_length(data: EvaluationData) -> Metric:
        return mean([len(caption.split()) for caption in data.captions])

Evaluations, `--monitor`, `--self_critical`, tables, TensorBoard's groups and the bootstrap read the
registry, which imports no TensorFlow.
"""

import dataclasses
import math
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from sat_tf.config import Config
from sat_tf.data.objects import ObjectBoxes
from sat_tf.errors import UserError

if TYPE_CHECKING:
    from sat_tf.model.generation import Caption

_T = TypeVar("_T")
_Compute = TypeVar("_Compute", bound=Callable[["EvaluationData"], "Metric"])


class Metric(NamedTuple):
    """A score of a corpus as a function of per-image statistics, so that it can be bootstrapped."""

    statistics: np.ndarray  # what each image contributes, float64 [N, S]
    # Maps statistics summed over images, [..., S], to scores, [...].
    compute: Callable[[np.ndarray], np.ndarray]
    can_resample: bool = True  # a score of the corpus as a whole, with one row of statistics, can't
    is_defined: bool = True  # not if there was nothing to count, such as no noun that has a box

    @property
    def score(self) -> float:
        """The score of all images."""
        return float(self.compute(self.statistics.sum(axis=0)))  # sum over N: [S]


_Numbers = Sequence[float] | np.ndarray


def ratio(numerators: _Numbers, denominators: _Numbers, scale: float = 1) -> Metric:
    """Return `scale` times the ratio of two sums over images; 0 where there is nothing to count."""

    def compute(sums: np.ndarray) -> np.ndarray:
        numerator, denominator = sums[..., 0], sums[..., 1]
        zeros = np.zeros_like(numerator)
        return scale * np.divide(numerator, denominator, out=zeros, where=denominator > 0)

    statistics = np.stack([numerators, denominators], axis=1).astype(np.float64)  # [N, 2]
    return Metric(statistics, compute, is_defined=bool(statistics[:, 1].any()))


def mean(values: _Numbers, scale: float = 1) -> Metric:
    """Return `scale` times the mean over images of a score of single images."""
    return ratio(values, np.ones(len(values)), scale)


def corpus_score(value: float) -> Metric:
    """Return a score that a bootstrap would bias, as a resampled image adds nothing new to it."""
    return Metric(np.array([[value]], np.float64), lambda sums: sums[..., 0], can_resample=False)


@dataclasses.dataclass(frozen=True, eq=False)
class EvaluationData:
    """What scores are computed from: sequences with one entry an image, empty if not available.

    Captions and references are tokenized, with one space between words.
    """

    captions: Sequence[str]
    references: Sequence[Sequence[str]]  # their number may differ by image
    training_captions: Collection[str] = ()  # of all training images
    attended: "Sequence[Caption]" = ()  # the captions with their attention maps
    objects: Sequence[ObjectBoxes | None] = ()
    # Of the references of an image: the sum of log p of their tokens, ends included, and the number
    # of these tokens.
    log_likelihoods: Sequence[tuple[float, float]] = ()
    # Of the references of an image, see `sat_tf.metrics.grounding.grounding`.
    reference_grounding: Sequence[np.ndarray] = ()
    # Of a caption, see `sat_tf.metrics.faithfulness`; zeros of images that were not covered.
    faithfulness: Sequence[np.ndarray] = ()
    # Of each word of a caption, see `state_sensitivity`; none if the image was alone in its batch.
    state_sensitivities: Sequence[np.ndarray] = ()
    _shared: dict[Any, Any] = dataclasses.field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.captions:
            raise UserError("no caption to score: there is no image")
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
    """A condition without which a score is not computed, and the reason that is given then."""

    reason: str
    is_installed: Callable[[], bool] = lambda: True
    is_in_data: Callable[[EvaluationData], bool] = lambda data: True
    is_in_run: Callable[[Config], bool] = lambda config: True  # in validations of a training run


# (number of an image, caption) -> the score of the caption against the references of the image.
Reward = Callable[[int, str], float]


@dataclasses.dataclass(frozen=True)
class Score:
    """A registered score."""

    name: str
    compute: Callable[[EvaluationData], Metric]
    group: str  # of curves in TensorBoard
    needs: tuple[Need, ...] = ()
    higher_is_better: bool = True
    can_monitor: bool = True
    in_validations: bool = True  # otherwise only where it is monitored
    # Makes the reward of `--self_critical` from the references of each image, if it can be one.
    make_reward: Callable[[Sequence[Sequence[str]]], Reward] | None = None

    @property
    def worst(self) -> float:
        """The worst value there is: 0 if higher is better, else infinity."""
        return 0.0 if self.higher_is_better else math.inf

    def is_better(self, value: float, other: float) -> bool:
        """Return whether `value` is better."""
        return value > other if self.higher_is_better else value < other

    @property
    def missing(self) -> str:
        """Why this installation cannot compute it, or nothing."""
        return next((need.reason for need in self.needs if not need.is_installed()), "")


SCORES: dict[str, Score] = {}  # all registered scores by name, in the order of tables


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

    With a monitored score it is a validation, which leaves out scores that are not for it. Else
    ratios of nothing are left out; in validations, whose first captions may name no thing, they
    are 0.

    Raises:
      UserError: the monitored score cannot be computed from these data.
    """
    computed = (
        (name, score.compute(data))
        for name, score in SCORES.items()
        if (score.in_validations or monitor in (None, name))
        and not score.missing
        and all(need.is_in_data(data) for need in score.needs)
    )
    metrics = {name: metric for name, metric in computed if metric.is_defined or monitor}
    if monitor is not None and monitor not in metrics:
        reasons = [need.reason for need in SCORES[monitor].needs if not need.is_in_data(data)]
        raise UserError(f"--monitor={monitor} {SCORES[monitor].missing or reasons[0]}")
    return metrics


def left_out() -> dict[str, str]:
    """Return why this installation cannot compute scores, by their names."""
    return {name: score.missing for name, score in SCORES.items() if score.missing}


def check_scores(config: Config) -> None:
    """Raise `UserError` if a training run can't compute its `--monitor` or `--self_critical`."""
    monitors = [name for name, score in SCORES.items() if score.can_monitor]
    rewards = ["none", *(name for name, score in SCORES.items() if score.make_reward)]
    training = config.training
    for flag, name, names in (
        ("monitor", training.monitor, monitors),
        ("self_critical", training.self_critical, rewards),
    ):
        if name not in names:
            raise UserError(f"--{flag}={name}: must be one of {', '.join(names)}")
        for need in SCORES[name].needs if name != "none" else ():
            if not (need.is_installed() and need.is_in_run(config)):
                raise UserError(f"--{flag}={name} {need.reason}")


def make_reward(
    name: str, references: Sequence[Sequence[str]]
) -> Callable[[np.ndarray, Sequence[str]], np.ndarray]:
    """Make the reward of `--self_critical=name` from the tokenized references of each image.

    Returns:
      A function from image numbers [B] and their captions to float32 [B].
    """
    make = SCORES[name].make_reward
    assert make, f"{name} cannot be a reward"  # see `check_scores`
    reward = make(references)

    def rewards(images: np.ndarray, captions: Sequence[str]) -> np.ndarray:
        pairs = zip(images.tolist(), captions, strict=True)
        return np.array([reward(image, caption) for image, caption in pairs], np.float32)

    return rewards
