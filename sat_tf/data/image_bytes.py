"""The bytes of an image file: read safely, named for what they are, converted where needed.

Without TensorFlow, so that a data set can be checked quickly. What is in these files is decided by
`sat_tf.data.images.decode_image`; `looks_whole` only says which of them need not be asked.
"""

import io
import os
import stat
from collections.abc import Callable
from typing import Any

import PIL.Image
import PIL.ImageOps
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from sat_tf.config import MOST_PIXELS
from sat_tf.errors import UserError, printable

# Endings of the names of image files.
SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".heic", ".heif", ".avif")
# More than an image of MOST_PIXELS takes in any format, 16-bit PNG aside.
MOST_BYTES = 1 << 29
# Each scan of a progressive JPEG passes over all of its pixels, however few bytes it has; encoders
# write up to about 20.
MAX_JPEG_SCANS = 64
_HEAD_BYTES = 512
CONVERT = "convert it to JPEG or PNG"

# Formats that the graph decodes.
_READ = {
    "JPEG": ((0, b"\xff\xd8\xff"),),
    "PNG": ((0, b"\x89PNG\r\n\x1a\n"),),
    "GIF": ((0, b"GIF8"),),
    "BMP": ((0, b"BM"),),
    "WebP": ((0, b"RIFF"), (8, b"WEBP")),
}
# Formats that are converted before the graph; after a size comes "ftyp" and the kind of file.
_HEIC_KINDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_AVIF_KINDS = (b"avif", b"avis")
# What else is found in place of images, and what to do about it.
_OTHERS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"II*\0\x10\0\0\0CR", f"a raw image of a camera: {CONVERT}"),
    (0, b"II*\0", f"TIFF or a raw image of a camera: {CONVERT}"),
    (0, b"MM\0*", f"TIFF or a raw image of a camera: {CONVERT}"),
    (0, b"FUJIFILMCCD-RAW", f"a raw image of a camera: {CONVERT}"),
    (0, b"IIRO", f"a raw image of a camera: {CONVERT}"),
    (0, b"IIU\0", f"a raw image of a camera: {CONVERT}"),
    (4, b"ftypcrx", f"a raw image of a camera: {CONVERT}"),
    (4, b"ftyp", "a video"),
    (4, b"moov", "a video"),
    (0, b"\x1aE\xdf\xa3", "a video"),
    (8, b"AVI ", "a video"),
    (0, b"8BPS", f"a Photoshop file: {CONVERT}"),
    (0, b"%PDF", f"PDF: {CONVERT}"),
    (0, b"\xff\x0a", f"JPEG XL: {CONVERT}"),
    (4, b"JXL ", f"JPEG XL: {CONVERT}"),
    (4, b"jP  ", f"JPEG 2000: {CONVERT}"),
    (0, b"\xff\x4f\xff\x51", f"JPEG 2000: {CONVERT}"),
    (0, b"\0\0\1\0", f"an icon (ICO): {CONVERT}"),
    (0, b"PK\3\4", "a ZIP archive: unpack it"),
    (0, b"\x1f\x8b", "a gzip archive: unpack it"),
    (0, b"version https://git-lfs", "a pointer of Git LFS: fetch the files with `git lfs pull`"),
)
# What texts begin with, after an XML declaration, in lower case.
_TEXTS = (
    (b"<svg", f"SVG: {CONVERT}"),
    (b"<!doctype svg", f"SVG: {CONVERT}"),
    (b"<!doctype html", "a web page (HTML): download the image again"),
    (b"<html", "a web page (HTML): download the image again"),
    (b"<", "a web page or XML: download the image again"),
    (b"{", "JSON: download the image again"),
)


def format_of(data: bytes) -> str:
    """Return the format of a file that can be read or converted, by its first bytes; or ""."""
    if data[4:8] == b"ftyp":
        return {
            **dict.fromkeys(_HEIC_KINDS, "HEIC"),
            **dict.fromkeys(_AVIF_KINDS, "AVIF"),
        }.get(data[8:12], "")
    for name, parts in _READ.items():
        if all(data[at : at + len(part)] == part for at, part in parts):
            return name
    return ""


def describe(data: bytes) -> str:
    """Return what a file of none of these formats is, as far as its first bytes tell."""
    for at, part, what in _OTHERS:
        if data[at : at + len(part)] == part:
            return f"is {what}"
    text = data[:_HEAD_BYTES].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith(b"<?xml"):
        text = text.partition(b"?>")[2].lstrip()
    for start, what in _TEXTS:
        if text.startswith(start):
            return f"is {what}"
    return "is no image of a known format (JPEG, PNG, GIF, BMP, WebP; HEIC and AVIF)"


def read_image(image: str | bytes) -> bytes:
    """Return the bytes of an image: those given, or those of the file at that path.

    HEIC and AVIF, which TensorFlow does not decode, become PNG, turned upright.

    Raises:
      UserError: it is no regular file, empty or of more than 512 MB, can't be read, has no format
        that is decoded, or is HEIC or AVIF that can't be converted; names it.
    """
    if isinstance(image, bytes):
        return _converted(image, "the bytes")
    name = printable(image)
    try:
        status = os.stat(image)
        # Reading others may never end: a pipe, a terminal, /dev/zero.
        if not stat.S_ISREG(status.st_mode):
            what = "a folder" if stat.S_ISDIR(status.st_mode) else "no regular file"
            raise UserError(f"{name}: is {what}")
        if not status.st_size:
            raise UserError(f"{name}: is empty")
        if status.st_size > MOST_BYTES:
            raise UserError(f"{name}: has {status.st_size:,} bytes, more than {MOST_BYTES:,}")
        with open(image, "rb") as file:
            data = file.read(MOST_BYTES)
    except OSError as error:
        raise UserError(f"{name}: {error.strerror}") from None
    except ValueError:
        raise UserError(
            f"{name}: is not a file name: it holds a NUL character or half a character"
        ) from None
    return _converted(data, name)


def looks_whole(path: str) -> bool:
    """Return whether a file begins and ends as an image that can be read.

    Reads a few kilobytes of most files. Where this is false, the image has to be decoded to know;
    where it is true, decoding may still fail for what stands between.
    """
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode) or status.st_size > MOST_BYTES:
            return False
        with open(path, "rb") as file:
            head = file.read(_HEAD_BYTES)
            image = _open(file, format_of(head))
            if image.width * image.height > MOST_PIXELS:
                return False
            return _ends(file, image, head, status.st_size)
    # Pillow raises many kinds of exceptions for a damaged header.
    except Exception:
        return False


def _ends(file: Any, image: PIL.Image.Image, head: bytes, size: int) -> bool:
    """Return whether the end of a file that was opened as an image is that of its format."""
    file.seek(max(0, size - _HEAD_BYTES))
    tail = file.read()
    if image.format == "JPEG":
        if "progressive" in image.info:
            file.seek(0)
            if file.read().count(b"\xff\xda") > MAX_JPEG_SCANS:
                return False
        return tail.rstrip(b"\0").endswith(b"\xff\xd9")
    if image.format == "PNG":
        return tail.endswith(b"IEND\xaeB`\x82")
    if image.format == "WEBP":
        is_whole = size >= 8 + int.from_bytes(head[4:8], "little")
        return is_whole and getattr(image, "n_frames", 1) == 1
    return True


def _open(file: Any, format_: str) -> PIL.Image.Image:
    """Open an image by Pillow, which reads its header; raises many kinds of exceptions.

    The classes of the formats do not warn of large images, as `PIL.Image.open` does.

    Raises:
      ImportError: what reads this format is not installed.
      KeyError: GIF, BMP or no format.
    """
    openers: dict[str, Callable[[Any], PIL.Image.Image]] = {
        "JPEG": JpegImageFile,
        "PNG": PngImageFile,
        "WebP": WebPImageFile,
        "HEIC": _open_heic,
        "AVIF": _open_avif,
    }
    file.seek(0)
    return openers[format_](file)


def _open_heic(file: Any) -> PIL.Image.Image:
    import pillow_heif  # an extra, and not to be waited for where no image is HEIC

    image: PIL.Image.Image = pillow_heif.HeifImageFile(file)
    return image


def _open_avif(file: Any) -> PIL.Image.Image:
    import PIL.features
    from PIL.AvifImagePlugin import AvifImageFile  # from Pillow 11.3 on

    if not PIL.features.check("avif"):
        raise ImportError
    return AvifImageFile(file)


def _converted(data: bytes, name: str) -> bytes:
    """Return a HEIC or AVIF image as PNG, upright; those of other formats as they are."""
    format_ = format_of(data)
    if not format_:
        raise UserError(f"{name}: {describe(data)}")
    if format_ in _READ:
        return data
    advice = {
        "HEIC": "install sat_tf with its extra: pip install 'sat_tf[heic]'",
        "AVIF": "install a Pillow of 11.3 or later that reads it",
    }
    try:
        image = _open(io.BytesIO(data), format_)
        if image.width * image.height > MOST_PIXELS:
            raise UserError(f"{name}: has more than {MOST_PIXELS:,} pixels: make it smaller")
        upright = PIL.ImageOps.exif_transpose(image)
        png = io.BytesIO()
        upright.convert("RGBA" if upright.has_transparency_data else "RGB").save(
            png, "PNG", compress_level=0
        )
    except ImportError:
        raise UserError(f"{name}: is {format_}: {CONVERT}, or {advice[format_]}") from None
    except UserError:
        raise
    # As for other formats in `looks_whole`.
    except Exception:
        raise UserError(
            f"{name}: is damaged or cut off ({format_}), or of a kind that is not read: {CONVERT}"
        ) from None
    return png.getvalue()
