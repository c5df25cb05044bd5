"""Headers of image files: what is read of an image before its pixels are.

TensorFlow ops throughout, so that they also run in the input pipeline and in an exported model.
Loops are compiled, for images that are read one by one, outside of a graph.
Files that violate their format raise `tf.errors.InvalidArgumentError`.
"""

import functools
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from sat_tf.data.image_bytes import CONVERT, MAX_JPEG_SCANS, SIGNATURES

_BYTES, _INDEX = tf.TensorSpec([None], tf.uint8), tf.TensorSpec([], tf.int32)
# The decoder keeps up to 8 MB of each compressed text of a PNG file.
_MAX_PNG_TEXTS = 16
# These bound the time that a file can take; full blocks of a GIF file are not counted.
_MAX_GIF_EXTENSIONS, _MAX_GIF_BLOCKS = 30, 1 << 14
_GIF_BLOCK = 255  # length of a full block
# The transparent colours of a PNG precede its pixels; few chunks precede them.
_BEFORE_PIXELS = 1 << 18
_EXIF_BYTES, _MAX_EXIF_ENTRIES = 1 << 16, 512
# The start of EXIF in PNG and WebP: the name of its chunk, and of the TIFF header that follows.
_EXIF_NAME = r"(eXIf|EXIF\C{4}(Exif\x00\x00)?)"
_EXIF_START = _EXIF_NAME + r"(II\*\x00|MM\x00\*)"

# What the errors say, to be read after the name of a file.
NO_KNOWN_FORMAT = "no image of a known format and size"
TOO_MANY_SCANS = f"a JPEG file of more than {MAX_JPEG_SCANS} scans: {CONVERT}"
NO_PNG_HEADER = "a PNG file without header, or of too many texts"
WRONG_BMP = f"only BMP images of 24 or 32 bits a pixel can be read: {CONVERT}"
ANIMATED_WEBP = f"an animated WebP image can't be read: {CONVERT}"
NO_GIF_FRAME = "a GIF file without image"
GIF_CUT_OFF = "a GIF file that is cut off, or of too many blocks"
REASONS = (TOO_MANY_SCANS, NO_PNG_HEADER, WRONG_BMP, ANIMATED_WEBP, NO_GIF_FRAME, GIF_CUT_OFF)


class Header(NamedTuple):
    """What the header of an image file says.

    size: height and width as stored, before the orientation, int32 [2], at least 1 each. For a GIF,
      those of the rectangle that contains its screen and its first frame. Sides beyond int32 are
      the greatest int32.
    has_alpha: whether it is a PNG or WebP image with transparent parts, bool [].
    orientation: of EXIF, 1 to 8, int32 []; 1, upright, for formats other than JPEG, PNG and WebP
      and where EXIF is missing or malformed.
    encoded: the file to decode, string []: of a GIF its first frame only, moved to the origin, its
      transparent colour white; others unchanged. TensorFlow would decode all frames, however many,
      crop one that is not at the origin, and show transparent pixels black.
    """

    size: tf.Tensor
    has_alpha: tf.Tensor
    orientation: tf.Tensor
    encoded: tf.Tensor


def read_header(encoded: tf.Tensor | bytes) -> Header:
    """Read the header of an image file, string [].

    Raises:
      tf.errors.InvalidArgumentError: it is no JPEG, PNG, GIF, BMP (24 or 32 bits a pixel) or WebP
        (without animation), its header is damaged, or it is a PNG of more than 16 texts, a JPEG of
        more than 64 scans, or a GIF that ends before its first frame does.
    """
    encoded = tf.convert_to_tensor(encoded)
    readers = {"JPEG": _jpeg, "PNG": _png, "GIF": _gif, "BMP": _bmp, "WebP": _webp}
    width = max(map(len, SIGNATURES.values()))
    known = np.array([[*SIGNATURES[name].ljust(width, b".")] for name in readers])
    head = _numbers(encoded, 0, width, tf.uint8)
    is_kind = tf.reduce_all((head == known) | (known == ord(".")), axis=1)
    size, encoded, exif, has_alpha = tf.switch_case(
        tf.argmax(tf.pad(is_kind, [[0, 1]], constant_values=True), output_type=tf.int32),
        [
            lambda read=read: tf.nest.map_structure(tf.convert_to_tensor, read(encoded))
            for read in (*readers.values(), functools.partial(_Parts, tf.zeros([2], tf.int32)))
        ],
    )
    size = tf.where(size < 0, tf.int32.max, size)  # beyond int32
    size = _checked(tf.reduce_all(size > 0), NO_KNOWN_FORMAT, size)
    return Header(size, has_alpha, _tiff_orientation(exif), encoded)


class _Parts(NamedTuple):
    """What the reader of a format returns."""

    size: tf.Tensor
    encoded: tf.Tensor  # the file to decode
    exif: tf.Tensor | str = ""  # the TIFF header of EXIF, and what follows it
    has_alpha: tf.Tensor | bool = False


def _png(encoded: tf.Tensor) -> _Parts:
    """After the signature and a length comes `IHDR`, width, height, depth and type of colour.

    There is alpha by the type of colour, or by transparent entries of the palette, `tRNS`.
    """
    name, width, height = tf.unstack(_numbers(encoded, 12, 3, tf.int32, little=False))
    texts = _removed_bytes(encoded, "zTXt|iTXt") // 4
    is_readable = (name == int.from_bytes(b"IHDR")) & (texts <= _MAX_PNG_TEXTS)
    start = tf.strings.substr(encoded, 0, _BEFORE_PIXELS)
    start = tf.strings.regex_replace(start, r"IDAT\C*", "", replace_global=False)
    has_alpha = (_numbers(encoded, 25, 1, tf.uint8)[0] & 4 > 0) | (
        _removed_bytes(start, "tRNS") > 0
    )
    size = _checked(is_readable, NO_PNG_HEADER, tf.stack([height, width]))
    return _Parts(size, encoded, _chunk_exif(encoded), has_alpha)


def _bmp(encoded: tf.Tensor) -> _Parts:
    """At byte 14 come the header's length, width, height, planes and bits."""
    header, width, height = tf.unstack(_numbers(encoded, 14, 3, tf.int32))
    bits = _numbers(encoded, 28, 1, tf.uint16)[0]
    # TensorFlow takes older headers for newer ones, and palette indices for shades of gray.
    is_readable = (header >= 40) & ((bits == 24) | (bits == 32))
    size = tf.stack([tf.abs(height), width])  # a negative height: the top row comes first
    return _Parts(_checked(is_readable, WRONG_BMP, size), encoded)


def _webp(encoded: tf.Tensor) -> _Parts:
    """At byte 12 comes a lossy image, a lossless one, or an extended header.

    The decoder rejects an extended header whose size is not that of the image which follows. In
    animations it may differ, and TensorFlow's reader of these writes out of bounds.
    """
    name = _numbers(encoded, 12, 1, tf.int32, little=False)[0]
    is_lossy, is_lossless, is_extended = (
        name == int.from_bytes(kind) for kind in (b"VP8 ", b"VP8L", b"VP8X")
    )
    flags = _numbers(encoded, 20, 1, tf.uint8)[0]
    is_animated = is_extended & (flags & 0x02 > 0)
    bits = _numbers(encoded, 21, 1, tf.int32)[0]
    has_alpha = (is_extended & (flags & 0x10 > 0)) | (is_lossless & (bits & 1 << 28 > 0))
    # Widths, then heights.
    lossy = _numbers(encoded, 26, 2, tf.uint16) & 0x3FFF
    lossless = 1 + (tf.bitwise.right_shift(bits, [0, 14]) & 0x3FFF)
    extended = 1 + tf.stack([_numbers(encoded, at, 1, tf.int32)[0] & 0xFFFFFF for at in (24, 27)])
    size = tf.where(is_lossy, lossy, 0)
    size = tf.where(is_lossless, lossless, size)
    size = tf.reverse(tf.where(is_extended, extended, size), [0])
    size = _checked(~is_animated, ANIMATED_WEBP, size)
    return _Parts(size, encoded, _chunk_exif(encoded), has_alpha)


def _chunk_exif(encoded: tf.Tensor) -> tf.Tensor:
    """Return the TIFF header in a PNG or WebP file, and up to 64 KB after it, or "": string [].

    Its chunk may stand before the pixels or after them, which hold such bytes by no chance.
    """
    before = tf.strings.regex_replace(encoded, _EXIF_START + r"\C*", "", replace_global=False)
    chunk = tf.strings.substr(encoded, tf.strings.length(before), _EXIF_BYTES)
    return tf.strings.regex_replace(chunk, "^" + _EXIF_NAME, "")


# A GIF file: signature (6 bytes), width and height of the screen, flags, two more bytes; a colour
# table; extensions ("!", a label, blocks); frames; ";". A frame: ",", left, top, width, height,
# flags; a colour table; a byte for the decoder; blocks. Blocks: each after its length, the last
# empty. Numbers have two bytes. The extension of a frame: label 0xF9, a block of flags (bit 0:
# has a transparent colour), two bytes, the index of that colour.


def _gif(encoded: tf.Tensor) -> _Parts:
    data = _bytes(encoded)
    frame, extension = _gif_frame(data)
    table, screen_table = (_table_bytes(_byte(data, at)) for at in (frame + 9, 10))
    end = _after_blocks(data, frame + 11 + table)
    colour = 3 * _byte(data, extension + 6)
    is_transparent = (extension > 0) & (_byte(data, extension + 3) & 1 > 0)
    is_transparent &= colour < tf.where(table > 0, table, screen_table)
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
    # Widths, then heights.
    screen = _numbers(encoded, 6, 2, tf.uint16)
    corner, sides = tf.split(_numbers(encoded, frame + 1, 4, tf.uint16), 2)
    return _Parts(tf.reverse(tf.maximum(screen, corner + sides), [0]), changed)


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
    return _checked((length == 0) & (last < tf.size(data) - 1), GIF_CUT_OFF, last + 1)


# A JPEG file: segments, each with a marker of two bytes and its length. EXIF is an APP1 segment
# (0xFFE1) that begins with "Exif" and two zeros. After a segment 0xFFDA come the pixels of a scan,
# in which 0xFF is followed by 0 or, for 8 markers without a segment, by 0xD0 to 0xD7.


def _jpeg(encoded: tf.Tensor) -> _Parts:
    data = _bytes(encoded)
    at = tf.cast(tf.where(data == 0xFF)[:, 0], tf.int32)
    kind = _byte(data, at + 1)
    is_marker = (kind >= 0xC0) & (kind < 0xFF) & (kind & 0xF8 != 0xD0)
    at = tf.boolean_mask(at, is_marker & (at >= 2))
    fields = _byte(data, at[:, tf.newaxis] + np.arange(1, 8))  # [n, 7]: kind, length, name
    kind, length, name = fields[:, 0], 256 * fields[:, 1] + fields[:, 2], fields[:, 3:]
    # Others are inside of segments, such as a small copy in EXIF, or after the image.
    following = tf.where(kind == 0xD9, tf.size(at), tf.searchsorted(at, at + 2 + length))
    is_segment = _reached(following)
    is_scan = is_segment & (kind == 0xDA)
    is_exif = is_segment & (kind == 0xE1) & tf.reduce_all(name == [*b"Exif"], axis=1)
    is_exif &= tf.cumsum(tf.cast(is_scan, tf.int32)) == 0
    found = tf.boolean_mask(tf.stack([at + 10, tf.maximum(length - 8, 0)], axis=1), is_exif)
    start, count = tf.unstack(tf.concat([found, [[0, 0]]], axis=0)[0])
    is_readable = tf.math.count_nonzero(is_scan) <= MAX_JPEG_SCANS
    size = _checked(is_readable, TOO_MANY_SCANS, tf.image.extract_jpeg_shape(encoded)[:2])
    return _Parts(size, encoded, tf.strings.substr(encoded, start, count))


@tf.function(input_signature=[tf.TensorSpec([None], tf.int32)], autograph=False)
def _reached(following: tf.Tensor) -> tf.Tensor:
    """Return which items a walk from the first one reaches: bool [n].

    After each comes the one at the index `following` [n], which is greater; n is the end.
    """
    end = tf.size(following)

    def walk_twice_as_far(reached: tf.Tensor, ahead: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        further = tf.math.unsorted_segment_max(reached, ahead, end + 1)
        return tf.maximum(reached, further), tf.gather(ahead, ahead)

    reached, _ = tf.while_loop(
        lambda _, ahead: ahead[0] < end,
        walk_twice_as_far,
        (tf.one_hot(0, end + 1, dtype=tf.int32), tf.concat([following, [end]], axis=0)),
    )
    return reached[:-1] > 0


def _tiff_orientation(tiff: tf.Tensor) -> tf.Tensor:
    """Return the orientation in the first directory of a TIFF header, string [], or 1: int32 [].

    The header: "II" (little-endian) or "MM", 42, the index of the directory. The directory: the
    number of entries; entries of 12 bytes, with their tag at 0 and their value at 8.
    """
    order = _numbers(tiff, 0, 1, tf.uint16)[0]
    is_little = order == int.from_bytes(b"II")

    def numbers(at: tf.Tensor | int, count: int, dtype: tf.DType) -> tf.Tensor:
        both = (_numbers(tiff, at, count, dtype, little=little) for little in (True, False))
        return tf.where(is_little, *both)

    is_tiff = is_little | (order == int.from_bytes(b"MM"))
    is_tiff &= numbers(2, 1, tf.uint16)[0] == 42
    directory = numbers(numbers(4, 1, tf.int32)[0], 1 + 6 * _MAX_EXIF_ENTRIES, tf.uint16)
    entries = tf.reshape(directory[1:], [_MAX_EXIF_ENTRIES, 6])
    tags, values = entries[:, 0], entries[:, 4]
    is_entry = is_tiff & (tf.range(_MAX_EXIF_ENTRIES) < directory[0])
    found = tf.boolean_mask(values, is_entry & (tags == 0x0112) & (values >= 1) & (values <= 8))
    return tf.concat([found, [1]], axis=0)[0]


def _bytes(encoded: tf.Tensor) -> tf.Tensor:
    """Return a file's bytes and a zero: uint8 [bytes + 1]."""
    return tf.pad(tf.io.decode_raw(encoded, tf.uint8), [[0, 1]])


def _byte(data: tf.Tensor, at: tf.Tensor | int) -> tf.Tensor:
    """Return `_bytes` at some indices, zero beyond the end, as int32; fast enough for loops."""
    return tf.cast(tf.gather(data, tf.minimum(at, tf.size(data) - 1)), tf.int32)


def _numbers(
    encoded: tf.Tensor, at: tf.Tensor | int, count: int, dtype: tf.DType, little: bool = True
) -> tf.Tensor:
    """Return numbers in a file, zeros beyond its end: int32 [count].

    They begin at byte `at`; a negative one is beyond the end. In the file they have `dtype`, the
    least significant byte first if `little`.
    """
    length = tf.strings.length(encoded)
    size = count * dtype.size
    content = tf.strings.substr(encoded, tf.where((at >= 0) & (at < length), at, length), size)
    numbers = tf.io.decode_raw(content, dtype, little_endian=little, fixed_length=size)
    return tf.cast(numbers, tf.int32)


def _removed_bytes(text: tf.Tensor, pattern: str) -> tf.Tensor:
    """Return how many bytes of a string match a pattern: int32 []."""
    return tf.strings.length(text) - tf.strings.length(tf.strings.regex_replace(text, pattern, ""))


def _checked(condition: tf.Tensor, message: str, value: tf.Tensor) -> tf.Tensor:
    """Return `value`, which in a graph too is available only if the condition holds."""
    with tf.control_dependencies([tf.debugging.Assert(condition, [message])]):
        return tf.identity(value)
