"""What the first bytes of an image file tell: its size, and which way up it is.

TensorFlow ops throughout, so that they also run in the pipeline and in an exported model. What
breaks a format's rules ends in `tf.errors.InvalidArgumentError`.
"""

import tensorflow as tf

# How a file begins, in TensorFlow's order; WebP's name comes after four bytes of length.
_JPEG, _PNG, _GIF, _BMP = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM"
_RIFF, _WEBP, _WEBP_AT = b"RIFF", b"WEBP", 8
# PNG, BMP and WebP tell their sizes, and so on, within so many bytes.
_HEAD_BYTES = 32

# Places of (height, width), as they are wanted: files have the width first.
_IHDR, _IHDR_AT, _PNG_SIDES_AT = b"IHDR", 12, [20, 16]
# Texts in a PNG file may be compressed; each can fill 8 MB, all of which the decoder keeps.
_PNG_TEXTS, _MOST_TEXTS = (b"zTXt", b"iTXt"), 16
_BMP_SIDES_AT, _BMP_HEADER_AT, _BMP_HEADER_BYTES = [22, 18], 14, 40
_BMP_DEPTH_AT = 28

# The first chunk of a WebP file: a lossy image, a lossless one, or more about what follows.
_CHUNK_AT = 12
_VP8, _VP8L, _VP8X = b"VP8 ", b"VP8L", b"VP8X"
_VP8_SIDES_AT, _VP8_SIDE_BITS = [28, 26], 14
_VP8L_BITS_AT, _VP8L_ALPHA_BIT = 21, 28  # a number of the sides, 14 bits each, and flags
_VP8X_SIDES_AT, _VP8X_FLAGS_AT, _VP8X_ANIMATION, _VP8X_ALPHA = [27, 24], 20, 0x02, 0x10

# A GIF file: the screen, a table of colours, extensions, and then the first frame.
_GIF_SCREEN_AT, _GIF_FLAGS_AT, _GIF_TABLE_AT = [8, 6], 10, 13
_GIF_EXTENSION, _GIF_FRAME, _GIF_TRAILER = ord("!"), ord(","), b";"
# Of a frame: its left and top on the screen, its sides, flags, and a table of its own.
_FRAME_PLACE_AT, _FRAME_SIDES_AT, _FRAME_FLAGS_AT, _FRAME_TABLE_AT = 1, 5, 9, 10
_ORIGIN = b"\0\0\0\0"
_FULL_BLOCK = 255
# So that no file keeps the reader busy for long; full blocks don't count.
_MOST_EXTENSIONS, _MOST_BLOCKS = 30, 1 << 14

# JPEG markers, as big-endian numbers; fill bytes, 0xFF, may stand before any.
_FIRST_MARKER, _START_OF_SCAN, _APP1, _FILL = 0xFFC0, 0xFFDA, 0xFFE1, 0xFFFF
# EXIF comes before the pixels, and few segments, of 64 KB at most, come before EXIF.
_EXIF_WITHIN_BYTES = 1 << 18
_MOST_SEGMENTS = 100
# An EXIF segment: marker, length, this name and two zeros, then a TIFF header and its directory.
_EXIF = int.from_bytes(b"Exif")
_EXIF_NAME_AT, _TIFF_AT = 4, 10
_LITTLE_ENDIAN, _BIG_ENDIAN = int.from_bytes(b"II"), int.from_bytes(b"MM")
_TIFF_VERSION = 42
_ORIENTATION_TAG = 0x0112
_ENTRY_BYTES, _ENTRY_VALUE_AT = 12, 8  # of an entry of the directory


def image_size(encoded: tf.Tensor) -> tf.Tensor:
    """Height and width as stored, before any EXIF orientation: int32 [2], at least 1 each.

    Of a GIF, those of what holds both its screen and its first frame. Sides beyond int32 count as
    the greatest int32.

    Args:
      encoded: a file's bytes, string [].

    Raises:
      tf.errors.InvalidArgumentError: it is no JPEG, PNG, GIF, BMP (24 or 32 bits a pixel) or WebP
        (without animation), its header is damaged, or it is a PNG of more than 16 texts.
    """
    head = _first_bytes(encoded, _HEAD_BYTES)
    begins = [_reads(head, 0, name) for name in (_JPEG, _PNG, _GIF, _BMP)]
    begins.append(_reads(head, 0, _RIFF) & _reads(head, _WEBP_AT, _WEBP))
    kind = tf.argmax([*begins, True], output_type=tf.int32)  # the first that is true
    size = tf.switch_case(
        kind,
        [
            lambda: tf.image.extract_jpeg_shape(encoded)[:2],
            lambda: _png_size(encoded, head),
            lambda: _gif_size(encoded),
            lambda: _bmp_size(head),
            lambda: _webp_size(head),
            lambda: tf.zeros([2], tf.int32),
        ],
    )
    size = tf.where(size < 0, tf.int32.max, size)  # it was more than int32 can hold
    return _checked(tf.reduce_all(size > 0), "no image of a known format and size", size)


def has_webp_alpha(encoded: tf.Tensor) -> tf.Tensor:
    """Whether a file is a WebP image with alpha: bool [].

    Args:
      encoded: a file's bytes, string [].
    """
    head = _first_bytes(encoded, _HEAD_BYTES)
    is_webp = _reads(head, 0, _RIFF) & _reads(head, _WEBP_AT, _WEBP)
    lossless = tf.bitwise.right_shift(_number(head, _VP8L_BITS_AT, 4, little=True), _VP8L_ALPHA_BIT)
    return is_webp & (
        (_reads(head, _CHUNK_AT, _VP8L) & (lossless & 1 > 0))
        | (_reads(head, _CHUNK_AT, _VP8X) & (_number(head, _VP8X_FLAGS_AT, 1) & _VP8X_ALPHA > 0))
    )


def first_gif_frame(encoded: tf.Tensor) -> tf.Tensor:
    """A GIF file of the first frame only, at the origin; other files as they are: string [].

    TensorFlow would decode all frames, however many, and cut off what is not at the origin.

    Args:
      encoded: a file's bytes, string [].

    Raises:
      tf.errors.InvalidArgumentError: the file ends before its first frame does, or is damaged.
    """

    def cut() -> tf.Tensor:
        data = _all_bytes(encoded)
        frame = _gif_frame(data)
        table = frame + _FRAME_TABLE_AT + _table_bytes(_byte(data, frame + _FRAME_FLAGS_AT))
        end = _after_blocks(data, table + 1)  # after the table comes a byte for the decoder
        before = tf.strings.substr(encoded, 0, frame + _FRAME_PLACE_AT)
        rest = frame + _FRAME_SIDES_AT
        after = tf.strings.substr(encoded, rest, end - rest)
        return tf.strings.join([before, _ORIGIN, after, _GIF_TRAILER])

    is_gif = _reads(_first_bytes(encoded, len(_GIF)), 0, _GIF)
    return tf.cond(is_gif, cut, lambda: tf.identity(encoded))


def exif_orientation(encoded: tf.Tensor) -> tf.Tensor:
    """Orientation, 1 to 8, from the EXIF header of a JPEG file: int32 [].

    1, upright, for other formats and where the header is missing or malformed.

    Args:
      encoded: a file's bytes, string [].
    """
    data = _first_bytes(encoded, _EXIF_WITHIN_BYTES)

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


def _png_size(encoded: tf.Tensor, head: tf.Tensor) -> tf.Tensor:
    """(height, width) of a PNG file: int32 [2]."""
    texts = tf.add_n([tf.size(tf.strings.split(encoded, name)) - 1 for name in _PNG_TEXTS])
    readable = _reads(head, _IHDR_AT, _IHDR) & (texts <= _MOST_TEXTS)
    size = _number(head, _PNG_SIDES_AT, 4)
    return _checked(readable, "a PNG file without header, or of too many texts", size)


def _bmp_size(head: tf.Tensor) -> tf.Tensor:
    """(height, width) of a BMP file; a height below zero means that the top row comes first."""
    header = _number(head, _BMP_HEADER_AT, 4, little=True)
    # TensorFlow takes older headers for newer ones, and numbers of colours for shades of gray.
    depth = _number(head, _BMP_DEPTH_AT, 2, little=True)
    readable = (header >= _BMP_HEADER_BYTES) & ((depth == 24) | (depth == 32))
    height, width = tf.unstack(_number(head, _BMP_SIDES_AT, 4, little=True))
    size = tf.stack([tf.abs(height), width])
    return _checked(readable, "only BMP images of 24 or 32 bits a pixel can be read", size)


def _webp_size(head: tf.Tensor) -> tf.Tensor:
    """(height, width) of a WebP file: int32 [2].

    The decoder refuses an extended header whose size is not that of the image which follows; in
    animations it may differ, and TensorFlow's reader of these writes beyond its memory.
    """
    is_extended = _reads(head, _CHUNK_AT, _VP8X)
    is_animated = is_extended & (_number(head, _VP8X_FLAGS_AT, 1) & _VP8X_ANIMATION > 0)
    most = (1 << _VP8_SIDE_BITS) - 1
    lossy = _number(head, _VP8_SIDES_AT, 2, little=True) & most
    bits = _number(head, _VP8L_BITS_AT, 4, little=True)
    lossless = 1 + (tf.bitwise.right_shift(bits, [_VP8_SIDE_BITS, 0]) & most)
    extended = 1 + _number(head, _VP8X_SIDES_AT, 3, little=True)
    size = tf.where(_reads(head, _CHUNK_AT, _VP8), lossy, 0)
    size = tf.where(_reads(head, _CHUNK_AT, _VP8L), lossless, size)
    size = tf.where(is_extended, extended, size)
    return _checked(~is_animated, "an animated WebP image can't be read", size)


def _gif_size(encoded: tf.Tensor) -> tf.Tensor:
    """(height, width) of what holds the screen and the first frame of a GIF file: int32 [2]."""
    data = _all_bytes(encoded)
    frame = _gif_frame(data)
    top, height = frame + _FRAME_PLACE_AT + 2, frame + _FRAME_SIDES_AT + 2
    screen = _number(data, _GIF_SCREEN_AT, 2, little=True)
    place = _number(data, tf.stack([top, top - 2]), 2, little=True)
    return tf.maximum(screen, place + _number(data, tf.stack([height, height - 2]), 2, little=True))


def _gif_frame(data: tf.Tensor) -> tf.Tensor:
    """Where the first frame of a GIF file begins: int32 []."""
    (at,) = tf.while_loop(
        lambda at: _byte(data, at) == _GIF_EXTENSION,
        lambda at: (_after_blocks(data, at + 2),),  # after a byte for its kind
        (_GIF_TABLE_AT + _table_bytes(_byte(data, _GIF_FLAGS_AT)),),
        maximum_iterations=_MOST_EXTENSIONS,
    )
    return _checked(_byte(data, at) == _GIF_FRAME, "a GIF file without image", at)


def _after_blocks(data: tf.Tensor, at: tf.Tensor) -> tf.Tensor:
    """The end of the blocks that begin at `at`, each after its length, the last empty: int32 []."""
    # Almost all writers fill their blocks, which takes no loop to pass over.
    is_full = data[at :: _FULL_BLOCK + 1] == _FULL_BLOCK
    full = tf.argmin(tf.pad(tf.cast(is_full, tf.int32), [[0, 1]]), output_type=tf.int32)
    at += full * (_FULL_BLOCK + 1)
    last, length = tf.while_loop(
        lambda _, length: length > 0,
        lambda at, length: (at + 1 + length, _byte(data, at + 1 + length)),
        (at, _byte(data, at)),
        maximum_iterations=_MOST_BLOCKS,
    )
    whole = (length == 0) & (last < tf.size(data) - 1)
    return _checked(whole, "a GIF file that is cut off, or of too many blocks", last + 1)


def _table_bytes(flags: tf.Tensor) -> tf.Tensor:
    """The size of a GIF's table of colours, if its flags tell of one: int32 []."""
    return tf.where(flags & 0x80 > 0, tf.bitwise.left_shift(6, flags & 7), 0)


def _byte(data: tf.Tensor, at: tf.Tensor | int) -> tf.Tensor:
    """The number of one byte: int32 []; a quick `_number` for loops."""
    return tf.cast(tf.gather(data, tf.minimum(at, tf.size(data) - 1)), tf.int32)


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


def _first_bytes(encoded: tf.Tensor, count: int) -> tf.Tensor:
    """The first bytes of a file, filled up with zeros, and a zero: uint8 [count + 1]."""
    return tf.pad(tf.io.decode_raw(encoded, tf.uint8, fixed_length=count), [[0, 1]])


def _all_bytes(encoded: tf.Tensor) -> tf.Tensor:
    """A file's bytes, and a zero: uint8 [bytes + 1]."""
    return tf.pad(tf.io.decode_raw(encoded, tf.uint8), [[0, 1]])


def _reads(data: tf.Tensor, at: int, name: bytes) -> tf.Tensor:
    """Whether the bytes at `at` are these: bool []."""
    return tf.reduce_all(data[at : at + len(name)] == tf.constant([*name], tf.uint8))


def _number(
    data: tf.Tensor, at: tf.Tensor | int | list[int], width: int, little: tf.Tensor | bool = False
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


def _checked(condition: tf.Tensor, message: str, value: tf.Tensor) -> tf.Tensor:
    """`value`, which in a graph too is there only once `condition` was found to hold."""
    with tf.control_dependencies([tf.debugging.Assert(condition, [message])]):
        return tf.identity(value)
