"""What a run logs while it trains: console, `metrics.jsonl`, TensorBoard, attention."""

import contextlib
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from sat_tf.config import Config
from sat_tf.data.images import load_image, thumbnail
from sat_tf.data.pipeline import ImageSource, iter_batches
from sat_tf.data.records import Record
from sat_tf.errors import printable
from sat_tf.evaluator import EvaluationResult
from sat_tf.inspection.attention_record import AttentionRecord
from sat_tf.inspection.summaries import write_document, write_figure, write_scores
from sat_tf.model.caption_model import CaptionModel
from sat_tf.model.generation import make_captions
from sat_tf.progress import progress_bar
from sat_tf.storage import METRICS_FILE, TENSORBOARD, write_text
from sat_tf.training.schedule import Progress
from sat_tf.vocabulary import Vocabulary

# Scores that are printed after each epoch, if they are known, beside the monitored one.
_PRINTED = ("bleu_4", "perplexity", "true_objects", "true_captions", "pointing_accuracy")


class TrainingLogger(contextlib.AbstractContextManager):
    """Log the progress of a run; used in a `with` block, which ends the bar and the files.

    With `writes=False`, as on all workers but one, it logs nothing.
    """

    def __init__(
        self,
        workdir: Path,
        steps_per_epoch: int,
        max_epochs: int,
        progress: Progress,
        writes: bool = True,
    ) -> None:
        self._metrics_file, self._max_epochs = workdir / METRICS_FILE, max_epochs
        self._writes = writes
        self._writer = (
            tf.summary.create_file_writer(str(workdir / TENSORBOARD))
            if writes
            else tf.summary.create_noop_writer()
        )
        self._bar = progress_bar(
            total=steps_per_epoch * max_epochs,
            initial=progress.total_steps,
            desc=self._epoch_label(progress),
            unit="step",
            delay=0,  # the first steps take long: they are traced
            disable=not writes,
        )
        self._epoch_start, self._captions = time.monotonic(), 0.0

    def __exit__(self, *_: object) -> None:
        self._bar.close()
        self._writer.close()

    def _epoch_label(self, progress: Progress) -> str:
        return f"epoch {min(progress.epoch + 1, self._max_epochs)}/{self._max_epochs}"

    def log_steps(self, steps: int, loss: float, captions: float) -> None:
        """Advance the bar by steps with `captions` captions, whose mean loss is `loss`."""
        self._captions += captions
        rate = self._captions / max(time.monotonic() - self._epoch_start, 1e-9)
        self._bar.set_postfix({"loss": f"{loss:.3f}", "captions/s": f"{rate:.0f}"}, refresh=False)
        self._bar.update(steps)

    def log_epoch(self, progress: Progress, monitor: str, why_best: str) -> None:
        """Print the latest scores, and write them to `metrics.jsonl` and TensorBoard.

        `metrics.jsonl` is rewritten from the whole history, so that a resumed run has no duplicate
        lines. `why_best` is what `end_epoch` returned.
        """
        scores = progress.history[-1]
        parts = [f"loss {scores['loss']:.3f}"]
        parts += [
            f"{n} {scores[n]:.2f}" for n in dict.fromkeys((*_PRINTED, monitor)) if n in scores
        ]
        best = f" ({why_best})" if why_best else ""
        self.print(f"epoch {progress.epoch}: {', '.join(parts)}{best}")
        lines = (json.dumps(entry, allow_nan=False) + "\n" for entry in progress.history)
        write_text(self._metrics_file, "".join(lines))
        with self._writer.as_default():
            write_scores(scores, progress.total_steps)
        self._writer.flush()
        self._bar.set_description(self._epoch_label(progress), refresh=False)
        self._epoch_start, self._captions = time.monotonic(), 0.0

    def log_samples(self, scored: EvaluationResult, count: int) -> None:
        """Print `count` captions, evenly spaced over the split, each with a reference."""
        last = len(scored.captions) - 1
        for i in np.linspace(0, last, min(count, last + 1)).astype(int):
            caption, record = scored.captions[i], scored.records[i]
            self.print(printable(f"  {record.image_id}: {caption.text}"))
            self.print(printable(f"      reference: {record.captions[0]}"))

    def log_attention(self, records: Sequence[AttentionRecord], step: int) -> None:
        """Write attention to TensorBoard, for its tab Attention and as figures."""
        with self._writer.as_default():
            for record in records:
                write_document(record, step)
                write_figure(record, step)
        self._writer.flush()

    def print(self, text: str) -> None:
        """Print a text above the progress bar."""
        if self._writes:
            tqdm.write(text, file=sys.stdout)
            sys.stdout.flush()


def attention_records(
    model: CaptionModel,
    vocabulary: Vocabulary,
    config: Config,
    records: Sequence[Record],
    source: ImageSource,
) -> list[AttentionRecord]:
    """Caption the images whose attention is logged, with the current weights.

    The images are evenly spaced over the validation split in the order of their names: every epoch
    of every run on the same data logs the same ones.
    """
    count = min(config.training.log_attention, len(records))
    if not count:
        return []
    by_name = sorted(range(len(records)), key=lambda row: records[row].image_id)
    rows = [by_name[i] for i in np.linspace(0, len(records) - 1, count).astype(int)]
    dataset = tf.data.Dataset.from_tensors({"rows": tf.constant(rows, tf.int64)})
    (batch,) = iter_batches(source.attach(dataset), source)
    captions = make_captions(model.generate(batch, config.decoding), vocabulary, [model.grid])
    return [
        AttentionRecord(
            record.image_id,
            thumbnail(load_image(record.image), config.images),
            candidates,
            record.captions,
            record.objects,
        )
        for record, candidates in zip([records[row] for row in rows], captions, strict=True)
    ]
