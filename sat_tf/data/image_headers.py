"""Headers of image files: the size of an image before it is decoded, and its orientation.

TensorFlow ops throughout, so that they also run in the input pipeline and in an exported model.
Files that violate their format raise `tf.errors.InvalidArgumentError`.
"""

import tensorflow as tf

_JPEG, _PNG, _GIF, _BMP = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM"
# Bytes that contain the sizes and flags of PNG, BMP and WebP files.
_HEAD_BYTES = 32
# The decoder keeps up to 8 MB of each compressed text of a PNG file.
_PNG_TEXTS, _MAX_PNG_TEXTS = (b"zTXt", b"iTXt"), 16
# These bound the time that a file can take; full blocks of a GIF file are not counted.
_MAX_GIF_EXTENSIONS, _MAX_GIF_BLOCKS, _MAX_JPEG_SEGMENTS = 30, 1 << 14, 100
_GIF_BLOCK = 255  # length of a full block
# EXIF precedes the pixels, and few segments, of at most 64 KB, precede EXIF.
_EXIF_WITHIN_BYTES = 1 << 18


def image_size(encoded: tf.Tensor) -> tf.Tensor:
    """Return height and width as stored, before any EXIF orientation: int32 [2], at least 1 each.

    For a GIF, those of the rectangle that contains its screen and its first frame. Sides beyond
    int32 are returned as the greatest int32.

    Args:
      encoded: a file's bytes, string [].

    Raises:
      tf.errors.InvalidArgumentError: it is no JPEG, PNG, GIF, BMP (24 or 32 bits a pixel) or WebP
        (without animation), its header is damaged, or it is a PNG of more than 16 texts.
    """
    head = _first_bytes(encoded, _HEAD_BYTES)
    kinds = [_equals(head, 0, start) for start in (_JPEG, _PNG, _GIF, _BMP)]
    size = tf.switch_case(
        tf.argmax([*kinds, _is_webp(head), True], output_type=tf.int32),  # the first that is true
        [
            lambda: tf.image.extract_jpeg_shape(encoded)[:2],
            lambda: _png_size(encoded, head),
            lambda: _gif_size(encoded),
            lambda: _bmp_size(head),
            lambda: _webp_size(head),
            lambda: tf.zeros([2], tf.int32),
        ],
    )
    size = tf.where(size < 0, tf.int32.max, size)  # beyond int32
    return _checked(tf.reduce_all(size > 0), "no image of a known format and size", size)


def _png_size(encoded: tf.Tensor, head: tf.Tensor) -> tf.Tensor:
    """Height and width; after the signature and a length comes `IHDR`, width, height."""
    texts = tf.add_n([tf.size(tf.strings.split(encoded, name)) - 1 for name in _PNG_TEXTS])
    readable = _equals(head, 12, b"IHDR") & (texts <= _MAX_PNG_TEXTS)
    size = _number(head, [20, 16], 4)
    return _checked(readable, "a PNG file without header, or of too many texts", size)


def _bmp_size(head: tf.Tensor) -> tf.Tensor:
    """Height and width; at byte 14 come the header's length, width, height, planes, bits."""
    header, width, height = tf.unstack(_number(head, [14, 18, 22], 4, little=True))
    # TensorFlow takes older headers for newer ones, and palette indices for shades of gray.
    bits = _number(head, 28, 2, little=True)
    readable = (header >= 40) & ((bits == 24) | (bits == 32))
    size = tf.stack([tf.abs(height), width])  # a negative height: the top row comes first
    return _checked(readable, "only BMP images of 24 or 32 bits a pixel can be read", size)


def _is_webp(head: tf.Tensor) -> tf.Tensor:
    return _equals(head, 0, b"RIFF") & _equals(head, 8, b"WEBP")


def _webp_size(head: tf.Tensor) -> tf.Tensor:
    """Height and width; at byte 12 is a lossy image, a lossless one or an extended header.

    The decoder rejects an extended header whose size is not that of the image which follows. In
    animations it may differ, and TensorFlow's reader of these writes out of bounds.
    """
    is_extended = _equals(head, 12, b"VP8X")
    is_animated = is_extended & (_number(head, 20, 1) & 0x02 > 0)
    lossy = _number(head, [28, 26], 2, little=True) & 0x3FFF
    bits = _number(head, 21, 4, little=True)
    lossless = 1 + (tf.bitwise.right_shift(bits, [14, 0]) & 0x3FFF)
    extended = 1 + _number(head, [27, 24], 3, little=True)
    size = tf.where(_equals(head, 12, b"VP8 "), lossy, 0)
    size = tf.where(_equals(head, 12, b"VP8L"), lossless, size)
    size = tf.where(is_extended, extended, size)
    return _checked(~is_animated, "an animated WebP image can't be read", size)


def has_webp_alpha(encoded: tf.Tensor) -> tf.Tensor:
    """Return whether a file, string [], is a WebP image with alpha: bool []."""
    head = _first_bytes(encoded, _HEAD_BYTES)
    lossless = tf.bitwise.right_shift(_number(head, 21, 4, little=True), 28) & 1
    extended = _number(head, 20, 1) & 0x10
    return _is_webp(head) & (
        (_equals(head, 12, b"VP8L") & (lossless > 0))
        | (_equals(head, 12, b"VP8X") & (extended > 0))
    )


# A GIF file: signature (6 bytes), width and height of the screen, flags, two more bytes; a colour
# table; extensions ("!", a label, blocks); frames; ";". A frame: ",", left, top, width, height,
# flags; a colour table; a byte for the decoder; blocks. Blocks: each after its length, the last
# empty. Numbers have two bytes.


def first_gif_frame(encoded: tf.Tensor) -> tf.Tensor:
    """Return a GIF file of the first frame only, moved to the origin; other files unchanged.

    TensorFlow would decode all frames, however many, and crop one that is not at the origin.

    Args:
      encoded: a file's bytes, string [].

    Raises:
      tf.errors.InvalidArgumentError: the file ends before its first frame does, or is damaged.
    """

    def cut() -> tf.Tensor:
        data = _all_bytes(encoded)
        frame = _gif_frame(data)
        end = _after_blocks(data, frame + 11 + _table_bytes(_byte(data, frame + 9)))
        before = tf.strings.substr(encoded, 0, frame + 1)
        after = tf.strings.substr(encoded, frame + 5, end - (frame + 5))
        return tf.strings.join([before, b"\0\0\0\0", after, b";"])

    is_gif = _equals(_first_bytes(encoded, len(_GIF)), 0, _GIF)
    return tf.cond(is_gif, cut, lambda: tf.identity(encoded))


def _gif_size(encoded: tf.Tensor) -> tf.Tensor:
    """Height and width of the rectangle that contains the screen and the first frame."""
    data = _all_bytes(encoded)
    frame = _gif_frame(data)
    screen = _number(data, [8, 6], 2, little=True)
    corner = _number(data, tf.add(frame, [3, 1]), 2, little=True)
    return tf.maximum(screen, corner + _number(data, tf.add(frame, [7, 5]), 2, little=True))


def _gif_frame(data: tf.Tensor) -> tf.Tensor:
    """Return the index at which the first frame of a GIF file begins: int32 []."""
    (at,) = tf.while_loop(
        lambda at: _byte(data, at) == ord("!"),
        lambda at: (_after_blocks(data, at + 2),),
        (13 + _table_bytes(_byte(data, 10)),),
        maximum_iterations=_MAX_GIF_EXTENSIONS,
    )
    return _checked(_byte(data, at) == ord(","), "a GIF file without image", at)


def _table_bytes(flags: tf.Tensor) -> tf.Tensor:
    """Return the size of the colour table that a GIF's flags announce, or 0: int32 []."""
    return tf.where(flags & 0x80 > 0, tf.bitwise.left_shift(6, flags & 7), 0)


def _after_blocks(data: tf.Tensor, at: tf.Tensor) -> tf.Tensor:
    """Return the index after the blocks that begin at `at`: int32 []."""
    # Almost all writers fill their blocks, which are skipped without a loop.
    is_full = data[at :: _GIF_BLOCK + 1] == _GIF_BLOCK
    full = tf.argmin(tf.pad(tf.cast(is_full, tf.int32), [[0, 1]]), output_type=tf.int32)
    at += full * (_GIF_BLOCK + 1)
    last, length = tf.while_loop(
        lambda _, length: length > 0,
        lambda at, length: (at + 1 + length, _byte(data, at + 1 + length)),
        (at, _byte(data, at)),
        maximum_iterations=_MAX_GIF_BLOCKS,
    )
    whole = (length == 0) & (last < tf.size(data) - 1)
    return _checked(whole, "a GIF file that is cut off, or of too many blocks", last + 1)


def exif_orientation(encoded: tf.Tensor) -> tf.Tensor:
    """Return the orientation, 1 to 8, in the EXIF header of a JPEG file: int32 [].

    1, upright, for other formats and where the header is missing or malformed.

    Args:
      encoded: a file's bytes, string [].
    """
    data = _first_bytes(encoded, _EXIF_WITHIN_BYTES)

    # A JPEG file: segments, each with a marker of two bytes and its length. EXIF is an APP1 segment
    # (0xFFE1) that begins with "Exif" and two zeros.
    def is_exif(at: tf.Tensor) -> tf.Tensor:
        is_name = _number(data, at + 4, 4) == int.from_bytes(b"Exif")
        return (_number(data, at, 2) == 0xFFE1) & is_name

    def is_skipped(at: tf.Tensor) -> tf.Tensor:
        marker = _number(data, at, 2)
        return (marker >= 0xFFC0) & (marker != 0xFFDA) & ~is_exif(at)  # 0xFFDA: pixels follow

    def next_segment(at: tf.Tensor) -> tuple[tf.Tensor]:
        is_fill = _number(data, at, 2) == 0xFFFF  # a fill byte before a marker
        return (at + tf.where(is_fill, 1, 2 + _number(data, at + 2, 2)),)

    # The first segment follows a marker of two bytes; other formats have no segment to skip.
    first = tf.constant(2)
    (at,) = tf.while_loop(is_skipped, next_segment, (first,), maximum_iterations=_MAX_JPEG_SEGMENTS)
    end = at + 2 + _number(data, at + 2, 2)
    return tf.cond(
        is_exif(at),
        lambda: _tiff_orientation(tf.pad(data[at + 10 : end], [[0, 1]])),
        lambda: tf.constant(1),
    )


def _tiff_orientation(tiff: tf.Tensor) -> tf.Tensor:
    """Return the orientation in the first directory of a TIFF header, or 1: int32 [].

    The header: "II" (little-endian) or "MM", 42, the index of the directory. The directory: the
    number of entries; entries of 12 bytes, with their tag at 0 and their value at 8.
    """
    order = _number(tiff, 0, 2)
    little = order == int.from_bytes(b"II")
    is_ordered = little | (order == int.from_bytes(b"MM"))
    is_tiff = is_ordered & (_number(tiff, 2, 2, little) == 42)
    directory = _number(tiff, 4, 4, little)
    # Entries past the end read as zeros, and a damaged count may claim many of them.
    count = tf.minimum(_number(tiff, directory, 2, little), tf.size(tiff) // 12)
    entries = directory + 2 + 12 * tf.range(count)
    is_orientation = _number(tiff, entries, 2, little) == 0x0112
    values = _number(tiff, entries + 8, 2, little)
    found = tf.boolean_mask(values, is_tiff & is_orientation & (values >= 1) & (values <= 8))
    return tf.concat([found, [1]], axis=0)[0]


def _first_bytes(encoded: tf.Tensor, count: int) -> tf.Tensor:
    """Return the first bytes of a file, filled up with zeros, and a zero: uint8 [count + 1]."""
    return tf.pad(tf.io.decode_raw(encoded, tf.uint8, fixed_length=count), [[0, 1]])


def _all_bytes(encoded: tf.Tensor) -> tf.Tensor:
    """Return a file's bytes, and a zero: uint8 [bytes + 1]."""
    return tf.pad(tf.io.decode_raw(encoded, tf.uint8), [[0, 1]])


def _equals(data: tf.Tensor, at: int, content: bytes) -> tf.Tensor:
    """Return whether the bytes at `at`, all of them in `data`, are these: bool []."""
    return tf.reduce_all(data[at : at + len(content)] == tf.constant([*content], tf.uint8))


def _byte(data: tf.Tensor, at: tf.Tensor | int) -> tf.Tensor:
    """Return one byte: int32 []; a fast `_number` for loops."""
    return tf.cast(tf.gather(data, tf.minimum(at, tf.size(data) - 1)), tf.int32)


def _number(
    data: tf.Tensor, at: tf.Tensor | int | list[int], width: int, little: tf.Tensor | bool = False
) -> tf.Tensor:
    """Return the unsigned numbers of `width` bytes at `at`: int32, of the shape of `at`.

    Bytes past the end count as zero. Four bytes beyond int32 become negative: no valid index.
    """
    indices = tf.expand_dims(at, -1) + tf.range(width)  # [..., width]
    last = tf.size(data) - 1  # the zero that was added
    inside = (indices >= 0) & (indices < last)
    values = tf.cast(tf.gather(data, tf.where(inside, indices, last)), tf.int32)
    values = tf.where(little, values, tf.reverse(values, [-1]))  # least significant first
    return tf.reduce_sum(values * tf.constant([1 << 8 * i for i in range(width)]), axis=-1)


def _checked(condition: tf.Tensor, message: str, value: tf.Tensor) -> tf.Tensor:
    """Return `value`, which in a graph too is available only if the condition holds."""
    with tf.control_dependencies([tf.debugging.Assert(condition, [message])]):
        return tf.identity(value)
