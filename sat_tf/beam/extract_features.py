"""Fill the feature cache before training, by many workers."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from sat_tf import flags
from sat_tf.beam.manifest import Manifest, open_manifest
from sat_tf.beam.supervisor import LOG_FILE, check_beam_flags, run_pipelines
from sat_tf.errors import UserError
from sat_tf.progress import activity
from sat_tf.storage import ENCODER_FILE, sole_writer

USAGE = """python -m sat_tf.beam.extract_features [--flagfile=FILE] [--SETTING=VALUE ...]
           [-- --BEAM_FLAG=VALUE ...]

Encodes each image of a data set once, in a pipeline of Apache Beam, and caches its features in
--cache_dir, which training with the same settings reads. Features that are cached already are not
computed again: if the command is stopped, or killed, the same command resumes it.

Flags after -- are Beam's, such as --direct_num_workers=4 --direct_running_mode=multi_processing
for four processes of this machine, or --runner=NAME."""

WORK = "work"  # in the folder of a cache, while it is filled


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
            manifest = _divide(folder / WORK, missing, cache.images_per_shard, fingerprint)
            run_pipelines(
                *("encode", manifest, [config], beam_flags),
                *(folder / LOG_FILE, "encoding"),
                "Try fewer workers",
            )
            shutil.rmtree(manifest.output)
        lacking = len(FeatureCache(folder, records, fingerprint, cache.shape).missing)
        if lacking:
            raise UserError(
                f"{folder}: {lacking:,} images were not encoded ({LOG_FILE} there tells why): "
                "repair them and give the same command again, or add --skip_unreadable"
            )
    for split, of_split in splits.items():
        print(f"{split}: features of {len(of_split):,} images are cached")


def _divide(
    work: Path, images: Sequence[str | bytes], per_shard: int, fingerprint: str
) -> Manifest:
    """Return a manifest of images, whose shards become files of the cache, in a new folder."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    paths = []
    for number, image in enumerate(images):
        if isinstance(image, bytes):
            (work / f"{number}").write_bytes(image)
            image = str(work / f"{number}")
        paths.append(image)
    depends_on = {"model": fingerprint, "search": "", "output_format": "npy", "attention": False}
    return open_manifest(work, paths, -(-len(paths) // per_shard), **depends_on)


if __name__ == "__main__":
    flags.define_settings()
    flags.run(main, USAGE, takes_arguments=True)
