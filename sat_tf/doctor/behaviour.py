"""Checks of what a run has learned: curves, attention, captions, and whether it can learn."""

import dataclasses
import math
import shlex
from collections import Counter
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from sat_tf.data.pipeline import pad_captions
from sat_tf.doctor import CheckResult, fail_if, skip
from sat_tf.doctor.run_context import RunContext, Sample
from sat_tf.metrics.bootstrap import intervals
from sat_tf.model.caption_model import Batch, CaptionModel
from sat_tf.model.losses import CaptionLoss
from sat_tf.training.schedule import smaller_steps
from sat_tf.vocabulary import tokenize

_IMPORTED = "the run was imported, not trained here"

# Relative to the lowest validation perplexity: at the epoch of the best weights, and at the last.
_MAX_ABOVE_BEST, _MAX_ABOVE_LAST = 0.1, 0.3
_MAX_LOSS_RISE = 0.5  # relative to what the training loss had fallen
_MAX_LAST_FALL = 0.05  # of the perplexity in the last epoch; relative
_PERPLEXITY_TOLERANCE = 0.02  # relative

_MIN_MOVED = 0.5  # percent of alpha; trained models reach 3 to 50

# Percent of log L; and what covering the cells that a word attends to costs it, relative to those
# that its caption attends to on average.
_MAX_ENTROPY, _MIN_RATIO = 95.0, 1.05

_MIN_CAPTIONS = 8  # for a rate to be meaningful
# Frequency of one caption; and distinct captions relative to those of people.
_MAX_FREQUENCY, _MIN_DISTINCT = 0.2, 0.2
_MAX_TRUNCATED, _MAX_LEFT_OUT = 0.02, 0.1

_MIN_RANKED, _MIN_RANKED_AT_INDEX = 8, 12
# 0.5 is random, with a standard error of 0.04 over 64 images and 0.08 over a fifth of them; trained
# runs are below 0.1.
_MAX_RANK, _MAX_RANK_AT_INDEX = 0.3, 0.35

_OVERFIT_CAPTIONS, _OVERFIT_STEPS = 16, 300
_LEARNING_RATE, _CLIP_NORM = 2e-3, 5.0
# Nats per word; and per caption, relative to log n, the least that n captions cost if the model
# can't distinguish their images.
_MAX_WORD_NATS, _MAX_CAPTION_NATS = 0.1, 0.5


def training_curves(context: RunContext) -> CheckResult:
    """Check that training converged, and that validation perplexity did not rise again."""
    if not context.was_trained:
        return skip(_IMPORTED)
    if context.config.training.self_critical != "none":
        return skip("self-critical training does not maximise the likelihood")
    losses = [epoch["loss"] for epoch in context.history]
    perplexities = [epoch["perplexity"] for epoch in context.history]
    best, last, lowest = context.best_epoch, len(losses), min(perplexities)
    at_lowest = perplexities.index(lowest) + 1
    above_best, above_last = perplexities[best - 1] / lowest - 1, perplexities[-1] / lowest - 1
    last_fall = perplexities[-2] / perplexities[-1] - 1 if last > 1 else 0.0
    # Not relative to the loss itself: that of hard attention may be negative.
    fall, rise = losses[0] - min(losses), losses[-1] - min(losses)
    diverged = not rise <= _MAX_LOSS_RISE * fall  # not finite: neither
    is_falling = at_lowest == last and last_fall > _MAX_LAST_FALL
    monitor = context.config.training.monitor
    if diverged:
        advice = f"train again with {smaller_steps(context.config.training)}"
    elif above_best > _MAX_ABOVE_BEST and best < at_lowest:
        advice = (
            f"--monitor={monitor} selected an early epoch, as it is chance or 0 on few validation "
            "images or short captions: train again with --monitor=perplexity"
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
        above_best=above_best,
        above_last=above_last,
        last_fall=last_fall,
        rise=rise,
    )


def perplexity(context: RunContext) -> CheckResult:
    """Check that the best weights are as good as when they were saved.

    The perplexity changes with weights, vocabulary, images and references.
    """
    if not context.was_trained:
        return skip(_IMPORTED)
    epoch = context.best_epoch
    then = context.history[epoch - 1]["perplexity"]
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
        now=now,
        then=then,
        low=low,
        high=high,
    )


def attention(context: RunContext) -> CheckResult:
    """Check that attention depends on h, and that it moves from word to word."""
    scores, captions = context.evaluation.scores, context.evaluation.captions
    if context.run.model.num_locations == 1:
        return skip("there is only one location")
    if "state_sensitivity" not in scores:
        return skip("there is no second caption, whose h could replace a caption's own")
    sensitivity, change = scores["state_sensitivity"], scores["attention_change"]
    has_steps = any(len(caption.words) > 1 for caption in captions)
    return fail_if(
        sensitivity < _MIN_MOVED or (has_steps and change < _MIN_MOVED),
        f"with the h of another caption {sensitivity:.1f} % of alpha moves to other locations; "
        f"{change:.1f} % moves from word to word; {len(captions):,} captions",
        "attention is the same for every word, as it is at the start: if the captions differ "
        "little too, train longer first. Else train again with another --seed, the default "
        "--initializer and no --weight_decay, and watch state_sensitivity in TensorBoard; it can "
        "also select the best weights (--monitor)",
        state_sensitivity=sensitivity,
        attention_change=change,
    )


def attention_maps(context: RunContext) -> CheckResult:
    """Check that maps are not flat, and that a word depends on its own map.

    A tenth of the cells is covered: those that the word attends to most, or those that its caption
    attends to most on average. The second costs as much if the map says nothing about the word.
    """
    if context.run.model.num_locations == 1:
        return skip("there is only one location")
    entropy, own, average = context.evaluation.scores["attention_entropy"], *context.falls
    config = context.config.training
    return fail_if(
        entropy > _MAX_ENTROPY or own <= _MIN_RATIO * average,
        f"entropy of alpha {entropy:.0f} % (100: the same everywhere); log p of a content word "
        f"falls by {own:.3f} nats if the tenth of the image that it attends to most is covered, "
        f"by {average:.3f} if it is that of the caption's mean map",
        "attention maps show little: words do not depend on their own. Train again "
        + "with --doubly_stochastic_weight=0, " * (config.doubly_stochastic_weight > 0)
        + "with an earlier --encoder_layer, whose cells see less of the image, or with "
        "--attention_supervision where boxes are known (docs/attention.md)",
        entropy=entropy,
        fall_attended=own,
        fall_average=average,
    )


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
        frequency=frequency,
        distinct=distinct,
    )


def _diversity(captions: Sequence[str]) -> tuple[str, float, float]:
    """Return the most frequent caption, its frequency, and the fraction of distinct ones."""
    (caption, count), *_ = Counter(captions).most_common(1)
    return caption, count / len(captions), len(set(captions)) / len(captions)


def truncation(context: RunContext) -> CheckResult:
    """Check that captions end by themselves, and that training left out few for their length.

    References longer than `max_length` are reported, but are no failure if captions end.
    """
    config = context.config
    max_length, limit = config.decoding.max_length, config.data.max_caption_words
    captions = context.evaluation.captions
    # A caption that ended has one probability more than words, that of the end.
    count = sum(len(one.log_probs) == len(one.words) for one in captions)
    truncated = count / len(captions)
    lengths = context.statistics["train"].lengths
    longer = _fraction_longer(lengths, max_length)
    left_out = _fraction_longer(lengths, limit) if limit else 0.0
    return fail_if(
        (truncated > _MAX_TRUNCATED and count > 1) or left_out > _MAX_LEFT_OUT,
        f"of {len(captions)} captions {truncated:.1%} are truncated at --max_length={max_length}; "
        f"of the training captions {longer:.1%} are longer"
        + (f", and {left_out:.1%} left out by --max_caption_words={limit}" if limit else ""),
        "raise the limit (--max_length, here and where the run captions"
        + (", --max_caption_words of a new run" if limit else "")
        + "); if captions repeat themselves, caption with --no_repeat_ngram=3",
        truncated=truncated,
        longer=longer,
        left_out=left_out,
    )


def _fraction_longer(lengths: Counter[int], limit: int) -> float:
    return sum(n for length, n in lengths.items() if length > limit) / max(lengths.total(), 1)


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
        **means,
        worst_index=worst,
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
    """Return the rank of each image's own caption among all captions.

    Captions are compared by how much likelier the image makes them than the average image does,
    so that it does not matter how likely a caption is in itself.

    Args:
      log_p: log probability of each caption with each image, [n, n], n at least 2; caption i
        belongs to image i.

    Returns:
      float [n]: 0 is first, 1 is last; ties count half.
    """
    gain = log_p - log_p.mean(axis=0)
    own = np.diag(gain)[:, None]
    before = (gain > own).sum(axis=1) + ((gain == own).sum(axis=1) - 1) / 2
    return before / (len(log_p) - 1)


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
        captions=count,
        steps=steps,
        nats_per_word=per_word,
        nats_per_caption=per_caption,
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
    """Train until the captions are memorised, or for `_OVERFIT_STEPS` steps.

    Returns:
      Steps, and -log p in nats per word and per caption.
    """
    loss = CaptionLoss(doubly_stochastic_weight=0.0)
    model.compile(keras.optimizers.Adam(_LEARNING_RATE), loss, clip_norm=_CLIP_NORM)
    step = tf.function(lambda: model.update(batch), autograph=False)
    steps, per_word, per_caption = 0, math.inf, math.inf
    while steps < _OVERFIT_STEPS and not _is_memorised(len(batch["tokens"]), per_word, per_caption):
        sums = {name: float(value) for name, value in step().items()}
        per_word, per_caption = sums["nll"] / sums["words"], sums["nll"] / sums["captions"]
        steps += 1
    return steps, per_word, per_caption
