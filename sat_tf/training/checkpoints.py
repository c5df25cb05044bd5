"""Checkpoints: the state from which training resumes bit-exactly, and the best weights."""

import dataclasses
import json
import os
from pathlib import Path

import tensorflow as tf

from sat_tf.model.caption_model import CaptionModel
from sat_tf.model.weights import (
    Provenance,
    checkpoint_prefix,
    has_state,
    learned_weights,
    newest_checkpoint,
    restore,
    write_checkpoint,
)
from sat_tf.storage import BEST, EPOCHS, LAST
from sat_tf.training.schedule import Progress


class Checkpoints:
    """Checkpoints of a run: its last state, its best weights, on request those of each epoch.

    Args:
      workdir: folder of the run.
      model: compiled, its optimizer built: the state of another one would silently not be restored.
      belongs_to: see `sat_tf.model.weights.provenance`.
      keep_checkpoints: whether the weights of each epoch are kept.
      writes: whether this process saves; of several workers, which have the same state, one does.
    """

    def __init__(
        self,
        workdir: str | os.PathLike[str],
        model: CaptionModel,
        belongs_to: Provenance,
        keep_checkpoints: bool,
        writes: bool = True,
    ) -> None:
        self._folder = Path(workdir)
        self._belongs_to = belongs_to
        self._keep_checkpoints, self._writes = keep_checkpoints, writes
        self._progress = tf.Variable("", trainable=False)
        parts = learned_weights(model, belongs_to)
        self._weights = tf.train.Checkpoint(**parts)
        self._state = tf.train.Checkpoint(
            **parts,
            optimizer=model.optimizer,
            state=model.training_state,
            progress=self._progress,
        )

    def restore(self) -> Progress:
        """Restore the last state, if there is one, and return the progress it was saved at.

        Raises:
          UserError: the checkpoint cannot be read, or belongs to other files or settings.
        """
        if not has_state(self._folder):
            return Progress()
        restore(self._state, self._folder / LAST, self._belongs_to)
        return Progress(**json.loads(self._progress.numpy().decode()))

    def save(self, progress: Progress) -> None:
        """Save the state, replacing the previous one, unless it is that of the same step."""
        folder, number = self._folder / LAST, (progress.epoch, progress.step)
        if self._writes and newest_checkpoint(folder) != checkpoint_prefix(folder, *number):
            self._progress.assign(json.dumps(dataclasses.asdict(progress)))
            write_checkpoint(self._state, folder, *number)

    def save_best(self, progress: Progress) -> None:
        """Save the weights as the best, replacing the previous ones."""
        if self._writes:
            write_checkpoint(self._weights, self._folder / BEST, progress.epoch)

    def save_epoch(self, progress: Progress) -> None:
        """Save the weights of an epoch, if those of every epoch are kept."""
        if self._writes and self._keep_checkpoints:
            write_checkpoint(self._weights, self._folder / EPOCHS, progress.epoch, keep=True)
