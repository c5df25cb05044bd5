"""The pipelines of Beam: captions with an exported model, and features into the cache.

An element is a shard, or a part of the images to be encoded: it is read, computed and written by
one function, so that it is finished while others wait. Images as elements would have to be grouped
into shards again, and a runner does not pass a grouping before all images are captioned.
"""

import base64
import functools
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.options.pipeline_options import PipelineOptions

from sat_tf import flags
from sat_tf.beam.extract_features import part_path
from sat_tf.beam.manifest import Manifest
from sat_tf.beam.shards import Attempts, write_shard
from sat_tf.config import Config
from sat_tf.errors import UserError, reason
from sat_tf.storage import ENCODER_FILE, read_json, temporary_folder

# Beam's default runner, Prism, is a program that it downloads.
_RUNNER = "--runner=FnApiRunner"
_NAMESPACE = "sat_tf"
_loading = threading.Lock()  # a process loads a model once, whatever the number of its threads


def caption_shards(
    manifest: Manifest,
    export_dir: str,
    batch_size: int,
    shards: Sequence[int],
    beam_flags: Sequence[str],
) -> dict[str, int]:
    """Caption shards; return Beam's counters.

    Args:
      manifest: of the output.
      export_dir: of the SavedModel.
      batch_size: images captioned at a time.
      shards: their numbers.
      beam_flags: of the runner.
    """
    return _run(beam_flags, shards, caption_shard, manifest, export_dir, batch_size)


def caption_shard(shard: int, manifest: Manifest, export_dir: str, batch_size: int) -> None:
    """Caption a shard and write its files, or note in its attempt file why that failed."""
    flags.import_tensorflow()
    from sat_tf.beam.export_model import caption_rows, load_export

    with _loading:
        serve = load_export(export_dir)
    attempts = Attempts.load(manifest.output, shard)
    try:
        for start, stop in attempts.ranges(manifest.size(shard)):
            started, rows = time.monotonic(), range(start, stop)
            captions = caption_rows(serve, manifest, shard, rows, attempts.killers, batch_size)
            found = [*captions]
    except Exception as error:
        name = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
        attempts.end(died=False, error=f"{name}{reason(error)}")
        return
    seconds = time.monotonic() - started
    write_shard(manifest, shard, found, seconds)
    broken = sum("reason" in row for row in found)
    _count(seconds, read=len(found), captioned=len(found) - broken, broken=broken, shards=1)


def encode_parts(
    folder: Path, fingerprint: str, config: Config, parts: Sequence[int], beam_flags: Sequence[str]
) -> dict[str, int]:
    """Encode parts of the images into the feature cache; return Beam's counters.

    Args:
      folder: of the cache, which has the encoder and the parts.
      fingerprint: of the encoder and the image settings.
      config: of the encoder and the images.
      parts: their numbers.
      beam_flags: of the runner.
    """
    return _run(beam_flags, parts, encode_part, folder, fingerprint, config)


def encode_part(part: int, folder: Path, fingerprint: str, config: Config) -> None:
    """Encode the images of a part into files of the feature cache, and remove the part's own."""
    flags.import_tensorflow()
    from sat_tf.data.feature_cache import FeatureCache
    from sat_tf.data.records import Record
    from sat_tf.model.encoder import ENCODE_BATCH

    with _loading:
        encode, shape = _load_encoder(folder, config)
    path = part_path(folder, part)
    images = [
        one if isinstance(one, str) else base64.b64decode(one["base64"])
        for one in read_json(path, "a part of the images")
    ]
    records = [Record(str(number), image, ()) for number, image in enumerate(images)]
    started = time.monotonic()
    # In a cache of its own: that of the folder would look through all files for each part.
    with temporary_folder(folder) as own:
        try:
            cache = FeatureCache(own, records, fingerprint, shape)
            cache.fill(encode, config.images, ENCODE_BATCH)
        except UserError as error:  # some can't be read; the others are encoded
            print(error, file=sys.stderr)
        for file in [*own.glob("shard-*.npy")]:
            os.replace(file, folder / file.name)
    path.unlink(missing_ok=True)
    _count(time.monotonic() - started, read=len(images))


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


def _run(
    beam_flags: Sequence[str], elements: Sequence[int], function: Callable[..., None], *others: Any
) -> dict[str, int]:
    """Call a function with each element and other arguments in a pipeline; return its counters."""
    # Of two flags the last one counts.
    pipeline = beam.Pipeline(options=PipelineOptions([_RUNNER, *beam_flags]))
    numbers = pipeline | beam.Create(elements) | beam.Reshuffle()
    _ = numbers | function.__name__ >> beam.Map(function, *others)
    result = pipeline.run()
    result.wait_until_finish()
    found = result.metrics().query(beam.metrics.MetricsFilter().with_namespace(_NAMESPACE))
    return {one.key.metric.name: one.result for one in found["counters"]}
