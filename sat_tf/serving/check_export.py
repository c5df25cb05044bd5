"""Captions image files with a SavedModel in a process that has TensorFlow and nothing of sat_tf.

    python -I check_export.py EXPORT_DIR IMAGES.json RESULT.json

`sat_tf.export` runs this file by its path. IMAGES.json is a list of image files in base64;
RESULT.json receives `captions`, the best of each, their `scores` (null where there is none) and
`decoded`, and how many seconds it took to load the model and to caption the first image.
"""

import base64
import json
import math
import sys
import time
from pathlib import Path

import tensorflow as tf


def main(export_dir: str, images_file: str, result_file: str) -> None:
    """Captions the first image alone, for the clock, then all of them."""
    images = [base64.b64decode(text) for text in json.loads(Path(images_file).read_text())]
    started = time.monotonic()
    model = tf.saved_model.load(export_dir)
    loaded = time.monotonic()
    model.signatures["serving_default"](image_bytes=tf.constant(images[:1]))
    first = time.monotonic()
    outputs = model.signatures["serving_default"](image_bytes=tf.constant(images))
    assert not [name for name in sys.modules if name.split(".")[0] == "sat_tf"]
    result = {
        "captions": [text.decode() for text in outputs["captions"].numpy()[:, 0]],
        "scores": [
            score if math.isfinite(score) else None for score in outputs["scores"][:, 0].numpy()
        ],
        "decoded": outputs["decoded"].numpy().tolist(),
        "seconds_to_load": loaded - started,
        "seconds_to_first_caption": first - loaded,
    }
    Path(result_file).write_text(json.dumps(result, default=float))


if __name__ == "__main__":
    main(*sys.argv[1:])
