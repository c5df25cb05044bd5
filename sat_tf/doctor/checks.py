"""The checks, each of which builds on those before, from the run's files to what it has learned.

What pixels a network of Keras Applications was trained with is known. For any other network it is
measured: on pixels of another range its features separate images less well, and with channels in
another order slightly less well, but for nearly every image.
"""

import dataclasses
import math
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf

from sat_tf.config import Config, EncoderConfig, to_arguments
from sat_tf.data.pipeline import pad_captions
from sat_tf.doctor import CheckResult, Status, fail_if, skip
from sat_tf.doctor.run_context import RunContext, Sample
from sat_tf.errors import UserError
from sat_tf.metrics.bootstrap import intervals
from sat_tf.model.caption_model import Batch, CaptionModel
from sat_tf.model.encoder import PREPROCESSING_MODES, Preprocessing, resolve_encoder
from sat_tf.model.losses import CaptionLoss
from sat_tf.model.weights import has_state
from sat_tf.storage import METRICS_FILE
from sat_tf.training.initialize import build_vocabulary
from sat_tf.training.schedule import smaller_steps
from sat_tf.training.train import SCALE_IMAGES
from sat_tf.vocabulary import SPECIAL, tokenize

Check = Callable[[RunContext], CheckResult]
CHECKS: dict[str, Check] = {}  # by name, in the order of this file
# Unless these pass, the checks after them can't be made.
_REQUIRED = ("files", "dataset")

_REPAIR = "repair this, then check again"
_IMPORTED = "the run was imported, not trained here"
# For a rate of captions, and a fraction of images, to be meaningful.
_MIN_CAPTIONS, _MIN_IMAGES = 8, 16

# training_curves: relative to the lowest validation perplexity, at the epoch of the best weights
# and at the last; relative to what the training loss had fallen; fall of the last perplexity.
_MAX_ABOVE_BEST, _MAX_ABOVE_LAST, _MAX_LOSS_RISE, _MAX_LAST_FALL = 0.1, 0.3, 0.5, 0.05
# vocabulary, oov_rate
_LISTED_WORDS, _MAX_OOV = 5, 0.1
# pixel_range: standard deviation of the pixels, 0 to 255. Another range separates images by so many
# times more, and by so much at least: by 0.04 with the wrong range and 0.6 with the right one.
_BLANK, _MAX_SEPARATION_RATIO, _MIN_SEPARATION = 2.0, 2.0, 0.05
# channel_order: mean difference of red and blue, 0 to 255. Fraction of images separated better with
# red and blue swapped, about 10 % with the right order and 90 % with the wrong one; by how much.
_GREY, _MAX_BETTER_SWAPPED, _MIN_GAIN = 2.0, 0.7, 0.01
_CHANNELS = {mode: "BGR" if mode == "caffe" else "RGB" for mode in PREPROCESSING_MODES}
# grid_order: patches along each side. Displacements, of the side: networks are off by 0.02,
# transposed grids by 0.3, mirrored ones by 0.4.
_PATCHED_IMAGES, _PATCHES, _MAX_DISPLACEMENT = 4, 3, 0.1
# encoder, feature_cache, perplexity: relative. Float16, other batch sizes and other processors
# change less.
_SCALE_TOLERANCE, _CACHE_TOLERANCE, _PERPLEXITY_TOLERANCE = 0.005, 0.02, 0.02
# attention: percent of alpha; trained models reach 3 to 50.
_MIN_MOVED = 0.5
# attention_maps: percent of log L; and what covering the cells that a word attends to costs it,
# relative to those that its caption attends to on average.
_MAX_ENTROPY, _MIN_RATIO = 95.0, 1.05
# caption_diversity: frequency of one caption; distinct captions relative to those of people.
_MAX_FREQUENCY, _MIN_DISTINCT = 0.2, 0.2
# truncation: fractions of the captions.
_MAX_TRUNCATED, _MAX_LEFT_OUT = 0.02, 0.1
# alignment: 0.5 is random, with a standard error of 0.04 over 64 images and 0.08 over a fifth of
# them; trained runs are below 0.1.
_MIN_RANKED, _MIN_RANKED_AT_INDEX, _MAX_RANK, _MAX_RANK_AT_INDEX = 8, 12, 0.3, 0.35
# overfit_batch: nats per word; and per caption, relative to log n, the least that n captions cost
# if the model can't distinguish their images.
_OVERFIT_CAPTIONS, _OVERFIT_STEPS, _LEARNING_RATE, _CLIP_NORM = 16, 300, 2e-3, 5.0
_MAX_WORD_NATS, _MAX_CAPTION_NATS = 0.1, 0.5


def check(function: Check) -> Check:
    """Register a check under the name of its function."""
    CHECKS[function.__name__] = function
    return function


def run_checks(context: RunContext) -> Iterator[tuple[str, CheckResult]]:
    """Yield the name and the result of each check as soon as it is made."""
    failed = ""
    for name, function in CHECKS.items():
        if failed:
            result = CheckResult(Status.ERROR, f"needs the check {failed!r} to pass")
        else:
            try:
                result = function(context)
            except UserError as error:
                result = CheckResult(Status.ERROR, str(error), _REPAIR)
            except OSError as error:
                evidence = ": ".join(filter(None, (error.filename, error.strerror or str(error))))
                result = CheckResult(Status.ERROR, evidence, _REPAIR)
        if name in _REQUIRED and result.status is not Status.PASS:
            failed = failed or name
        yield name, result


@check
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


@check
def training_curves(context: RunContext) -> CheckResult:
    """Check that training converged, and that validation perplexity did not rise again."""
    training = context.config.training
    if not context.was_trained:
        return skip(_IMPORTED)
    if training.self_critical != "none":
        return skip("self-critical training does not maximise the likelihood")
    losses, perplexities = zip(*context.history, strict=True)
    best, last, lowest = context.best_epoch, len(losses), min(perplexities)
    at_lowest = perplexities.index(lowest) + 1
    above_best, above_last = perplexities[best - 1] / lowest - 1, perplexities[-1] / lowest - 1
    last_fall = perplexities[-2] / perplexities[-1] - 1 if last > 1 else 0.0
    # Not relative to the loss itself: that of hard attention may be negative.
    fall, rise = losses[0] - min(losses), losses[-1] - min(losses)
    diverged = not rise <= _MAX_LOSS_RISE * fall  # not finite: neither
    is_falling = at_lowest == last and last_fall > _MAX_LAST_FALL
    if diverged:
        advice = f"train again with {smaller_steps(training)}"
    elif above_best > _MAX_ABOVE_BEST and best < at_lowest:
        advice = (
            f"--monitor={training.monitor} selected an early epoch, as it is chance or 0 on few "
            "validation images or short captions: train again with --monitor=perplexity"
        )
    elif is_falling:
        advice = (
            "training ended too early: the same command with more --max_epochs and --patience "
            "continues it; few captions make few steps in an epoch, a new run with a smaller "
            "--batch_size makes more"
        )
    else:
        advice = (
            "the run overfits: use more captions, more --dropout, fewer --max_epochs, a smaller "
            "--patience, or --monitor=perplexity"
        )
    return fail_if(
        diverged or above_best > _MAX_ABOVE_BEST or above_last > _MAX_ABOVE_LAST or is_falling,
        f"the training loss went from {losses[0]:.2f} to {losses[-1]:.2f} in {last} epochs, with a "
        f"minimum of {min(losses):.2f}; validation perplexity is lowest after epoch {at_lowest} "
        f"({lowest:.2f}), {above_best:+.0%} after epoch {best}, whose weights are kept, and "
        f"{above_last:+.0%} after the last, in which it changed by {-last_fall:+.0%}",
        advice,
        {"above_best": above_best, "above_last": above_last, "last_fall": last_fall, "rise": rise},
    )


@check
def dataset(context: RunContext) -> CheckResult:
    """Check that the data set exists and that its caption files have no problems."""
    try:
        counts = {split: len(records) for split, records in context.records.items()}
    except UserError as error:
        data, advice = context.config.data, _REPAIR
        if data.dataset != "shapes":
            arguments = shlex.join(to_arguments(Config(data=data)))
            advice = (
                f"python -m sat_tf.check_captions {arguments} lists every problem; if the data "
                "have moved, give --data_dir here"
            )
        return fail_if(True, str(error), advice)
    evidence = ", ".join(f"{count:,} images of {split}" for split, count in counts.items())
    return fail_if(False, evidence, values=counts)


def _why_not_comparable(context: RunContext) -> str:
    """Return why a run can't be compared with its own beginning; empty if it can."""
    if not context.was_trained:
        return _IMPORTED
    return "the run started from another one" if context.config.training.start_from else ""


@check
def vocabulary(context: RunContext) -> CheckResult:
    """Check that the training captions still give the vocabulary of the run."""
    if reason := _why_not_comparable(context):
        return skip(reason)
    own, data = context.run.vocabulary, context.config.data
    built = build_vocabulary(context.records["train"], data)
    lost = [word for word in own.words if word not in built]
    new = [word for word in built.words if word not in own]
    examples = ", ".join((lost + new)[:_LISTED_WORDS])
    flags = {"shapes": "", "files": " (--data_dir, --captions_file, --splits)"}
    where = flags.get(data.dataset, " (--data_dir, --splits)")
    return fail_if(
        own.fingerprint != built.fingerprint,
        f"in the vocabulary that the training captions give now, {len(lost):,} of the run's "
        f"{len(own):,} entries are missing and {len(new):,} are new"
        + (f": {examples}" if examples else ""),
        f"restore the captions that the run was trained on{where}, or train a new run",
        {"entries": len(own), "lost": len(lost), "new": len(new)},
    )


@check
def oov_rate(context: RunContext) -> CheckResult:
    """Check that few words of the captions are out of vocabulary."""
    words = context.run.vocabulary
    rates = {
        split: statistics.oov_rate(words)
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
        rates,
    )


@check
def pixel_range(context: RunContext) -> CheckResult:
    """Check that images are not blank, and that their values are those the encoder expects."""
    images, config = context.train.images, context.config.encoder
    mode, expected = config.preprocessing, _imagenet_mode(config)
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
    problem = ""
    if values["max"] <= 1 or values["deviation"] < _BLANK:
        problem = "the images are black or blank"
    elif len(images) > 1 and images.std(axis=0).max() < _BLANK:
        problem = "all images are the same"
    if problem:
        return fail_if(
            True,
            f"{summary}: {problem}",
            "inspect the files and their names; pixels saved as 0 to 1 must be multiplied by 255",
            values,
        )
    if config.finetune_from == "all" or (not expected and len(images) < _MIN_IMAGES):
        return fail_if(False, summary, values=values)
    if expected:
        return fail_if(
            expected != mode,
            f"{summary}; --preprocessing={mode}, and {config.encoder} was trained with {expected}",
            f"train or import again with --preprocessing={expected}",
            values,
        )
    own = float(1 - similarities(context.train.features).mean())
    others = {
        other: float(1 - _similarities_with(context, other).mean())
        for other in PREPROCESSING_MODES
        if other != mode
    }
    best = max(others, key=others.__getitem__)
    values |= {"separation": own, **{f"separation_{name}": x for name, x in others.items()}}
    return fail_if(
        others[best] > max(_MAX_SEPARATION_RATIO * own, _MIN_SEPARATION),
        f"{summary}; with --preprocessing={mode} the encoder separates images by {own:.2f} (1 "
        f"minus the cosine of their mean features), with the next best, {best}, by "
        f"{others[best]:.2f}",
        f"check what {config.encoder} was trained on; {best} fits better: train or import again "
        f"with --preprocessing={best}",
        values,
    )


@check
def channel_order(context: RunContext) -> CheckResult:
    """Check that red and blue are in the order that the encoder expects."""
    config, sample = context.config.encoder, context.train
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
    if len(sample.images) < _MIN_IMAGES:
        return skip(f"{len(sample.images)} images are too few")
    if np.abs(sample.images[..., 0] - sample.images[..., 2]).mean() < _GREY:
        return skip("the images are grey")
    swapped = _similarities_with(context, config.preprocessing, swap_channels=True)
    gains = similarities(sample.features) - swapped  # [n]
    better = float(np.mean(gains > 0))
    return fail_if(
        better > _MAX_BETTER_SWAPPED and gains.mean() > _MIN_GAIN,
        f"the encoder gets {order}; with red and blue swapped, it would separate {better:.0%} of "
        f"{len(gains)} images better from the others",
        f"check what {config.encoder} was trained on: --preprocessing=caffe gives it BGR, the "
        "others RGB; train or import again with the one that it expects",
        {"better_swapped": better, "gain": float(gains.mean())},
    )


def similarities(features: np.ndarray) -> np.ndarray:
    """Return the mean cosine similarity of each image's features to those of the others: [n].

    Args:
      features: [n, rows, columns, D], n at least 2, averaged over rows and columns; those that are
        all zero are similar to each other.
    """
    means = features.mean(axis=(1, 2), dtype=np.float64)  # [n, D]
    means = np.pad(means, [(0, 0), (0, 1)], constant_values=1e-12)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    return ((means @ means.T).sum(axis=1) - 1) / (len(means) - 1)


def _similarities_with(context: RunContext, mode: str, swap_channels: bool = False) -> np.ndarray:
    """Return `similarities` of the training images with another preprocessing."""
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


@check
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
        {"rows": float(rows), "columns": float(columns)},
    )


@check
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
        {"now": now, "then": then},
    )


@check
def feature_cache(context: RunContext) -> CheckResult:
    """Check that the cache holds the output of the encoder for each image."""
    largest: dict[str, float] = {}
    folder = context.cache_folder.absolute()
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
        axes = (1, 2, 3)
        changes = np.sum((cached - sample.features) ** 2, axis=axes)  # [n]
        errors = np.sqrt(changes / np.maximum(np.sum(sample.features**2, axis=axes), 1e-12))
        largest[split] = float(errors.max())
        if not errors.max() <= _CACHE_TOLERANCE:
            return fail_if(
                True,
                f"{folder}: of {len(errors)} images, {np.sum(errors > _CACHE_TOLERANCE)} have "
                f"other features than the encoder computes now, {errors.max():.0%} off, "
                f"{sample.records[int(errors.argmax())].image_id} the most",
                f"delete {folder}: training, evaluation and extract_features fill it again",
                largest,
            )
    if not largest:
        return skip("features of this encoder are not cached")
    splits, worst = " and ".join(largest), max(largest.values())
    evidence = f"cached features of {splits} are what the encoder computes now, within {worst:.2%}"
    return fail_if(False, evidence, values=largest)


@check
def perplexity(context: RunContext) -> CheckResult:
    """Check that the best weights are as good as when they were saved.

    The perplexity changes with weights, vocabulary, images and references.
    """
    if not context.was_trained:
        return skip(_IMPORTED)
    epoch = context.best_epoch
    then = context.history[epoch - 1].perplexity
    records, metric = context.evaluation.records, context.evaluation.metrics["perplexity"]
    low = high = now = metric.score
    sample, total = f"{len(records):,} validation images", len(context.records["dev"])
    if len(records) < total:
        low, high = intervals({"perplexity": metric})["perplexity"]
        # Twice as wide as 95 %, or one in twenty correct runs would fail.
        low, high = low**2 / now, high**2 / now
        sample += f", so {low:.2f} to {high:.2f} on all {total:,}"
    slack = 1 + _PERPLEXITY_TOLERANCE
    return fail_if(
        not low / slack <= then <= high * slack,
        f"{now:.2f} on {sample}; {then:.2f} when the weights were saved, after epoch {epoch}",
        "weights, encoder, images or references have changed since: see the other checks; if the "
        "references were corrected on purpose, train again",
        {"now": now, "then": then, "low": low, "high": high},
    )


@check
def attention(context: RunContext) -> CheckResult:
    """Check that attention depends on h, and that it moves from word to word."""
    scores, captions = context.evaluation.scores, context.evaluation.captions
    if context.run.model.num_locations == 1:
        return skip("there is only one location")
    if "state_sensitivity" not in scores:
        return skip("there is no second caption, whose h could replace a caption's own")
    moves = {
        "state_sensitivity": "of alpha moves to other locations with the h of another caption",
        "attention_change": "moves from word to word",  # unknown if no caption has two words
    }
    moved = {name: scores[name] for name in moves if name in scores}
    return fail_if(
        min(moved.values()) < _MIN_MOVED,
        "; ".join(f"{value:.1f} % {moves[name]}" for name, value in moved.items())
        + f"; {len(captions):,} captions",
        "attention is the same for every word, as it is at the start: if the captions differ "
        "little too, train longer first. Else train again with another --seed, the default "
        "--initializer and no --weight_decay, and watch state_sensitivity in TensorBoard; it can "
        "also select the best weights (--monitor)",
        moved,
    )


@check
def attention_maps(context: RunContext) -> CheckResult:
    """Check that maps are not flat, and that a word depends on its own map.

    A tenth of the cells is covered: those that the word attends to most, or those that its caption
    attends to most on average. The second costs as much if the map says nothing about the word.
    """
    if context.run.model.num_locations == 1:
        return skip("there is only one location")
    if "attention_entropy" not in context.evaluation.scores:
        return skip("the captions have no words")
    entropy, own, average = context.evaluation.scores["attention_entropy"], *context.falls
    return fail_if(
        entropy > _MAX_ENTROPY or own <= _MIN_RATIO * average,
        f"entropy of alpha {entropy:.0f} % (100: the same everywhere); log p of a content word "
        f"falls by {own:.3f} nats if the tenth of the image that it attends to most is covered, "
        f"by {average:.3f} if it is that of the caption's mean map",
        "attention maps show little: words do not depend on their own. Train again "
        + "with --doubly_stochastic_weight=0, "
        * (context.config.training.doubly_stochastic_weight > 0)
        + "with another --encoder_layer than the network's last, or with --attention_supervision "
        "where boxes are known (docs/attention.md)",
        {"entropy": entropy, "fall_attended": own, "fall_average": average},
    )


@check
def caption_diversity(context: RunContext) -> CheckResult:
    """Check that captions differ between images."""
    captions = [caption.text for caption in context.evaluation.captions]
    if len(captions) < _MIN_CAPTIONS:
        return skip(f"fewer than {_MIN_CAPTIONS} captions")
    most_frequent, frequency, distinct = _diversity(captions)
    # References may be uniform, too.
    references = [" ".join(tokenize(one.captions[0])) for one in context.evaluation.records]
    _, their_frequency, their_distinct = _diversity(references)
    return fail_if(
        frequency > max(_MAX_FREQUENCY, 2 * their_frequency)
        or distinct < _MIN_DISTINCT * their_distinct,
        f"{distinct:.0%} of {len(captions):,} captions are distinct ({their_distinct:.0%} of the "
        f"references); the most frequent, {most_frequent!r}, is generated for {frequency:.1%} of "
        f"the images ({their_frequency:.1%})",
        "the model generates what is likely for any image: train longer (--max_epochs), with more "
        "steps (a smaller --batch_size) or with a higher --learning_rate; then see the checks "
        "encoder and alignment; fewer than some hundred images allow little more",
        {"frequency": frequency, "distinct": distinct},
    )


def _diversity(captions: Sequence[str]) -> tuple[str, float, float]:
    """Return the most frequent caption, its frequency, and the fraction of distinct ones."""
    (caption, count), *_ = Counter(captions).most_common(1)
    return caption, count / len(captions), len(set(captions)) / len(captions)


@check
def truncation(context: RunContext) -> CheckResult:
    """Check that captions end by themselves, and that training left out few for their length.

    References longer than `max_length` are reported, but are no failure if captions end.
    """
    config, captions = context.config, context.evaluation.captions
    max_length, limit = config.decoding.max_length, config.data.max_caption_words
    # A caption that ended has one probability more than words, that of the end.
    count = sum(len(one.log_probs) == len(one.words) for one in captions)
    truncated = count / len(captions)
    lengths = context.statistics["train"].lengths
    longer, left_out = (
        sum(n for length, n in lengths.items() if length > most) / max(lengths.total(), 1)
        for most in (max_length, limit or math.inf)
    )
    return fail_if(
        (truncated > _MAX_TRUNCATED and count > 1) or left_out > _MAX_LEFT_OUT,
        f"of {len(captions)} captions {truncated:.1%} are truncated at --max_length={max_length}; "
        f"of the training captions {longer:.1%} are longer"
        + (f", and {left_out:.1%} left out by --max_caption_words={limit}" if limit else ""),
        "raise the limit (--max_length, here and where the run captions"
        + (", --max_caption_words of a new run" if limit else "")
        + "); if captions repeat themselves, caption with --no_repeat_ngram=3",
        {"truncated": truncated, "longer": longer, "left_out": left_out},
    )


@check
def alignment(context: RunContext) -> CheckResult:
    """Check that an image's own captions rank above those of other images.

    Every caption is scored with every image of a sample, one caption per image: the first of the
    first image, the second of the second and so on in turn, so that captions of one index that
    belong to other images (lines shifted by one) are found.
    """
    means: dict[str, float] = {}
    worst, at_worst = 0.0, ""
    for split, sample in (("train", context.train), ("dev", context.dev)):
        if len(sample.records) < _MIN_RANKED:
            continue
        indices = np.array([i % len(record.captions) for i, record in enumerate(sample.records)])
        ranks = own_ranks(_log_probabilities(context, sample, indices))
        means[split] = float(ranks.mean())
        for index in np.unique(indices):
            chosen = ranks[indices == index]
            if len(chosen) >= _MIN_RANKED_AT_INDEX and chosen.mean() > worst:
                worst = float(chosen.mean())
                at_worst = f"; of caption {index + 1} of each image alone, {worst:.2f} of {split}"
    if not means:
        return skip(f"fewer than {_MIN_RANKED} images")
    measured = ", ".join(f"{rank:.2f} of {split}" for split, rank in means.items())
    run = shlex.quote(str(context.workdir))
    return fail_if(
        max(means.values()) > _MAX_RANK or worst > _MAX_RANK_AT_INDEX,
        "mean rank of an image's own caption among those of others, 0 the first, 1 the last, 0.5 "
        f"random: {measured}{at_worst}",
        "images and captions do not belong together, or the run has learned nothing from images: "
        f"inspect some of them (python -m sat_tf.evaluate --workdir={run} --split=dev "
        "--report=report.html) for captions shifted by a line and for renamed images",
        {**means, "worst_index": worst},
    )


def _log_probabilities(context: RunContext, sample: Sample, indices: np.ndarray) -> np.ndarray:
    """Return log p of one caption per image, given by its index, with each image: [images, n]."""
    run = context.run
    pairs = zip(sample.records, indices, strict=True)
    words = [tokenize(record.captions[index]) for record, index in pairs]
    tokens = pad_captions([run.vocabulary.encode(one) for one in words])
    batch = {"tokens": tf.constant(tokens), "image_index": tf.zeros([len(tokens)], tf.int32)}
    images = tf.constant(sample.features)[:, None]  # [n, 1, rows, columns, D]
    scores = [run.model.score({**batch, "features": one}, run.config.decoding) for one in images]
    return np.stack([one.log_probs.numpy().sum(axis=1) for one in scores])  # sum over T


def own_ranks(log_p: np.ndarray) -> np.ndarray:
    """Return the rank of each image's own caption among all: [n], 0 the first, 1 the last.

    Captions are compared by how much likelier the image makes them than the average image does,
    so that it does not matter how likely a caption is in itself. Ties count half.

    Args:
      log_p: of each caption with each image, [n, n], n at least 2; caption i belongs to image i.
    """
    gain = log_p - log_p.mean(axis=0)
    own = np.diag(gain)[:, None]
    before = (gain > own).sum(axis=1) + ((gain == own).sum(axis=1) - 1) / 2
    return before / (len(log_p) - 1)


@check
def overfit_batch(context: RunContext) -> CheckResult:
    """Check that a new model can memorise 16 training captions of 16 images.

    It has the run's encoder as it is now and the run's decoder, without dropout and with soft
    attention; Adam minimises the negative log-likelihood alone. A failure is due to the features
    or to the decoder's config.
    """
    batch = _distinct_captions(context)
    count = len(batch["tokens"])
    if count < 2:
        return skip("there are no two training images with different captions")
    keras.utils.set_random_seed(context.config.training.seed)
    run = context.run
    decoder = dataclasses.replace(
        run.config.decoder, attention="soft", dropout=0.0, lstm_dropout=0.0
    )
    grid = keras.Input(run.model.encoder.output_shape[1:])  # the features are computed already
    model = CaptionModel(keras.Model(grid, grid), decoder, len(run.vocabulary))
    model.scale_features(batch["features"])
    steps, per_word, per_caption = _overfit(model, batch)
    memorised = _is_memorised(count, per_word, per_caption)
    return fail_if(
        not memorised,
        f"a new model memorised {count} training captions in {steps} steps"
        if memorised
        else f"after {steps} steps, a new model has a loss of {per_caption:.1f} nats per caption "
        f"on {count} training captions ({math.log(count):.1f} if it can't distinguish their "
        f"images), {per_word:.2f} per word",
        "the features do not distinguish the images, or the model can't learn: see the checks of "
        "the encoder, then the sizes of the decoder (--hidden_size, --embedding_size, "
        "--attention_size)",
        {
            "captions": count,
            "steps": steps,
            "nats_per_word": per_word,
            "nats_per_caption": per_caption,
        },
    )


def _is_memorised(count: int, per_word: float, per_caption: float) -> bool:
    return per_word < _MAX_WORD_NATS and per_caption < _MAX_CAPTION_NATS * math.log(count)


def _distinct_captions(context: RunContext) -> Batch:
    """Return a batch of training images with one caption each, all different."""
    chosen: dict[tuple[int, ...], int] = {}  # token ids -> index of the image
    for index, record in enumerate(context.train.records):
        encoded = (context.run.vocabulary.encode(tokenize(text)) for text in record.captions)
        new = next((ids for ids in map(tuple, encoded) if ids not in chosen), None)
        if new and len(chosen) < _OVERFIT_CAPTIONS:
            chosen[new] = index
    return {
        "features": tf.constant(context.train.features[list(chosen.values())]),
        "tokens": tf.constant(pad_captions([*chosen])),
        "image_index": tf.range(len(chosen)),
    }


def _overfit(model: CaptionModel, batch: Batch) -> tuple[int, float, float]:
    """Train until the captions are memorised; return steps, and nats per word and per caption."""
    loss = CaptionLoss(doubly_stochastic_weight=0.0)
    model.compile(keras.optimizers.Adam(_LEARNING_RATE), loss, clip_norm=_CLIP_NORM)
    step = tf.function(lambda: model.update(batch), autograph=False)
    steps, per_word, per_caption = 0, math.inf, math.inf
    while steps < _OVERFIT_STEPS and not _is_memorised(len(batch["tokens"]), per_word, per_caption):
        sums = {name: float(value) for name, value in step().items()}
        per_word, per_caption = sums["nll"] / sums["words"], sums["nll"] / sums["captions"]
        steps += 1
    return steps, per_word, per_caption
