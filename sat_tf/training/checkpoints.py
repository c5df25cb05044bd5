"""Checkpoints: everything from which training goes on to the bit."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import tensorflow as tf

from sat_tf.model.caption_model import CaptionModel
from sat_tf.model.weights import learned_parts, restore
from sat_tf.training.schedule import Progress
from sat_tf.workdir import BEST, EPOCHS, LAST


def has_state(workdir: str | os.PathLike[str]) -> bool:
    """Whether a run has a state to go on from."""
    return tf.train.latest_checkpoint(str(Path(workdir) / LAST)) is not None


class Checkpoints:
    """The checkpoints of a run: the last state, the best weights, each epoch's on request.

    Args:
      workdir: the run's folder.
      model: compiled.
      fingerprint: of the vocabulary.
      keep_checkpoints: whether `save_epoch` keeps anything.
    """

    def __init__(
        self,
        workdir: str | os.PathLike[str],
        model: CaptionModel,
        fingerprint: str,
        keep_checkpoints: bool,
    ) -> None:
        self._fingerprint = fingerprint
        self._progress = tf.Variable("", trainable=False)
        parts = learned_parts(model, fingerprint)
        self._state = tf.train.Checkpoint(
            **parts,
            optimizer=model.optimizer,
            state=model.training_state,
            progress=self._progress,
        )
        self._last = self._manager(self._state, Path(workdir) / LAST, 1)
        weights = tf.train.Checkpoint(**parts)
        self._best = self._manager(weights, Path(workdir) / BEST, 1)
        self._epochs = (
            self._manager(weights, Path(workdir) / EPOCHS, None) if keep_checkpoints else None
        )

    @staticmethod
    def _manager(
        checkpoint: tf.train.Checkpoint, folder: Path, keep: int | None
    ) -> tf.train.CheckpointManager:
        return tf.train.CheckpointManager(checkpoint, str(folder), max_to_keep=keep)

    def restore(self) -> Progress:
        """Takes up the last state, if there is one.

        Raises:
          UserError: the checkpoint can't be read, or is another vocabulary's.
        """
        prefix = self._last.latest_checkpoint
        if prefix is None:
            return Progress()
        restore(self._state, prefix, self._fingerprint)
        document: dict[str, Any] = json.loads(self._progress.numpy().decode())
        return Progress(**document)

    def save(self, progress: Progress) -> None:
        """Saves the state, in place of the one before."""
        self._progress.assign(json.dumps(dataclasses.asdict(progress)))
        self._last.save(checkpoint_number=progress.total_steps)

    def save_best(self, progress: Progress) -> None:
        """Saves the weights as the best, in place of those before."""
        self._best.save(checkpoint_number=progress.epoch)

    def save_epoch(self, progress: Progress) -> None:
        """Keeps the weights of this epoch, if every epoch is to be kept."""
        if self._epochs is not None:
            self._epochs.save(checkpoint_number=progress.epoch)
