"""The pipelines of Beam: captions with an exported model, and features into the cache.

An element is a shard, whole: it is read, captioned and written within one fused stage, so that a
shard is finished while others wait. Images as elements would have to be grouped into shards again,
and a runner does not pass a grouping before all images are captioned.
"""

import base64
import dataclasses
import os
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.ml.inference.base import ModelHandler, RunInference
from apache_beam.options.pipeline_options import PipelineOptions

from sat_tf import flags
from sat_tf.beam.extract_features import WORK
from sat_tf.beam.manifest import Manifest
from sat_tf.beam.shards import Attempts, ShardResult, write_shard
from sat_tf.config import Config
from sat_tf.errors import UserError
from sat_tf.storage import ENCODER_FILE, read_json, temporary_folder

# Beam's default runner, Prism, is a program that it downloads.
_RUNNER = "FnApiRunner"
_NAMESPACE = "sat_tf"


@dataclasses.dataclass(frozen=True)
class CaptionJob:
    """What workers need to know to caption a shard.

    Attributes:
      output: folder of the output, which has the manifest.
      export_dir: of the SavedModel.
      batch_size: images captioned at a time.
      alone: whether to look for images that end the process, one shard after another.
    """

    output: str
    export_dir: str
    batch_size: int
    alone: bool = False


class CaptionHandler(ModelHandler[int, ShardResult, Any]):
    """Captions shards, which are given by their numbers, with an exported model.

    Args:
      job: which model, and where the manifest is.
    """

    def __init__(self, job: CaptionJob) -> None:
        self._job = job

    def load_model(self) -> Any:
        """Load the SavedModel, once a worker process."""
        flags.import_tensorflow()
        from sat_tf.beam.export_model import ExportedModel

        job, manifest = self._job, Manifest.load(self._job.output)
        digests = {"model": manifest.model, "search": manifest.search}
        return ExportedModel(job.export_dir, job.batch_size, manifest.attention, digests)

    def batch_elements_kwargs(self) -> dict[str, int]:
        """Return how elements are batched: not at all, as a shard has its own batches."""
        return {"min_batch_size": 1, "max_batch_size": 1}

    def run_inference(
        self, batch: Sequence[int], model: Any, inference_args: dict[str, Any] | None = None
    ) -> Iterable[ShardResult]:
        """Yield the outcome of each shard."""
        for shard in batch:
            yield self._caption(shard, model)

    def _caption(self, shard: int, model: Any) -> ShardResult:
        output, manifest = self._job.output, Manifest.load(self._job.output)
        inputs = manifest.inputs_of(output, shard)
        attempts = Attempts.load(output, shard)
        while self._job.alone and attempts.pending:
            start, stop = attempts.pending[0]
            attempts.begin(output, shard, start, stop)
            model.caption_rows(inputs, start, stop, attempts.killers)
            attempts.passed_range()
        attempts.begin(output, shard, 0, manifest.size(shard))
        return model.caption_shard(shard, inputs, attempts.killers)


class _WriteShard(beam.DoFn):
    """Writes the files of a shard, and counts its images."""

    def __init__(self, output: str) -> None:
        self._output = output

    def process(self, result: ShardResult) -> None:
        """Write a shard."""
        write_shard(self._output, Manifest.load(self._output), result)
        captioned, broken = len(result.captions), len(result.dead_letters)
        for name, count in (
            ("read", captioned + broken),
            ("captioned", captioned),
            ("broken", broken),
            ("shards", 1),
        ):
            Metrics.counter(_NAMESPACE, name).inc(count)
        rate = (captioned + broken) / max(result.seconds, 1e-3)
        Metrics.distribution(_NAMESPACE, "images_per_second").update(round(rate))


class _NoteError(beam.DoFn):
    """Writes why a shard failed to its attempt file, where the command finds it."""

    def __init__(self, output: str) -> None:
        self._output = output

    def process(self, failed: Any) -> None:
        """Note the error of a batch of shards: (shards, (class, message, lines of the trace))."""
        shards, (_, _, trace) = failed
        message = trace[-1].strip().splitlines()[0]
        for shard in shards:
            attempts = Attempts.load(self._output, shard)
            attempts.trying = None
            attempts.error = message.removeprefix("sat_tf.errors.UserError: ")
            attempts.save(self._output, shard)


def caption_shards(
    output: str,
    export_dir: str,
    batch_size: int,
    alone: bool,
    shards: Sequence[int],
    beam_flags: Sequence[str],
) -> dict[str, int]:
    """Caption shards; return Beam's counters.

    Args:
      output: folder of the output, which has the manifest.
      export_dir: of the SavedModel.
      batch_size: images captioned at a time.
      alone: whether to try one shard after another, in this process, and their ranges before.
      shards: their numbers.
      beam_flags: of the runner.
    """
    job = CaptionJob(output, export_dir, batch_size, alone)
    pipeline = beam.Pipeline(options=_options(() if job.alone else beam_flags))
    done, failed = (
        pipeline
        | "Shards" >> beam.Create(shards)
        | beam.Reshuffle()
        | "Caption" >> RunInference(CaptionHandler(job)).with_exception_handling()
    )
    _ = done | "Write" >> beam.ParDo(_WriteShard(job.output))
    _ = failed.failed_inferences | "Note errors" >> beam.ParDo(_NoteError(job.output))
    return _run(pipeline)


class _EncodePart(beam.DoFn):
    """Encodes the images of a part into a file of the feature cache.

    Args:
      folder: of the cache, which has the encoder and the parts.
      fingerprint: of the encoder and the image settings.
      config: of the encoder and the images.
    """

    def __init__(self, folder: str, fingerprint: str, config: Config) -> None:
        self._folder, self._fingerprint, self._config = Path(folder), fingerprint, config

    def setup(self) -> None:
        """Load the encoder, once a worker."""
        flags.import_tensorflow()
        from sat_tf.model.encoder import encode_function, load_encoder

        config = self._config
        encoder = load_encoder(
            self._folder / ENCODER_FILE, config.encoder, config.images.image_size
        )
        self._encode, self._shape = encode_function(encoder), encoder.output_shape[1:]

    def process(self, part: int) -> None:
        """Encode a part, and remove its file."""
        from sat_tf.data.feature_cache import FeatureCache
        from sat_tf.data.records import Record
        from sat_tf.model.encoder import ENCODE_BATCH

        path = self._folder / WORK / f"{part:06}.json"
        images = [
            one if isinstance(one, str) else base64.b64decode(one["base64"])
            for one in read_json(path, "a part of the images")
        ]
        records = [Record(str(number), image, ()) for number, image in enumerate(images)]
        started = time.monotonic()
        # In a cache of its own: that of the folder would look through all files for each part.
        with temporary_folder(self._folder) as own:
            cache = FeatureCache(own, records, self._fingerprint, self._shape)
            try:
                cache.fill(self._encode, self._config.images, ENCODE_BATCH)
            except UserError as error:  # some can't be read; the others are encoded
                print(error, file=sys.stderr)
            found = [*own.glob("shard-*.npy")]
            for shard in found:
                os.replace(shard, self._folder / shard.name)
        path.unlink(missing_ok=True)
        Metrics.counter(_NAMESPACE, "read").inc(len(images))
        rate = len(images) / max(time.monotonic() - started, 1e-3)
        Metrics.distribution(_NAMESPACE, "images_per_second").update(round(rate))


def encode_parts(
    folder: str, fingerprint: str, config: Config, parts: Sequence[int], beam_flags: Sequence[str]
) -> dict[str, int]:
    """Encode parts of the images into the feature cache; return Beam's counters.

    Args:
      folder: of the cache, which has the encoder and the parts.
      fingerprint: of the encoder and the image settings.
      config: of the encoder and the images.
      parts: their numbers.
      beam_flags: of the runner.
    """
    pipeline = beam.Pipeline(options=_options(beam_flags))
    numbers = pipeline | "Parts" >> beam.Create(parts) | beam.Reshuffle()
    _ = numbers | "Encode" >> beam.ParDo(_EncodePart(folder, fingerprint, config))
    return _run(pipeline)


def _options(beam_flags: Sequence[str]) -> PipelineOptions:
    names_runner = any(flag.partition("=")[0] == "--runner" for flag in beam_flags)
    return PipelineOptions([*beam_flags, *([] if names_runner else [f"--runner={_RUNNER}"])])


def _run(pipeline: beam.Pipeline) -> dict[str, int]:
    """Run a pipeline to its end; return its counters, and the slowest and fastest rate."""
    result = pipeline.run()
    result.wait_until_finish()
    found = result.metrics().query(beam.metrics.MetricsFilter().with_namespace(_NAMESPACE))
    counters = {one.key.metric.name: one.result for one in found["counters"]}
    for one in found["distributions"]:
        counters |= {f"slowest_{one.key.metric.name}": one.result.min}
        counters |= {f"fastest_{one.key.metric.name}": one.result.max}
    return counters
