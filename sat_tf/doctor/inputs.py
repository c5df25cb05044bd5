"""Checks of a run's parts: files, data, vocabulary, pixels, encoder and feature cache.

What pixels a network of Keras Applications was trained with is known. For any other network it is
measured: on pixels of another range its features separate images less well, and with channels in
another order slightly less well, but for nearly every image.
"""

import dataclasses
import math
import shlex

import numpy as np
import tensorflow as tf

from sat_tf.config import Config, EncoderConfig, to_arguments
from sat_tf.doctor import CheckResult, fail_if, skip
from sat_tf.doctor.run_context import RunContext
from sat_tf.errors import UserError
from sat_tf.model.encoder import PREPROCESSING_MODES, Preprocessing, resolve_encoder
from sat_tf.storage import METRICS_FILE
from sat_tf.training.checkpoints import has_state
from sat_tf.training.initialize import build_vocabulary
from sat_tf.training.schedule import smaller_steps
from sat_tf.training.train import SCALE_IMAGES
from sat_tf.vocabulary import SPECIAL

_LISTED_WORDS = 5

_MAX_OOV = 0.1
_MIN_CAPTIONS = 8  # for a rate to be meaningful

_CHANNELS = {mode: "BGR" if mode == "caffe" else "RGB" for mode in PREPROCESSING_MODES}
_MIN_IMAGES = 16  # for a fraction of them to be meaningful
_BLANK = 2.0  # standard deviation of the pixels, 0 to 255
_GREY = 2.0  # mean difference of red and blue, 0 to 255
# Another range separates images by so many times more, and by so much at least: separation is 0.04
# with the wrong range and 0.6 with the right one.
_MAX_SEPARATION_RATIO, _MIN_SEPARATION = 2.0, 0.05
# Fraction of images separated better with red and blue swapped, about 10 % with the right order and
# 90 % with the wrong one; and by how much at least.
_MAX_BETTER_SWAPPED, _MIN_GAIN = 0.7, 0.01

_PATCHED_IMAGES, _PATCHES = 4, 3  # patches along each side
# Of the side: networks are off by 0.02, transposed grids by 0.3, mirrored ones by 0.4.
_MAX_DISPLACEMENT = 0.1

# Relative. Float16, other batch sizes and other processors change less.
_SCALE_TOLERANCE, _CACHE_TOLERANCE = 0.005, 0.02


def files(context: RunContext) -> CheckResult:
    """Check that vocabulary, encoder, weights and config exist and belong together."""
    if has_state(context.workdir) and not (context.workdir / METRICS_FILE).exists():
        return fail_if(
            True,
            f"{context.workdir}: training stopped before its first validation, no weights are kept",
            "resume the training with the same command",
        )
    try:
        run = context.run
    except UserError as error:
        return fail_if(True, str(error), "restore the files of the run, or train again")
    not_finite = [one.path for one in run.model.weights if not np.all(np.isfinite(one))]
    return fail_if(
        bool(not_finite),
        f"weights that are not finite: {', '.join(not_finite)}"
        if not_finite
        else f"the weights match config.json and vocabulary.json ({run.vocabulary.fingerprint[:12]}"
        f", {len(run.vocabulary):,} entries); fingerprint of encoder.keras "
        f"{context.encoder_fingerprint[:12]}",
        f"train again with {smaller_steps(context.config.training)}",
    )


def dataset(context: RunContext) -> CheckResult:
    """Check that the data set exists and that its caption files have no problems."""
    try:
        counts = {split: len(records) for split, records in context.records.items()}
    except UserError as error:
        data = context.config.data
        advice = "repair this, then check again"
        if data.dataset != "shapes":
            arguments = shlex.join(to_arguments(Config(data=data)))
            advice = (
                f"python -m sat_tf.check_captions {arguments} lists every problem; if the data "
                "have moved, give --data_dir here"
            )
        return fail_if(True, str(error), advice)
    evidence = ", ".join(f"{count:,} images of {split}" for split, count in counts.items())
    return fail_if(False, evidence, "", **counts)


def _why_not_comparable(context: RunContext) -> str:
    """Return why a run can't be compared with its own beginning; empty if it can."""
    if not context.was_trained:
        return "the run was imported, not trained here"
    return "the run started from another one" if context.config.training.start_from else ""


def _where_captions(context: RunContext) -> str:
    """Return the flags of this command that name the captions of the run's data set."""
    dataset = context.config.data.dataset
    if dataset == "shapes":
        return ""
    return f" (--data_dir, {'--captions_file, ' * (dataset == 'files')}--splits)"


def vocabulary(context: RunContext) -> CheckResult:
    """Check that the training captions still give the vocabulary of the run."""
    if reason := _why_not_comparable(context):
        return skip(reason)
    own = context.run.vocabulary
    built = build_vocabulary(context.records["train"], context.config.data)
    lost = [word for word in own.words if word not in built]
    new = [word for word in built.words if word not in own]
    examples = ", ".join((lost + new)[:_LISTED_WORDS])
    return fail_if(
        own.fingerprint != built.fingerprint,
        f"in the vocabulary that the training captions give now, {len(lost):,} of the run's "
        f"{len(own):,} entries are missing and {len(new):,} are new"
        + (f": {examples}" if examples else ""),
        f"restore the captions that the run was trained on{_where_captions(context)}, or train a "
        "new run",
        entries=len(own),
        lost=len(lost),
        new=len(new),
    )


def oov_rate(context: RunContext) -> CheckResult:
    """Check that few words of the captions are out of vocabulary."""
    words = context.run.vocabulary
    rates = {
        split: sum(count for word, count in statistics.words.items() if word not in words)
        / max(statistics.words.total(), 1)
        for split, statistics in context.statistics.items()
        if statistics.lengths.total() >= _MIN_CAPTIONS
    }
    if not rates:
        return skip(f"fewer than {_MIN_CAPTIONS} captions")
    measured = ", ".join(f"{rate:.1%} of {split}" for split, rate in rates.items())
    count, size = len(words) - len(SPECIAL), context.config.data.vocabulary_size
    if rates.get("train", math.inf) <= _MAX_OOV:
        advice = "the training captions are too few for the words of others: add images"
    else:
        limit = "larger --vocabulary_size" if count == size else "smaller --min_word_count"
        advice = (
            f"train a new model with a {limit} (python -m sat_tf.check_captions prints the rate "
            "for several values)"
        )
    return fail_if(
        max(rates.values()) > _MAX_OOV,
        f"words outside the vocabulary of {count:,}: {measured}",
        advice,
        **rates,
    )


def pixel_range(context: RunContext) -> CheckResult:
    """Check that images are not blank, and that their values are those the encoder expects."""
    images, config = context.train.images, context.config.encoder
    values = {
        "min": float(images.min()),
        "max": float(images.max()),
        "mean": float(images.mean()),
        "deviation": float(images.std()),
    }
    summary = (
        f"{len(images)} training images: values from {values['min']:.0f} to {values['max']:.0f}, "
        f"mean {values['mean']:.0f}, deviation {values['deviation']:.1f}"
    )
    blank = values["max"] <= 1 or values["deviation"] < _BLANK
    if blank or (len(images) > 1 and images.std(axis=0).max() < _BLANK):
        return fail_if(
            True,
            f"{summary}: {'the images are black or blank' if blank else 'all images are the same'}",
            "inspect the files and their names; pixels saved as 0 to 1 must be multiplied by 255",
            **values,
        )
    expected = _imagenet_mode(config)
    if config.finetune_from == "all" or (not expected and len(images) < _MIN_IMAGES):
        return fail_if(False, summary, "", **values)
    if expected:
        return fail_if(
            expected != config.preprocessing,
            f"{summary}; --preprocessing={config.preprocessing}, and {config.encoder} was trained "
            f"with {expected}",
            f"train or import again with --preprocessing={expected}",
            **values,
        )
    others = {
        mode: float(1 - _similarities_with(context, mode).mean())
        for mode in PREPROCESSING_MODES
        if mode != config.preprocessing
    }
    own = float(1 - similarities(context.train.features).mean())
    best = max(others, key=others.__getitem__)
    return fail_if(
        others[best] > max(_MAX_SEPARATION_RATIO * own, _MIN_SEPARATION),
        f"{summary}; with --preprocessing={config.preprocessing} the encoder separates images by "
        f"{own:.2f} (1 minus the cosine of their mean features), with the next best, {best}, by "
        f"{others[best]:.2f}",
        f"check what {config.encoder} was trained on; {best} fits better: train or import again "
        f"with --preprocessing={best}",
        **values,
        separation=own,
        **{f"separation_{mode}": value for mode, value in others.items()},
    )


def channel_order(context: RunContext) -> CheckResult:
    """Check that red and blue are in the order that the encoder expects."""
    config, features = context.config.encoder, context.train.features
    order = _CHANNELS[config.preprocessing]
    if config.finetune_from == "all":
        return skip("the whole encoder was trained with these pixels")
    if expected := _imagenet_mode(config):
        return fail_if(
            _CHANNELS[expected] != order,
            f"{config.encoder} was trained on {_CHANNELS[expected]} and gets {order} "
            f"(--preprocessing={config.preprocessing})",
            f"train or import again with --preprocessing={expected}",
        )
    if len(features) < _MIN_IMAGES:
        return skip(f"{len(features)} images are too few")
    images = context.train.images
    if np.abs(images[..., 0] - images[..., 2]).mean() < _GREY:
        return skip("the images are grey")
    swapped = _similarities_with(context, config.preprocessing, swap_channels=True)
    gains = similarities(features) - swapped  # [n]
    better = float(np.mean(gains > 0))
    return fail_if(
        better > _MAX_BETTER_SWAPPED and gains.mean() > _MIN_GAIN,
        f"the encoder gets {order}; with red and blue swapped, it would separate {better:.0%} of "
        f"{len(features)} images better from the others",
        f"check what {config.encoder} was trained on: --preprocessing=caffe gives it BGR, the "
        "others RGB; train or import again with the one that it expects",
        better_swapped=better,
        gain=float(gains.mean()),
    )


def similarities(features: np.ndarray) -> np.ndarray:
    """Return the mean cosine similarity of each image's features to those of the others.

    Args:
      features: [n, rows, columns, D], n at least 2; averaged over rows and columns.

    Returns:
      float [n]; features that are all zero are similar to each other.
    """
    means = features.mean(axis=(1, 2), dtype=np.float64)  # [n, D]
    means = np.pad(means, [(0, 0), (0, 1)], constant_values=1e-12)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    return ((means @ means.T).sum(axis=1) - 1) / (len(means) - 1)


def _similarities_with(context: RunContext, mode: str, swap_channels: bool = False) -> np.ndarray:
    """Return `similarities` of the training images with another preprocessing.

    Args:
      context: of the run whose encoder is used.
      mode: of the preprocessing.
      swap_channels: whether to swap the first and the last channel afterwards.
    """
    backbone, preprocessing = context.run.model.encoder.get_layer("backbone"), Preprocessing(mode)

    def network(pixels: tf.Tensor) -> tf.Tensor:
        values = preprocessing(pixels)
        return backbone(tf.reverse(values, [-1]) if swap_channels else values)

    return similarities(context.encode(context.train.images, network))


def _imagenet_mode(config: EncoderConfig) -> str:
    """Return the preprocessing that ImageNet weights were trained with; "" for other weights."""
    if config.encoder_weights != "imagenet" or config.encoder.endswith(".keras"):
        return ""
    return resolve_encoder(dataclasses.replace(config, preprocessing="auto")).preprocessing


def grid_order(context: RunContext) -> CheckResult:
    """Check that a bright patch moved in the image changes the features at the same location.

    Features are compared as the decoder reads them, L locations row by row.
    """
    model = context.run.model
    if model.grid == (1, 1):
        return skip("the encoder gives one location per image")
    images = context.train.images[:_PATCHED_IMAGES]
    size = images.shape[1]
    centres = (np.arange(_PATCHES) + 0.5) / _PATCHES
    half = max(size // (4 * _PATCHES), 1)
    original = model.flatten_grid(context.train.features[:_PATCHED_IMAGES])
    cells = np.prod(model.grid)
    displacements = []
    for centre in [(row, column) for row in centres for column in centres]:
        top, left = (round(side * size) - half for side in centre)
        patched = images.copy()
        patch = patched[:, top : top + 2 * half, left : left + 2 * half]
        # White, or black on what is bright itself.
        patch[:] = np.where(patch.mean(axis=(1, 2, 3), keepdims=True) > 127, 0.0, 255.0)
        moved = model.flatten_grid(context.encode(patched)) - original  # [n, L, D]
        change = np.linalg.norm(moved[:, :cells], axis=2).mean(axis=0)  # [rows * columns]
        cell = np.unravel_index(int(change.argmax()), model.grid)
        found = (np.asarray(cell) + 0.5) / model.grid
        # Within half a cell is within the cell.
        displacements.append(np.maximum(np.abs(found - centre) - 0.5 / np.array(model.grid), 0))
    rows, columns = np.mean(displacements, axis=0)
    return fail_if(
        max(rows, columns) > _MAX_DISPLACEMENT,
        f"a patch at {_PATCHES}x{_PATCHES} positions of {len(images)} images changes features that "
        f"are displaced by {rows:.2f} of the side in rows and {columns:.2f} in columns",
        "the encoder's output is not [images, rows, columns, channels]: search it for a layer that "
        "reshapes or transposes, or for channels first",
        rows=float(rows),
        columns=float(columns),
    )


def encoder(context: RunContext) -> CheckResult:
    """Check that encoder, preprocessing and images are those of the training.

    The checkpoint keeps the root mean square of the first training images' features, which depends
    on all three.
    """
    if reason := _why_not_comparable(context):
        return skip(reason)
    model = context.run.model
    if model.trains_encoder:
        return skip("the encoder was trained: its weights are in the checkpoint")
    features = context.encode(context.read(context.records["train"][:SCALE_IMAGES]))
    # Features that are all zero are not scaled.
    now = float(np.sqrt(np.mean(np.square(features, dtype=np.float64)))) or 1.0
    then = float(model.flatten_grid.scale.numpy())
    return fail_if(
        not math.isclose(now, then, rel_tol=_SCALE_TOLERANCE),
        f"root mean square of the features of the first {len(features)} training images: "
        f"{now:.5g}, and {then:.5g} when training began",
        "the encoder (encoder.keras), its preprocessing or the training images have changed since "
        "the training: restore them, or train a new run",
        now=now,
        then=then,
    )


def feature_cache(context: RunContext) -> CheckResult:
    """Check that the cache holds the output of the encoder for each image."""
    largest: dict[str, float] = {}
    folder = context.cache_folder.absolute()
    advice = f"delete {folder}: training, evaluation and extract_features fill it again"
    for split, sample in (("train", context.train), ("dev", context.dev)):
        try:
            cache = context.cache(split)
            if cache is None:
                continue
            cached = cache.read(sample.indices).astype(np.float32)
        except UserError as error:
            # Without its advice after the semicolon, which is to repeat the command.
            evidence, *_ = str(error).partition(";")
            encode = "delete damaged files, then run extract_features with the run's settings"
            return fail_if(True, evidence, encode)
        errors = _relative_errors(cached, sample.features)
        largest[split] = float(errors.max())
        if not errors.max() <= _CACHE_TOLERANCE:
            evidence = (
                f"{folder}: of {len(errors)} images, {np.sum(errors > _CACHE_TOLERANCE)} have "
                f"other features than the encoder computes now, {errors.max():.0%} off, "
                f"{sample.records[int(errors.argmax())].image_id} the most"
            )
            return fail_if(True, evidence, advice, **largest)
    if not largest:
        return skip("features of this encoder are not cached")
    splits, worst = " and ".join(largest), max(largest.values())
    evidence = f"cached features of {splits} are what the encoder computes now, within {worst:.2%}"
    return fail_if(False, evidence, "", **largest)


def _relative_errors(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return |a - b| / |b| of each image: [n, rows, columns, D] twice -> [n]."""
    axes = (1, 2, 3)
    return np.sqrt(np.sum((a - b) ** 2, axis=axes) / np.maximum(np.sum(b**2, axis=axes), 1e-12))
