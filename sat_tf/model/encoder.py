"""The encoder: a convolutional network from pixels to a grid of features (section 3.1.1)."""

import contextlib
import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from sat_tf.config import Config, EncoderConfig, ImageConfig
from sat_tf.data.feature_cache import Encode, FeatureCache
from sat_tf.data.pipeline import CachedFeatures, ImageReader, ImageSource
from sat_tf.data.records import Record
from sat_tf.downloads import downloads_or_user_error
from sat_tf.errors import UserError, in_current_folder, reason
from sat_tf.model import networks
from sat_tf.model.precision import POLICIES, with_policy
from sat_tf.storage import atomic_path
from sat_tf.workers import ALONE, Workers

ENCODE_BATCH = 32  # images encoded at a time
PREPROCESSING_MODES = ("caffe", "tf", "torch", "none")

_DEFAULT_LAYERS = {
    "vgg16": "block5_conv3",
    "vgg19": "block5_conv4",
    "slimvgg16": "block5_conv3",
}
# Preprocessing of each family of Keras Applications; the first match applies.
_MODES_BY_NAME = (
    (r"efficientnet|mobilenetv3|convnext", "none"),
    (r"densenet", "torch"),
    (r"inception|xception|mobilenet|nasnet|resnet\d+v2", "tf"),
    (r"resnet|vgg|slimvgg", "caffe"),
)


@keras.saving.register_keras_serializable(package="sat_tf")
class Preprocessing(keras.layers.Layer):
    """Preprocess RGB pixels of 0 to 255 as in the training of a network.

    Computes in float32 under every policy: bfloat16 would round the pixels.

    Args:
      mode: caffe (BGR minus ImageNet's mean), tf (-1 to 1), torch (0 to 1, minus ImageNet's mean,
        divided by its standard deviation), none (unchanged).
    """

    def __init__(self, mode: str, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        if mode not in PREPROCESSING_MODES:
            raise ValueError(f"mode={mode!r}: must be one of {', '.join(PREPROCESSING_MODES)}")
        self.mode = mode

    def call(self, pixels: Any) -> Any:
        """Preprocess pixels float32 [I, rows, columns, 3]."""
        if self.mode == "none":
            return pixels
        return keras.applications.imagenet_utils.preprocess_input(pixels, mode=self.mode)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the shape of the input."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "mode": self.mode}


def resolve_encoder(config: EncoderConfig) -> EncoderConfig:
    """Return a configuration with the encoder's default layer and preprocessing filled in.

    The layer stays empty if it is the output of the network: Keras may number the name of that
    layer differently in another process.

    Raises:
      UserError: an unknown encoder.
    """
    layer, mode = config.encoder_layer, config.preprocessing
    default_mode: Any
    if _is_file(config):
        default_mode = "caffe"
    else:
        name = _known_name(config.encoder)
        layer = layer or _DEFAULT_LAYERS.get(name, "")
        default_mode = next(mode for names, mode in _MODES_BY_NAME if re.match(names, name))
    return dataclasses.replace(
        config, encoder_layer=layer, preprocessing=default_mode if mode == "auto" else mode
    )


def build_encoder(config: EncoderConfig, image_size: int) -> keras.Model:
    """Build an encoder.

    Random weights depend on `keras.utils.set_random_seed`. A frozen part runs batch normalisation
    and dropout in inference mode, also when called with `training=True`. A frozen encoder computes
    at `--encoder_precision`, one that is trained under the current dtype policy, as the decoder.

    Args:
      config: resolved or not.
      image_size: side S of the square images, pixels.

    Returns:
      A model from pixels [I, S, S, 3], float32, RGB, 0 to 255, to features [I, rows, columns, D]
      in the compute dtype. Its layers: pixels, preprocessing, backbone.

    Raises:
      UserError: an unknown encoder, layer or mode, weights that are not available, an image size
        that does not fit, an output that is not a grid of features.
    """
    config = resolve_encoder(config)
    network = _network(config, image_size)
    backbone = _backbone(network, config.encoder_layer)
    if config.preprocessing != "none" and _preprocesses(backbone):
        raise UserError(
            f"--encoder={config.encoder}: preprocesses by itself: add --preprocessing=none"
        )
    pixels = keras.Input((image_size, image_size, 3), dtype="float32", name="pixels")
    preprocessed = Preprocessing(config.preprocessing, name="preprocessing")(pixels)
    try:
        features = backbone(preprocessed)
    except ValueError:
        raise UserError(
            f"--image_size={image_size}: does not fit --encoder={config.encoder}, "
            f"{_what_fits(backbone.input_shape)}"
        ) from None
    encoder = keras.Model(pixels, features, name="encoder")
    named = f" --encoder_layer={config.encoder_layer}" if config.encoder_layer else ""
    grids = ", ".join(_grids(network)) or "this network has none"
    advice = f": name a layer that gives them with --encoder_layer: {grids}"
    _check_grid(encoder, f"--encoder={config.encoder}{named}", advice)
    set_finetuning(encoder, config.finetune_from)
    return _at_precision(encoder, config)


def encoder_fingerprint(encoder: keras.Model, images: ImageConfig) -> str:
    """Return the SHA-256 (hexadecimal) of everything that the features depend on.

    These are the layers with their configurations and dtypes, the output layer, the preprocessing,
    the weights and the image configuration; not the layers' names, which Keras numbers within a
    process.
    """
    digest = hashlib.sha256()
    layers: dict[str, str] = {}
    for _, layer in _walk(encoder):
        layers.setdefault(layer.name, f"layer {len(layers)}")
    configuration = _without_names(encoder.get_config(), layers)
    for part in (configuration, dataclasses.asdict(images)):
        digest.update(json.dumps(part, sort_keys=True).encode())
    for weight in encoder.weights:
        value = weight.numpy()
        digest.update(f"{value.dtype}{value.shape}".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


def save_encoder(encoder: keras.Model, path: str | os.PathLike[str]) -> None:
    """Write the encoder as a `.keras` file, atomically."""
    with atomic_path(path) as temporary:
        encoder.save(temporary)


def load_encoder(
    path: str | os.PathLike[str], config: EncoderConfig, image_size: int
) -> keras.Model:
    """Read what `save_encoder` wrote; arguments and precision are those of `build_encoder`.

    Raises:
      UserError: no such file, damaged, or not an encoder of such images.
    """
    encoder = _load_model(path, str(path), "put the file back that belongs to the run")
    _check_grid(encoder, str(path))
    if encoder.input_shape != (None, image_size, image_size, 3):
        raise UserError(
            f"{path}: takes {encoder.input_shape}, but the run has --image_size={image_size}: one "
            "of its files was changed"
        )
    return _at_precision(encoder, config)


def set_finetuning(encoder: keras.Model, first: str) -> None:
    """Freeze the layers of an encoder's backbone before `first`; '' freezes all, 'all' none.

    Raises:
      UserError: no such layer, or nothing to train from there on.
    """
    layers = [*_walk(encoder.layers[-1])]
    names = ["all", *(path for path, _ in layers)]
    if first and first not in names:
        raise UserError(
            f"--finetune_from={first}: no such layer; {networks.suggestions(first, names)}"
        )
    encoder.trainable = bool(first)
    is_frozen = first != "all"
    for path, layer in layers:
        is_frozen = is_frozen and path != first
        if _is_graph(layer):
            continue  # if it were frozen, the layers in it would be
        layer.trainable = not is_frozen
        if is_frozen and isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0
    if first and not encoder.trainable_weights:
        raise UserError(f"--finetune_from={first}: no weights from there on; name an earlier layer")


def _at_precision(encoder: keras.Model, config: EncoderConfig) -> keras.Model:
    if config.finetune_from:
        return with_policy(encoder, keras.config.dtype_policy().name)
    return with_policy(encoder, POLICIES[config.encoder_precision])


def _is_file(config: EncoderConfig) -> bool:
    return config.encoder.endswith(".keras")


def _known_name(encoder: str) -> str:
    """Return the normalised name of a known encoder."""
    name = networks.normalized_name(encoder)
    known = sorted({*networks.applications(), *_DEFAULT_LAYERS})
    if name not in known:
        raise UserError(
            f"--encoder={encoder}: no such encoder; {networks.suggestions(name, known)}, "
            "or the path of a .keras file"
        )
    return name


def _network(config: EncoderConfig, image_size: int) -> keras.Model:
    """Return the whole network with its weights."""
    weights = config.encoder_weights
    if _is_file(config):
        if weights == "none":
            raise UserError("--encoder_weights=none: a .keras file brings its own; leave it out")
        remedy = f"save it again by Keras {keras.__version__}"
        network = _load_model(config.encoder, f"--encoder={config.encoder}", remedy)
    else:
        network = _named_network(config, image_size)
    if weights not in ("imagenet", "none"):
        networks.load_weights(network, weights)
    return network


def _named_network(config: EncoderConfig, image_size: int) -> keras.Model:
    name = _known_name(config.encoder)
    imagenet = config.encoder_weights == "imagenet"
    try:
        if name == "slimvgg16":
            if imagenet:
                raise UserError(
                    f"--encoder_weights=imagenet: there are none for {config.encoder}: give a "
                    "weights file, or train it from scratch with --encoder_weights=none "
                    "--finetune_from=all --nocache_features (sat_tf.train)"
                )
            return networks.slim_vgg16(image_size, config.encoder_width)
        with downloads_or_user_error("--encoder_weights"):
            return networks.applications()[name](
                include_top=False,
                weights="imagenet" if imagenet else None,
                input_shape=(image_size, image_size, 3),
            )
    except ValueError as error:
        why = reason(error).partition(";")[0]  # then comes what Keras received
        raise UserError(
            f"--image_size={image_size}: does not fit --encoder={config.encoder} ({why})"
        ) from None


def _what_fits(shape: tuple[int | None, ...]) -> str:
    """Return which images a network takes, to follow its name."""
    *_, rows, columns, channels = shape
    if channels != 3:
        return f"which does not take RGB images (channels: {channels})"
    if not (rows and columns):
        return "whose layers need larger images: give a larger --image_size"
    advice = f"give --image_size={rows}" if rows == columns else "images are made square here"
    return f"which takes images of {rows} x {columns} pixels: {advice}"


def _load_model(path: str | os.PathLike[str], where: str, remedy: str) -> keras.Model:
    if not Path(path).is_file():
        raise UserError(f"{where}: no such file{in_current_folder(path)}")
    model: Any = None
    try:
        why = networks.why_no_archive(path)
        if not why:
            model = keras.saving.load_model(path, compile=False)
    # Keras raises many kinds of exceptions for a damaged or foreign archive.
    except Exception as error:
        why = _why(error, remedy)
    if why:
        raise UserError(f"{where}: can't be read as a Keras model: {why}")
    if not _is_graph(model) or len(model.inputs) != 1:
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


def _backbone(network: keras.Model, layer: str) -> keras.Model:
    """Return the network up to `layer`, or to its output.

    Raises:
      UserError: no such layer.
    """
    if not layer:
        return keras.Model(network.inputs[0], network.outputs[0], name="backbone")
    if layer not in [path for path, _ in _walk(network)]:
        raise UserError(
            f"--encoder_layer={layer}: no such layer; "
            f"{networks.suggestions(layer, _grids(network))}"
        )
    return _cut(network, layer, "backbone")


def _cut(network: keras.Model, path: str, name: str) -> keras.Model:
    """Return a network of the same layers up to the one at `path`, see `_walk`."""
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


def _is_graph(layer: keras.layers.Layer) -> bool:
    """Return whether a layer is a functional or Sequential model."""
    return isinstance(layer, keras.Model) and bool(getattr(layer, "inputs", None))


def _walk(network: keras.Model, prefix: str = "") -> Iterator[tuple[str, keras.layers.Layer]]:
    """Yield each layer with its path, the layers of a model in the network after it: base/conv."""
    for layer in network.layers:
        path = prefix + layer.name
        yield path, layer
        if _is_graph(layer):
            yield from _walk(layer, f"{path}/")


def _grids(network: keras.Model) -> list[str]:
    """Return the paths of the layers whose output may be used as features."""
    paths = []
    for path, layer in _walk(network):
        # A layer that is called several times, or has several outputs, has no such shape.
        with contextlib.suppress(AttributeError, ValueError):
            is_input = isinstance(layer, keras.layers.InputLayer)
            if len(layer.output.shape) == 4 and not is_input:
                paths.append(path)
    return paths


def _preprocesses(network: keras.Model) -> bool:
    return any(isinstance(layer, Preprocessing) for _, layer in _walk(network))


def _check_grid(encoder: keras.Model, where: str, advice: str = "") -> None:
    shape = encoder.output_shape
    if not isinstance(shape, tuple) or len(shape) != 4 or not all(shape[1:]):
        raise UserError(
            f"{where}: gives {shape}, but features need [images, rows, columns, channels]{advice}"
        )


def _without_names(config: Any, layers: dict[str, str]) -> Any:
    """Return `config` with numbers in place of layer names, without `trainable`."""
    if isinstance(config, dict):
        return {
            key: _without_names(value, layers)
            for key, value in config.items()
            if key != "trainable"
        }
    if isinstance(config, list | tuple):
        return [_without_names(value, layers) for value in config]
    return layers.get(config, config) if isinstance(config, str) else config


def cache_folder(config: Config, fingerprint: str) -> Path:
    """Return the folder of the cached features of an encoder at an image size."""
    return Path(config.encoder.cache_dir) / f"encoder-{fingerprint[:16]}"


def feature_source(
    encoder: keras.Model, records: Sequence[Record], config: Config, workers: Workers = ALONE
) -> ImageSource:
    """Fill the feature cache of images and return it as a source of batches.

    With `--nocache_features` nothing is encoded: batches will hold images.

    Args:
      encoder: frozen, if features are cached.
      records: of a split.
      config: of the run.
      workers: that all call this function, and encode together.
    """
    if not config.encoder.cache_features:
        return ImageReader(records, config.images)
    fingerprint = encoder_fingerprint(encoder, config.images)
    folder = cache_folder(config, fingerprint)
    cache = FeatureCache(folder, records, fingerprint, encoder.output_shape[1:], workers)
    cache.fill(encode_function(encoder), config.images, ENCODE_BATCH)
    return CachedFeatures(cache.read, cache.shape)


def encode_function(encoder: keras.Model) -> Encode:
    """Return the encoder as a graph, as it fills a feature cache."""
    return tf.function(
        lambda images: encoder(images, training=False),
        input_signature=[tf.TensorSpec([None, *encoder.input_shape[1:]], tf.float32)],
        autograph=False,
    )
