"""What a run tells while it trains: progress bar, metrics file, TensorBoard, samples."""

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from sat_tf.evaluator import ScoredSplit
from sat_tf.inspection.attention_record import AttentionRecord
from sat_tf.inspection.figures import attention_figure, render
from sat_tf.inspection.summaries import write_inspection, write_scores, write_strip
from sat_tf.storage import write_text
from sat_tf.training.schedule import Progress
from sat_tf.workdir import METRICS_FILE, TENSORBOARD

# Seconds between two states of the bar: a terminal redraws it, a log file grows by each.
_REDRAW_TERMINAL, _REDRAW_LOG = 0.5, 15.0


class TrainingLogger:
    """Shows and records how a run is getting on.

    Args:
      workdir: the run's folder.
      steps_per_epoch: of the training.
      max_epochs: of the training.
      progress: where the run stands now.
    """

    def __init__(
        self,
        workdir: str | os.PathLike[str],
        steps_per_epoch: int,
        max_epochs: int,
        progress: Progress,
    ) -> None:
        self._workdir = Path(workdir)
        self._writer = tf.summary.create_file_writer(str(self._workdir / TENSORBOARD))
        self._bar = tqdm(
            total=steps_per_epoch * max_epochs,
            initial=progress.total_steps,
            desc=_label(progress, max_epochs),
            unit="step",
            mininterval=_REDRAW_TERMINAL if sys.stderr.isatty() else _REDRAW_LOG,
            dynamic_ncols=True,
        )
        self._max_epochs = max_epochs
        self._clock, self._captions = time.monotonic(), 0.0

    def step(self, loss: float, captions: float) -> None:
        """After a step: its loss a caption, and how many captions it read."""
        self._captions += captions
        rate = self._captions / max(time.monotonic() - self._clock, 1e-9)
        self._bar.set_postfix({"loss": f"{loss:.3f}", "captions/s": f"{rate:.0f}"}, refresh=False)
        self._bar.update()

    def epoch(self, progress: Progress, monitor: str) -> None:
        """After a validation: prints, and records in `metrics.jsonl` and for TensorBoard.

        The file is written whole from the run's history, so that a resumed run repeats nothing.
        """
        scores = progress.history[-1]
        mark = " (best)" if progress.best_epoch == progress.epoch else ""
        self.say(
            f"epoch {progress.epoch}: loss {scores['loss']:.3f}, "
            + ", ".join(f"{name} {scores[name]:.2f}" for name in _shown(scores, monitor))
            + mark
        )
        lines = [_json_line(entry) for entry in progress.history]
        write_text(self._workdir / METRICS_FILE, "".join(lines))
        with self._writer.as_default():
            write_scores(scores, progress.total_steps)
        self._writer.flush()
        self._bar.set_description(_label(progress, self._max_epochs), refresh=False)
        self._clock, self._captions = time.monotonic(), 0.0

    def samples(self, scored: ScoredSplit, count: int) -> None:
        """`count` captions beside a reference each, evenly over the split."""
        last = len(scored.captions) - 1
        for i in np.linspace(0, last, min(count, last + 1)).astype(int):
            caption, record = scored.captions[i], scored.records[i]
            self.say(f"  {record.image_id}: {caption.text}\n      reference: {record.captions[0]}")

    def attention(self, inspections: Sequence[AttentionRecord], step: int) -> None:
        """For TensorBoard: where the words of each image's caption looked, now."""
        with self._writer.as_default():
            for inspection in inspections:
                write_inspection(inspection, step)
                best, (picture, box) = inspection.captions[0], inspection.thumbnail
                figure = attention_figure(picture, best.words, best.alphas, best.betas, box=box)
                write_strip(inspection.image_id, render(figure), step)
        self._writer.flush()

    def say(self, text: str) -> None:
        """Prints above the bar."""
        tqdm.write(text, file=sys.stdout)
        sys.stdout.flush()

    def close(self) -> None:
        """Ends the bar and the files."""
        self._bar.close()
        self._writer.close()


def _label(progress: Progress, max_epochs: int) -> str:
    """The epoch that is under way, or the last one."""
    return f"epoch {min(progress.epoch + 1, max_epochs)}/{max_epochs}"


def _shown(scores: dict[str, float], monitor: str) -> list[str]:
    names = ["bleu_4", "perplexity", "true_objects", "true_captions", "pointing_accuracy", monitor]
    return [name for name in dict.fromkeys(names) if name in scores]


def _json_line(entry: dict[str, float]) -> str:
    return json.dumps(entry, allow_nan=False) + "\n"
