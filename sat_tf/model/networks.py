"""Networks by name, Keras Applications and a slim VGG16, and their weights from a file."""

import difflib
import os
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from sat_tf.errors import UserError, in_current_folder

# (convolutions, channels) of VGG16's blocks 1 to 5.
VGG16_BLOCKS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
# An archive may unpack to so many bytes, or to so many times its own size.
_UNPACKED_BYTES, _UNPACKED_RATIO = 256 * 2**20, 10


@keras.saving.register_keras_serializable(package="sat_tf")
class NormalizedConvolution(keras.layers.Layer):
    """A 3x3 convolution without bias, batch normalisation, ReLU.

    It is one layer, so that `--encoder_layer` and `--finetune_from` refer to all of it by one name.

    Args:
      channels: output channels.
    """

    def __init__(self, channels: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.channels = channels
        self.convolution = keras.layers.Conv2D(
            channels,
            3,
            padding="same",
            use_bias=False,
            kernel_initializer="he_normal",
            trainable=self.trainable,
            dtype=self.dtype_policy,
            name="convolution",
        )
        self.normalization = keras.layers.BatchNormalization(
            trainable=self.trainable, dtype=self.dtype_policy, name="normalization"
        )

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the weights for inputs [I, rows, columns, channels]."""
        self.convolution.build(input_shape)
        self.normalization.build(self.compute_output_shape(input_shape))

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Apply the layers to [I, rows, columns, channels]."""
        return keras.ops.relu(self.normalization(self.convolution(inputs), training=training))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the shape of the input with this layer's channels."""
        return (*input_shape[:-1], self.channels)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "channels": self.channels}


def slim_vgg16(image_size: int, width: float) -> keras.Model:
    """Build VGG16 without its top, with fewer channels and VGG16's layer names.

    Args:
      image_size: side of the square input, pixels.
      width: channels as a fraction of VGG16's, above 0.

    Returns:
      A model from [I, image_size, image_size, 3] to block5_conv3's
      [I, rows, columns, round(512 * width)].

    Raises:
      ValueError: the image is so small that block 5 would be empty.
    """
    smallest = 2 ** (len(VGG16_BLOCKS) - 1)  # halved between blocks
    if image_size < smallest:
        raise ValueError(f"at least {smallest} pixels")
    inputs = keras.Input((image_size, image_size, 3), name="preprocessed")
    x = inputs
    for block, (convolutions, channels) in enumerate(VGG16_BLOCKS, start=1):
        if block > 1:
            x = keras.layers.MaxPooling2D(2, name=f"block{block - 1}_pool")(x)
        for index in range(1, convolutions + 1):
            name = f"block{block}_conv{index}"
            x = NormalizedConvolution(max(1, round(channels * width)), name=name)(x)
    return keras.Model(inputs, x, name="slim_vgg16")


def normalized_name(name: str) -> str:
    """Return `name` in lower case, without underscores and hyphens."""
    return name.lower().replace("_", "").replace("-", "")


def applications() -> dict[str, Callable[..., keras.Model]]:
    """Return the networks of Keras Applications by normalised name, such as `resnet50v2`."""
    return {
        normalized_name(name): value
        for name, value in vars(keras.applications).items()
        if name[0].isupper() and callable(value)
    }


def suggestions(name: str, allowed: Iterable[str]) -> str:
    """Return text that suggests the names close to `name`, then all allowed ones."""
    allowed = list(allowed)
    # A layer of a model in the network is named with that model's name: base/conv.
    close = [path for path in allowed if path.endswith(f"/{name}")][:3]
    close = close or difflib.get_close_matches(name, allowed, n=3)
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    return f"{hint}allowed: {', '.join(allowed)}"


def why_no_archive(path: str | os.PathLike[str]) -> str:
    """Return why a file is no `.keras` archive to open; "" if it is one.

    It may be none at all, or one that would unpack to far more than its own size. Weights hardly
    compress, and Keras does not compress them: anything that does is not a network.
    Reading such an archive yields no more than the sizes that it declares.
    """
    if not zipfile.is_zipfile(path):
        return "it is cut off, or of another format than .keras"
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
    limit = max(_UNPACKED_BYTES, _UNPACKED_RATIO * os.path.getsize(path))
    if unpacked > limit:
        return (
            f"its {os.path.getsize(path):,} bytes would unpack to {unpacked:,}, more than "
            f"the {limit:,} that are accepted"
        )
    return ""


def load_weights(model: keras.Model, path: str | os.PathLike[str]) -> None:
    """Load a weights file into `model`.

    Reads Keras 3's `.weights.h5` and `.keras`, and the older `.h5` of Keras Applications, with or
    without their top.

    Raises:
      UserError: no such file, damaged, or weights of another network.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"--encoder_weights={path}: no such file{in_current_folder(path)}")
    if path.suffix not in (".h5", ".keras"):
        raise UserError(f"--encoder_weights={path}: must end in .weights.h5, .h5 or .keras")
    older_format = path.suffix == ".h5" and not path.name.endswith(".weights.h5")
    try:
        why = why_no_archive(path) if path.suffix == ".keras" else ""
        if not why:
            is_by_name = older_format and _starts_with_layers_of(model, path)
            model.load_weights(path, **({"by_name": True} if is_by_name else {}))
    # Keras and h5py raise many kinds of exceptions for a damaged file.
    except Exception as error:
        is_damaged = isinstance(error, OSError | zipfile.BadZipFile | zlib.error)
        why = "it is cut off or damaged" if is_damaged else "its weights are of another network"
    if why:
        raise UserError(
            f"--encoder_weights={path}: not a whole weights file of this encoder ({why}): check "
            "--encoder, or fetch the file again"
        )


def _starts_with_layers_of(model: keras.Model, path: Path) -> bool:
    """Return whether the file's first layers are the model's; a top may follow.

    Comparing the order, not just the set of names, rejects VGG19's file for VGG16.
    """
    wanted = [layer.name for layer in model.layers if layer.weights]
    with h5py.File(path) as file:
        group = file.get("model_weights", file)
        names = np.asarray(group.attrs["layer_names"]).astype(str).tolist()  # or bytes
        found = [name for name in names if len(group[name].attrs["weight_names"])]
    return found[: len(wanted)] == wanted
