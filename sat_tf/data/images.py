"""From the bytes of an image file to the encoder's input.

TensorFlow ops throughout, so that training, the feature cache and an exported model share one
path from file to pixels.
"""

import dataclasses
import functools
from typing import NamedTuple

import numpy as np
import PIL.Image
import tensorflow as tf

from sat_tf.config import MOST_PIXELS, ImageConfig
from sat_tf.data.image_bytes import format_of, name_of, read_image
from sat_tf.data.image_headers import (
    REASONS,
    Header,
    read_header,
)
from sat_tf.data.objects import Box, ObjectBoxes
from sat_tf.errors import UserError

_TOO_BIG = "has more pixels than"
LONGEST_SIDE = 512  # of a thumbnail, pixels
# Images with longer sides are cropped to their middle before resizing: one of 10,000 x 1 would
# otherwise be enlarged to gigabytes, most of which the crop to the centre discards.
_MAX_ASPECT_RATIO = 8


def load_image(image: str | bytes, compiled: bool = False) -> tf.Tensor:
    """Read and decode an image, one that the graph can't decode included.

    Args:
      image: path of a file, or the bytes of one.
      compiled: whether to decode in a graph. Tracing it takes as long as decoding some fifty images
        without one.

    Returns:
      uint8 [H, W, 3], RGB, upright.

    Raises:
      UserError: it can't be read; names it and says why.
    """
    data = read_image(image)
    try:
        return _decode_compiled(data) if compiled else decode_image(data)
    except tf.errors.InvalidArgumentError as error:
        why = f"is damaged or cut off ({format_of(data)})"
        if _TOO_BIG in error.message:
            why = f"has more than {MOST_PIXELS:,} pixels: make it smaller"
        why = next((known for known in REASONS if known in error.message), why)
        raise UserError(f"{name_of(image)}: {why}") from None


def decode_image(
    encoded: tf.Tensor | bytes, max_pixels: tf.Tensor | int = MOST_PIXELS
) -> tf.Tensor:
    """Decode an image and turn it upright.

    Reads JPEG (gray, RGB and CMYK), PNG (any depth), GIF (its first frame), BMP (24 and 32 bits)
    and WebP (no animation). The EXIF orientation of JPEG, PNG and WebP is applied. Transparent
    parts of PNG, GIF and WebP are shown on white; the fourth channel of a BMP is no alpha as a
    rule, and is dropped.

    Args:
      encoded: a file's bytes, string [].
      max_pixels: the size of the largest image that is decoded, see `Header.size`.

    Returns:
      uint8 [H, W, 3], RGB.

    Raises:
      tf.errors.InvalidArgumentError: its header is rejected by `read_header`; it is too large; it
        is damaged or truncated (a GIF's end marker may be missing, a JPEG's sometimes).
    """
    header = read_header(encoded)
    count = tf.reduce_prod(tf.cast(header.size, tf.int64))
    # Strings and int32 alone are printed without a branch for it in the graph.
    message = ["an image of", header.size, _TOO_BIG, tf.strings.as_string(max_pixels)]
    # In a graph, nothing else makes the decoder wait for the check of the header.
    with tf.control_dependencies([tf.debugging.Assert(count <= max_pixels, message)]):
        pixels = _decode(header)
    return _orient(pixels, header.orientation)


_decode_compiled = tf.function(
    decode_image, input_signature=[tf.TensorSpec([], tf.string)], autograph=False
)


def resize_and_crop(pixels: tf.Tensor, config: ImageConfig) -> tf.Tensor:
    """Return the encoder's input: an image resized (bicubic, antialiased) and cropped to a square.

    Args:
      pixels: uint8 [H, W, 3], H and W at least 1.
      config: "crop" brings the shorter side to `shorter_side` and takes the centre; "stretch"
        brings both sides to `image_size`.

    Returns:
      float32 [S, S, 3], 0 to 255, S = `image_size`.
    """
    size = config.image_size
    plan = _plan_resizing(tf.shape(pixels)[:2], config)
    pixels = tf.slice(pixels, tf.pad(plan.start, [[0, 1]]), tf.concat([plan.kept, [3]], axis=0))
    resized = tf.cond(
        tf.reduce_all(plan.kept == plan.resized),
        lambda: tf.cast(pixels, tf.float32),
        lambda: tf.clip_by_value(  # bicubic kernels overshoot at edges
            tf.image.resize(pixels, plan.resized, method="bicubic", antialias=True), 0.0, 255.0
        ),
    )
    top, left = tf.unstack(plan.square)
    return tf.ensure_shape(resized[top : top + size, left : left + size], [size, size, 3])


def crop_box(shape: tf.Tensor, config: ImageConfig) -> tf.Tensor:
    """Return the part of an image that the encoder sees after `resize_and_crop`.

    Args:
      shape: height and width of the upright image, int32 [2], at least 1 each.
      config: see `resize_and_crop`.

    Returns:
      float32 [4]: top, left, bottom, right, as fractions of the height and the width.
    """
    plan = _Resizing(*(tf.cast(part, tf.float64) for part in _plan_resizing(shape, config)))
    corners = tf.stack([plan.square, plan.square + config.image_size])  # [2, 2]
    corners = (plan.start + corners * plan.kept / plan.resized) / tf.cast(shape, tf.float64)
    return tf.cast(tf.reshape(corners, [4]), tf.float32)


@functools.lru_cache(maxsize=4096)
def _visible_box(height: int, width: int, config: ImageConfig) -> Box:
    return Box(*crop_box(tf.constant([height, width]), config).numpy().tolist())


def crop_objects(objects: ObjectBoxes | None, config: ImageConfig) -> ObjectBoxes | None:
    """Return the objects of an image with the crop that the encoder sees."""
    if objects is None:
        return None
    return dataclasses.replace(objects, crop=_visible_box(objects.height, objects.width, config))


class Thumbnail(NamedTuple):
    """A small version of an image for display, and the part of it that the encoder sees."""

    picture: np.ndarray  # upright and whole, its sides at most `LONGEST_SIDE`, uint8 [H, W, 3]
    box: Box  # see `crop_box`


def thumbnail(pixels: tf.Tensor, config: ImageConfig) -> Thumbnail:
    """Return the thumbnail of a decoded image, uint8 [H, W, 3]."""
    height, width, _ = pixels.shape
    picture = PIL.Image.fromarray(pixels.numpy())
    picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    return Thumbnail(np.asarray(picture), _visible_box(height, width, config))


class _Resizing(NamedTuple):
    """How an image becomes the encoder's square: rows and columns, int32 [2] each."""

    start: tf.Tensor  # corner of the part that is resized
    kept: tf.Tensor  # its size: the whole image, or the middle of a long strip
    resized: tf.Tensor  # its size after resizing
    square: tf.Tensor  # corner of the square in the resized image


def _plan_resizing(shape: tf.Tensor, config: ImageConfig) -> _Resizing:
    """Plan how an image of that height and width, int32 [2], becomes the square."""
    size = config.image_size
    if config.resize == "stretch":
        zero = tf.zeros([2], tf.int32)
        return _Resizing(zero, shape, tf.constant([size, size]), zero)
    kept = tf.minimum(shape, _MAX_ASPECT_RATIO * tf.reduce_min(shape))
    scale = config.shorter_side / tf.reduce_min(kept)
    resized = tf.cast(tf.round(tf.cast(kept, tf.float64) * scale), tf.int32)
    return _Resizing((shape - kept) // 2, kept, resized, (resized - size) // 2)


def _decode(header: Header) -> tf.Tensor:
    """Decode a file to pixels as stored, transparent ones on white: uint8 [H, W, 3]."""

    def on_white() -> tf.Tensor:
        pixels = tf.io.decode_image(header.encoded, channels=4, expand_animations=False)
        pixels = tf.cast(pixels, tf.uint16)
        # Divided by 255 and rounded, in half the time of a division.
        product = (255 - pixels[..., :3]) * pixels[..., 3:] + 128
        product += tf.bitwise.right_shift(product, 8)
        return tf.cast(255 - tf.bitwise.right_shift(product, 8), tf.uint8)

    # TensorFlow reads a WebP image only if asked for the channels that it has. Asked for 0, "as
    # stored", it writes out of bounds for an animation without alpha. Asked for 4, it makes a PNG
    # of few bits a pixel that has no alpha nearly transparent.
    pixels = tf.cond(
        header.has_alpha,
        on_white,
        lambda: tf.io.decode_image(header.encoded, channels=3, expand_animations=False),
    )
    return tf.ensure_shape(pixels, [None, None, 3])


def _orient(pixels: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Undo an EXIF orientation: [H, W, 3] -> [H, W, 3] or, for 5 to 8, [W, H, 3]."""
    turned = tf.transpose(pixels, tf.where(orientation > 4, [1, 0, 2], [0, 1, 2]))
    mirrored = tf.constant(
        [[False, False, False], [False, True, False], [True, True, False], [True, False, False]]
    )
    flips = tf.gather(mirrored, (orientation - 1) % 4)  # which axes
    return tf.ensure_shape(tf.raw_ops.Reverse(tensor=turned, dims=flips), [None, None, 3])
