"""Networks: of Keras Applications, a slim VGG16, or of a file; cut at a layer, or at a precision.

A layer is named by its path: `conv`, or `base/conv` in the model `base` that is a layer itself.
"""

import contextlib
import difflib
import os
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from sat_tf.errors import UserError, in_current_folder

# (convolutions, channels) of VGG16's blocks 1 to 5.
VGG16_BLOCKS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
# Policy of each --precision and --encoder_precision; the weights stay float32.
POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}
# An archive may unpack to so many bytes, or to so many times its own size.
_UNPACKED_BYTES, _UNPACKED_RATIO = 256 * 2**20, 10


@keras.saving.register_keras_serializable(package="sat_tf")
class NormalizedConvolution(keras.layers.Layer):
    """A 3x3 convolution without bias, batch normalisation, ReLU.

    It is one layer, so that `--encoder_layer` and `--finetune_from` refer to all of it by one name.
    """

    def __init__(self, channels: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.channels = channels
        shared = {"trainable": self.trainable, "dtype": self.dtype_policy}
        self.convolution = keras.layers.Conv2D(
            channels,
            3,
            padding="same",
            use_bias=False,
            kernel_initializer="he_normal",
            name="convolution",
            **shared,
        )
        self.normalization = keras.layers.BatchNormalization(name="normalization", **shared)

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
      image_size: S.
      width: channels as a fraction of VGG16's, above 0.

    Returns:
      A model from [I, S, S, 3] to block5_conv3's [I, rows, columns, round(512 * width)].

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


def load_model(path: str | os.PathLike[str], where: str, remedy: str) -> keras.Model:
    """Load a `.keras` file of one input.

    Raises:
      UserError: no such file, or it can't be used: names `where`, and the `remedy` for damage.
    """
    if not Path(path).is_file():
        raise UserError(f"{where}: no such file{in_current_folder(path)}")
    model: Any = None
    try:
        why = why_no_archive(path)
        if not why:
            model = keras.saving.load_model(path, compile=False)
    # Keras raises many kinds of exceptions for a damaged or foreign archive.
    except Exception as error:
        why = _why(error, remedy)
    if why:
        raise UserError(f"{where}: can't be read as a Keras model: {why}")
    if not is_graph(model) or len(model.inputs) != 1:
        raise UserError(f"{where}: must be a functional or Sequential Keras model of one input")
    return model


def _why(error: Exception, remedy: str) -> str:
    """Return why a model can't be loaded, in place of Keras's text and of advice for its code."""
    text = str(error)
    if "safe_mode" in text:
        return (
            "it has a Lambda layer, whose Python code is not run from a file: build the network "
            "with another layer in its place, such as Rescaling, and save it again"
        )
    if unknown := re.search(r"Could not (?:locate|deserialize)(?: (\w+))? '(.+?)'", text):
        return (
            f"it needs the {unknown[1] or 'class'} {unknown[2]}, which is not of Keras: build the "
            "network of Keras's layers, and save it again"
        )
    return f"it is damaged, or was saved by another version of Keras: {remedy}"


def cut_at(network: keras.Model, layer: str) -> keras.Model:
    """Return the network, named "backbone", up to a layer, or to its output if that is "".

    Raises:
      UserError: no such layer.
    """
    if not layer:
        return keras.Model(network.inputs[0], network.outputs[0], name="backbone")
    if layer not in dict(walk(network)):
        raise UserError(
            f"--encoder_layer={layer}: no such layer; {suggestions(layer, grids(network))}"
        )
    return _cut(network, layer, "backbone")


def at_image_size(network: keras.Model, image_size: int) -> keras.Model:
    """Return the layers of a network, those of models in it too, applied to images [I, S, S, 3].

    Raises:
      ValueError: a layer does not take what it would get.
    """
    return _applied_to(network, keras.Input((image_size, image_size, 3)))


def _applied_to(network: keras.Model, inputs: Any) -> keras.Model:
    def call(layer: keras.layers.Layer, x: Any, **kwargs: Any) -> Any:
        if is_graph(layer):
            layer = _applied_to(layer, keras.Input(x.shape[1:]))
        return layer(x, **kwargs)

    graph = keras.Model(network.inputs[0], network.outputs[0], name=network.name)
    return keras.models.clone_model(
        graph, inputs, clone_function=lambda layer: layer, call_function=call
    )


def _cut(network: keras.Model, path: str, name: str) -> keras.Model:
    first, _, rest = path.partition("/")
    outputs = []

    def call(layer: keras.layers.Layer, *args: Any, **kwargs: Any) -> Any:
        result = layer(*args, **kwargs)
        if layer.name == first:
            outputs.append(_cut(layer, rest, first)(*args, **kwargs) if rest else result)
        return result

    if isinstance(network, keras.Sequential):
        (given,) = network.inputs
        x = inputs = keras.Input(batch_shape=given.shape, dtype=given.dtype, name=given.name)
        for layer in network.layers:
            x = call(layer, x)
    else:
        # Its layers are called anew: within a model that is a layer of another one, the outputs
        # of layers depend on that model's own inputs, not on the network's.
        (inputs,) = keras.models.clone_model(
            network, clone_function=lambda layer: layer, call_function=call
        ).inputs
    return keras.Model(inputs, outputs[0], name=name)


def is_graph(layer: keras.layers.Layer) -> bool:
    """Return whether a layer is a functional or Sequential model."""
    return isinstance(layer, keras.Model) and bool(getattr(layer, "inputs", None))


def walk(network: keras.Model, prefix: str = "") -> Iterator[tuple[str, keras.layers.Layer]]:
    """Yield each layer's path and the layer, those of a model in the network after it."""
    for layer in network.layers:
        path = prefix + layer.name
        yield path, layer
        if is_graph(layer):
            yield from walk(layer, f"{path}/")


def grids(network: keras.Model) -> list[str]:
    """Return the paths of the layers whose output may be used as features."""
    paths = []
    for path, layer in walk(network):
        # A layer that is called several times, or has several outputs, has no such shape.
        with contextlib.suppress(AttributeError, ValueError):
            is_input = isinstance(layer, keras.layers.InputLayer)
            if len(layer.output.shape) == 4 and not is_input:
                paths.append(path)
    return paths


@contextlib.contextmanager
def precision(name: str) -> Iterator[None]:
    """Build layers in the context under the policy of a `--precision`."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(POLICIES[name])
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def with_policy(model: keras.Model, policy: str) -> keras.Model:
    """Return a functional model under a dtype policy: itself if it has it, or else a copy.

    The weights are cast to the policy's variable dtype. Layers that always compute in float32,
    such as `Preprocessing`, still do.
    """
    config = model.get_config()
    wanted = _with_policy(config, policy)
    if wanted == config:
        return model
    copy = type(model).from_config(wanted)
    assign_rounded(copy, model)
    return copy


def assign_rounded(model: keras.layers.Layer, source: keras.layers.Layer) -> None:
    """Assign a layer the weights of another of the same shape, cast to its dtype."""
    for weight, value in zip(model.weights, source.weights, strict=True):
        weight.assign(keras.ops.cast(value, weight.dtype))


def _with_policy(config: Any, policy: str) -> Any:
    """Return a layer's configuration, and those nested in it, with another dtype policy."""
    if isinstance(config, dict):
        if config.get("class_name") == "DTypePolicy":
            return {**config, "config": {"name": policy}}
        return {key: _with_policy(value, policy) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return type(config)(_with_policy(value, policy) for value in config)
    return config
