"""A run as one SavedModel, from image files to captions and attention, verified when it is written.

Preprocessing, encoder, vocabulary and search are inside.
"""

import dataclasses
import datetime
import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

import sat_tf
from sat_tf.captioner import Captioner, Run
from sat_tf.config import MOST_PIXELS, Config, ImageConfig
from sat_tf.data.image_bytes import read_image
from sat_tf.data.images import crop_box, decode_image, resize_and_crop
from sat_tf.data.unreadable import leave_out
from sat_tf.datasets import load_splits
from sat_tf.errors import UserError
from sat_tf.model.generation import generate
from sat_tf.shapes.scenes import draw_scene, make_scene
from sat_tf.storage import SCORES_FILE, atomic_path, read_json, write_json
from sat_tf.vocabulary import END, PAD

MODEL_CARD = "model_card.json"
# Where a server finds requests to replay before it accepts others.
WARM_UP_FILE = "assets.extra/tf_serving_warmup_requests"
_WARM_UP_BATCHES = (1, 4, 16)  # images of each request
_SAMPLE = 64  # images that verify an export
_NO_IMAGE = b"no image"
# Two ways to run the same float32 graph differ by rounding; anything else by much more.
_SCORE_TOLERANCE = 0.01
_PACKAGES = ("tensorflow", "keras", "numpy")
_CHECK = Path(__file__).with_name("check_export.py")

Outputs = dict[str, tf.Tensor]


def export(
    captioner: Captioner,
    workdir: str | os.PathLike[str],
    export_dir: str | os.PathLike[str],
    precision: str = "float32",
    max_pixels: int = MOST_PIXELS,
) -> dict[str, Any]:
    """Write a SavedModel with its warm-up requests and its model card, after verifying it.

    Args:
      captioner: of one run, whose settings fix the search.
      workdir: the run's folder.
      export_dir: must not exist; appears whole or not at all.
      precision: "float32", or "bfloat16" for half the size.
      max_pixels: images of more are rejected before they are decoded.

    Returns:
      The model card.

    Raises:
      UserError: the SavedModel does not generate the run's captions.
    """
    (run,) = captioner.runs
    is_rounded = precision == "bfloat16"
    images, origin = _sample_images(run)
    with atomic_path(export_dir) as folder:
        print(f"writing {export_dir}", flush=True)
        write_saved_model(run.in_bfloat16() if is_rounded else run, folder, max_pixels)
        _write_warm_up(run.config, folder)
        print(f"captioning {len(images)} images of {origin} in a fresh process", flush=True)
        check = {"images_from": origin, **_verify(captioner, folder, images, is_rounded)}
        scores = Path(workdir) / SCORES_FILE
        card = {
            "format_version": 1,
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "run": Path(workdir).absolute().name,
            "precision": precision,
            "max_pixels": max_pixels,
            "vocabulary": {"fingerprint": run.vocabulary.fingerprint, "size": len(run.vocabulary)},
            "grid": list(run.model.grid),
            "settings": dataclasses.asdict(run.config),
            "scores": read_json(scores, "the scores of a run") if scores.exists() else None,
            "check": check,
            "versions": {
                "sat_tf": sat_tf.__version__,
                "python": platform.python_version(),
                **{package: importlib.metadata.version(package) for package in _PACKAGES},
            },
        }
        write_json(folder / MODEL_CARD, card)
    return card


class ServingSignatures:
    """The signatures of an export.

    Their outputs, for B images, K captions of each, T tokens at most; finished captions come
    before those cut at the maximum length, each group by score:

    captions: string [B, K], words separated by spaces.
    scores: float32 [B, K], by which captions are ranked; see `--length_normalization`.
    log_probabilities: float32 [B, K, T], of each token, in nats.
    tokens: int32 [B, K, T], zero after the end.
    lengths: int32 [B, K], tokens, the end included.
    attention: alpha, float32 [B, K, T, rows, columns], zero after the end.
    beta: float32 [B, K, T], zero after the end.

    and, for signatures that take images:

    attention_box: float32 [B, 4]: top, left, bottom and right of the part of the upright image
      that attention covers, as fractions of its height and width.
    decoded: bool [B], false for what is not an image. Its captions are empty, its scores minus
      infinity, all else zero; the other elements of the batch are not affected.

    Args:
      run: its settings fix the search.
      max_pixels: images of more are rejected before they are decoded.
    """

    def __init__(self, run: Run, max_pixels: int) -> None:
        self._run = run
        self._max_pixels = max_pixels
        # Compiled once for all signatures.
        self._generate = tf.function(
            self._generate_outputs,
            input_signature=[tf.TensorSpec([None, *run.model.encoder.output_shape[1:]])],
            autograph=False,
        )

    def from_bytes(self, image_bytes: tf.Tensor) -> Outputs:
        """Caption image files: string [B]."""
        return self._caption(*_preprocess(image_bytes, self._run.config.images, self._max_pixels))

    def from_images(self, images: tf.Tensor) -> Outputs:
        """Caption decoded images of one size: uint8 [B, H, W, 3], RGB."""
        config = self._run.config.images
        spec = tf.TensorSpec([config.image_size, config.image_size, 3], tf.float32)
        inputs = tf.map_fn(lambda x: resize_and_crop(x, config), images, fn_output_signature=spec)
        count = tf.shape(images)[0]
        boxes = tf.tile(crop_box(tf.shape(images)[1:3], config)[tf.newaxis], [count, 1])  # [B, 4]
        return self._caption(inputs, boxes, tf.fill([count], True))

    def from_features(self, features: tf.Tensor) -> Outputs:
        """Caption the encoder's features: float16 [B, rows, columns, D], as in the cache."""
        return self._generate(tf.cast(features, tf.float32))

    def _generate_outputs(self, features: tf.Tensor) -> Outputs:
        model, vocabulary = self._run.model, self._run.vocabulary
        decoded = generate([model], [{"features": features}], self._run.config.decoding)
        ((alphas, betas),) = decoded.step_outputs
        rows, columns = model.grid
        shape = tf.concat([tf.shape(decoded.tokens), [rows, columns]], axis=0)
        is_word = (decoded.tokens != END) & (decoded.tokens != PAD)
        words = tf.where(is_word, tf.gather(vocabulary.words, decoded.tokens), "")
        captions = tf.strings.reduce_join(words, axis=-1, separator=" ")  # [B, K]
        return {
            "captions": tf.strings.strip(captions),
            "scores": decoded.scores,
            "log_probabilities": decoded.log_probs,
            "tokens": decoded.tokens,
            "lengths": decoded.lengths,
            # Without the null location, which is not in the image.
            "attention": tf.reshape(alphas[..., : rows * columns], shape),
            "beta": betas,
        }

    def _caption(self, inputs: tf.Tensor, boxes: tf.Tensor, decoded: tf.Tensor) -> Outputs:
        """Caption preprocessed images, and blank the outputs of those that were not decoded."""
        count = tf.shape(inputs)[0]
        # Some convolutions fail on an empty batch: it gets one image, whose features are dropped.
        inputs = tf.pad(inputs, [[0, tf.cast(count == 0, tf.int32)], [0, 0], [0, 0], [0, 0]])
        features = self._run.model.encode_images({"images": inputs})[:count]
        outputs = self._generate(tf.cast(features, tf.float32))
        blank = {name: tf.zeros_like(values) for name, values in outputs.items()}
        blank["scores"] -= float("inf")
        for name, values in outputs.items():
            mask = tf.reshape(decoded, [-1] + [1] * (len(values.shape) - 1))  # [B, 1, ...]
            outputs[name] = tf.where(mask, values, blank[name])
        return {**outputs, "attention_box": boxes, "decoded": decoded}


def _preprocess(
    image_bytes: tf.Tensor, config: ImageConfig, max_pixels: int
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return inputs [B, S, S, 3], attention boxes [B, 4], `decoded` [B]; zero where it is not."""
    side = config.image_size

    @tf.autograph.experimental.do_not_convert
    def decode(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        pixels = decode_image(encoded, tf.constant(max_pixels, tf.int64))
        box = crop_box(tf.shape(pixels)[:2], config)
        return resize_and_crop(pixels, config), box, tf.constant(True)

    blank = (tf.zeros([side, side, 3]), tf.zeros([4]), tf.constant(False))
    fallback = tf.data.Dataset.from_tensors(blank)

    def decode_or_mask(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        # A failing op stops a whole graph; a dataset can skip the element alone.
        attempt = tf.data.Dataset.from_tensors(encoded).map(decode).ignore_errors()
        return attempt.concatenate(fallback).take(1).get_single_element()

    signature = tuple(tf.TensorSpec(value.shape, value.dtype) for value in blank)
    return tf.map_fn(decode_or_mask, image_bytes, fn_output_signature=signature)


def write_saved_model(run: Run, folder: str | os.PathLike[str], max_pixels: int) -> None:
    """Write a run as a SavedModel with the signatures of `ServingSignatures`."""
    signatures = ServingSignatures(run, max_pixels)
    features = [None, *run.model.encoder.output_shape[1:]]
    archive = keras.export.ExportArchive()
    archive.track(run.model)
    for name, function, spec in (
        ("serving_default", signatures.from_bytes, ([None], tf.string, "image_bytes")),
        ("from_images", signatures.from_images, ([None, None, None, 3], tf.uint8, "images")),
        ("from_features", signatures.from_features, (features, tf.float16, "features")),
    ):
        archive.add_endpoint(name, function, input_signature=[tf.TensorSpec(*spec)])
    archive.write_out(str(folder), verbose=False)


def _write_warm_up(config: Config, folder: Path) -> None:
    """Write requests that a server replays before it accepts others, so that none waits for it.

    They hold scenes: an export may go to people who may not have the run's images.
    """
    path, scenes = folder / WARM_UP_FILE, _scene_images(config)
    path.parent.mkdir()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for size in _WARM_UP_BATCHES:
            log = PredictionLog()
            request = log.predict_log.request
            request.model_spec.signature_name = "serving_default"
            request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(scenes[:size]))
            writer.write(log.SerializeToString())


def _sample_images(run: Run) -> tuple[list[bytes], str]:
    """Return image files to verify an export with, and their origin."""
    config = run.config
    if config.data.dataset == "shapes":
        return _scene_images(config), "the embedded data set"  # no need to write all of it first
    try:
        loaded = load_splits(config.data, ("dev",), objects_for=())
        records = leave_out(loaded, run.left_out)["dev"]
        chosen = np.linspace(0, len(records) - 1, min(_SAMPLE, len(records))).astype(int)
        return [read_image(records[i].image) for i in chosen], "the validation split"
    except UserError:
        # The run may come from another machine; any image shows whether the export works.
        return _scene_images(config), "the embedded data set (the run's own is not available)"


def _scene_images(config: Config) -> list[bytes]:
    scenes = (make_scene(0, index, config.data.shapes_size) for index in range(_SAMPLE))
    return [tf.io.encode_png(draw_scene(scene)).numpy() for scene in scenes]


def _verify(
    captioner: Captioner, folder: Path, images: list[bytes], is_rounded: bool
) -> dict[str, Any]:
    """Caption images with a SavedModel in a fresh process, and compare with the run's captions.

    Raises:
      UserError: it does not run, or its captions differ by more than rounding.
    """
    found = _caption_in_fresh_process(folder, [*images, _NO_IMAGE])
    if found["decoded"].tolist() != [True] * len(images) + [False]:
        raise UserError(
            "the export rejects images of the sample, or decodes what is not an image; not written "
            "(is --max_pixels less than they have?)"
        )
    expected = captioner.caption_images([captioner.read_image(image) for image in images])
    scores = np.array([captions[0].score for captions in expected])
    difference = float(np.max(np.abs(found["scores"][:-1] - scores)))
    is_exact = not is_rounded and captioner.models[0].encoder.output.dtype == "float32"
    if is_exact and not difference <= _SCORE_TOLERANCE:  # nor is NaN
        raise UserError(
            f"a caption's score in the export is {difference:.3g} from the run's; not written"
        )
    texts = [captions[0].text.encode() for captions in expected]
    equal = int(np.sum(found["captions"][:-1] == np.array(texts)))
    if 2 * equal < len(images):
        raise UserError(
            f"only {equal} of {len(images)} captions are those of the run: more than rounding; "
            "not written"
        )
    to_load, to_caption = found["seconds"].tolist()
    return {
        "images": len(images),
        "equal": equal,
        "largest_score_difference": difference,
        "seconds_to_load": to_load,
        "seconds_to_first_caption": to_caption,
    }


def _caption_in_fresh_process(folder: Path, images: list[bytes]) -> dict[str, np.ndarray]:
    """Return the arrays that `check_export.py` writes."""
    # Beside the model, so that they go with it if this process is killed.
    sample, result = folder.parent / "images", folder.parent / "result.npz"
    sample.mkdir()
    for number, image in enumerate(images):
        (sample / f"{number:04}").write_bytes(image)
    command = [sys.executable, "-I", str(_CHECK), str(folder), str(sample), str(result)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or not result.exists():
        reason = done.stderr.strip().rpartition("\n")[2] or "it prints no error"
        raise UserError(f"the export does not run in a fresh process: {reason}; not written")
    with np.load(result) as arrays:
        return dict(arrays)
