"""Sizes, orientation and frames in the headers of image files."""

import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from image_files import changed, exif, png_chunk
from PIL import Image

from sat_tf.data.image_bytes import MAX_JPEG_SCANS
from sat_tf.data.image_headers import read_header

MOST = np.iinfo(np.int32).max


def encoded(kind, shape=(30, 40), mode="RGB", **options):
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, [*shape, 4], dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(file, kind, **options)
    return file.getvalue()


def animation(kind, frames=2):
    first, *others = (Image.new("RGB", (40, 30), (90 * number, 0, 200)) for number in range(frames))
    file = io.BytesIO()
    first.save(file, kind, save_all=True, append_images=others)
    return file.getvalue()


def segment(marker, content):
    return bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2, "big") + content


def after_the_start(jpeg, *inserted):
    return b"".join([jpeg[:2], *inserted, jpeg[2:]])


def blocks(content, size):
    """A GIF's data in blocks of that size, without the empty one at the end."""
    parts = [content[start : start + size] for start in range(0, len(content), size)]
    return b"".join(bytes([len(part)]) + part for part in parts)


def gif(*frames, screen=(40, 30), extensions=b"", table=True):
    """A GIF file with a table of two colours, of the screen or of each frame."""
    start = b"GIF89a" + struct.pack("<HHBBB", *screen, 0x80 if table else 0, 0, 0)
    return start + bytes(6 if table else 0) + extensions + b"".join(frames) + b";"


def gif_frame(place=(0, 0), sides=(40, 30), table=False, content=b"\x44\x01" * 3, size=255):
    start = b"," + struct.pack("<HHHHB", *place, *sides, 0x80 if table else 0)
    return start + bytes(6 if table else 0) + b"\x02" + blocks(content, size) + b"\0"


# As in the pipeline and in an export; traced once.
header_of = tf.function(
    read_header, input_signature=[tf.TensorSpec([], tf.string)], autograph=False
)


def size(data):
    return tuple(header_of(data).size.numpy())


def orientation(data):
    return header_of(data).orientation


def first_frame(data):
    return header_of(data).encoded


def is_transparent(data):
    return header_of(data).has_alpha


@pytest.mark.parametrize("shape", [(1, 1), (30, 40), (257, 3), (2, 3000)])
@pytest.mark.parametrize(
    ("kind", "mode", "options"),
    [
        ("JPEG", "RGB", {}),
        ("JPEG", "CMYK", {"progressive": True}),
        ("JPEG", "RGB", {"exif": exif(6)}),  # as stored, not upright
        ("PNG", "RGBA", {}),
        ("PNG", "1", {}),
        ("GIF", "P", {}),
        ("GIF", "P", {"transparency": 3, "comment": b"x" * 1000}),
        ("BMP", "RGB", {}),
        ("BMP", "RGBA", {}),
        ("WEBP", "RGB", {}),
        ("WEBP", "RGBA", {}),
        ("WEBP", "RGB", {"lossless": True}),
        ("WEBP", "RGBA", {"lossless": True}),
        ("WEBP", "RGB", {"exif": exif(6)}),
        ("WEBP", "RGBA", {"lossless": True, "exif": exif(6)}),
    ],
)
def test_the_size_is_what_was_written(kind, mode, options, shape):
    assert size(encoded(kind, shape, mode, **options)) == shape


def test_the_greatest_sides_are_read():
    def png(width, height):
        return changed(encoded("PNG"), 16, struct.pack(">II", width, height))

    def bmp(width, height):
        return changed(encoded("BMP"), 18, struct.pack("<Ii", width, height))

    assert size(png(1000, 2**31 - 1)) == (2**31 - 1, 1000)
    assert size(png(2**32 - 1, 2**31)) == (MOST, MOST)
    assert size(bmp(2**31 + 5, -(2**31))) == (MOST, MOST)
    lossy = changed(encoded("WEBP"), 26, struct.pack("<HH", 16383, 16382))
    assert size(lossy) == (16382, 16383)
    scaled = changed(encoded("WEBP"), 26, struct.pack("<HH", 40 | 1 << 14, 30 | 3 << 14))
    assert size(scaled) == (30, 40)
    lossless = changed(encoded("WEBP", lossless=True), 21, b"\xff\xff\xff\x0f")
    assert size(lossless) == (16384, 16384)
    extended = changed(encoded("WEBP", exif=exif(6)), 24, b"\xfe\xff\xff\xff\xff\xff")
    assert size(extended) == (1 << 24, (1 << 24) - 1)


def test_a_bmp_s_rows_may_begin_at_the_top():
    bmp = changed(encoded("BMP"), 22, struct.pack("<i", -30))
    assert size(bmp) == (30, 40)


@pytest.mark.parametrize(
    ("screen", "place", "sides", "expected"),
    [
        ((40, 30), (0, 0), (40, 30), (30, 40)),
        ((65535, 30), (0, 0), (40, 30), (30, 65535)),
        ((40, 30), (0, 0), (40, 65535), (65535, 40)),
        ((40, 30), (65535, 1), (65535, 50), (51, 131070)),
        ((0, 0), (0, 0), (40, 30), (30, 40)),
    ],
)
@pytest.mark.parametrize(
    "extensions", [b"", b"!\xfe\x03abc\x00", b"!\xfe\x00" * 20], ids=["none", "one", "twenty"]
)
@pytest.mark.parametrize("table", [True, False])
def test_a_gif_holds_its_screen_and_its_first_frame(
    screen, place, sides, expected, extensions, table
):
    frame = gif_frame(place, sides, table=not table)
    data = gif(
        frame, gif_frame(sides=(9999, 9999)), screen=screen, extensions=extensions, table=table
    )
    assert size(data) == expected


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no image of a known format"),
        (b"\xff\xd8", "no image of a known format"),
        (b"no image", "no image of a known format"),
        (encoded("TIFF"), "no image of a known format"),
        (b"\xff\x0a" + bytes(60), "no image of a known format"),  # JPEG XL
        (b"\xff\xd8\xff", "JPEG"),
        (encoded("JPEG")[:60], "JPEG"),
        (encoded("PNG")[:12], "without header"),
        (encoded("PNG")[:20], "and size"),
        (changed(encoded("PNG"), 12, b"IDAT"), "without header"),
        (changed(encoded("PNG"), 16, bytes(4)), "and size"),
        (encoded("BMP")[:28], "24 or 32 bits"),
        (encoded("BMP", mode="P"), "24 or 32 bits"),
        (changed(encoded("BMP"), 28, b"\x10"), "24 or 32 bits"),
        (changed(encoded("BMP"), 14, b"\x0c"), "24 or 32 bits"),  # of OS/2, with 16-bit sides
        (encoded("WEBP")[:26], "and size"),
        (changed(encoded("WEBP"), 12, b"ALPH"), "and size"),
        (changed(encoded("WEBP"), 8, b"WAVE"), "no image of a known format"),
        (animation("WEBP"), "animated WebP"),
        (b"GIF89a", "without image"),
        (gif(), "without image"),
        (gif(b"\0" + gif_frame()), "without image"),
        (gif(extensions=b"!\xfe\x03abc"), "cut off"),
        (gif(extensions=b"!\xfe" + b"\x01x" * 20_000 + b"\0"), "too many blocks"),
        (gif(gif_frame(), extensions=b"!\xfe\0" * 40), "without image"),
    ],
)
def test_files_without_a_size_are_rejected(data, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        size(data)


@pytest.mark.parametrize("name", [b"zTXt", b"iTXt"])
def test_a_png_with_many_texts_is_rejected(name):
    """A few hundred, of kilobytes each, would decode to gigabytes."""
    png = encoded("PNG")
    text = png_chunk(name, b"key\0\0" + zlib.compress(bytes(100)))
    assert size(png[:33] + 16 * text + png[33:]) == (30, 40)
    for many in (png[:33] + 17 * text + png[33:], png[:-12] + 17 * text + png[-12:]):
        with pytest.raises(tf.errors.InvalidArgumentError, match="too many texts"):
            size(many)


@pytest.mark.parametrize("lossless", [True, False])
@pytest.mark.parametrize("options", [{}, {"exif": exif(6)}])
def test_alpha_of_webp_is_recognised(lossless, options):
    for mode in ("RGB", "RGBA"):
        webp = encoded("WEBP", mode=mode, lossless=lossless, **options)
        assert bool(is_transparent(webp)) == (mode == "RGBA")


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "RGBA", "LA"])
def test_alpha_of_png_is_recognised(mode):
    """By the type of colour, or a chunk before the pixels."""
    png = encoded("PNG", mode=mode)
    assert bool(is_transparent(png)) == (mode in ("RGBA", "LA"))
    chunk = png_chunk(b"tRNS", bytes(2))
    assert is_transparent(png[:33] + chunk + png[33:])
    assert bool(is_transparent(png[:-12] + chunk + png[-12:])) == (mode in ("RGBA", "LA"))


@pytest.mark.parametrize("kind", ["JPEG", "BMP", "GIF"])
def test_other_formats_have_no_alpha(kind):
    assert not is_transparent(encoded(kind) + b"tRNS")


def repeated_scans(count):
    """A progressive JPEG whose last scan comes so many times more."""
    jpeg = encoded("JPEG", progressive=True, quality=20)
    last = jpeg.rindex(b"\xff\xda")
    return jpeg[:-2] + count * jpeg[last:-2] + jpeg[-2:]


def test_a_jpeg_of_many_scans_is_rejected():
    """Each takes a pass over all pixels: kilobytes would take minutes."""
    assert size(repeated_scans(MAX_JPEG_SCANS - 10)) == (30, 40)
    with pytest.raises(tf.errors.InvalidArgumentError, match="more than 64 scans"):
        size(repeated_scans(MAX_JPEG_SCANS))


@pytest.mark.parametrize(
    "data",
    [
        encoded("JPEG") + 100 * b"\xff\xda\0",  # a video after the image
        after_the_start(encoded("JPEG"), segment(0xE1, 100 * b"\xff\xda\0")),  # a small copy
        after_the_start(repeated_scans(40), segment(0xFE, 50 * b"\xff\xda")),
    ],
)
def test_bytes_that_look_like_scans_are_none(data):
    assert size(data) == (30, 40)


def test_scans_after_very_many_segments_are_rejected():
    with pytest.raises(tf.errors.InvalidArgumentError, match="scans"):
        size(after_the_start(repeated_scans(MAX_JPEG_SCANS), 20_000 * segment(0xFE, b"")))


@pytest.mark.parametrize("block", [1, 3, 254, 255])
@pytest.mark.parametrize("length", [0, 1, 254, 255, 256, 254 * 3, 255 * 4, 2000])
@pytest.mark.parametrize("table", [True, False])
def test_the_first_frame_is_cut_out(block, length, table):
    content = b"\x05" * length
    frame = gif_frame(content=content, size=block, table=table)
    extension = b"!\xf9\x04\x01\x00\x00\x03\x00"
    whole = gif(frame, gif_frame(), extensions=extension, table=not table)
    assert first_frame(whole) == gif(frame, extensions=extension, table=not table)


def test_the_first_frame_is_moved_to_the_origin():
    frame = gif_frame(place=(300, 513), sides=(3, 2))
    assert first_frame(gif(frame, frame)) == gif(gif_frame(sides=(3, 2)))


def test_the_first_frame_of_an_animation_of_pillow_s_is_cut_out():
    three, one = animation("GIF", 3), animation("GIF", 1)
    cut = Image.open(io.BytesIO(first_frame(three).numpy()))
    assert cut.n_frames == 1
    np.testing.assert_array_equal(cut.convert("RGB"), Image.open(io.BytesIO(one)).convert("RGB"))


@pytest.mark.parametrize("table", [True, False], ids=["frame", "screen"])
def test_the_transparent_colour_of_a_gif_becomes_white(table):
    """In the table of the frame or else of the screen; an index beyond it is left as it is."""
    control = b"!\xf9\x04\x05\x00\x00%c\x00"
    frame = gif_frame(table=table)
    whole = gif(frame, frame, extensions=control % 1 + b"!\xfe\x00", table=not table)
    cut = first_frame(whole).numpy()
    assert len(cut) == len(whole) - len(frame)
    colours = cut.index(b",") + 10 if table else 13
    assert cut[colours : colours + 6] == b"\0\0\0\xff\xff\xff"
    assert control.replace(b"\x05", b"\0") % 1 in cut
    beyond = gif(frame, extensions=control % 2, table=not table)
    assert first_frame(beyond) == beyond


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "WEBP"])
def test_other_formats_are_unchanged(kind):
    assert first_frame(encoded(kind)) == encoded(kind)


def test_a_gif_that_ends_within_its_first_frame_is_rejected():
    frame = gif_frame(content=b"\x05" * 300, table=True)
    whole = gif(frame, gif_frame(), extensions=b"!\xfe\x03abc\0")
    end = whole.index(frame) + len(frame)
    for length in (end, end + 1, end + 20, len(whole) - 1):
        assert first_frame(whole[:length]) == first_frame(whole)
    for length in {*range(4, end, 5), *range(end - 12, end)}:
        with pytest.raises(tf.errors.InvalidArgumentError, match="a GIF file"):
            first_frame(whole[:length])


def test_a_gif_of_very_many_blocks_is_rejected():
    """Each takes microseconds: a file must not cause many of them with two bytes each."""
    with pytest.raises(tf.errors.InvalidArgumentError, match="too many blocks"):
        first_frame(gif(gif_frame(content=bytes(20_000), size=1)))
    full = gif(gif_frame(content=bytes(255 * 20_000)))
    assert first_frame(full) == full


@pytest.mark.parametrize(
    "inserted",
    [
        [segment(0xFE, b"x" * 298)],
        [segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + b"x" * 60_000)] * 3,
        [b"\xff\xff\xff"],  # fill bytes, which may come before any marker
    ],
    ids=["comment", "xmp", "fill"],
)
def test_exif_after_other_segments_is_found(inserted):
    jpeg = after_the_start(encoded("JPEG", exif=exif(6)), *inserted)
    assert Image.open(io.BytesIO(jpeg)).getexif()[0x0112] == 6
    assert orientation(jpeg) == 6


def test_exif_of_png_stands_anywhere():
    png = encoded("PNG")
    for tiff in (exif(6)[6:], exif(6, ">")[6:]):
        chunk = png_chunk(b"eXIf", tiff)
        for at in (33, len(png) - 12):  # after the header, before the end
            assert orientation(png[:at] + chunk + png[at:]) == 6
        assert orientation(encoded("BMP") + chunk) == 1


def test_exif_of_webp_may_have_a_name_of_its_own():
    """As in a JPEG; that is not in the format, and is written all the same."""
    webp = encoded("WEBP", exif=exif(6))
    at = webp.index(b"EXIF")
    for tiff in (exif(6), exif(6)[6:]):
        assert orientation(webp[:at] + b"EXIF" + struct.pack("<I", len(tiff)) + tiff) == 6


@pytest.mark.parametrize("endian", ["<", ">"])
@pytest.mark.parametrize("left", range(10, len(exif(6)), 7))
def test_exif_is_not_read_beyond_its_segment(left, endian):
    """The next segment would complete the truncated directory."""
    whole = exif(6, endian)
    entry = whole.index((0x0112).to_bytes(2, "little" if endian == "<" else "big"))
    cut, rest = segment(0xE1, whole[:left]), segment(0xFE, whole[left + 4 :])
    jpeg = after_the_start(encoded("JPEG"), cut, rest)
    assert orientation(jpeg) == (1 if left <= entry + 8 else 6)


@pytest.mark.parametrize(
    "content",
    [
        [segment(0xE1, exif(6).replace(b"II*", b"XX*"))],
        [segment(0xE1, exif(6).replace(b"II*", b"II+"))],
        [segment(0xE1, exif(9))],
        [segment(0xE1, b"Exif")],
        [segment(0xE1, b"Exif\0\0")],
        [segment(0xFE, exif(6))],
        [b"\xff\xe1\x00\x00Exif\x00\x00"],
        [b"\xff\xfe\x00\x00" * 3],
        [],
    ],
)
def test_without_whole_exif_an_image_is_upright(content):
    assert orientation(after_the_start(encoded("JPEG"), *content)) == 1


def test_exif_after_the_pixels_of_a_jpeg_is_of_another_image():
    assert orientation(encoded("JPEG")[:-2] + segment(0xE1, exif(6)) + b"\xff\xd9") == 1


def header_or_none(data):
    try:
        return header_of(data)
    except tf.errors.InvalidArgumentError:
        return None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"\xff\xd8",
        b"\xff\xd8\xff\xe1",
        b"\xff\xd8\xff\xe1\x00\x00Exif\x00\x00",
        b"\xff\xd8" + b"\xff\xe0\x00\x00" * 60_000,
        b"\xff\xd8" + b"\xff\xe0\x00\x02" * 60_000,
        b"\xff\xd8" + b"\xff" * 240_000,
        encoded("JPEG", exif=exif(6))[:40],
        b"\xff\xd8" + segment(0xDA, b"") + segment(0xE1, exif(6)),
    ],
)
def test_what_is_only_the_start_of_a_jpeg_is_rejected(data):
    assert header_or_none(data) is None


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_no_header_breaks_the_reader(kind):
    random = np.random.default_rng(0)
    whole, read = encoded(kind, exif=exif(6)), []
    start = whole.index(b"II*")
    for first, last in [(2, 40), (start, start + 60)] * 30:
        data = bytearray(whole)
        for place in random.integers(first, min(last, len(whole)), 3):
            data[place] = random.integers(256)
        header = header_or_none(bytes(data))
        if header:
            read.append(int(header.orientation))
    assert 1 <= min(read) <= max(read) <= 8
    assert len(read) > 20, len(read)
