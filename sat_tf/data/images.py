"""From the bytes of an image file to the square that the encoder sees.

TensorFlow ops throughout, so that training, the feature cache and an exported model share one
path from file to pixels.
"""

from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from sat_tf.config import ImageSettings
from sat_tf.errors import UserError

# JPEG markers, as big-endian numbers; fill bytes, 0xFF, may stand before any.
_FIRST_MARKER, _START_OF_SCAN, _APP1, _FILL = 0xFFC0, 0xFFDA, 0xFFE1, 0xFFFF
# EXIF comes before the pixels, and few segments, of 64 KB at most, come before EXIF.
_HEADER_BYTES = 1 << 18
_MOST_SEGMENTS = 100
# An EXIF segment: marker, length, this name and two zeros, then a TIFF header and its directory.
_EXIF = int.from_bytes(b"Exif")
_EXIF_NAME_AT, _TIFF_AT = 4, 10
_LITTLE_ENDIAN, _BIG_ENDIAN = int.from_bytes(b"II"), int.from_bytes(b"MM")
_TIFF_VERSION = 42
_ORIENTATION_TAG = 0x0112
_ENTRY_BYTES, _ENTRY_VALUE_AT = 12, 8  # of an entry of the directory
# A BMP file's name, where its bits a pixel stand, and what those are when there is a palette.
_BMP = int.from_bytes(b"BM")
_BMP_DEPTH_AT, _PALETTE_DEPTH = 28, 8
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


def decode_image(encoded: tf.Tensor) -> tf.Tensor:
    """Pixels as they are meant to be seen.

    Reads JPEG (gray, RGB and CMYK), PNG (any depth), GIF (its first frame), BMP (24 and 32 bits)
    and WebP; alpha is dropped. The EXIF orientation of a JPEG file is applied; that of other
    formats is rare and is not read.

    Args:
      encoded: a file's bytes, string [].

    Returns:
      uint8 [H, W, 3], RGB.

    Raises:
      tf.errors.InvalidArgumentError: the bytes are no image that can be read.
    """
    _refuse_palette_bmp(encoded)
    pixels = tf.io.decode_image(encoded, channels=3, expand_animations=False)
    pixels = tf.ensure_shape(pixels, [None, None, 3])
    return _orient(pixels, exif_orientation(encoded))


def fit_image(pixels: tf.Tensor, settings: ImageSettings) -> tf.Tensor:
    """The square that the encoder sees: resized (bicubic, antialiased), cropped if so set.

    Args:
      pixels: uint8 [H, W, 3], H and W at least 1.
      settings: "crop" brings the shorter side to `shorter_side` and takes the centre; "squash"
        brings both sides to `image_size`.

    Returns:
      float32 [S, S, 3], 0 to 255, S = `image_size`.
    """
    size = settings.image_size
    if settings.resize == "crop":
        pixels = _middle(pixels)
    shape = tf.shape(pixels)[:2]
    if settings.resize == "squash":
        target = tf.constant([size, size])
    else:
        scale = settings.shorter_side / tf.reduce_min(shape)
        target = tf.cast(tf.round(tf.cast(shape, tf.float64) * scale), tf.int32)
    resized = tf.cond(
        tf.reduce_all(shape == target),
        lambda: tf.cast(pixels, tf.float32),
        lambda: tf.clip_by_value(  # bicubic kernels overshoot at edges
            tf.image.resize(pixels, target, method="bicubic", antialias=True), 0.0, 255.0
        ),
    )
    top, left = tf.unstack((target - size) // 2)
    return tf.ensure_shape(resized[top : top + size, left : left + size], [size, size, 3])


def _middle(pixels: tf.Tensor) -> tf.Tensor:
    """The middle of a strip that is longer than `_MOST_ASPECT` times its width."""
    shape = tf.shape(pixels)[:2]
    kept = tf.minimum(shape, _MOST_ASPECT * tf.reduce_min(shape))
    top, left = tf.unstack((shape - kept) // 2)
    return pixels[top : top + kept[0], left : left + kept[1]]


def exif_orientation(encoded: tf.Tensor) -> tf.Tensor:
    """Orientation, 1 to 8, from the EXIF header of a JPEG file: int32 [].

    1, upright, for other formats and where the header is missing or malformed.

    Args:
      encoded: a file's bytes, string [].
    """
    data = _header(encoded, _HEADER_BYTES)

    def is_passed_over(at: tf.Tensor) -> tf.Tensor:
        marker = _number(data, at, 2)
        return (marker >= _FIRST_MARKER) & (marker != _START_OF_SCAN) & ~_is_exif(data, at)

    def next_segment(at: tf.Tensor) -> tuple[tf.Tensor]:
        is_fill = _number(data, at, 2) == _FILL
        return (at + tf.where(is_fill, 1, 2 + _number(data, at + 2, 2)),)

    # The first segment follows a marker of two bytes; in other formats there is none to pass over.
    first = tf.constant(2)
    (at,) = tf.while_loop(is_passed_over, next_segment, (first,), maximum_iterations=_MOST_SEGMENTS)
    end = at + 2 + _number(data, at + 2, 2)
    return tf.cond(
        _is_exif(data, at),
        lambda: _read_orientation(tf.pad(data[at + _TIFF_AT : end], [[0, 1]])),
        lambda: tf.constant(1),
    )


def _refuse_palette_bmp(encoded: tf.Tensor) -> None:
    """TensorFlow takes the numbers of a palette's colours for shades of gray: better none."""
    data = _header(encoded, _BMP_DEPTH_AT + 2)
    is_bmp = _number(data, 0, 2) == _BMP
    depth = _number(data, _BMP_DEPTH_AT, 2, little=True)
    tf.debugging.Assert(
        ~(is_bmp & (depth == _PALETTE_DEPTH)), ["a BMP image with a palette can't be read"]
    )


def _header(encoded: tf.Tensor, size: int) -> tf.Tensor:
    """The first bytes of a file, `size` at most, and a zero: uint8 [bytes + 1]."""
    return tf.pad(tf.io.decode_raw(tf.strings.substr(encoded, 0, size), tf.uint8), [[0, 1]])


def _is_exif(data: tf.Tensor, at: tf.Tensor) -> tf.Tensor:
    """Whether an APP1 segment with an EXIF header begins at `at`."""
    return (_number(data, at, 2) == _APP1) & (_number(data, at + _EXIF_NAME_AT, 4) == _EXIF)


def _read_orientation(tiff: tf.Tensor) -> tf.Tensor:
    """The orientation tag in the first directory of a TIFF header, or 1: int32 []."""
    order = _number(tiff, 0, 2)
    little = order == _LITTLE_ENDIAN
    is_tiff = (little | (order == _BIG_ENDIAN)) & (_number(tiff, 2, 2, little) == _TIFF_VERSION)
    directory = _number(tiff, 4, 4, little)
    # Entries past the end read as zeros, and a damaged count may claim many of them.
    count = tf.minimum(_number(tiff, directory, 2, little), tf.size(tiff) // _ENTRY_BYTES)
    entries = directory + 2 + _ENTRY_BYTES * tf.range(count)
    is_orientation = _number(tiff, entries, 2, little) == _ORIENTATION_TAG
    values = _number(tiff, entries + _ENTRY_VALUE_AT, 2, little)
    found = tf.boolean_mask(values, is_tiff & is_orientation & (values >= 1) & (values <= 8))
    return tf.concat([found, [1]], axis=0)[0]


def _number(
    data: tf.Tensor, at: tf.Tensor | int, width: int, little: tf.Tensor | bool = False
) -> tf.Tensor:
    """The unsigned numbers of `width` bytes at `at`: int32, of `at`'s shape.

    Bytes past the end count as zero. Four bytes beyond int32 come out negative: no valid place.
    """
    places = tf.expand_dims(at, -1) + tf.range(width)  # [..., width]
    last = tf.size(data) - 1  # the zero that was added
    inside = (places >= 0) & (places < last)
    values = tf.cast(tf.gather(data, tf.where(inside, places, last)), tf.int32)
    values = tf.where(little, values, tf.reverse(values, [-1]))  # least significant first
    return tf.reduce_sum(values * tf.constant([1 << 8 * i for i in range(width)]), axis=-1)


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
