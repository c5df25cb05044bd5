"""Checkpoints: the state from which training resumes bit-exactly, and the best weights."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import tensorflow as tf

from sat_tf.model.caption_model import CaptionModel
from sat_tf.model.weights import learned_weights, restore
from sat_tf.storage import BEST, EPOCHS, LAST
from sat_tf.training.schedule import Progress


def has_state(workdir: str | os.PathLike[str]) -> bool:
    """Return whether a run has a state to resume from."""
    return tf.train.latest_checkpoint(str(Path(workdir) / LAST)) is not None


class Checkpoints:
    """Checkpoints of a run: its last state, its best weights, on request those of each epoch.

    Args:
      workdir: folder of the run.
      model: compiled, its optimizer built: the state of another one would silently not be restored.
      fingerprint: of the vocabulary.
      keep_checkpoints: whether the weights of each epoch are kept.
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
        parts = learned_weights(model, fingerprint)
        self._state = tf.train.Checkpoint(
            **parts,
            optimizer=model.optimizer,
            state=model.training_state,
            progress=self._progress,
        )
        weights = tf.train.Checkpoint(**parts)

        def manager(of: tf.train.Checkpoint, folder: str, keep: int | None) -> Any:
            return tf.train.CheckpointManager(of, str(Path(workdir) / folder), max_to_keep=keep)

        self._last = manager(self._state, LAST, 1)
        self._best = manager(weights, BEST, 1)
        self._epochs = manager(weights, EPOCHS, None) if keep_checkpoints else None

    def restore(self) -> Progress:
        """Restore the last state, if there is one, and return the progress it was saved at.

        Raises:
          UserError: the checkpoint cannot be read, or is of another vocabulary.
        """
        prefix = self._last.latest_checkpoint
        if prefix is None:
            return Progress()
        restore(self._state, prefix, self._fingerprint)
        return Progress(**json.loads(self._progress.numpy().decode()))

    def save(self, progress: Progress) -> None:
        """Save the state, replacing the previous one."""
        self._progress.assign(json.dumps(dataclasses.asdict(progress)))
        self._last.save(checkpoint_number=progress.total_steps)

    def save_best(self, progress: Progress) -> None:
        """Save the weights as the best, replacing the previous ones."""
        self._best.save(checkpoint_number=progress.epoch)

    def save_epoch(self, progress: Progress) -> None:
        """Save the weights of an epoch, if those of every epoch are kept."""
        if self._epochs is not None:
            self._epochs.save(checkpoint_number=progress.epoch)
