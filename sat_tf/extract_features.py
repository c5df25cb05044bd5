"""Fill the feature cache before training."""

from pathlib import Path

from sat_tf import flags
from sat_tf.errors import UserError

USAGE = """python -m sat_tf.extract_features [--flagfile=FILE] [--SETTING=VALUE ...]

Encodes each image of a data set once and caches its features in --cache_dir, which training with
the same settings reads. Features that are cached already are not computed again."""


def main(argv: list[str]) -> None:
    """Encode all splits of the data set."""
    config = flags.settings_from_flags()
    if not config.encoder.cache_features:
        raise UserError("--nocache_features leaves nothing to cache")
    flags.import_tensorflow()
    # TensorFlow takes seconds to import: not for `--help` or a wrong flag.
    from sat_tf.data.unreadable import LIST_FILE, check_images
    from sat_tf.datasets import available_splits, load_splits
    from sat_tf.model.encoder import build_encoder, feature_source

    loaded = load_splits(config.data, available_splits(config.data), objects_for=())
    skip = config.data.skip_unreadable
    listing = Path(config.encoder.cache_dir) / LIST_FILE
    splits = check_images(loaded, skip, decode=skip, listing=listing)
    encoder = build_encoder(config.encoder, config.images.image_size)
    for split, records in splits.items():
        feature_source(encoder, records, config)
        print(f"{split}: features of {len(records):,} images are cached")


if __name__ == "__main__":
    flags.define_settings()
    flags.run(main, USAGE)
