"""Headers of image files: what is read of an image before its pixels are.

Its size, orientation and transparency; the first frame of a GIF; the scans of a JPEG.

TensorFlow ops throughout, so that they also run in the input pipeline and in an exported model.
Loops are compiled, for images that are read one by one, outside of a graph.
Files that violate their format raise `tf.errors.InvalidArgumentError`.
"""

import numpy as np
import tensorflow as tf

from sat_tf.data.image_bytes import MAX_JPEG_SCANS

# What files begin with: bytes by position, or bits that are set in the byte at a position.
_Pattern = dict[int, bytes | int]
_JPEG: _Pattern = {0: b"\xff\xd8\xff"}
_PNG: _Pattern = {0: b"\x89PNG\r\n\x1a\n"}
_GIF: _Pattern = {0: b"GIF8"}
_BMP: _Pattern = {0: b"BM"}
_WEBP: _Pattern = {0: b"RIFF", 8: b"WEBP"}
# After these 12 bytes comes a lossy image, a lossless one or an extended header.
_LOSSY, _LOSSLESS, _EXTENDED = ({**_WEBP, 12: name} for name in (b"VP8 ", b"VP8L", b"VP8X"))
# Bytes that contain the sizes and flags of PNG, BMP and WebP files.
_HEAD_BYTES = 32
_BYTES, _INDEX = tf.TensorSpec([None], tf.uint8), tf.TensorSpec([], tf.int32)
_PADDING = 12  # zeros after the bytes of a file, so that a number may begin at its last byte
# The decoder keeps up to 8 MB of each compressed text of a PNG file.
_PNG_TEXTS, _MAX_PNG_TEXTS = "zTXt|iTXt", 16
# These bound the time that a file can take; full blocks of a GIF file are not counted.
_MAX_GIF_EXTENSIONS, _MAX_GIF_BLOCKS, _MAX_JPEG_SEGMENTS = 30, 1 << 14, 100
_MAX_JPEG_MARKERS = 1 << 14
_GIF_BLOCK = 255  # length of a full block
# EXIF of a JPEG and transparency of a PNG precede the pixels; few segments precede them.
_BEFORE_PIXELS = 1 << 18
_EXIF_BYTES = 1 << 16
# The start of EXIF in PNG and WebP: the name of its chunk, and of the TIFF header that follows.
_EXIF_NAME = r"(eXIf|EXIF\C{4}(Exif\x00\x00)?)"
_EXIF_START = _EXIF_NAME + r"(II\*\x00|MM\x00\*)"

# What the errors say, to be read after the name of a file.
NO_KNOWN_FORMAT = "no image of a known format and size"
TOO_MANY_SCANS = f"a JPEG file of more than {MAX_JPEG_SCANS} scans"
NO_PNG_HEADER = "a PNG file without header, or of too many texts"
WRONG_BMP = "only BMP images of 24 or 32 bits a pixel can be read"
ANIMATED_WEBP = "an animated WebP image can't be read"
NO_GIF_FRAME = "a GIF file without image"
GIF_CUT_OFF = "a GIF file that is cut off, or of too many blocks"
REASONS = (TOO_MANY_SCANS, NO_PNG_HEADER, WRONG_BMP, ANIMATED_WEBP, NO_GIF_FRAME, GIF_CUT_OFF)


def image_size(encoded: tf.Tensor) -> tf.Tensor:
    """Return height and width as stored, before any EXIF orientation: int32 [2], at least 1 each.

    For a GIF, those of the rectangle that contains its screen and its first frame. Sides beyond
    int32 are returned as the greatest int32.

    Args:
      encoded: a file's bytes, string [].

    Raises:
      tf.errors.InvalidArgumentError: it is no JPEG, PNG, GIF, BMP (24 or 32 bits a pixel) or WebP
        (without animation), its header is damaged, or it is a PNG of more than 16 texts or a
        JPEG of more than 64 scans.
    """
    head = _head(encoded)
    kinds = _matches(head, _JPEG, _PNG, _GIF, _BMP, _WEBP)
    size = tf.switch_case(
        tf.argmax(tf.pad(kinds, [[0, 1]], constant_values=True), output_type=tf.int32),
        [
            lambda: _jpeg_size(encoded),
            lambda: _png_size(encoded, head),
            lambda: _gif_size(encoded, head),
            lambda: _bmp_size(head),
            lambda: _webp_size(head),
            lambda: tf.zeros([2], tf.int32),
        ],
    )
    size = tf.where(size < 0, tf.int32.max, size)  # beyond int32
    return _checked(tf.reduce_all(size > 0), NO_KNOWN_FORMAT, size)


def _jpeg_size(encoded: tf.Tensor) -> tf.Tensor:
    """Height and width, of a file that does not take long to decode for its size."""
    data = _all_bytes(encoded)
    at = tf.cast(tf.where(data == 0xFF)[:, 0], tf.int32)
    following = tf.gather(data, at + 1)
    # Without headers inside of headers and bytes after the image, these are the scans.
    found = tf.size(tf.where(following == 0xDA))
    is_marker = (following >= 0xC0) & (following < 0xFF) & (following & 0xF8 != 0xD0)
    markers = tf.boolean_mask(at, is_marker)
    scans = tf.cond(
        found > MAX_JPEG_SCANS, lambda: _jpeg_scans(data, markers), lambda: tf.identity(found)
    )
    size = tf.image.extract_jpeg_shape(encoded)[:2]
    return _checked(scans <= MAX_JPEG_SCANS, TOO_MANY_SCANS, size)


def _png_size(encoded: tf.Tensor, head: tf.Tensor) -> tf.Tensor:
    """Height and width; after the signature and a length comes `IHDR`, width, height."""
    without_texts = tf.strings.regex_replace(encoded, _PNG_TEXTS, "")
    texts = (tf.strings.length(encoded) - tf.strings.length(without_texts)) // 4
    readable = tf.squeeze(_matches(head, {12: b"IHDR"})) & (texts <= _MAX_PNG_TEXTS)
    size = _numbers(head, (20, 4), (16, 4))
    return _checked(readable, NO_PNG_HEADER, size)


def _bmp_size(head: tf.Tensor) -> tf.Tensor:
    """Height and width; at byte 14 come the header's length, width, height, planes, bits."""
    fields = _numbers(head, (14, 4), (18, 4), (22, 4), (28, 2), little=True)
    header, width, height, bits = tf.unstack(fields)
    # TensorFlow takes older headers for newer ones, and palette indices for shades of gray.
    readable = (header >= 40) & ((bits == 24) | (bits == 32))
    size = tf.stack([tf.abs(height), width])  # a negative height: the top row comes first
    return _checked(readable, WRONG_BMP, size)


def _webp_size(head: tf.Tensor) -> tf.Tensor:
    """Height and width.

    The decoder rejects an extended header whose size is not that of the image which follows. In
    animations it may differ, and TensorFlow's reader of these writes out of bounds.
    """
    kinds = (_LOSSY, _LOSSLESS, _EXTENDED, {**_EXTENDED, 20: 0x02})
    is_lossy, is_lossless, is_extended, is_animated = tf.unstack(_matches(head, *kinds))
    lossy = _numbers(head, (28, 2), (26, 2), little=True) & 0x3FFF
    bits = _numbers(head, (21, 4), little=True)
    lossless = 1 + (tf.bitwise.right_shift(bits, [14, 0]) & 0x3FFF)
    extended = 1 + _numbers(head, (27, 3), (24, 3), little=True)
    size = tf.where(is_lossy, lossy, 0)
    size = tf.where(is_lossless, lossless, size)
    size = tf.where(is_extended, extended, size)
    return _checked(~is_animated, ANIMATED_WEBP, size)


def has_transparency(encoded: tf.Tensor) -> tf.Tensor:
    """Return whether a file, string [], is a PNG or WebP image with alpha: bool [].

    A PNG has alpha by its type of colour, or by the transparent entries of its palette, `tRNS`.
    """
    is_png, *with_alpha = tf.unstack(
        _matches(
            _head(encoded),
            _PNG,
            {**_PNG, 25: 0x04},
            {**_LOSSLESS, 24: 0x10},
            {**_EXTENDED, 20: 0x10},
        )
    )
    start = tf.strings.substr(encoded, 0, tf.where(is_png, _BEFORE_PIXELS, 0))
    start = tf.strings.regex_replace(start, r"IDAT\C*", "", replace_global=False)
    without = tf.strings.regex_replace(start, "tRNS", "")
    has_entries = tf.strings.length(without) < tf.strings.length(start)
    return tf.reduce_any(tf.stack([*with_alpha, has_entries]))


# A GIF file: signature (6 bytes), width and height of the screen, flags, two more bytes; a colour
# table; extensions ("!", a label, blocks); frames; ";". A frame: ",", left, top, width, height,
# flags; a colour table; a byte for the decoder; blocks. Blocks: each after its length, the last
# empty. Numbers have two bytes. The extension of a frame: label 0xF9, a block of flags (bit 0:
# has a transparent colour), two bytes, the index of that colour.


def first_gif_frame(encoded: tf.Tensor) -> tf.Tensor:
    """Return a GIF file of the first frame only, moved to the origin; other files unchanged.

    TensorFlow would decode all frames, however many, and crop one that is not at the origin. It
    would show transparent pixels black: their colour becomes white.

    Args:
      encoded: a file's bytes, string [].

    Raises:
      tf.errors.InvalidArgumentError: the file ends before its first frame does, or is damaged.
    """

    def cut() -> tf.Tensor:
        data = _all_bytes(encoded)
        frame, extension = _gif_frame(data)
        table = _table_bytes(_byte(data, frame + 9))  # of the frame
        end = _after_blocks(data, frame + 11 + table)
        colour = 3 * _byte(data, extension + 6)
        is_transparent = (extension > 0) & (_byte(data, extension + 3) & 1 > 0)
        is_transparent &= colour < tf.where(table > 0, table, _table_bytes(_byte(data, 10)))
        # The colour, the flags and the place, each where it stands; 0: nowhere.
        colour += tf.where(table > 0, frame + 10, 13)
        edits = (
            (tf.where(is_transparent, colour, 0), b"\xff\xff\xff"),
            (tf.where(is_transparent, extension + 3, 0), b"\0"),
            (frame + 1, b"\0\0\0\0"),
        )
        changed = tf.strings.join([tf.strings.substr(encoded, 0, end), b";"])
        for at, new in edits:
            before = tf.strings.substr(changed, 0, at)
            after = tf.strings.substr(changed, at + len(new), end + 1)
            changed = tf.where(at > 0, tf.strings.join([before, new, after]), changed)
        return changed

    is_gif = tf.squeeze(_matches(_head(encoded), _GIF))
    return tf.cond(is_gif, cut, lambda: tf.identity(encoded))


def _gif_size(encoded: tf.Tensor, head: tf.Tensor) -> tf.Tensor:
    """Height and width of the rectangle that contains the screen and the first frame."""
    data = _all_bytes(encoded)
    frame = _bytes_at(data, _gif_frame(data)[0], 9)
    screen = _numbers(head, (8, 2), (6, 2), little=True)
    corner = _numbers(frame, (3, 2), (1, 2), little=True)
    return tf.maximum(screen, corner + _numbers(frame, (7, 2), (5, 2), little=True))


@tf.function(input_signature=[_BYTES], autograph=False)
def _gif_frame(data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return where the first frame of a GIF file begins, and its extension or 0: int32 [] each."""
    at, extension = tf.while_loop(
        lambda at, _: _byte(data, at) == ord("!"),
        lambda at, extension: (
            _after_blocks(data, at + 2),
            tf.where(_byte(data, at + 1) == 0xF9, at, extension),
        ),
        (13 + _table_bytes(_byte(data, 10)), tf.constant(0)),
        maximum_iterations=_MAX_GIF_EXTENSIONS,
    )
    return _checked(_byte(data, at) == ord(","), NO_GIF_FRAME, at), extension


def _table_bytes(flags: tf.Tensor) -> tf.Tensor:
    """Return the size of the colour table that a GIF's flags announce, or 0: int32 []."""
    return tf.where(flags & 0x80 > 0, tf.bitwise.left_shift(6, flags & 7), 0)


@tf.function(input_signature=[_BYTES, _INDEX], autograph=False)
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
    whole = (length == 0) & (last < tf.size(data) - _PADDING)
    return _checked(whole, GIF_CUT_OFF, last + 1)


def exif_orientation(encoded: tf.Tensor) -> tf.Tensor:
    """Return the orientation, 1 to 8, in the EXIF of a JPEG, PNG or WebP file: int32 [].

    1, upright, for other formats and where EXIF is missing or malformed.

    Args:
      encoded: a file's bytes, string [].
    """
    is_jpeg, *with_chunks = tf.unstack(_matches(_head(encoded), _JPEG, _PNG, _WEBP))
    tiff = tf.cond(
        is_jpeg,
        lambda: _jpeg_exif(encoded),
        lambda: tf.cond(
            tf.reduce_any(tf.stack(with_chunks)),
            lambda: _chunk_exif(encoded),
            lambda: tf.zeros([0], tf.uint8),
        ),
    )
    return _tiff_orientation(tf.pad(tiff, [[0, _PADDING]]))


def _chunk_exif(encoded: tf.Tensor) -> tf.Tensor:
    """Return the TIFF header in a PNG or WebP file, and up to 64 KB after it: uint8 [bytes].

    Its chunk may stand before the pixels or after them, which hold such bytes by no chance.
    """
    before = tf.strings.regex_replace(encoded, _EXIF_START + r"\C*", "", replace_global=False)
    chunk = tf.strings.substr(encoded, tf.strings.length(before), _EXIF_BYTES)
    return tf.io.decode_raw(tf.strings.regex_replace(chunk, "^" + _EXIF_NAME, ""), tf.uint8)


# A JPEG file: segments, each with a marker of two bytes and its length. EXIF is an APP1 segment
# (0xFFE1) that begins with "Exif" and two zeros. After a segment 0xFFDA come the pixels of a scan,
# in which 0xFF is followed by 0 or, for 8 markers without a segment, by 0xD0 to 0xD7.


def _jpeg_exif(encoded: tf.Tensor) -> tf.Tensor:
    """Return the TIFF header in a JPEG file, or nothing: uint8 [bytes]."""
    data = tf.io.decode_raw(encoded, tf.uint8, fixed_length=_BEFORE_PIXELS)
    data = tf.pad(data, [[0, _PADDING]])
    at, marker, length, name = _exif_segment(data)
    return tf.cond(
        _is_exif(marker, name),
        lambda: data[at + 10 : at + 2 + length],
        lambda: tf.zeros([0], tf.uint8),
    )


def _is_exif(marker: tf.Tensor, name: tf.Tensor) -> tf.Tensor:
    return (marker == 0xFFE1) & (name == int.from_bytes(b"Exif"))


@tf.function(input_signature=[_BYTES], autograph=False)
def _exif_segment(data: tf.Tensor) -> list[tf.Tensor]:
    """Return index, marker, length and name of the first segment that is EXIF, or of another one.

    Each is int32 [].
    """

    def segment(at: tf.Tensor) -> list[tf.Tensor]:
        return [at, *tf.unstack(_numbers(_bytes_at(data, at, 8), (0, 2), (2, 2), (4, 4)))]

    def is_skipped(
        _at: tf.Tensor, marker: tf.Tensor, _length: tf.Tensor, name: tf.Tensor
    ) -> tf.Tensor:
        is_segment = (marker >= 0xFFC0) & (marker != 0xFFDA)  # 0xFFDA: pixels follow
        return is_segment & ~_is_exif(marker, name)

    def next_segment(
        at: tf.Tensor, marker: tf.Tensor, length: tf.Tensor, _name: tf.Tensor
    ) -> list[tf.Tensor]:
        is_fill = marker == 0xFFFF  # a fill byte before a marker
        return segment(at + tf.where(is_fill, 1, 2 + length))

    # The first segment follows a marker of two bytes; other formats have no segment to skip.
    first = segment(tf.constant(2))
    return tf.while_loop(is_skipped, next_segment, first, maximum_iterations=_MAX_JPEG_SEGMENTS)


@tf.function(input_signature=[_BYTES, tf.TensorSpec([None], tf.int32)], autograph=False)
def _jpeg_scans(data: tf.Tensor, markers: tf.Tensor) -> tf.Tensor:
    """Return the number of scans of a JPEG file, or one more than the limit: int32 [].

    Args:
      data: the file, see `_all_bytes`.
      markers: where 0xFF and the second byte of a marker are, in order, int32 [n].
    """
    end = tf.size(data) - _PADDING
    markers = tf.concat([markers, [end]], axis=0)

    def next_marker(at: tf.Tensor) -> tf.Tensor:
        return markers[tf.searchsorted(markers[:-1], tf.expand_dims(at, 0))[0]]

    def goes_on(at: tf.Tensor, scans: tf.Tensor) -> tf.Tensor:
        return (at < end) & (_byte(data, at + 1) != 0xD9) & (scans <= MAX_JPEG_SCANS)

    def after_segment(at: tf.Tensor, scans: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        length = 256 * _byte(data, at + 2) + _byte(data, at + 3)
        return next_marker(at + 2 + length), scans + tf.cast(_byte(data, at + 1) == 0xDA, tf.int32)

    start = (next_marker(tf.constant(2)), tf.constant(0))
    last = tf.while_loop(goes_on, after_segment, start, maximum_iterations=_MAX_JPEG_MARKERS)
    return tf.where(goes_on(*last), MAX_JPEG_SCANS + 1, last[1])


def _tiff_orientation(tiff: tf.Tensor) -> tf.Tensor:
    """Return the orientation in the first directory of a TIFF header, or 1: int32 [].

    The header: "II" (little-endian) or "MM", 42, the index of the directory. The directory: the
    number of entries; entries of 12 bytes, with their tag at 0 and their value at 8.
    """
    header = _bytes_at(tiff, tf.constant(0), 8)
    order = tf.squeeze(_numbers(header, (0, 2)))
    little = order == int.from_bytes(b"II")

    def numbers(data: tf.Tensor, *fields: tuple[int, int]) -> list[tf.Tensor]:
        both = (_numbers(data, *fields, little=order) for order in (True, False))
        return tf.unstack(tf.where(little, *both), axis=-1)

    mark, directory = numbers(header, (2, 2), (4, 4))
    is_tiff = (little | (order == int.from_bytes(b"MM"))) & (mark == 42)
    # Entries past the end read as zeros, and a damaged count may claim many of them.
    (count,) = numbers(_bytes_at(tiff, directory, 2), (0, 2))
    count = tf.minimum(count, tf.size(tiff) // 12)
    entries = _bytes_at(tiff, directory + 2 + 12 * tf.range(count), 12)  # [entries, 12]
    tags, values = numbers(entries, (0, 2), (8, 2))
    found = tf.boolean_mask(values, is_tiff & (tags == 0x0112) & (values >= 1) & (values <= 8))
    return tf.concat([found, [1]], axis=0)[0]


def _head(encoded: tf.Tensor) -> tf.Tensor:
    """Return the first bytes of a file, filled up with zeros: int32 [_HEAD_BYTES]."""
    return tf.cast(tf.io.decode_raw(encoded, tf.uint8, fixed_length=_HEAD_BYTES), tf.int32)


def _all_bytes(encoded: tf.Tensor) -> tf.Tensor:
    """Return a file's bytes, and zeros: uint8 [bytes + _PADDING]."""
    return tf.pad(tf.io.decode_raw(encoded, tf.uint8), [[0, _PADDING]])


def _matches(head: tf.Tensor, *patterns: _Pattern) -> tf.Tensor:
    """Return which patterns the head of a file matches: bool [patterns]."""
    masks = np.zeros([len(patterns), _HEAD_BYTES], np.int32)
    values = np.zeros_like(masks)
    for mask, value, pattern in zip(masks, values, patterns, strict=True):
        for at, wanted in pattern.items():
            if isinstance(wanted, int):
                mask[at] = value[at] = wanted
            else:
                mask[at : at + len(wanted)] = 0xFF
                value[at : at + len(wanted)] = [*wanted]
    return tf.reduce_all(head & masks == values, axis=1)


def _byte(data: tf.Tensor, at: tf.Tensor | int) -> tf.Tensor:
    """Return one byte of `_all_bytes`: int32 []; faster in loops than `_bytes_at`."""
    return tf.cast(tf.gather(data, tf.minimum(at, tf.size(data) - 1)), tf.int32)


def _bytes_at(data: tf.Tensor, at: tf.Tensor, count: int) -> tf.Tensor:
    """Return bytes from the indices `at` on: int32 [..., count], zero where there are none.

    Args:
      data: a file's bytes and zeros, uint8 [bytes + _PADDING].
      at: int32 [...].
      count: at most `_PADDING`.
    """
    end = tf.size(data) - _PADDING
    starts = tf.where((at >= 0) & (at < end), at, end)
    return tf.cast(tf.gather(data, tf.expand_dims(starts, -1) + np.arange(count)), tf.int32)


def _numbers(data: tf.Tensor, *fields: tuple[int, int], little: bool = False) -> tf.Tensor:
    """Return the unsigned numbers in bytes int32 [..., bytes]: int32 [..., fields].

    Four bytes beyond int32 become negative: no valid index.

    Args:
      data: the bytes.
      fields: the first byte of each number, and how many it has.
      little: whether the least significant byte comes first.
    """
    weights = np.zeros([len(fields), data.shape[-1]], np.int32)
    for row, (at, width) in zip(weights, fields, strict=True):
        row[at : at + width] = [1 << 8 * i for i in range(width)][:: 1 if little else -1]
    return tf.reduce_sum(tf.expand_dims(data, -2) * weights, axis=-1)


def _checked(condition: tf.Tensor, message: str, value: tf.Tensor) -> tf.Tensor:
    """Return `value`, which in a graph too is available only if the condition holds."""
    with tf.control_dependencies([tf.debugging.Assert(condition, [message])]):
        return tf.identity(value)
