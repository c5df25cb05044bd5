"""The SavedModel: from image bytes to captions and attention, with all that takes inside."""

import os
from collections.abc import Sequence
from pathlib import Path

import keras
import tensorflow as tf
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from sat_tf.captioner import Run
from sat_tf.config import ImageConfig
from sat_tf.data.images import crop_box, decode_image, resize_and_crop
from sat_tf.model.generation import generate
from sat_tf.vocabulary import END, PAD

# Where a server looks for requests to replay before it takes others.
WARM_UP_FILE = "assets.extra/tf_serving_warmup_requests"

Outputs = dict[str, tf.Tensor]


class ServingSignatures:
    """The signatures of an export.

    B images, K captions of each, T tokens at most; captions that have ended come before those that
    were cut, each by score:

    captions: string [B, K], words with spaces between them.
    scores: float32 [B, K], by which they are ranked; see `--length_normalization`.
    log_probabilities: float32 [B, K, T], of each token, in nats.
    tokens: int32 [B, K, T], zero after the end.
    lengths: int32 [B, K], tokens, the end included.
    attention: alpha, float32 [B, K, T, rows, columns], zero after the end.
    beta: float32 [B, K, T], zero after the end.

    and, where images are given:

    attention_box: float32 [B, 4]: top, left, bottom and right of the part of the image that the
      attention's grid covers, as fractions of its height and width when it is seen upright.
    decoded: bool [B]. An element that is no image comes back with False, empty captions, scores
      of minus infinity and zero for all else; the others are as if it were a black image.

    Args:
      run: its settings say how to search.
      max_pixels: images of more are refused before they are decoded.
    """

    def __init__(self, run: Run, max_pixels: int) -> None:
        self._run = run
        self._max_pixels = max_pixels

    def from_bytes(self, image_bytes: tf.Tensor) -> Outputs:
        """Captions of image files: string [B]."""
        views, boxes, decoded = _views(image_bytes, self._run.config.images, self._max_pixels)
        return self._of_images(views, boxes, decoded)

    def from_images(self, images: tf.Tensor) -> Outputs:
        """Captions of decoded images of one size: uint8 [B, H, W, 3], RGB."""
        config = self._run.config.images
        side = config.image_size
        view = tf.TensorSpec([side, side, 3], tf.float32)
        views = tf.map_fn(lambda x: resize_and_crop(x, config), images, fn_output_signature=view)
        count = tf.shape(images)[0]
        boxes = tf.tile(crop_box(tf.shape(images)[1:3], config)[tf.newaxis], [count, 1])
        return self._of_images(views, boxes, tf.fill([count], True))

    def from_features(self, annotations: tf.Tensor) -> Outputs:
        """Captions from the encoder's annotations: float16 [B, rows, columns, D], as cached."""
        model, vocabulary = self._run.model, self._run.vocabulary
        decoded = generate([model], [annotations], self._run.config.decoding)
        ((alphas, betas),) = decoded.step_outputs
        rows, columns = model.grid
        shape = tf.concat([tf.shape(decoded.tokens), [rows, columns]], axis=0)
        is_word = (decoded.tokens != END) & (decoded.tokens != PAD)
        words = tf.where(is_word, tf.gather(vocabulary.words, decoded.tokens), "")
        captions = tf.strings.reduce_join(words, axis=-1, separator=" ")
        return {
            "captions": tf.strings.strip(captions),
            "scores": decoded.scores,
            "log_probabilities": decoded.log_probs,
            "tokens": decoded.tokens,
            "lengths": decoded.lengths,
            # Without an annotation of zeros, which is nowhere in the image.
            "attention": tf.reshape(alphas[..., : rows * columns], shape),
            "beta": betas,
        }

    def _of_images(self, views: tf.Tensor, boxes: tf.Tensor, decoded: tf.Tensor) -> Outputs:
        count = tf.shape(views)[0]
        # Some convolutions fail on no image at all: then there is one, whose captions go nowhere.
        views = tf.pad(views, [[0, tf.cast(count == 0, tf.int32)], [0, 0], [0, 0], [0, 0]])
        annotations = self._run.model.encode_images({"images": views})[:count]
        outputs = self.from_features(annotations)
        nothing = {name: tf.zeros_like(values) for name, values in outputs.items()}
        nothing["scores"] -= float("inf")
        shown = {
            name: tf.where(_rows(decoded, values), values, nothing[name])
            for name, values in outputs.items()
        }
        return {**shown, "attention_box": boxes, "decoded": decoded}


def _rows(mask: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """Bool [B] -> [B, 1, ...], of the rank of `values`."""
    return tf.reshape(mask, [-1] + [1] * (len(values.shape) - 1))


def _views(
    image_bytes: tf.Tensor, config: ImageConfig, max_pixels: int
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """What the encoder sees of image files, the part it covers, and whether there is an image.

    Returns:
      float32 [B, S, S, 3], float32 [B, 4] and bool [B]; zero where there is none.
    """
    side = config.image_size

    def view(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        pixels = decode_image(encoded, tf.constant(max_pixels, tf.int64))
        box = crop_box(tf.shape(pixels)[:2], config)
        return resize_and_crop(pixels, config), box, tf.constant(True)

    nothing = (tf.zeros([side, side, 3]), tf.zeros([4]), tf.constant(False))
    instead = tf.data.Dataset.from_tensors(nothing)

    def try_to_view(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        # An op that fails stops a whole graph; in a pipeline its element alone can be passed over.
        attempt = tf.data.Dataset.from_tensors(encoded).map(view).ignore_errors()
        return attempt.concatenate(instead).take(1).get_single_element()

    signature = tuple(tf.TensorSpec(value.shape, value.dtype) for value in nothing)
    return tf.map_fn(try_to_view, image_bytes, fn_output_signature=signature)


def write_saved_model(run: Run, folder: str | os.PathLike[str], max_pixels: int) -> None:
    """Writes a run as a SavedModel with the signatures of `ServingSignatures`."""
    service = ServingSignatures(run, max_pixels)
    signatures = {
        "serving_default": (
            service.from_bytes,
            tf.TensorSpec([None], tf.string, "image_bytes"),
        ),
        "from_images": (
            service.from_images,
            tf.TensorSpec([None, None, None, 3], tf.uint8, "images"),
        ),
        "from_features": (
            service.from_features,
            tf.TensorSpec([None, *run.model.encoder.output_shape[1:]], tf.float16, "annotations"),
        ),
    }
    archive = keras.export.ExportArchive()
    archive.track(run.model)
    for name, (function, spec) in signatures.items():
        archive.add_endpoint(name, function, input_signature=[spec])
    archive.write_out(str(folder), verbose=False)


def write_warm_up(
    images: Sequence[bytes], batch_sizes: Sequence[int], folder: str | os.PathLike[str]
) -> None:
    """Writes requests that a server replays before it takes others, so that none waits for it.

    Args:
      images: image files, one at least; they are repeated where a request needs more.
      batch_sizes: images of each request.
      folder: of the SavedModel.
    """
    path = Path(folder) / WARM_UP_FILE
    path.parent.mkdir()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for size in batch_sizes:
            batch = [images[i % len(images)] for i in range(size)]
            log = PredictionLog()
            request = log.predict_log.request
            request.model_spec.signature_name = "serving_default"
            request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(batch))
            writer.write(log.SerializeToString())
