"""The bytes of an image file: read safely, named for what they are, converted where needed.

Without TensorFlow, so that a data set can be checked quickly. What is in these files is decided by
`sat_tf.data.images.decode_image`; `looks_whole` only says which of them need not be asked.
"""

import io
import os
import re
import stat
from collections.abc import Mapping
from typing import Any

import PIL.features
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

# What files of the formats that the graph decodes begin with; "." is any byte.
SIGNATURES = {
    "JPEG": b"\xff\xd8\xff",
    "PNG": b"\x89PNG\r\n\x1a\n",
    "GIF": b"GIF8",
    "BMP": b"BM",
    "WebP": b"RIFF....WEBP",
}
# Patterns of the formats that are converted before; what to do where they can't be.
_CONVERTED = {
    "HEIC": rb"....ftyp(hei[cxms]|hev[cx]|mif1|msf1)",
    "AVIF": rb"....ftypavi[fs]",
}
_INSTALL = {
    "HEIC": "install sat_tf with its extra: pip install 'sat_tf[heic]'",
    "AVIF": "install a Pillow of 11.3 or later that reads it",
}
# What else is found in place of images and what to do about it; patterns, the first counts.
_TEXT = rb"(?i)(\xef\xbb\xbf)?\s*(<\?xml.*?\?>\s*)?"
_OTHERS = {
    f"a raw image of a camera: {CONVERT}": (
        rb"II\*\0\x10\0\0\0CR|FUJIFILMCCD-RAW|IIRO|IIU\0|....ftypcrx"
    ),
    f"TIFF or a raw image of a camera: {CONVERT}": rb"II\*\0|MM\0\*",
    "a video": rb"....(ftyp|moov)|\x1aE\xdf\xa3|.{8}AVI ",
    f"a Photoshop file: {CONVERT}": rb"8BPS",
    f"PDF: {CONVERT}": rb"%PDF",
    f"JPEG XL: {CONVERT}": rb"\xff\x0a|....JXL ",
    f"JPEG 2000: {CONVERT}": rb"....jP  |\xff\x4f\xff\x51",
    f"an icon (ICO): {CONVERT}": rb"\x00\x00\x01\x00",
    "a ZIP archive: unpack it": rb"PK\x03\x04",
    "a gzip archive: unpack it": rb"\x1f\x8b",
    "a pointer of Git LFS: fetch the files with `git lfs pull`": rb"version https://git-lfs",
    f"SVG: {CONVERT}": _TEXT + rb"<(!doctype )?svg",
    "a web page (HTML): download the image again": _TEXT + rb"<(!doctype )?html",
    "a web page or XML: download the image again": _TEXT + rb"<",
    "JSON: download the image again": _TEXT + rb"\{",
    "no image of a known format (JPEG, PNG, GIF, BMP, WebP; HEIC and AVIF)": b"",
}


def _first_match(patterns: Mapping[str, bytes], data: bytes) -> str:
    """Return the name of the first pattern that the beginning of a file matches, or ""."""
    head = data[:_HEAD_BYTES]
    return next((name for name, one in patterns.items() if re.match(one, head, re.DOTALL)), "")


def format_of(data: bytes) -> str:
    """Return the format of a file that can be read or converted, by its first bytes; or ""."""
    return _first_match(SIGNATURES | _CONVERTED, data)


def name_of(image: str | bytes) -> str:
    """Return what an error calls an image: its path, safe to print."""
    return "the bytes" if isinstance(image, bytes) else printable(image)


def read_image(image: str | bytes) -> bytes:
    """Return the bytes of an image: those given, or those of the file at that path.

    HEIC and AVIF, which TensorFlow does not decode, become PNG, turned upright.

    Raises:
      UserError: it is no regular file, empty or of more than 512 MB, can't be read, has no format
        that is decoded, or is HEIC or AVIF that can't be converted; names it.
    """
    name = name_of(image)
    data = image if isinstance(image, bytes) else _read_file(image, name)
    format_ = format_of(data)
    if not format_:
        raise UserError(f"{name}: is {_first_match(_OTHERS, data)}")
    return data if format_ in SIGNATURES else _to_png(data, name, format_)


def _read_file(path: str, name: str) -> bytes:
    try:
        status = os.stat(path)
        # Reading others may never end: a pipe, a terminal, /dev/zero.
        if not stat.S_ISREG(status.st_mode):
            what = "a folder" if stat.S_ISDIR(status.st_mode) else "no regular file"
            raise UserError(f"{name}: is {what}")
        if not status.st_size:
            raise UserError(f"{name}: is empty")
        if status.st_size > MOST_BYTES:
            raise UserError(f"{name}: has {status.st_size:,} bytes, more than {MOST_BYTES:,}")
        with open(path, "rb") as file:
            return file.read(MOST_BYTES)
    except OSError as error:
        raise UserError(f"{name}: {error.strerror}") from None
    except ValueError:
        raise UserError(
            f"{name}: is not a file name: it holds a NUL character or half a character"
        ) from None


def _to_png(data: bytes, name: str, format_: str) -> bytes:
    """Return a HEIC or AVIF image as PNG, upright."""
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
        raise UserError(f"{name}: is {format_}: {CONVERT}, or {_INSTALL[format_]}") from None
    except UserError:
        raise
    # As for other formats in `looks_whole`.
    except Exception:
        raise UserError(
            f"{name}: is damaged or cut off ({format_}), or of a kind that is not read: {CONVERT}"
        ) from None
    return png.getvalue()


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
    file.seek(0)
    if format_ == "HEIC":
        import pillow_heif  # an extra, and slow to import

        apple: PIL.Image.Image = pillow_heif.HeifImageFile(file)
        return apple
    if format_ == "AVIF":
        from PIL.AvifImagePlugin import AvifImageFile  # from Pillow 11.3 on

        if not PIL.features.check("avif"):
            raise ImportError
        return AvifImageFile(file)
    return {"JPEG": JpegImageFile, "PNG": PngImageFile, "WebP": WebPImageFile}[format_](file)
