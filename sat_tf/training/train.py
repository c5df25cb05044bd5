"""Training of a run: from its settings to its best weights.

`train_and_evaluate` reads from top to bottom: prepare the run, then train and validate epoch by
epoch. The optimizer step itself is `sat_tf.model.caption_model.CaptionModel.update`, which `fit`
takes too; this loop adds what `fit` has not: a state from which training resumes bit-exactly.
"""

import contextlib
import dataclasses
import hashlib
import math
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from types import FrameType

import keras
import numpy as np
import tensorflow as tf

from sat_tf.config import CONFIG_FILE, Config, TrainingConfig, to_flat
from sat_tf.data.pipeline import (
    BatchPlan,
    ImageSource,
    TokenizedCaptions,
    bucket_by_length,
    caption_batches,
    group_by_image,
    image_batches,
    iter_batches,
    tokenize_captions,
)
from sat_tf.data.records import Record
from sat_tf.data.unreadable import LeftOut
from sat_tf.datasets import load_splits
from sat_tf.errors import UserError
from sat_tf.evaluator import Evaluator
from sat_tf.metrics.registry import check_scores
from sat_tf.metrics.text import training_captions
from sat_tf.model.caption_model import Batch, CaptionModel
from sat_tf.model.encoder import feature_source
from sat_tf.model.losses import CaptionLoss, Sums
from sat_tf.model.networks import precision
from sat_tf.model.weights import provenance
from sat_tf.training import initialize
from sat_tf.training.checkpoints import Checkpoints
from sat_tf.training.logger import TrainingLogger, attention_records
from sat_tf.training.optimizers import make_optimizer
from sat_tf.training.schedule import (
    Progress,
    end_epoch,
    learning_rate,
    scheduled_sampling,
    smaller_steps,
    why_finished,
)
from sat_tf.training.self_critical import SelfCriticalLoss, one_per_image
from sat_tf.vocabulary import Vocabulary
from sat_tf.workers import Workers

TrainStep = Callable[[Batch], Sums]

# Training images from which the scale of the features is measured.
SCALE_IMAGES = 64
# Sums of a step that are not means over captions, or whose values mean nothing.
_NOT_LOGGED = ("captions", "words", "reinforce")


@dataclasses.dataclass(frozen=True)
class TrainingRun:
    """A run that is ready to be trained.

    Attributes:
      records: of the splits train and dev.
      workers: that train it, in whose strategy the model was built.
      model: compiled, with its first weights or those of the last checkpoint.
      captions: of the training split.
      sources: of the images of each split.
    """

    config: Config
    workdir: Path
    records: Mapping[str, Sequence[Record]]
    vocabulary: Vocabulary
    workers: Workers
    model: CaptionModel
    captions: TokenizedCaptions
    sources: Mapping[str, ImageSource]
    checkpoints: Checkpoints
    progress: Progress


def train_and_evaluate(
    config: Config,
    workdir: str | os.PathLike[str],
    test_split: str = "dev",
    workers: Workers | None = None,
) -> bool:
    """Train a run, or resume it bit-exactly where it stopped; validate it after each epoch.

    Args:
      config: of the run; an existing run must have been started with the same settings.
      workdir: folder of the run.
      test_split: that the run will be evaluated on: its captions, images and objects are checked
        too.
      workers: that train the run together, each by a call of this function.

    Returns:
      Whether training is finished; False after an interruption, with the state saved.

    Raises:
      UserError: settings, data or folder are not usable, or the loss is not finite.
      TryAgainError: another worker is missing.
    """
    workers = workers or Workers()
    with workers.watched(), contextlib.ExitStack() as stack:
        with workers.together():
            if workers.is_chief:
                stack.enter_context(initialize.lock_run(Path(workdir)))
        finished = _train_and_evaluate(prepare(config, workdir, test_split, workers))
        workers.barrier()  # the others would miss a chief that leaves before them
        return finished


def _train_and_evaluate(run: TrainingRun) -> bool:
    training, progress, dev = run.config.training, run.progress, run.records["dev"]
    workers = run.workers
    plan = batch_plan(run.captions, training, progress.epoch)
    train_step = make_train_step(run.model, workers.strategy, batches(run, plan).element_spec)
    decoding = dataclasses.replace(
        run.config.decoding, search="beam", beam_size=training.validation_beam_size
    )
    evaluator = Evaluator(
        [run.model],
        run.vocabulary,
        decoding,
        run.config.images,
        training_captions(run.records["train"]),
        training.monitor,
    )
    logger = TrainingLogger(
        run.workdir, len(plan), training.max_epochs, progress, writes=workers.is_chief
    )
    with logger, stop_on_signal() as received:
        while not why_finished(training, progress):
            started = time.monotonic()
            if not train_epoch(run, train_step, logger, received):
                run.checkpoints.save(progress)
                logger.print(
                    f"stopped after {progress.total_steps} steps; the state is saved in the run: "
                    "give the same command again to resume"
                )
                return False
            trained = time.monotonic()
            result = evaluator.evaluate(
                dev, [run.sources["dev"]], training.batch_size, workers=workers
            )
            entry = epoch_losses(run) | {
                "seconds_training": trained - started,
                "seconds_validation": time.monotonic() - trained,
            }
            # The schedule decides by them, on all workers the same.
            entry, scores = workers.from_chief((entry, result.scores))
            why_best = end_epoch(training, progress, entry, scores)
            if why_best:
                run.checkpoints.save_best(progress)
            run.checkpoints.save_epoch(progress)
            run.checkpoints.save(progress)
            if workers.is_chief:
                logger.log_epoch(progress, training.monitor, why_best)
                logger.log_samples(result, training.log_captions)
                attention = attention_records(
                    run.model, run.vocabulary, run.config, dev, run.sources["dev"]
                )
                logger.log_attention(attention, progress.total_steps)
        logger.print(f"training is finished: {why_finished(training, progress)}")
    return True


def prepare(
    config: Config,
    workdir: str | os.PathLike[str],
    test_split: str = "dev",
    workers: Workers | None = None,
) -> TrainingRun:
    """Load or create everything that training needs; fills the feature cache.

    What may be wrong with settings and data is found before the first file of the run is written.
    Arguments and errors are those of `train_and_evaluate`.
    """
    workdir, workers = Path(workdir), workers or Workers()
    if config.training.jit_compile and (devices := workers.strategy.num_replicas_in_sync) > 1:
        raise UserError(
            f"--jit_compile: does not work on {devices} devices: "
            "leave it out, or name one GPU in CUDA_VISIBLE_DEVICES and train without other workers"
        )
    with workers.together():
        initialize.await_shared(workdir, workers, initialize.name_of_state)
        config = initialize.resolve_config(config, workdir)
        check_scores(config)
    records, left_out = workers.chief_first(lambda: load_records(config, workdir, test_split))
    with workers.together():
        vocabulary = initialize.open_vocabulary(config, workdir, records["train"])
    workers.compare(facts(config, records, vocabulary))
    training = config.training
    keras.utils.set_random_seed(training.seed)
    with workers.together(), workers.strategy.scope(), precision(training.precision):
        model = initialize.open_model(config, workdir, vocabulary)
        model.compile(
            make_optimizer(training),
            make_loss(config, vocabulary, records["train"]),
            clip_norm=training.clip_norm,
            weight_decay=training.weight_decay,
            jit_compile=training.jit_compile,
        )
        captions = tokenize_training_captions(config, vocabulary, records["train"], model.grid)
    sources = {
        split: feature_source(model.encoder, of_split, config, workers)
        for split, of_split in records.items()
    }
    with workers.together():
        if workers.is_chief:
            initialize.write_run(config, workdir, vocabulary, model, left_out)
    with workers.together():
        initialize.await_shared(workdir, workers, lambda run: (run / CONFIG_FILE).exists())
        checkpoints = Checkpoints(
            workdir,
            model,
            provenance(workdir, config, vocabulary),
            training.keep_checkpoints,
            writes=workers.is_chief,
        )
        progress = checkpoints.restore()
    is_new = not progress.total_steps and not training.start_from
    if is_new and not model.trains_encoder:
        scale_features(model, sources["train"], len(records["train"]))
    plan = batch_plan(captions, training, progress.epoch)
    workers.compare(
        {
            "restored step": str(progress.total_steps),
            "batches": digest(np.concatenate(plan).tobytes()),
            "weights": digest(*(weight.numpy().tobytes() for weight in model.weights)),
        }
    )
    return TrainingRun(
        config,
        workdir,
        {split: records[split] for split in ("train", "dev")},
        vocabulary,
        workers,
        model,
        captions,
        sources,
        checkpoints,
        progress,
    )


def scale_features(model: CaptionModel, source: ImageSource, count: int) -> None:
    """Scale the features of a frozen encoder by those of the first of `count` training images."""
    first = image_batches(min(count, SCALE_IMAGES), source, SCALE_IMAGES)
    for batch in iter_batches(first, source):
        model.scale_features(model.encode_images(batch))


def facts(
    config: Config, records: Mapping[str, Sequence[Record]], vocabulary: Vocabulary
) -> dict[str, str]:
    """Return what workers must agree on before they build a model, see `Workers.compare`."""
    settings = to_flat(config)
    for where in ("data_dir", "cache_dir"):  # may be mounted elsewhere
        del settings[where]
    return {
        **{f"--{name}": str(value) for name, value in settings.items()},
        **{f"version of {name}": version(name) for name in ("sat-tf", "tensorflow", "keras")},
        **{
            f"{split} split": digest(*map(_content, of_split))
            for split, of_split in records.items()
        },
        "vocabulary": vocabulary.fingerprint,
    }


def _content(record: Record) -> bytes:
    """Return what training reads of a record, but for its image."""
    boxes = record.objects and tuple(record.objects.objects)
    return repr((record.image_id, tuple(record.captions), boxes)).encode()


def digest(*contents: bytes) -> str:
    """Return the SHA-256 of contents."""
    sha = hashlib.sha256()
    for content in contents:
        sha.update(content)
    return sha.hexdigest()


def load_records(
    config: Config, workdir: Path, test_split: str
) -> tuple[dict[str, tuple[Record, ...]], LeftOut]:
    """Return the checked records of train, dev and the split to evaluate on, see `readable_images`.

    Raises:
      UserError: captions, images or objects have problems.
    """
    splits = tuple(dict.fromkeys(("train", "dev", test_split)))
    # Tokenizing the captions rejects training images without boxes, where they are needed.
    is_supervised = config.training.attention_supervision > 0
    loaded = load_splits(
        config.data,
        splits,
        objects_for=None if is_supervised else splits[1:],
        may_lack_objects=is_supervised,
        with_notes=True,
    )
    return initialize.readable_images(config, workdir, loaded)


def make_loss(config: Config, vocabulary: Vocabulary, records: Sequence[Record]) -> CaptionLoss:
    """Return the loss: the likelihood of captions, or a score of sampled ones."""
    if config.training.self_critical == "none":
        return CaptionLoss.from_training(config.training)
    return SelfCriticalLoss(vocabulary, records, config)


def tokenize_training_captions(
    config: Config, vocabulary: Vocabulary, records: Sequence[Record], grid: tuple[int, int]
) -> TokenizedCaptions:
    """Tokenize the captions to train on; self-critical training needs one an image.

    Raises:
      UserError: `--max_caption_words` leaves none, or attention is supervised and no image has
        boxes.
    """
    if config.training.self_critical != "none":
        return one_per_image(tokenize_captions(records, vocabulary))
    limit = config.data.max_caption_words
    regions_of = (grid, config.images) if config.training.attention_supervision else None
    captions = tokenize_captions(records, vocabulary, limit, regions_of)
    if not captions.tokens:
        raise UserError(f"--max_caption_words={limit} leaves no training caption")
    return captions


def batch_plan(captions: TokenizedCaptions, training: TrainingConfig, epoch: int) -> BatchPlan:
    """Return the minibatches of an epoch, a pure function of the seed and the epoch."""
    if training.batch_by == "image":
        return group_by_image(captions.image, training.batch_size, training.seed, epoch)
    return bucket_by_length(captions.lengths, training.batch_size, training.seed, epoch)


def batches(run: TrainingRun, plan: BatchPlan, skip: int = 0) -> tf.data.Dataset:
    """Return the minibatches of a plan but the first `skip`, distributed over the replicas.

    With GPUs the next minibatches are copied to them while a step runs.
    """

    def pipeline(context: tf.distribute.InputContext) -> tf.data.Dataset:
        dataset = caption_batches(
            run.captions,
            plan,
            run.sources["train"],
            skip=skip,
            context=context,
            repeats_shapes=run.config.training.jit_compile,
        )
        gpus = tf.config.list_logical_devices("GPU")
        # `MirroredStrategy` prefetches to its GPUs, the default strategy to none.
        if len(gpus) == 1:
            dataset = dataset.apply(tf.data.experimental.prefetch_to_device(gpus[0].name))
        return dataset

    return run.workers.strategy.distribute_datasets_from_function(pipeline)


def make_train_step(
    model: CaptionModel, strategy: tf.distribute.Strategy, batch_spec: Mapping[str, tf.TensorSpec]
) -> TrainStep:
    """Make a graph of `CaptionModel.update` for batches that a strategy distributes.

    The model is one of the strategy's scope, compiled by XLA if its `jit_compile` says so. The
    sums are those of the whole minibatch.
    """
    if model.jit_compile:
        # XLA differentiates loops of known length only: a trace for each shape.
        return tf.function(model.update, jit_compile=True, autograph=False)

    @tf.function(input_signature=[batch_spec], autograph=False)
    def train_step(batch: Batch) -> Sums:
        sums = strategy.run(model.update, args=(batch,))
        # All replicas return the same: the sums over all of them.
        return {name: strategy.experimental_local_results(v)[0] for name, v in sums.items()}

    return train_step


def train_epoch(
    run: TrainingRun, train_step: TrainStep, logger: TrainingLogger, received: Sequence[int]
) -> bool:
    """Train the rest of the current epoch; return False if a signal was `received` before its end.

    Raises:
      UserError: the loss is not finite.
    """
    training, progress, model = run.config.training, run.progress, run.model
    plan = batch_plan(run.captions, training, progress.epoch)
    step, steps_per_epoch = progress.total_steps, len(plan)
    unread: list[Sums] = []
    stops = False
    for batch in iter_batches(batches(run, plan, progress.step), run.sources["train"]):
        # Workers stop after the same step. To ask them before each one would take long.
        if run.workers.count == 1 or not unread:
            stops = run.workers.any(bool(received))
        if stops:
            break
        model.optimizer.learning_rate.assign(
            learning_rate(training, step, steps_per_epoch, progress.factor)
        )
        model.scheduled_sampling.assign(scheduled_sampling(training, step, steps_per_epoch))
        unread.append(train_step(batch))
        step += 1
        is_saved = training.save_freq and step % training.save_freq == 0
        if is_saved or len(unread) == training.log_every:
            read_steps(run, logger, unread)
        if is_saved:
            run.checkpoints.save(progress)
    read_steps(run, logger, unread)
    return not (stops or run.workers.any(bool(received)))


def read_steps(run: TrainingRun, logger: TrainingLogger, unread: list[Sums]) -> None:
    """Read the sums of steps, add them to the progress and empty the list.

    Reading waits until the device has taken the steps, so that it is not done after each.

    Raises:
      UserError: the loss of a step is not finite.
    """
    progress, training, losses, captions = run.progress, run.config.training, 0.0, 0.0
    for on_device in unread:
        sums = {name: float(value) for name, value in on_device.items()}
        loss = run.model.loss.total(sums)
        if not math.isfinite(loss):
            parts = ", ".join(f"{name} {value}" for name, value in sums.items())
            raise UserError(
                f"step {progress.total_steps + 1} (epoch {progress.epoch + 1}): the loss is not "
                f"finite ({parts}); the run keeps its last checkpoint: train again in another "
                f"--workdir with {smaller_steps(training)}"
            )
        progress.add_step(sums)
        losses, captions = losses + loss, captions + sums["captions"]
    if unread:
        logger.log_steps(len(unread), losses / captions, captions)
    unread.clear()


def epoch_losses(run: TrainingRun) -> dict[str, float]:
    """Return the losses of the current epoch, means over its captions, and its learning rate."""
    sums = run.progress.sums
    captions = sums["captions"]
    return {
        "loss": run.model.loss.total(sums) / captions,
        **{name: value / captions for name, value in sums.items() if name not in _NOT_LOGGED},
        "learning_rate": float(run.model.optimizer.learning_rate.numpy()),
    }


@contextlib.contextmanager
def stop_on_signal() -> Iterator[Sequence[int]]:
    """Note the first SIGINT or SIGTERM, to finish the step; stop at once at the second."""
    received: list[int] = []  # not an event, whose lock a second signal could find taken

    def handle(number: int, frame: FrameType | None) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)

    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, handle) for number in signals]
    try:
        yield received
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)
