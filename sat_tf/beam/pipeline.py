"""The pipelines of Beam: captions with an exported model, and features into the cache.

An element is a shard of a manifest: one function reads, computes and writes it, so that it is
finished while others wait. Images as elements would have to be grouped into shards again, and a
runner does not pass a grouping before all images are captioned.
"""

import functools
import os
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.ml.inference.base import ModelHandler, RunInference
from apache_beam.options.pipeline_options import PipelineOptions

from sat_tf import flags
from sat_tf.beam.manifest import Manifest
from sat_tf.beam.shards import Attempts, shard_path, write_shard
from sat_tf.config import Config
from sat_tf.errors import UserError, reason
from sat_tf.storage import ENCODER_FILE, temporary_folder

# Beam's default runner, Prism, is a program that it downloads.
_RUNNER = "--runner=FnApiRunner"
_NAMESPACE = "sat_tf"
_loading = threading.Lock()  # a process loads an encoder once, whatever the number of its threads


def run_pipeline(
    function: str, elements: Sequence[int], beam_flags: Sequence[str], *arguments: Any
) -> dict[str, int]:
    """Apply `caption` or `encode`, by name, to each element; return Beam's counters."""
    # Of two flags the last one counts.
    pipeline = beam.Pipeline(options=PipelineOptions([_RUNNER, *beam_flags]))
    numbers = pipeline | beam.Create(elements) | beam.Reshuffle()
    if function == "caption":
        _ = numbers | RunInference(ShardCaptioner(*arguments))
    else:
        _ = numbers | beam.Map(encode, *arguments)
    result = pipeline.run()
    result.wait_until_finish()
    found = result.metrics().query(beam.metrics.MetricsFilter().with_namespace(_NAMESPACE))
    return {one.key.metric.name: one.result for one in found["counters"]}


class ShardCaptioner(ModelHandler[int, int, Any]):
    """Captions shards, given by their numbers, with an exported model.

    Args:
      manifest: of the shards.
      export_dir: of the SavedModel, which a process loads once.
      batch_size: images captioned at a time; a shard is an element, and has batches of its own.
    """

    def __init__(self, manifest: Manifest, export_dir: str, batch_size: int) -> None:
        super().__init__(min_batch_size=1, max_batch_size=1)
        self._manifest, self._export_dir, self._batch_size = manifest, export_dir, batch_size

    def load_model(self) -> Any:
        """Load the signature of the SavedModel that captions image files."""
        flags.import_tensorflow()
        from sat_tf.beam.export_model import load_export

        return load_export(self._export_dir)

    def run_inference(
        self, batch: Sequence[int], model: Any, inference_args: dict[str, Any] | None = None
    ) -> Iterable[int]:
        """Caption shards, which writes their files, and yield their numbers."""
        for shard in batch:
            caption(shard, self._manifest, model, self._batch_size)
            yield shard


def caption(shard: int, manifest: Manifest, serve: Any, batch_size: int) -> None:
    """Caption a shard and write its files, or note in its attempt file why that failed."""
    from sat_tf.beam.export_model import caption_shard

    attempts, started = Attempts.load(manifest.output, shard), time.monotonic()
    try:
        rows = caption_shard(serve, manifest, shard, attempts, batch_size)
    except Exception as error:
        name = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
        attempts.end(died=False, error=f"{name}{reason(error)}")
        return
    seconds = time.monotonic() - started
    write_shard(manifest, shard, rows, seconds)
    broken = sum("reason" in row for row in rows)
    _count(seconds, read=len(rows), captioned=len(rows) - broken, broken=broken, shards=1)


def encode(shard: int, manifest: Manifest, config: Config) -> None:
    """Encode the images of a shard into files of the feature cache, whose folder has the output."""
    flags.import_tensorflow()
    from sat_tf.data.feature_cache import FeatureCache
    from sat_tf.data.records import Record
    from sat_tf.model.encoder import ENCODE_BATCH

    folder = manifest.output.parent
    with _loading:
        encode, shape = _load_encoder(folder, config)
    inputs = manifest.inputs_of(shard)
    records = [Record(str(number), str(path), ()) for number, path in enumerate(inputs)]
    started = time.monotonic()
    # In a cache of its own: that of the folder would look through all files for each shard.
    with temporary_folder(folder) as own:
        try:
            cache = FeatureCache(own, records, manifest.model, shape)
            cache.fill(encode, config.images, ENCODE_BATCH)
        except UserError as error:  # some can't be read; the others are encoded
            print(error, file=sys.stderr)
        for file in [*own.glob("shard-*.npy")]:
            os.replace(file, folder / file.name)
    shard_path(manifest, "done", shard).touch()
    _count(time.monotonic() - started, read=len(records))


@functools.cache
def _load_encoder(folder: Path, config: Config) -> tuple[Any, tuple[int, int, int]]:
    """Return the encoder of a cache as a function, and the shape of its features."""
    from sat_tf.model.encoder import encode_function, load_encoder

    encoder = load_encoder(folder / ENCODER_FILE, config.encoder, config.images.image_size)
    return encode_function(encoder), encoder.output_shape[1:]


def _count(seconds: float, read: int, **counts: int) -> None:
    """Add to Beam's counters what one element had, and took."""
    for name, count in {"read": read, **counts}.items():
        Metrics.counter(_NAMESPACE, name).inc(count)
    rate = round(read / max(seconds, 1e-3))
    Metrics.distribution(_NAMESPACE, "images_per_second").update(rate)
