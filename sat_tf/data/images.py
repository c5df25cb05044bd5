"""From the bytes of an image file to the square that the encoder sees.

TensorFlow ops throughout, so that training, the feature cache and an exported model share one
path from file to pixels.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL.Image
import tensorflow as tf

from sat_tf.config import MOST_PIXELS, ImageConfig
from sat_tf.data.image_headers import (
    exif_orientation,
    first_gif_frame,
    has_webp_alpha,
    image_size,
)
from sat_tf.data.objects import Box
from sat_tf.errors import UserError

_TOO_BIG = "has more pixels than"
# Of what is kept of an image to be shown.
LONGEST_SIDE = 512
# Longer strips are cut to their middle before resizing: a 10,000 x 1 image would else be enlarged
# to gigabytes, of which the crop takes the centre anyway.
_MOST_ASPECT = 8


def read_image(image: str | bytes) -> bytes:
    """The bytes of an image: those given, or those of the file of that path.

    Raises:
      UserError: the file can't be read; names it.
    """
    if isinstance(image, bytes):
        return image
    try:
        return Path(image).read_bytes()
    except OSError as error:
        raise UserError(f"{image}: {error.strerror}") from None
    except ValueError as error:  # a NUL character
        raise UserError(f"{image!r} is no file's name: {error}") from None


def unreadable(image: str | bytes, error: tf.errors.InvalidArgumentError) -> UserError:
    """What to tell of an image that `decode_image` refused with that error."""
    name = "the bytes" if isinstance(image, bytes) else image
    if _TOO_BIG in error.message:
        return UserError(f"{name}: has more than {MOST_PIXELS:,} pixels")
    return UserError(
        f"{name}: can't be read as an image (JPEG, PNG, GIF, BMP of 24 or 32 bits, WebP without "
        "animation)"
    )


# A graph even where it is called outside of one: op by op, it takes 20 times as long.
@tf.function(
    input_signature=[tf.TensorSpec([], tf.string), tf.TensorSpec([], tf.int64)], autograph=False
)
def decode_image(encoded: tf.Tensor, max_pixels: tf.Tensor | int = MOST_PIXELS) -> tf.Tensor:
    """Pixels as they are meant to be seen.

    Reads JPEG (gray, RGB and CMYK), PNG (any depth), GIF (its first frame), BMP (24 and 32 bits)
    and WebP (no animation); alpha is dropped. The EXIF orientation of a JPEG file is applied; that
    of other formats is rare and is not read.

    Args:
      encoded: a file's bytes, string [].
      max_pixels: the greatest image that is decoded. A GIF has the pixels of what holds both its
        screen and its first frame.

    Returns:
      uint8 [H, W, 3], RGB.

    Raises:
      tf.errors.InvalidArgumentError: the bytes are no image that can be read, are cut off (a GIF's
        end marker may be missing, a JPEG's sometimes), or are of an image that is too big.
    """
    size = image_size(encoded)
    count = tf.reduce_prod(tf.cast(size, tf.int64))
    message = ["an image of", size, _TOO_BIG, max_pixels]
    # In a graph, nothing else keeps the decoder waiting for what the header tells.
    with tf.control_dependencies([tf.debugging.Assert(count <= max_pixels, message)]):
        pixels = _decode(first_gif_frame(encoded))
    return _orient(pixels, exif_orientation(encoded))


def resize_and_crop(pixels: tf.Tensor, config: ImageConfig) -> tf.Tensor:
    """The square that the encoder sees: resized (bicubic, antialiased), cropped if so set.

    Args:
      pixels: uint8 [H, W, 3], H and W at least 1.
      config: "crop" brings the shorter side to `shorter_side` and takes the centre; "stretch"
        brings both sides to `image_size`.

    Returns:
      float32 [S, S, 3], 0 to 255, S = `image_size`.
    """
    size = config.image_size
    fit = _fit(tf.shape(pixels)[:2], config)
    pixels = tf.slice(pixels, tf.pad(fit.start, [[0, 1]]), tf.concat([fit.kept, [3]], axis=0))
    resized = tf.cond(
        tf.reduce_all(fit.kept == fit.resized),
        lambda: tf.cast(pixels, tf.float32),
        lambda: tf.clip_by_value(  # bicubic kernels overshoot at edges
            tf.image.resize(pixels, fit.resized, method="bicubic", antialias=True), 0.0, 255.0
        ),
    )
    top, left = tf.unstack(fit.square)
    return tf.ensure_shape(resized[top : top + size, left : left + size], [size, size, 3])


def crop_box(shape: tf.Tensor, config: ImageConfig) -> tf.Tensor:
    """The part of an image that the square of `resize_and_crop` shows.

    Args:
      shape: height and width of the image as it is seen, that is after its EXIF orientation,
        int32 [2], at least 1 each.
      config: those of `resize_and_crop`.

    Returns:
      float32 [4]: top, left, bottom, right, as fractions of the height and the width.
    """
    fit = _Fit(*(tf.cast(part, tf.float64) for part in _fit(shape, config)))
    corners = tf.stack([fit.square, fit.square + config.image_size])  # [2, 2]
    corners = (fit.start + corners * fit.kept / fit.resized) / tf.cast(shape, tf.float64)
    return tf.cast(tf.reshape(corners, [4]), tf.float32)


@functools.lru_cache(maxsize=4096)
def visible_box(height: int, width: int, config: ImageConfig) -> Box:
    """Return `crop_box` of an image of that upright size, which is not opened."""
    return Box(*crop_box(tf.constant([height, width]), config).numpy().tolist())


class Thumbnail(NamedTuple):
    """An image as people see it, and the part of it that an encoder sees.

    picture: upright and whole, its longer side at most `LONGEST_SIDE` pixels, uint8 [H, W, 3].
    box: see `crop_box`.
    """

    picture: np.ndarray
    box: tuple[float, float, float, float]


def thumbnail(pixels: tf.Tensor, config: ImageConfig) -> Thumbnail:
    """What to show of a decoded image, uint8 [H, W, 3]."""
    top, left, bottom, right = crop_box(tf.shape(pixels)[:2], config).numpy().tolist()
    picture = PIL.Image.fromarray(pixels.numpy())
    picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    return Thumbnail(np.asarray(picture), (top, left, bottom, right))


class _Fit(NamedTuple):
    """How an image becomes a square; rows and columns, int32 [2] each."""

    start: tf.Tensor  # where the part that is kept begins
    kept: tf.Tensor  # its size: the whole image, or the middle of a long strip
    resized: tf.Tensor  # its size after resizing
    square: tf.Tensor  # where the square begins in that


def _fit(shape: tf.Tensor, config: ImageConfig) -> _Fit:
    """How an image of that height and width, int32 [2], becomes the square."""
    size = config.image_size
    if config.resize == "stretch":
        nowhere = tf.zeros([2], tf.int32)
        return _Fit(nowhere, shape, tf.constant([size, size]), nowhere)
    kept = tf.minimum(shape, _MOST_ASPECT * tf.reduce_min(shape))
    scale = config.shorter_side / tf.reduce_min(kept)
    resized = tf.cast(tf.round(tf.cast(kept, tf.float64) * scale), tf.int32)
    return _Fit((shape - kept) // 2, kept, resized, (resized - size) // 2)


def _decode(encoded: tf.Tensor) -> tf.Tensor:
    """Pixels as stored, uint8 [H, W, 3], of one file's bytes."""
    # TensorFlow reads a WebP image only if asked for the channels that it has. Never ask for 0,
    # "as stored", of unknown files: an animation without alpha is then written beyond its memory.
    pixels = tf.cond(
        has_webp_alpha(encoded),
        lambda: tf.io.decode_image(encoded, channels=4, expand_animations=False)[..., :3],
        lambda: tf.io.decode_image(encoded, channels=3, expand_animations=False),
    )
    return tf.ensure_shape(pixels, [None, None, 3])


def _orient(pixels: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Undoes an EXIF orientation: [H, W, 3] -> [H, W, 3] or, for 5 to 8, [W, H, 3]."""
    turned = tf.cond(orientation > 4, lambda: tf.transpose(pixels, [1, 0, 2]), lambda: pixels)
    mirrored: list[Callable[[], tf.Tensor]] = [
        lambda: turned,
        lambda: tf.reverse(turned, [1]),
        lambda: tf.reverse(turned, [0, 1]),
        lambda: tf.reverse(turned, [0]),
    ]
    return tf.ensure_shape(tf.switch_case((orientation - 1) % 4, mirrored), [None, None, 3])
