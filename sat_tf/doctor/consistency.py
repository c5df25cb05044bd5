"""Whether the parts of a run, and the data, are those that it was trained with."""

import math

import numpy as np

from sat_tf.doctor.results import CheckResult, judge, not_needed
from sat_tf.doctor.run_context import RunContext
from sat_tf.errors import UserError
from sat_tf.metrics.bootstrap import intervals
from sat_tf.training.checkpoints import has_state
from sat_tf.training.initialize import new_vocabulary
from sat_tf.training.train import SCALE_IMAGES
from sat_tf.workdir import METRICS_FILE

_NOT_TRAINED = "the run was not trained here, but imported"
_STARTED = "the run started from another one, whose own it is"
# Float16, batches of another size and other processors change less.
_ANNOTATION_TOLERANCE = 0.02
_SCALE_TOLERANCE = 0.005
_PERPLEXITY_TOLERANCE = 0.02
_LISTED = 5


def files(patient: RunContext) -> CheckResult:
    """Vocabulary, encoder, weights and settings are there and fit together."""
    if has_state(patient.workdir) and not (patient.workdir / METRICS_FILE).exists():
        return judge(
            True,
            f"{patient.workdir}: training stopped before its first validation: no weights are kept",
            "give the command of the training again to go on",
        )
    try:
        run = patient.run
    except UserError as error:
        advice = "bring the files back that belong to the run, or train it again"
        return judge(True, str(error), advice)
    broken = [one.path for one in run.model.weights if not np.all(np.isfinite(one))]
    return judge(
        bool(broken),
        f"weights that are no numbers: {', '.join(broken)}"
        if broken
        else f"the weights fit config.json and vocabulary.json ({run.vocabulary.fingerprint[:12]}, "
        f"{len(run.vocabulary):,} entries); fingerprint of encoder.keras "
        f"{patient.encoder_fingerprint[:12]}",
        "take weights of another epoch (--keep_checkpoints), or train again with a lower "
        "--learning_rate",
    )


def data(patient: RunContext) -> CheckResult:
    """The data set is there, and nothing is wrong in its files of captions."""
    try:
        counts = {split: len(records) for split, records in patient.records.items()}
    except UserError as error:
        advice = (
            f"python -m sat_tf.check_captions --dataset={patient.config.data.dataset} with its "
            "--data_dir lists every problem; another folder is named by --data_dir here, too"
        )
        return judge(True, str(error), advice)
    evidence = ", ".join(f"{count:,} images of {split}" for split, count in counts.items())
    return judge(False, evidence, "", **counts)


def vocabulary(patient: RunContext) -> CheckResult:
    """The training captions give the vocabulary that the run has."""
    if not patient.was_trained:
        return not_needed(_NOT_TRAINED)
    if patient.config.training.start_from:
        return not_needed(_STARTED)
    own = patient.run.vocabulary
    built = new_vocabulary(patient.records["train"], patient.config.data)
    lost = [word for word in own.words if word not in built]
    new = [word for word in built.words if word not in own]
    is_fault = own.fingerprint != built.fingerprint
    evidence = f"the training captions give the run's {len(own):,} entries"
    if is_fault:
        evidence = (
            f"the training captions now give another vocabulary: {len(lost):,} of the run's "
            f"{len(own):,} entries are not in it{_some(lost)}, {len(new):,} are new{_some(new)}"
        )
    advice = (
        "bring the training captions back that the run was trained on (--data_dir, "
        "--captions_file, --splits), or train a new run"
    )
    return judge(is_fault, evidence, advice, entries=len(own), lost=len(lost), new=len(new))


def _some(words: list[str]) -> str:
    more = ", …" if len(words) > _LISTED else ""
    return f" ({', '.join(words[:_LISTED])}{more})" if words else ""


def encoder(patient: RunContext) -> CheckResult:
    """The encoder sees what it saw when the run began, and gives what it gave.

    The checkpoint keeps the root mean square of the annotations of the first training images: it
    moves with the encoder's weights, its preprocessing and the images.
    """
    if not patient.was_trained:
        return not_needed(_NOT_TRAINED)
    if patient.config.training.start_from:
        return not_needed(_STARTED)
    model = patient.run.model
    if model.trains_encoder:
        return not_needed("the encoder was trained: its weights lie in the checkpoint")
    annotations = patient.encode(patient.read(patient.records["train"][:SCALE_IMAGES]))
    # Zeros were left as they were.
    now = float(np.sqrt(np.mean(np.square(annotations, dtype=np.float64)))) or 1.0
    then = float(model.flatten_grid.scale.numpy())
    evidence = (
        f"root mean square of the first {len(annotations)} training images' annotations: "
        f"{now:.5g}, {then:.5g} when the run began"
    )
    advice = (
        "the encoder (encoder.keras), its preprocessing or the training images are others than "
        "those that the weights were trained with: bring them back, or train a new run"
    )
    is_fault = not math.isclose(now, then, rel_tol=_SCALE_TOLERANCE)
    return judge(is_fault, evidence, advice, now=now, then=then)


def feature_cache(patient: RunContext) -> CheckResult:
    """The cache holds what the encoder gives, image by image."""
    worst: dict[str, float] = {}
    for split, sample in (("train", patient.train), ("dev", patient.dev)):
        folder = patient.cache_folder(split)
        advice = f"delete {folder}: training, evaluation and extract_features make it anew"
        try:
            cache = patient.cache(split)
            if cache is None:
                continue
            kept = cache.read(sample.numbers).astype(np.float32)
        except UserError as error:
            evidence, *_ = str(error).partition(";")  # then it advises to do what was not done
            return judge(True, evidence, advice)
        off = _distances(kept, sample.annotations)
        worst[split] = float(off.max())
        if not off.max() <= _ANNOTATION_TOLERANCE:
            evidence = (
                f"{folder}: {np.sum(off > _ANNOTATION_TOLERANCE)} of {len(off)} images have other "
                f"annotations there than the encoder gives now, {off.max():.0%} away, "
                f"{sample.records[int(off.argmax())].image_id} the worst"
            )
            return judge(True, evidence, advice, **worst)
    if not worst:
        return not_needed("nothing is kept of this encoder's annotations")
    evidence = f"what it holds of {' and '.join(worst)} is what the encoder gives now, within "
    return judge(False, f"{evidence}{max(worst.values()):.2%}", "", **worst)


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """|a - b| / |b| of each image: [n, rows, columns, D] twice -> [n]."""
    axes = (1, 2, 3)
    return np.sqrt(np.sum((a - b) ** 2, axis=axes) / np.maximum(np.sum(b**2, axis=axes), 1e-12))


def perplexity(patient: RunContext) -> CheckResult:
    """The best weights are as good now as they were when they were saved.

    Whatever was changed since (weights, words, images, references), this sees it, if not what.
    """
    if not patient.was_trained:
        return not_needed(_NOT_TRAINED)
    epoch = patient.best_epoch
    then = patient.history[epoch - 1]["perplexity"]
    records, measure = patient.scored.records, patient.scored.metrics["perplexity"]
    low = high = now = measure.score
    seen, count = f"{len(records):,} validation images", len(patient.records["dev"])
    if len(records) < count:
        low, high = intervals({"perplexity": measure})["perplexity"]
        # Twice as wide as 95 %, or one healthy run of twenty would be called ill.
        low, high = low**2 / now, high**2 / now
        seen += f", so {low:.2f} to {high:.2f} on all {count:,}"
    slack = 1 + _PERPLEXITY_TOLERANCE
    return judge(
        not low / slack <= then <= high * slack,
        f"{now:.2f} on {seen}; {then:.2f} when the weights were saved, after epoch {epoch}",
        "weights, encoder, images or references have changed since: see the other checks; if the "
        "references were mended on purpose, train again",
        now=now,
        then=then,
        low=low,
        high=high,
    )
