"""Caption image files with a SavedModel in a process with TensorFlow and without sat_tf.

    python -I check_export.py EXPORT_DIR IMAGES_DIR RESULT.npz

`sat_tf.serving.saved_model` runs this file by its path. RESULT.npz receives the best caption of
each image (`captions`, UTF-8), its `scores`, `decoded`, and `seconds`: to load the model, and to
caption the first image.
"""

import sys
import time
from pathlib import Path

import numpy as np
import tensorflow as tf


def main(export_dir: str, images_dir: str, result_file: str) -> None:
    """Caption the first image alone, for the time it takes, then all of them."""
    images = [path.read_bytes() for path in sorted(Path(images_dir).iterdir())]
    started = time.monotonic()
    model = tf.saved_model.load(export_dir)
    loaded = time.monotonic()
    model.signatures["serving_default"](image_bytes=tf.constant(images[:1]))
    captioned = time.monotonic()
    outputs = model.signatures["serving_default"](image_bytes=tf.constant(images))
    assert not [name for name in sys.modules if name.split(".")[0] == "sat_tf"]
    np.savez(
        result_file,
        captions=outputs["captions"][:, 0].numpy().astype(np.bytes_),
        scores=outputs["scores"][:, 0].numpy(),
        decoded=outputs["decoded"].numpy(),
        seconds=[loaded - started, captioned - loaded],
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
