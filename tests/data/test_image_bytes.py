"""What an image file is, before TensorFlow decodes it."""

import io
import os
import struct
import zlib

import numpy as np
import PIL.features
import pytest
from image_files import PIXELS, changed, encoded, exif, one_colour_png
from PIL import Image

from sat_tf.data import image_bytes
from sat_tf.data.image_bytes import MAX_JPEG_SCANS, MOST_BYTES, looks_whole, read_image
from sat_tf.data.images import decode_image
from sat_tf.errors import UserError

JPEG = encoded("JPEG")


def test_files_and_bytes_are_read(tmp_path):
    (tmp_path / "a.jpg").write_bytes(JPEG)
    assert read_image(str(tmp_path / "a.jpg")) == read_image(JPEG) == JPEG


def make_sparse(path):
    with path.open("wb") as file:
        file.truncate(MOST_BYTES + 1)


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda path: None, "No such file"),
        (lambda path: path.mkdir(), "is a folder"),
        (lambda path: path.touch(), "is empty"),
        (os.mkfifo, "is no regular file"),
        (lambda path: path.symlink_to("/dev/zero"), "is no regular file"),
        (lambda path: path.symlink_to("/proc/self/maps"), "is empty"),
        (make_sparse, "has 536,870,913 bytes, more than 536,870,912"),
    ],
    ids=["none", "folder", "empty", "pipe", "device", "proc", "sparse"],
)
def test_what_is_no_file_of_a_sane_size_is_named(tmp_path, make, what):
    path = tmp_path / "image.jpg"
    make(path)
    with pytest.raises(UserError, match=rf"image\.jpg: {what}"):
        read_image(str(path))
    assert not looks_whole(str(path))


def test_a_name_of_no_file_is_printed_safely():
    for name, printed in (("a\0\x1b.jpg", r"a\\x00\\x1b\.jpg"), ("\ud800.jpg", r"\\ud800\.jpg")):
        with pytest.raises(UserError, match=printed):
            read_image(name)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (encoded("TIFF"), "TIFF"),
        (b"\0\0\0\x20ftypisom\0\0\2\0", "a video"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1", "a raw image of a camera"),
        (b"8BPS\0\1", "a Photoshop file"),
        (b"%PDF-1.7", "PDF"),
        (b"\n<!DOCTYPE html><html>", r"a web page \(HTML\): download"),
        (b"<html>404</html>", r"a web page \(HTML\)"),
        (b'\xef\xbb\xbf<?xml version="1.0"?>\n<svg>', "SVG"),
        (b"<?xml version='1.0'?><Error>AccessDenied</Error>", "a web page or XML"),
        (b'{"error": 1}', "JSON"),
        (b"version https://git-lfs.github.com/spec/v1", "a pointer of Git LFS"),
        (b"no image", "no image of a known format"),
        (b"", "no image of a known format"),
    ],
)
def test_what_is_not_read_is_named_for_what_it_is(data, what):
    with pytest.raises(UserError, match=f"^the bytes: is {what}"):
        read_image(data)


def save(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def apple(image, **options):
    heif = pytest.importorskip("pillow_heif", reason="HEIC is an extra")
    heif.register_heif_opener()
    return save(image, "HEIF", **options)


def avif(image, **options):
    if not PIL.features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    return save(image, "AVIF", **options)


@pytest.mark.parametrize("make", [apple, avif])
def test_heic_and_avif_are_converted(make, tmp_path):
    image = Image.fromarray(PIXELS)
    for orientation, expected in ((1, PIXELS), (6, np.rot90(PIXELS, -1))):
        data = make(image, quality=95, exif=exif(orientation))
        pixels = decode_image(read_image(data)).numpy()
        assert np.abs(pixels.astype(int) - expected).mean() < 6
    hidden = np.dstack([PIXELS, np.zeros_like(PIXELS[..., 0])])
    assert decode_image(read_image(make(Image.fromarray(hidden)))).numpy().min() > 250
    path = tmp_path / "image"
    path.write_bytes(data)
    assert looks_whole(str(path))
    path.write_bytes(data[:200])
    assert not looks_whole(str(path))
    with pytest.raises(UserError, match=r"image: is damaged or cut off \((HEIC|AVIF)\).*convert"):
        read_image(str(path))


def test_heic_and_avif_that_can_t_be_read_say_what_to_install(monkeypatch):
    def not_installed(*_):
        raise ImportError

    monkeypatch.setattr(image_bytes, "_open", not_installed)
    for kind, what in ((b"heic", r"HEIC: .*sat_tf\[heic\]"), (b"avif", r"AVIF: .*Pillow")):
        with pytest.raises(UserError, match=f"the bytes: is {what}"):
            read_image(b"\0\0\0\x1cftyp" + kind + bytes(20))


def repeated_scans(count):
    jpeg = encoded("JPEG", progressive=True)
    last = jpeg.rindex(b"\xff\xda")
    return jpeg[:-2] + count * jpeg[last:-2] + jpeg[-2:]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (JPEG, True),
        (encoded("JPEG", progressive=True), True),
        (JPEG + bytes(100), True),
        (JPEG[:-2], False),
        (JPEG[:200], False),
        (repeated_scans(MAX_JPEG_SCANS), False),
        (encoded("PNG"), True),
        (encoded("PNG")[:-1], False),
        (changed(encoded("PNG"), 20, b"\0\0\0\0"), False),
        (encoded("WEBP"), True),
        (encoded("WEBP")[:-2], False),
        (b"<html>", False),
        # Only decoding tells.
        (encoded("GIF", mode="P"), False),
        (encoded("BMP"), False),
    ],
)
def test_the_ends_of_a_file_tell_whether_it_is_whole(tmp_path, data, expected):
    (tmp_path / "image").write_bytes(data)
    assert looks_whole(str(tmp_path / "image")) == expected


def test_large_images_are_found_by_their_header(tmp_path):
    png = one_colour_png(10)
    for side, expected in ((10_000, True), (10_001, False)):
        header = changed(png[12:29], 4, struct.pack(">II", side, side))
        checksum = struct.pack(">I", zlib.crc32(header))
        (tmp_path / "image").write_bytes(png[:12] + header + checksum + png[33:])
        assert looks_whole(str(tmp_path / "image")) == expected
