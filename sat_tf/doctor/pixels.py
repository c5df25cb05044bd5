"""Whether the encoder sees pixels of the range and the channel order that it was trained on.

What a network of Keras Applications was trained on is known. Of any other it can be seen: shown
pixels of another range, it tells images apart less well, and of another order of channels, a
little less well, but for nearly every image.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from sat_tf.config import EncoderConfig
from sat_tf.doctor.results import CheckResult, judge, not_needed
from sat_tf.doctor.run_context import RunContext, encode_with
from sat_tf.model.encoder import PREPROCESSING_MODES, Preprocessing, resolve_encoder

_ORDERS = {mode: "BGR" if mode == "caffe" else "RGB" for mode in PREPROCESSING_MODES}
_LEARNED = "the encoder was trained with these pixels from its first layer on"
_LEAST_IMAGES = 16  # of which a share says something
_BLANK = 2.0  # standard deviation of the pixels, 0 to 255
# Of a range: distinctness is 0.04 where it should be 0.6.
_MOST_GAIN, _LEAST_DISTINCTNESS = 2.0, 0.05
# Of images that are told apart better with red and blue exchanged: about 10 % where they should not
# be, 90 % where they should.
_MOST_BETTER, _LEAST_GAIN = 0.7, 0.01
_GREY = 2.0  # mean difference of red and blue, 0 to 255


def pixel_range(patient: RunContext) -> CheckResult:
    """The images are not blank, and their values are those that the encoder expects."""
    image_batch, config = patient.train.image_batch, patient.config.encoder
    figures = {"least": float(image_batch.min()), "most": float(image_batch.max())}
    figures |= {"mean": float(image_batch.mean()), "deviation": float(image_batch.std())}
    seen = (
        f"{len(image_batch)} training images: values from {figures['least']:.0f} to "
        f"{figures['most']:.0f}, mean {figures['mean']:.0f}, deviation {figures['deviation']:.1f}"
    )
    if figures["most"] <= 1 or figures["deviation"] < _BLANK:
        return judge(
            True,
            f"{seen}: the images are black or blank",
            "look at the files: pixels that were saved as 0 to 1 must be times 255",
            **figures,
        )
    if len(image_batch) > 1 and image_batch.std(axis=0).max() < _BLANK:
        return judge(
            True,
            f"{seen}: all show the same picture",
            "look at the files, and at what names them",
            **figures,
        )
    if _is_learned(patient):
        return judge(False, f"{seen}; {_LEARNED}", "", **figures)
    expected = _known_mode(config)
    if expected:
        return judge(
            expected != config.preprocessing,
            f"{seen}; --preprocessing={config.preprocessing}, and {config.encoder} was "
            f"trained with {expected}",
            f"train or import again with --preprocessing={expected}",
            **figures,
        )
    if len(image_batch) < _LEAST_IMAGES:
        return judge(False, f"{seen}; too few to see more by", "", **figures)
    told = {
        mode: float(1 - _similarities(patient, mode).mean())
        for mode in PREPROCESSING_MODES
        if mode != config.preprocessing
    }
    own = figures["distinctness"] = float(1 - similarities(patient.train.annotations).mean())
    best = max(told, key=told.__getitem__)
    figures |= {f"distinctness_{mode}": value for mode, value in told.items()}
    return judge(
        told[best] > max(_MOST_GAIN * own, _LEAST_DISTINCTNESS),
        f"{seen}; with --preprocessing={config.preprocessing} the encoder tells images apart by "
        f"{own:.2f} (1 less the cosine of their mean annotations), with the next best, {best}, by "
        f"{told[best]:.2f}",
        f"look up what {config.encoder} was trained on; {best} suits it better: train or import "
        f"again with --preprocessing={best}",
        **figures,
    )


def channel_order(patient: RunContext) -> CheckResult:
    """Red and blue are where the encoder expects them."""
    config, annotations = patient.config.encoder, patient.train.annotations
    if _is_learned(patient):
        return not_needed(_LEARNED)
    expected = _known_mode(config)
    if expected:
        return judge(
            _ORDERS[expected] != _ORDERS[config.preprocessing],
            f"{config.encoder} was trained on {_ORDERS[expected]} and sees "
            f"{_ORDERS[config.preprocessing]} (--preprocessing={config.preprocessing})",
            f"train or import again with --preprocessing={expected}",
        )
    if len(annotations) < _LEAST_IMAGES:
        return not_needed(f"{len(annotations)} images are too few to see it by")
    image_batch = patient.train.image_batch
    if np.abs(image_batch[..., 0] - image_batch[..., 2]).mean() < _GREY:
        return not_needed("the images are grey")
    exchanged = _similarities(patient, config.preprocessing, exchange=True)
    gains = similarities(annotations) - exchanged
    better = float(np.mean(gains > 0))
    return judge(
        better > _MOST_BETTER and gains.mean() > _LEAST_GAIN,
        f"the encoder sees {_ORDERS[config.preprocessing]}; with red and blue exchanged it would "
        f"tell {better:.0%} of {len(annotations)} images apart better from the others",
        f"look up what {config.encoder} was trained on: --preprocessing=caffe gives it BGR, the "
        "others RGB; train or import again with the one that it expects",
        better_exchanged=better,
        gain=float(gains.mean()),
    )


def similarities(annotations: np.ndarray) -> np.ndarray:
    """Of each image, how much its annotations are like those of the others.

    Args:
      annotations: [n, rows, columns, D], n at least 2.

    Returns:
      The mean cosine between its mean annotation and the others': [n]. Annotations of nothing but
      zeros are like each other.
    """
    means = annotations.mean(axis=(1, 2), dtype=np.float64)  # over rows, columns -> [n, D]
    means = np.pad(means, [(0, 0), (0, 1)], constant_values=1e-12)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    return ((means @ means.T).sum(axis=1) - 1) / (len(means) - 1)


def _similarities(patient: RunContext, mode: str, exchange: bool = False) -> np.ndarray:
    """`similarities` of the training images if they were preprocessed in another way.

    Args:
      patient: whose encoder it is.
      mode: of the preprocessing.
      exchange: whether the first and the last channel of what comes out change places.
    """
    backbone, preprocessing = patient.run.model.encoder.get_layer("backbone"), Preprocessing(mode)

    @tf.function(reduce_retracing=True, autograph=False)
    def network(pixels: tf.Tensor) -> tf.Tensor:
        values = preprocessing(pixels)
        return backbone(tf.reverse(values, [-1]) if exchange else values)

    return similarities(encode_with(network, patient.train.image_batch))


def _is_learned(patient: RunContext) -> bool:
    return patient.config.encoder.finetune_from == "all"


def _known_mode(config: EncoderConfig) -> str:
    """How the pixels of ImageNet's own weights are preprocessed; "" of other weights."""
    if config.encoder_weights != "imagenet" or config.encoder.endswith(".keras"):
        return ""
    return resolve_encoder(dataclasses.replace(config, preprocessing="auto")).preprocessing
