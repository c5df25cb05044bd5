"""Evaluation of models on a split: each image is captioned once, without teacher forcing."""

import dataclasses
import functools
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from sat_tf.config import DecodingConfig, ImageConfig
from sat_tf.data.images import crop_objects
from sat_tf.data.objects import ObjectBoxes
from sat_tf.data.pipeline import (
    BatchPlan,
    ImageSource,
    bucket_in_order,
    caption_batches,
    image_batches,
    iter_batches,
    tokenize_captions,
)
from sat_tf.data.records import Record
from sat_tf.metrics.bootstrap import Interval, intervals
from sat_tf.metrics.grounding import grounding, no_grounding
from sat_tf.metrics.registry import EvaluationData, Metric, compute_scores
from sat_tf.metrics.text import tokenized_references
from sat_tf.model.caption_model import CaptionModel
from sat_tf.model.decoder import START
from sat_tf.model.generation import Caption, Generator, compile_for_any_size, make_captions
from sat_tf.occlusion import Occlusion
from sat_tf.progress import progress_bar
from sat_tf.vocabulary import Vocabulary, tokenize
from sat_tf.workers import ALONE, Workers


@dataclasses.dataclass(frozen=True)
class EvaluationResult:
    """The scores of a split, and the captions of each image, best first; the best was scored."""

    metrics: dict[str, Metric]
    generated: Sequence[tuple[Caption, ...]]
    records: Sequence[Record]

    @functools.cached_property
    def scores(self) -> dict[str, float]:
        """The values of all scores."""
        return {name: metric.score for name, metric in self.metrics.items()}

    @functools.cached_property
    def intervals(self) -> dict[str, Interval]:
        """The bootstrap confidence intervals of the metrics, at 95 %."""
        return intervals(self.metrics)

    @property
    def captions(self) -> list[Caption]:
        """The best caption of each image."""
        return [best for best, *_ in self.generated]


class Evaluator:
    """Captions and scores splits with models, whose weights may change in between.

    Args:
      models: one, or an ensemble.
      vocabulary: of the models.
      config: how to search.
      images: how images are resized and cropped.
      training_captions: see `sat_tf.metrics.text.training_captions`.
      monitor: the monitored score, in validations, which leave out scores that are not for them.
    """

    def __init__(
        self,
        models: Sequence[CaptionModel],
        vocabulary: Vocabulary,
        config: DecodingConfig,
        images: ImageConfig,
        training_captions: Collection[str] = (),
        monitor: str | None = None,
    ) -> None:
        self._vocabulary, self._monitor = vocabulary, monitor
        self._training_captions = training_captions
        self._images = images
        self._grids = [model.grid for model in models]
        self._decoding, self._generator = config, Generator(models)
        self._occlusion = Occlusion(models[0], vocabulary, config)
        self._swap_states = compile_for_any_size(functools.partial(swap_states, models[0]))

    def evaluate(
        self,
        records: Sequence[Record],
        sources: Sequence[ImageSource],
        batch_size: int,
        covered_images: int = 0,
        workers: Workers = ALONE,
    ) -> EvaluationResult:
        """Caption each image once, and score the captions, the attention and the models.

        Args:
          records: of the split.
          sources: of their images, one for each model.
          batch_size: images captioned, or reference captions scored, at a time.
          covered_images: images whose parts are covered to score the faithfulness of the first
            model's attention, evenly spaced over the split.
          workers: that take turns with the batches; all have the result.
        """
        of_batches = workers.share(self._caption(len(records), sources, batch_size, workers))
        generated = [captions for batch, _ in of_batches for captions in batch]
        best = [captions[0] for captions in generated]
        objects = [crop_objects(record.objects, self._images) for record in records]
        log_likelihoods, reference_grounding = self._read_references(
            records, objects, sources, batch_size, workers
        )
        data = EvaluationData(
            captions=[caption.text for caption in best],
            references=tokenized_references(records),
            training_captions=self._training_captions,
            attended=best,
            objects=objects,
            log_likelihoods=log_likelihoods,
            reference_grounding=reference_grounding,
            state_sensitivities=[row for _, batch in of_batches for row in batch],
            faithfulness=self._occlusion.measure_sample(
                records, best, self._images, covered_images
            ),
        )
        return EvaluationResult(compute_scores(data, self._monitor), generated, records)

    def _caption(
        self, count: int, sources: Sequence[ImageSource], batch_size: int, workers: Workers
    ) -> Iterator[tuple[list[tuple[Caption, ...]], list[np.ndarray]]]:
        """Yield of each of this worker's batches the captions and their state sensitivities."""
        shard = workers.index, workers.count
        images = tf.data.Dataset.zip(
            tuple(image_batches(count, source, batch_size, shard) for source in sources)
        )
        bar = progress_bar(images, desc="captioning", unit="batch", leave=False)
        for batches in iter_batches(bar, *sources):
            decoded = self._generator.generate(batches, self._decoding)
            captions = make_captions(decoded, self._vocabulary, self._grids)
            moves = self._swap_states(batches[0], decoded.tokens[:, 0]).numpy()  # [I, T]
            # An image that is alone in its batch has no other state to be compared with.
            lengths = [len(best.words) if len(captions) > 1 else 0 for best, *_ in captions]
            yield captions, [row[:length] for row, length in zip(moves, lengths, strict=True)]

    def _read_references(
        self,
        records: Sequence[Record],
        objects: Sequence[ObjectBoxes | None],
        sources: Sequence[ImageSource],
        batch_size: int,
        workers: Workers,
    ) -> tuple[list[tuple[float, float]], list[np.ndarray]]:
        """Score the references of each image by teacher forcing.

        Returns:
          Of each image the log likelihood and the number of tokens of its references, and the sum
          of their `grounding`, where the first model attends.
        """
        references = tokenize_captions(records, self._vocabulary)
        words = [tokenize(caption) for record in records for caption in record.captions]
        plan = bucket_in_order(references, batch_size)

        def read(plan: BatchPlan) -> Iterator[list[tuple[float, np.ndarray]]]:
            """Yield the log likelihood and the grounding of each reference of a batch."""
            rows, columns = self._grids[0]
            batches = [caption_batches(references, plan, source) for source in sources]
            bar = progress_bar(
                tf.data.Dataset.zip(tuple(batches)),
                total=len(plan),
                desc="reading references",
                unit="batch",
                leave=False,
            )
            for captions, batch in zip(plan, iter_batches(bar, *sources), strict=True):
                scores = self._generator.score(batch, self._decoding)
                log_p = scores.log_probs.numpy().astype(np.float64).sum(axis=1)  # sum over T: [B]
                alphas = scores.attention[0][0].numpy()[..., : rows * columns]  # [B, T, L]
                maps = alphas.reshape(*alphas.shape[:2], rows, columns)
                yield [
                    (
                        log_p[row],
                        grounding(
                            words[caption],
                            maps[row, : len(references.tokens[caption])],
                            objects[references.image[caption]],
                        ),
                    )
                    for row, caption in enumerate(captions)
                ]

        found = workers.share(read(plan[workers.index :: workers.count]))
        sums = np.zeros((len(records), 2))
        groundings = [no_grounding() for _ in records]
        for captions, of_batch in zip(plan, found, strict=True):
            for caption, (log_p, of_caption) in zip(captions, of_batch, strict=True):
                image = references.image[caption]
                sums[image] += log_p, len(references.tokens[caption])
                groundings[image] += of_caption
        return [(log_p, count) for log_p, count in sums.tolist()], groundings


def swap_states(
    model: CaptionModel, batch: Mapping[str, tf.Tensor], tokens: tf.Tensor
) -> tf.Tensor:
    """Return how far attention moves when each caption's LSTM state is that of another caption.

    Image and previous token stay; h_{t-1} and c_{t-1} become those of the batch's next caption.
    The result is the share of alpha's mass that then lies at other locations,
    1/2 sum_i |alpha_ti - alpha'_ti|. It is 0 if attention does not depend on h: without the tanh
    in its score, h cancels in the softmax (equation 4). It is 0 for a batch of one image, too.

    Args:
      model: any.
      batch: holds `images` or `features` of I images.
      tokens: a caption of each image, int32 [I, T].

    Returns:
      float32 [I, T]; values at padded steps are undefined.
    """
    decoder = model.decoder
    memory = decoder.prepare(model.flatten_grid(model.encode_images(batch)))
    previous = tf.concat([tf.fill([tf.shape(tokens)[0], 1], START), tokens[:, :-1]], axis=1)
    inputs = decoder.project_inputs(decoder.embed(tf.transpose(previous)))  # [T, I, ...]

    def step(carried: Any, inputs: Any) -> Any:
        state, _ = carried
        new_state, own, _ = decoder.step(inputs, state, memory)
        swapped = tf.nest.map_structure(lambda x: tf.roll(x, shift=1, axis=0), state)
        _, other, _ = decoder.step(inputs, swapped, memory)
        return new_state, tf.reduce_sum(tf.abs(own.alpha - other.alpha), axis=1) / 2  # sum over L

    zeros = tf.zeros([tf.shape(tokens)[0]])
    _, moved = tf.scan(step, inputs, initializer=(decoder.initial_state(memory), zeros))
    return tf.transpose(moved)  # [I, T]
