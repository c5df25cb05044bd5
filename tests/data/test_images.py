"""From the bytes of an image file to its pixels, and from these to the encoder's input."""

import io
import json
import struct
import subprocess
import sys
import zlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from image_files import PIXELS, changed, encoded, exif, one_colour_gif, one_colour_png, png_chunk
from PIL import Image, ImageOps

from sat_tf.config import ImageConfig
from sat_tf.data import images
from sat_tf.data.image_bytes import CONVERT
from sat_tf.data.images import MOST_PIXELS, crop_box, decode_image, load_image, resize_and_crop
from sat_tf.errors import UserError
from sat_tf.model.encoder import Preprocessing

# As in pipelines and exports; traced once, and many times faster than outside of a graph.
decode_compiled = images._decode_compiled


def as_stored(jpeg):
    return tf.io.decode_jpeg(jpeg, channels=3).numpy()


def animation(kind, *images):
    first, *others = (Image.fromarray(image).quantize(16) for image in images)
    file = io.BytesIO()
    first.save(file, kind, save_all=True, append_images=others)
    return file.getvalue()


@pytest.mark.parametrize("endian", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation, endian):
    jpeg = encoded("JPEG", exif=exif(orientation, endian))
    stored = Image.fromarray(as_stored(jpeg))
    stored.getexif()[0x0112] = orientation
    np.testing.assert_array_equal(decode_compiled(jpeg), ImageOps.exif_transpose(stored))
    for kind, options in (("PNG", {}), ("WEBP", {"lossless": True})):
        image = encoded(kind, exif=exif(orientation, endian), **options)
        np.testing.assert_array_equal(decode_compiled(image), on_white(image))


@pytest.mark.parametrize(
    ("kind", "mode", "tolerance"),
    [
        ("PNG", "RGB", 0),
        ("BMP", "RGB", 0),
        ("PNG", "RGBA", 0),
        ("JPEG", "RGB", 3),
        ("WEBP", "RGB", 0),
        ("WEBP", "RGBA", 0),
    ],
)
def test_colour_images_are_read(kind, mode, tolerance):
    options = {"JPEG": {"quality": 95}, "WEBP": {"lossless": True}}.get(kind, {})
    pixels = decode_image(encoded(kind, mode=mode, **options)).numpy()
    assert np.abs(pixels.astype(int) - PIXELS).mean() <= tolerance


@pytest.mark.parametrize(
    ("kind", "mode"), [("PNG", "L"), ("JPEG", "L"), ("JPEG", "CMYK"), ("GIF", "P"), ("PNG", "P")]
)
def test_other_modes_are_read_as_rgb(kind, mode):
    assert decode_compiled(encoded(kind, mode=mode)).shape == (30, 40, 3)


def test_cmyk_has_the_right_colours():
    jpeg = encoded("JPEG", mode="CMYK", quality=95)
    expected = np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"))
    assert np.abs(decode_image(jpeg).numpy().astype(int) - expected).mean() < 2


def on_white(data):
    """Decode by Pillow."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


@pytest.mark.parametrize(
    ("kind", "mode", "options"),
    [
        ("PNG", "RGBA", {}),
        ("PNG", "LA", {}),
        ("PNG", "RGB", {"transparency": (10, 7, 7)}),
        ("PNG", "L", {"transparency": 9}),
        ("PNG", "P", {"transparency": bytes(range(0, 256, 16)), "bits": 8}),
        ("PNG", "P", {"transparency": 3, "bits": 4}),
        ("PNG", "P", {"bits": 4}),
        ("PNG", "1", {}),
        ("GIF", "P", {"transparency": 3}),
        ("GIF", "P", {"transparency": 3, "interlace": True}),
        ("WEBP", "RGBA", {"lossless": True, "exact": True}),
    ],
)
def test_transparent_parts_are_white(kind, mode, options):
    alpha = np.random.default_rng(0).integers(0, 256, PIXELS.shape[:2], dtype=np.uint8)
    image = Image.fromarray(np.dstack([PIXELS, alpha]))
    image = image.convert("RGB").quantize(16) if mode == "P" else image.convert(mode)
    file = io.BytesIO()
    image.save(file, kind, **options)
    difference = decode_compiled(file.getvalue()).numpy().astype(int) - on_white(file.getvalue())
    assert np.abs(difference).max() <= 1


def test_the_first_frame_of_an_animation_is_read():
    first = Image.fromarray(PIXELS).quantize(16).convert("RGB")
    np.testing.assert_array_equal(decode_image(animation("GIF", PIXELS, 255 - PIXELS)), first)


def test_a_frame_away_from_the_origin_is_read_whole():
    gif = encoded("GIF", mode="P")
    place = gif.index(b",\0\0\0\0", 13) + 1
    moved = changed(gif, place, struct.pack("<HH", 7, 5))
    np.testing.assert_array_equal(decode_compiled(moved), decode_compiled(gif))


def test_an_animated_webp_image_is_rejected():
    with pytest.raises(tf.errors.InvalidArgumentError, match="animated WebP"):
        decode_image(animation("WEBP", PIXELS, 255 - PIXELS))


def test_sixteen_bits_become_eight():
    deep = (PIXELS[..., 0].astype(np.uint16) * 257).astype(np.uint16)
    file = io.BytesIO()
    Image.fromarray(deep).save(file, "PNG")
    np.testing.assert_array_equal(decode_compiled(file.getvalue())[..., 0], PIXELS[..., 0])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no image",
        encoded("BMP", mode="P"),  # TensorFlow would return palette indices
        encoded("TIFF"),
        changed(encoded("WEBP", exif=exif(6)), 24, b"\x09\0\0\x09\0\0"),  # VP8X claims 10 x 10
    ],
)
def test_bytes_that_are_no_image_are_an_error(data):
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode_compiled(data)


@pytest.mark.parametrize("shape", [(30, 40), (1, 1)])
@pytest.mark.parametrize(
    ("kind", "mode", "options"),
    [
        ("JPEG", "RGB", {}),
        ("JPEG", "L", {}),
        ("JPEG", "CMYK", {}),
        ("JPEG", "RGB", {"progressive": True}),
        ("PNG", "RGB", {}),
        ("PNG", "RGBA", {}),
        ("PNG", "L", {}),
        ("PNG", "P", {}),
        ("PNG", "I;16", {}),
        ("GIF", "P", {"interlace": False}),
        ("GIF", "P", {"interlace": True, "transparency": 3}),
        ("BMP", "RGB", {}),
        ("BMP", "RGBA", {}),
        ("WEBP", "RGB", {}),
        ("WEBP", "RGBA", {}),
        ("WEBP", "RGB", {"lossless": True}),
        ("WEBP", "RGBA", {"lossless": True, "exif": exif(3)}),
    ],
)
def test_whole_files_are_read_and_truncated_ones_rejected(kind, mode, options, shape):
    noise = np.random.default_rng(0).integers(0, 256, [*shape, 4], dtype=np.uint8)
    deep = mode == "I;16"
    whole = encoded(kind, noise[..., 0].astype(np.uint16) if deep else noise, mode, **options)
    assert decode_compiled(whole).shape == (*shape, 3)
    # The end markers of GIF and JPEG, of one byte and two, are not needed.
    most = len(whole) - {"GIF": 1, "JPEG": 2}.get(kind, 0)
    for length in {*range(0, most, 1 + most // 20), *range(max(most - 8, 0), most)}:
        with pytest.raises(tf.errors.InvalidArgumentError):
            decode_compiled(whole[:length])


def with_sides(kind, width, height):
    """A small image whose header claims other sides."""
    if kind == "PNG":
        png = encoded(kind)
        header = struct.pack(">II", width, height) + png[24:29]
        return changed(png, 8, png_chunk(b"IHDR", header))
    if kind == "JPEG":
        jpeg = encoded(kind)
        return changed(jpeg, jpeg.index(b"\xff\xc0") + 5, struct.pack(">HH", height, width))
    if kind == "GIF":
        gif = encoded(kind, mode="P")
        return changed(gif, gif.index(b",\0\0\0\0", 13) + 5, struct.pack("<HH", width, height))
    if kind == "BMP":
        return changed(encoded(kind), 18, struct.pack("<ii", width, -height))
    return changed(encoded(kind), 26, struct.pack("<HH", width, height))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP"])
def test_an_image_is_rejected_for_the_size_in_its_header(kind):
    with pytest.raises(tf.errors.InvalidArgumentError, match="more pixels than"):
        decode_compiled(with_sides(kind, 16_000, MOST_PIXELS // 16_000 + 1))
    assert decode_compiled(with_sides(kind, 40, 30)).shape == (30, 40, 3)


def test_sides_whose_product_exceeds_64_bits_are_rejected():
    for sides in ((2**31 - 1, 2**31 - 1), (2**32 - 1, 2**32 - 1), (2**31, 2**31)):
        with pytest.raises(tf.errors.InvalidArgumentError, match="more pixels than"):
            decode_compiled(with_sides("PNG", *sides))


def test_the_largest_size_can_be_set():
    assert decode_image(encoded("PNG"), max_pixels=30 * 40).shape == (30, 40, 3)
    with pytest.raises(tf.errors.InvalidArgumentError, match="more pixels than"):
        decode_image(encoded("PNG"), max_pixels=30 * 40 - 1)


# Prints, for each file, whether it was read, and by how many MB that raised peak memory.
MEASURE = """
import json, pathlib, resource, sys
import tensorflow as tf
from sat_tf.data.images import decode_image

def measure(path):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        was_read = decode_image(tf.io.read_file(path)).shape.rank == 3
    except tf.errors.InvalidArgumentError:
        was_read = False
    return was_read, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024

print(json.dumps([measure(path) for path in sys.argv[1:]]))
"""


@pytest.mark.slow
def test_bombs_take_no_memory(tmp_path):
    text = png_chunk(b"zTXt", b"key\0\0" + zlib.compress(bytes(7_900_000), 9))
    png = encoded("PNG")
    files = {
        "small.png": png,  # the first one allocates TensorFlow's own memory
        "small.gif": encoded("GIF", mode="P"),
        "pixels.png": one_colour_png(20_000),  # 1.2 GB decoded
        "pixels.gif": one_colour_gif(12_000),  # 0.6 GB
        "texts.png": png[:33] + 100 * text + png[33:],  # 0.8 GB
        "frames.gif": one_colour_gif(1000, frames=1000),  # 1 GB, but for 3 MB of the first frame
    }
    for name, data in files.items():
        assert len(data) < 2_000_000
        (tmp_path / name).write_bytes(data)
    command = [sys.executable, "-c", MEASURE, *(str(tmp_path / name) for name in files)]
    measured = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    assert [was_read for was_read, _ in measured] == [True, True, False, False, False, True]
    assert max(grown for _, grown in measured[2:]) < 100


def test_an_image_that_can_t_be_decoded_is_named_with_the_reason(tmp_path):
    path = tmp_path / "a\x1b.jpg"
    for data, reason in (
        (encoded("PNG")[:-20], r"is damaged or cut off \(PNG\)"),
        (with_sides("PNG", 16_000, 16_000), "has more than 100,000,000 pixels: make it smaller"),
        (
            encoded("BMP", mode="P"),
            f"only BMP images of 24 or 32 bits a pixel can be read: {CONVERT}",
        ),
        (
            animation("WEBP", PIXELS, 255 - PIXELS),
            f"an animated WebP image can't be read: {CONVERT}",
        ),
        (encoded("TIFF"), "is TIFF or a raw image of a camera: convert it to JPEG or PNG"),
    ):
        path.write_bytes(data)
        with pytest.raises(UserError, match=rf"/a\\x1b\.jpg: {reason}$"):
            load_image(str(path))
        with pytest.raises(UserError, match=f"^the bytes: {reason}$"):
            load_image(data)
    path.write_bytes(encoded("PNG"))
    np.testing.assert_array_equal(load_image(str(path)), PIXELS)


@pytest.mark.parametrize("resize", ["crop", "stretch"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 9000), (3000, 2), (20, 30), (256, 256), (300, 250)])
def test_every_image_becomes_a_square(shape, resize):
    pixels = tf.fill([*shape, 3], tf.constant(200, tf.uint8))
    fitted = resize_and_crop(pixels, ImageConfig(image_size=96, shorter_side=128, resize=resize))
    assert fitted.shape == (96, 96, 3)
    np.testing.assert_allclose(fitted, 200.0, atol=0.01)


def test_the_longest_strip_is_not_enlarged_as_a_whole():
    """It would be 64 million pixels long."""
    strip = tf.fill([1, 500_000, 3], tf.constant(200, tf.uint8))
    fitted = resize_and_crop(strip, ImageConfig(image_size=96, shorter_side=128))
    np.testing.assert_allclose(fitted, 200.0, atol=0.01)


def test_crop_takes_the_centre_after_resizing():
    marked = np.zeros([64, 128, 3], np.uint8)
    marked[:, 48:80] = 255
    fitted = resize_and_crop(
        tf.constant(marked), ImageConfig(image_size=32, shorter_side=32, resize="crop")
    ).numpy()
    assert fitted[:, 9:23].min() > 250
    assert fitted[:, :6].max() < 5
    assert fitted[:, 26:].max() < 5


def test_stretch_keeps_the_whole_image():
    marked = np.zeros([64, 128, 3], np.uint8)
    marked[:, :64] = 255
    fitted = resize_and_crop(
        tf.constant(marked), ImageConfig(image_size=32, resize="stretch")
    ).numpy()
    assert fitted[:, :14].min() > 250
    assert fitted[:, 18:].max() < 5


def test_an_image_of_the_right_size_is_unchanged():
    fitted = resize_and_crop(
        tf.constant(PIXELS[:30, :30]), ImageConfig(image_size=30, resize="stretch")
    )
    np.testing.assert_array_equal(fitted, PIXELS[:30, :30])


def test_the_longer_side_is_rounded_to_the_nearest():
    noise = np.random.default_rng(0).integers(64, 192, [61, 97, 3], dtype=np.uint8)
    resized = tf.image.resize(noise, [28, 45], method="bicubic", antialias=True)  # 44.52
    fitted = resize_and_crop(tf.constant(noise), ImageConfig(image_size=24, shorter_side=28))
    np.testing.assert_allclose(fitted, resized[2:26, 10:34], atol=1e-3)


@pytest.mark.parametrize("shape", [(61, 97), (97, 61), (24, 150), (13, 9)])
def test_resizing_is_pillow_s_bicubic(shape):
    # Grays without extremes: Pillow clips and rounds between its two passes.
    noise = np.random.default_rng(0).integers(64, 192, [*shape, 3], dtype=np.uint8)
    config = ImageConfig(image_size=24, shorter_side=24, resize="stretch")
    fitted = resize_and_crop(tf.constant(noise), config)
    expected = Image.fromarray(noise).resize((24, 24), Image.Resampling.BICUBIC)
    assert np.abs(fitted - np.asarray(expected, np.float32)).max() < 1.5


# image_size, resize, shorter_side
CROP, STRETCH = ImageConfig(24, "crop", 28), ImageConfig(24, "stretch", 28)


@pytest.mark.parametrize("config", [CROP, STRETCH], ids=["crop", "stretch"])
@pytest.mark.parametrize(
    "shape", [(60, 90), (90, 60), (64, 64), (61, 97), (97, 61), (28, 28), (3000, 40), (40, 3000)]
)
def test_the_square_shows_the_crop_box_and_nothing_else(shape, config):
    top, left, bottom, right = crop_box(tf.constant(shape), config).numpy()
    y, x = ((np.arange(side) + 0.5) / side for side in shape)
    is_inside = ((top < y) & (y < bottom))[:, np.newaxis] & ((left < x) & (x < right))
    red, blue = [255, 0, 0], [0, 0, 255]
    marked = np.where(is_inside[..., np.newaxis], blue, red).astype(np.uint8)
    fitted = resize_and_crop(tf.constant(marked), config).numpy()
    assert np.abs(fitted[3:-3, 3:-3] - blue).max() < 4  # beyond the blur of the border
    assert fitted[..., 2].min() > 60  # half of a border's pixel, less what bicubic overshoots


@pytest.mark.parametrize("config", [CROP, STRETCH], ids=["crop", "stretch"])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize(
    "shape", [(60, 90), (61, 97), (97, 61), (13, 9), (3000, 1), (1, 3000), (3001, 40), (300, 37)]
)
def test_the_crop_box_is_the_part_that_is_resized(shape, axis, config):
    """On a ramp along one side, the square's middle shows exactly which part was resized."""
    ramp = (np.arange(shape[axis]) + 0.5) / shape[axis]
    image = np.broadcast_to(np.expand_dims(ramp, 1 - axis), shape)[..., np.newaxis]
    fitted = resize_and_crop(tf.constant(image.repeat(3, axis=-1), tf.float32), config)
    middle = np.arange(6, 18) + 0.5
    slope, start = np.polyfit(middle, np.moveaxis(fitted.numpy(), axis, 0)[6:18, 12, 0], 1)
    box = crop_box(tf.constant(shape), config).numpy()
    if shape[axis] == 1:
        np.testing.assert_allclose(box[axis::2], [2 / 28, 26 / 28] if config == CROP else [0, 1])
    else:
        a_tenth = 0.1 / shape[axis]
        np.testing.assert_allclose(box[axis::2], [start, start + 24 * slope], atol=a_tenth)


def test_the_crop_box_in_a_graph():
    graph = tf.function(
        lambda shape: (crop_box(shape, ImageConfig()), crop_box(shape, STRETCH)),
        input_signature=[tf.TensorSpec([2], tf.int32)],
    )
    cropped, stretched = graph([512, 1024])
    np.testing.assert_array_equal(cropped, np.float32([1 / 16, 9 / 32, 15 / 16, 23 / 32]))
    np.testing.assert_array_equal(stretched, [0, 0, 1, 1])


def test_the_middle_of_a_long_strip_is_cropped():
    """It is cropped before it is resized; the result must be that of the whole strip."""
    strip = np.tile(np.arange(400) // 2, [4, 1])[..., np.newaxis].repeat(3, axis=-1)
    fitted = resize_and_crop(
        tf.constant(strip.astype(np.uint8)), ImageConfig(image_size=8, shorter_side=8)
    )
    resized = tf.image.resize(strip, [8, 800], method="bicubic", antialias=True)
    np.testing.assert_allclose(fitted, resized[:, 396:404], atol=1e-3)


def test_resized_pixels_stay_within_0_to_255():
    noise = np.random.default_rng(0).choice([0, 255], [200, 300, 3]).astype(np.uint8)
    fitted = resize_and_crop(tf.constant(noise), ImageConfig(image_size=64, shorter_side=400))
    assert float(tf.reduce_min(fitted)) >= 0.0
    assert float(tf.reduce_max(fitted)) <= 255.0


def test_the_vgg_case_equals_keras():
    """One path from file to network: 256, 224, bicubic, then BGR less the means."""
    thumbnail = np.asarray(Image.fromarray(PIXELS).resize((320, 240), Image.Resampling.BICUBIC))
    fitted = resize_and_crop(decode_image(encoded("PNG", thumbnail)), ImageConfig())
    resized = tf.image.resize(thumbnail, [256, 341], method="bicubic", antialias=True)
    expected = np.clip(resized[16:240, 58:282], 0, 255)
    np.testing.assert_allclose(fitted, expected, atol=1e-3)
    np.testing.assert_allclose(
        Preprocessing("caffe")(fitted[tf.newaxis]),
        keras.applications.vgg16.preprocess_input(expected[np.newaxis].copy()),
        atol=1e-3,
    )
