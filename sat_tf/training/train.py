"""The training of a run, from its settings to its best checkpoint."""

import dataclasses
import math
import os
import time
from collections.abc import Sequence
from pathlib import Path

import keras
import tensorflow as tf

from sat_tf.config import CONFIG_FILE, Config
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
from sat_tf.datasets import load_splits
from sat_tf.errors import UserError
from sat_tf.evaluator import Evaluator
from sat_tf.metrics.registry import check_scores
from sat_tf.metrics.text import training_captions
from sat_tf.model.caption_model import CaptionModel
from sat_tf.model.encoder import load_encoder, resolve_encoder, save_encoder
from sat_tf.model.feature_source import feature_source
from sat_tf.model.losses import CaptionLoss
from sat_tf.model.precision import precision
from sat_tf.training.checkpoints import Checkpoints, has_state
from sat_tf.training.initialize import model_of, new_model, new_vocabulary
from sat_tf.training.interrupt import Interrupt
from sat_tf.training.logger import TrainingLogger, attention_records
from sat_tf.training.schedule import (
    end_epoch,
    is_finished,
    learning_rate,
    sampled_inputs,
)
from sat_tf.training.self_critical import SelfCriticalLoss, one_per_image
from sat_tf.training.step import TrainStep, make_optimizer, make_strategy, make_train_step
from sat_tf.vocabulary import SPECIAL, Vocabulary
from sat_tf.workdir import BEST, ENCODER_FILE, VOCABULARY_FILE

# The first training images, from which the annotations' scale is measured.
SCALE_IMAGES = 64
# Sums of a step that are no parts of the loss a caption, or mean nothing by themselves.
_UNREPORTED = ("captions", "words", "reinforce")


def train(config: Config, workdir: str | os.PathLike[str]) -> bool:
    """Trains a run, or goes on with it where it stopped.

    Args:
      config: of the run; a run that exists must have been started with the same.
      workdir: its folder.

    Returns:
      Whether training came to its end; False when it was interrupted, its state saved.

    Raises:
      UserError: the data, the settings or the folder won't do, or the loss is not finite.
    """
    return Trainer(config, workdir).run()


def resolve(config: Config, workdir: str | os.PathLike[str]) -> Config:
    """The settings with what they leave to the encoder made concrete.

    Raises:
      UserError: `workdir` holds a run with other config, or is no folder.
    """
    config = dataclasses.replace(config, encoder=resolve_encoder(config.encoder))
    if Path(workdir).exists() and not Path(workdir).is_dir():
        raise UserError(f"--workdir={workdir}: is no folder")
    if (Path(workdir) / CONFIG_FILE).exists():
        differing = config.differences(Config.load(workdir))
        if not has_state(workdir) and (Path(workdir) / BEST).exists():
            raise UserError(
                f"--workdir={workdir} holds a model that was not trained there: go on from it with "
                f"--start_from={workdir} and another --workdir"
            )
        if differing:
            raise UserError(
                f"--workdir={workdir} holds a run with other config "
                f"({', '.join('--' + name for name in differing)}): "
                "give those of the run to go on with it, or another --workdir"
            )
    return config


class Trainer:
    """Holds what training needs: data, model, optimizer, checkpoints.

    Everything the user may have got wrong is checked before the first file of the run is written.
    """

    def __init__(self, config: Config, workdir: str | os.PathLike[str]) -> None:
        self.workdir = Path(workdir)
        # Files beside no checkpoint are of a start that failed: they are written anew.
        self._exists = has_state(workdir)
        self.config = config = resolve(config, workdir)
        check_scores(config)  # fails now, not after an epoch
        objects_for = ("train", "dev") if config.training.attention_supervision else ("dev",)
        splits = load_splits(config.data, ("train", "dev"), objects_for)
        self._dev_records = splits["dev"]
        self.vocabulary = self._open_vocabulary(splits["train"])
        keras.utils.set_random_seed(config.training.seed)
        self._strategy = make_strategy()
        with self._strategy.scope(), precision(config.training.precision):
            self.model = self._build_model()
            self.model.compile(
                make_optimizer(config.training),
                self._loss(splits["train"]),
                clip_norm=config.training.clip_norm,
                weight_decay=config.training.weight_decay,
            )
        self._train_captions = self._number(splits["train"])
        self._train_source = self._source(splits["train"], "train")
        self._dev_source = self._source(splits["dev"], "dev")
        self._write_run()
        self._checkpoints = Checkpoints(
            workdir,
            self.model,
            self.vocabulary.fingerprint,
            config.training.keep_checkpoints,
        )
        self.progress = self._checkpoints.restore()
        is_new = not self.progress.total_steps and not config.training.start_from
        if is_new and not self.model.trains_encoder:
            self._scale_annotations(len(splits["train"]))
        search = dataclasses.replace(
            config.decoding, search="beam", beam_size=config.training.validation_beam_size
        )
        self._evaluator = Evaluator(
            [self.model],
            self.vocabulary,
            search,
            config.images,
            training_captions(splits["train"]),
            config.training.monitor,
        )

    def _number(self, records: Sequence[Record]) -> TokenizedCaptions:
        training, limit = self.config.training, self.config.data.max_caption_words
        if training.self_critical != "none":
            return one_per_image(tokenize_captions(records, self.vocabulary))
        grid = self.model.grid if training.attention_supervision else None
        captions = tokenize_captions(records, self.vocabulary, limit, grid, self.config.images)
        if not captions.tokens:
            raise UserError(f"--max_caption_words={limit} leaves no training caption")
        return captions

    def _loss(self, records: Sequence[Record]) -> CaptionLoss:
        if self.config.training.self_critical == "none":
            return CaptionLoss.from_training(self.config.training)
        return SelfCriticalLoss(self.vocabulary, records, self.config)

    def _open_vocabulary(self, records: Sequence[Record]) -> Vocabulary:
        path, start = self.workdir / VOCABULARY_FILE, self.config.training.start_from
        if self._exists and Config.load(self.workdir).training.start_from:
            return Vocabulary.load(path)
        if start:
            return Vocabulary.load(Path(start) / VOCABULARY_FILE)
        built = new_vocabulary(records, self.config.data)
        if len(built) == len(SPECIAL):
            raise UserError(
                f"--min_word_count={self.config.data.min_word_count} leaves no word: none of the "
                "training captions' comes so often"
            )
        if self._exists and Vocabulary.load(path).fingerprint != built.fingerprint:
            raise UserError(
                f"{path}: the training captions now give another vocabulary than when the run "
                "was started; bring them back, or give another --workdir"
            )
        return built

    def _build_model(self) -> CaptionModel:
        config = self.config
        if self._exists:
            encoder = load_encoder(self.workdir / ENCODER_FILE)
            vocabulary_size, seed = len(self.vocabulary), config.training.seed
            return CaptionModel(encoder, config.decoder, vocabulary_size, seed)
        if config.training.start_from:
            return model_of(Path(config.training.start_from), config, self.vocabulary)
        return new_model(config, self.vocabulary)

    def _write_run(self) -> None:
        """Writes what makes the folder a run; `config.json`, which says that it is one, last."""
        self.workdir.mkdir(parents=True, exist_ok=True)
        if not self._exists:
            save_encoder(self.model.encoder, self.workdir / ENCODER_FILE)
        self.vocabulary.save(self.workdir / VOCABULARY_FILE)
        self.config.save(self.workdir)

    def _source(self, records: Sequence[Record], split: str) -> ImageSource:
        return feature_source(self.model.encoder, records, self.config, split)

    def _scale_annotations(self, images: int) -> None:
        few = image_batches(min(images, SCALE_IMAGES), self._train_source, SCALE_IMAGES)
        for batch in iter_batches(few, self._train_source):
            self.model.scale_features(self.model.encode_images(batch))

    def _plan(self, epoch: int) -> BatchPlan:
        training, captions = self.config.training, self._train_captions
        if training.batch_by == "image":
            return group_by_image(captions.image, training.batch_size, training.seed, epoch)
        return bucket_by_length(captions.lengths, training.batch_size, training.seed, epoch)

    def _batches(self, plan: BatchPlan, skip: int) -> tf.data.Dataset:
        return self._strategy.distribute_datasets_from_function(
            lambda context: caption_batches(
                self._train_captions, plan, self._train_source, skip=skip, context=context
            )
        )

    def run(self) -> bool:
        """Trains until the settings say that it is enough; see `train`."""
        training = self.config.training
        plan = self._plan(self.progress.epoch)
        spec = self._batches(plan, 0).element_spec
        step = make_train_step(self.model, self._strategy, spec)
        logger = TrainingLogger(self.workdir, len(plan), training.max_epochs, self.progress)
        with logger, Interrupt() as interrupt:
            while not is_finished(training, self.progress):
                started = time.monotonic()
                if not self._train_epoch(step, logger, interrupt):
                    self._checkpoints.save(self.progress)
                    logger.print(
                        f"stopped after {self.progress.total_steps} steps; the state is saved "
                        "in the run: give the same command again to go on"
                    )
                    return False
                self._finish_epoch(logger, started)
        return True

    def _train_epoch(self, step: TrainStep, logger: TrainingLogger, interrupt: Interrupt) -> bool:
        """The rest of the present epoch; False when interrupted."""
        training, progress = self.config.training, self.progress
        plan = self._plan(progress.epoch)
        for batch in iter_batches(self._batches(plan, progress.step), self._train_source):
            if interrupt.wanted:
                return False
            rate = learning_rate(training, progress.total_steps, len(plan), progress.factor)
            self.model.optimizer.learning_rate.assign(rate)
            self.model.scheduled_sampling.assign(
                sampled_inputs(training, progress.total_steps, len(plan))
            )
            sums = {name: float(value) for name, value in step(batch).items()}
            total = self.model.loss.total(sums)
            self._check_finite(total, sums)
            progress.step += 1
            progress.total_steps += 1
            for name, value in sums.items():
                progress.sums[name] = progress.sums.get(name, 0.0) + value
            logger.log_step(total / sums["captions"], sums["captions"])
            if training.save_freq and progress.total_steps % training.save_freq == 0:
                self._checkpoints.save(progress)
        return True

    def _check_finite(self, total: float, sums: dict[str, float]) -> None:
        if not math.isfinite(total):
            parts = ", ".join(f"{name} {value}" for name, value in sums.items())
            raise UserError(
                f"step {self.progress.total_steps + 1} (epoch {self.progress.epoch + 1}): the loss "
                f"is not finite ({parts}); the run keeps its last checkpoint: try a smaller "
                "--learning_rate or --clip_norm"
            )

    def _finish_epoch(self, logger: TrainingLogger, started: float) -> None:
        training, progress = self.config.training, self.progress
        sums, trained = progress.sums, time.monotonic()
        rate = float(self.model.optimizer.learning_rate.numpy())
        scored = self._evaluator.evaluate(
            self._dev_records, [self._dev_source], training.batch_size
        )
        better = end_epoch(training, progress, scored.scores)
        captions = sums["captions"]
        progress.history.append(
            {
                "epoch": progress.epoch,
                "step": progress.total_steps,
                "loss": self.model.loss.total(sums) / captions,
                **{n: value / captions for n, value in sums.items() if n not in _UNREPORTED},
                "learning_rate": rate,
                "seconds_training": trained - started,
                "seconds_validation": time.monotonic() - trained,
                **scored.scores,
            }
        )
        if better:
            self._checkpoints.save_best(progress)
        self._checkpoints.save_epoch(progress)
        self._checkpoints.save(progress)
        logger.log_epoch(progress, training.monitor)
        logger.log_samples(scored, training.log_captions)
        records = attention_records(
            self.model, self.vocabulary, self.config, self._dev_records, self._dev_source
        )
        logger.log_attention(records, progress.total_steps)
