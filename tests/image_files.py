"""Image files for tests, and parts of them."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

# Smooth, so that JPEG changes little, and different in every direction.
_Y, _X = np.mgrid[0:30, 0:40]
PIXELS = np.stack([5 * _X, 7 * _Y, 2 * _X + 3 * _Y], axis=-1).clip(0, 255).astype(np.uint8)


def encoded(kind, image=PIXELS, mode="RGB", **options):
    file = io.BytesIO()
    Image.fromarray(image).convert(mode).save(file, kind, **options)
    return file.getvalue()


def exif(orientation, endian="<"):
    header = Image.Exif()
    header[0x010F] = "a maker"
    header[0x0112] = orientation
    header.endian = endian
    return header.tobytes()


def changed(data, at, new):
    return data[:at] + new + data[at + len(new) :]


def png_chunk(name, content):
    checksum = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


def one_colour_png(side):
    """A PNG file of one bit a pixel, written row by row: its pixels are never in memory."""
    packer = zlib.compressobj(1)
    row = bytes(1 + (side + 7) // 8)
    packed = b"".join([*(packer.compress(row) for _ in range(side)), packer.flush()])
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", packed), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


def one_colour_gif(side, frames=1):
    file = io.BytesIO()
    Image.new("P", (side, side)).save(file, "GIF")
    gif = file.getvalue()
    start = gif.index(b",", 13)
    return gif[:start] + gif[start:-1] * frames + b";"
