"""Fill the feature cache before training, by many workers."""

import base64
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sat_tf import flags
from sat_tf.beam.supervisor import LOG_FILE, check_beam_flags, run_pipelines
from sat_tf.config import Config
from sat_tf.errors import UserError
from sat_tf.progress import activity, progress_bar
from sat_tf.storage import ENCODER_FILE, sole_writer, write_text

USAGE = """python -m sat_tf.beam.extract_features [--flagfile=FILE] [--SETTING=VALUE ...]
           [-- --BEAM_FLAG=VALUE ...]

Encodes each image of a data set once, in a pipeline of Apache Beam, and caches its features in
--cache_dir, which training with the same settings reads. Features that are cached already are not
computed again: if the command is stopped, or killed, the same command resumes it.

Flags after -- are Beam's, such as --direct_num_workers=4 --direct_running_mode=multi_processing
for four processes of this machine, or --runner=NAME."""

WORK = "work"  # in the folder of a cache, while it is filled
_MOST_DEATHS = 3  # of processes one after the other, before a part is finished


def main(argv: list[str]) -> None:
    """Encode all splits of the data set."""
    beam_flags = check_beam_flags(argv[1:])
    config = flags.settings_from_flags()
    if not config.encoder.cache_features:
        raise UserError("--nocache_features leaves nothing to cache")
    flags.import_tensorflow()
    # TensorFlow takes seconds to import: not for `--help` or a wrong flag.
    from sat_tf.data.feature_cache import FeatureCache
    from sat_tf.data.unreadable import LIST_FILE, check_images
    from sat_tf.datasets import available_splits, load_splits
    from sat_tf.model.encoder import (
        build_encoder,
        cache_folder,
        encoder_fingerprint,
        save_encoder,
    )

    loaded = load_splits(config.data, available_splits(config.data), objects_for=())
    skip = config.data.skip_unreadable
    listing = Path(config.encoder.cache_dir) / LIST_FILE
    splits = check_images(loaded, skip, decode=skip, listing=listing)
    records = [record for of_split in splits.values() for record in of_split]
    with activity("loading the encoder"):
        encoder = build_encoder(config.encoder, config.images.image_size)
    fingerprint = encoder_fingerprint(encoder, config.images)
    folder = cache_folder(config, fingerprint)
    cache = FeatureCache(folder, records, fingerprint, encoder.output_shape[1:])
    missing = [records[index].image for index in cache.missing]
    if missing:
        folder.mkdir(parents=True, exist_ok=True)
        with sole_writer(folder, f"{folder}: another command is filling this cache"):
            save_encoder(encoder, folder / ENCODER_FILE)
            encode(folder, fingerprint, config, missing, cache.images_per_shard, beam_flags)
        lacking = len(FeatureCache(folder, records, fingerprint, cache.shape).missing)
        if lacking:
            raise UserError(
                f"{folder}: {lacking:,} images were not encoded ({LOG_FILE} there tells why): "
                "repair them and give the same command again, or add --skip_unreadable"
            )
    for split, of_split in splits.items():
        print(f"{split}: features of {len(of_split):,} images are cached")


def encode(
    folder: Path,
    fingerprint: str,
    config: Config,
    images: Sequence[str | bytes],
    per_part: int,
    beam_flags: Sequence[str],
) -> None:
    """Encode images into a cache.

    Args:
      folder: of the cache, which has the encoder.
      fingerprint: of the encoder and the image settings.
      config: of the encoder and the images.
      images: paths of files, or the bytes of some.
      per_part: images of each part, which becomes a file of the cache.
      beam_flags: of the runner.

    Raises:
      UserError: the pipeline fails, or processes die before they have finished a part.
    """
    work = folder / WORK
    shutil.rmtree(work, ignore_errors=True)
    sizes = {}
    for number, start in enumerate(range(0, len(images), per_part)):
        # JSON has no bytes.
        content = [
            one if isinstance(one, str) else {"base64": base64.b64encode(one).decode()}
            for one in images[start : start + per_part]
        ]
        write_text(part_path(folder, number), json.dumps(content))
        sizes[number] = len(content)

    def left() -> list[int]:
        """The parts that are not encoded: a worker removes the file of one that is."""
        return sorted(int(path.stem) for path in work.glob("*.json"))

    def remaining() -> tuple[Any, ...] | None:
        parts = left()
        return (folder, fingerprint, config, parts, beam_flags) if parts else None

    def progress() -> int:
        to_come = sum(sizes[part] for part in left())
        bar.update(len(images) - to_come - bar.n)
        return to_come

    with progress_bar(total=len(images), desc="encoding", unit="image") as bar:
        run_pipelines(
            "sat_tf.beam.pipeline:encode_parts",
            *(remaining, progress, folder, bar, _MOST_DEATHS),
            "is there memory enough? Try fewer workers",
        )
    shutil.rmtree(work, ignore_errors=True)


def part_path(folder: Path, part: int) -> Path:
    """Return the file of a part of the images that are to be encoded, in the folder of a cache."""
    return folder / WORK / f"{part:06}.json"


if __name__ == "__main__":
    flags.define_settings()
    flags.run(main, USAGE, takes_arguments=True)
