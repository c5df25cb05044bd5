"""From the bytes of an image file to the square that the encoder sees.

TensorFlow ops throughout, so that training, the feature cache and an exported model share one
path from file to pixels.
"""

from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from sat_tf.config import ImageSettings
from sat_tf.errors import UserError

# JPEG markers, and the words of an EXIF header, as big-endian numbers.
_START_OF_IMAGE, _START_OF_SCAN, _APP1 = 0xFFD8, 0xFFDA, 0xFFE1
_EXIF = int.from_bytes(b"Exif")
_LITTLE_ENDIAN = int.from_bytes(b"II")
_ORIENTATION_TAG = 0x0112
_IFD_ENTRY = 12  # bytes of an entry of a TIFF directory
_MOST_ENTRIES = 1024  # of a directory; a malformed one may claim 65,535
# EXIF stands before the pixels; segments have at most 64 KB, and few come before it.
_HEADER_BYTES = 1 << 18
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


def decode_image(encoded: tf.Tensor) -> tf.Tensor:
    """Pixels as they are meant to be seen.

    Reads JPEG (gray, RGB and CMYK), PNG (any depth), GIF (its first frame), BMP and WebP; alpha
    is dropped. The EXIF orientation of a JPEG file is applied; that of other formats is rare and
    is not read.

    Args:
      encoded: a file's bytes, string [].

    Returns:
      uint8 [H, W, 3], RGB.

    Raises:
      tf.errors.InvalidArgumentError: the bytes are no image that can be read.
    """
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
    floats = tf.cast(pixels, tf.float32)
    resized = tf.cond(
        tf.reduce_all(shape == target),
        lambda: floats,
        lambda: tf.clip_by_value(  # bicubic kernels overshoot at edges
            tf.image.resize(floats, target, method="bicubic", antialias=True), 0.0, 255.0
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
    data = tf.io.decode_raw(tf.strings.substr(encoded, 0, _HEADER_BYTES), tf.uint8)
    data = tf.pad(data, [[0, 1]])  # what lies past the end is read from this zero
    size = tf.size(data)

    def is_other_segment(at: tf.Tensor) -> tf.Tensor:
        marker = _number(data, at, 2)
        # Segments other than EXIF's, up to the start of the scan.
        return (marker >= 0xFFC0) & (marker != _START_OF_SCAN) & ~_is_exif(data, at) & (at < size)

    first = tf.where(_number(data, 0, 2) == _START_OF_IMAGE, 2, size)
    (at,) = tf.while_loop(
        is_other_segment, lambda at: (at + 2 + _number(data, at + 2, 2),), (first,)
    )
    return tf.cond(
        _is_exif(data, at), lambda: _read_orientation(data, at + 10), lambda: tf.constant(1)
    )


def _is_exif(data: tf.Tensor, at: tf.Tensor) -> tf.Tensor:
    """Whether an APP1 segment with an EXIF header begins at `at`."""
    return (_number(data, at, 2) == _APP1) & (_number(data, at + 4, 4) == _EXIF)


def _read_orientation(data: tf.Tensor, tiff: tf.Tensor) -> tf.Tensor:
    """The orientation tag in the first directory of the TIFF header at `tiff`."""
    little = _number(data, tiff, 2) == _LITTLE_ENDIAN
    directory = tiff + _number(data, tiff + 4, 4, little)
    count = tf.minimum(_number(data, directory, 2, little), _MOST_ENTRIES)
    entries = directory + 2 + _IFD_ENTRY * tf.range(count)
    found = tf.boolean_mask(entries, _number(data, entries, 2, little) == _ORIENTATION_TAG)
    value = _number(data, found[:1] + 8, 2, little)  # [0] or [1]
    upright = (tf.size(value) == 0) | tf.reduce_any((value < 1) | (value > 8))
    return tf.cond(upright, lambda: tf.constant(1), lambda: value[0])


def _number(
    data: tf.Tensor, at: tf.Tensor, width: int, little: tf.Tensor | bool = False
) -> tf.Tensor:
    """The unsigned numbers of `width` bytes at `at`: int32, of `at`'s shape.

    The last element of `data` stands for all past its end; numbers beyond int32 come out small
    or negative, which no caller takes for a valid place.
    """
    places = tf.expand_dims(at, -1) + tf.range(width)  # [..., width]
    last = tf.size(data) - 1
    inside = (places >= 0) & (places < last)
    values = tf.cast(tf.gather(data, tf.where(inside, places, last)), tf.int32)
    values = tf.where(little, values, tf.reverse(values, [-1]))  # least significant first
    return tf.reduce_sum(values * tf.constant([1 << 8 * i for i in range(width)]), axis=-1)


def _orient(pixels: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Undoes an EXIF orientation: [H, W, 3] -> [H, W, 3] or, for 5 to 8, [W, H, 3]."""
    turns: list[Callable[[], tf.Tensor]] = [
        lambda: pixels,
        lambda: tf.reverse(pixels, [1]),
        lambda: tf.reverse(pixels, [0, 1]),
        lambda: tf.reverse(pixels, [0]),
        lambda: tf.transpose(pixels, [1, 0, 2]),
        lambda: tf.reverse(tf.transpose(pixels, [1, 0, 2]), [1]),
        lambda: tf.reverse(tf.transpose(pixels, [1, 0, 2]), [0, 1]),
        lambda: tf.reverse(tf.transpose(pixels, [1, 0, 2]), [0]),
    ]
    return tf.ensure_shape(tf.switch_case(orientation - 1, turns), [None, None, 3])
