"""The encoder: a convolutional network from pixels to a grid of features (section 3.1.1)."""

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from sat_tf.config import Config, EncoderConfig, ImageConfig
from sat_tf.data.feature_cache import Encode, FeatureCache
from sat_tf.data.pipeline import CachedFeatures, ImageReader, ImageSource
from sat_tf.data.records import Record
from sat_tf.downloads import downloads_or_user_error
from sat_tf.errors import UserError, reason
from sat_tf.model import networks
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
    (r"resnet|vgg|slimvgg|$", "caffe"),  # of a file too
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
    name = _name(config)
    mode: Any = config.preprocessing
    layer = config.encoder_layer or _DEFAULT_LAYERS.get(name, "")
    if mode == "auto":
        mode = next(mode for names, mode in _MODES_BY_NAME if re.match(names, name))
    return dataclasses.replace(config, encoder_layer=layer, preprocessing=mode)


def build_encoder(config: EncoderConfig, image_size: int) -> keras.Model:
    """Build an encoder.

    Random weights depend on `keras.utils.set_random_seed`. A frozen part runs batch normalisation
    and dropout in inference mode, also when called with `training=True`. A frozen encoder computes
    at `--encoder_precision`, one that is trained under the current dtype policy, as the decoder.

    Returns:
      A model from pixels [I, S, S, 3], float32, RGB, 0 to 255, to features [I, rows, columns, D]
      in the compute dtype. Its layers: pixels, preprocessing, backbone.

    Raises:
      UserError: an unknown encoder, layer or mode, weights that are not available, an image size
        that does not fit, an output that is not a grid of features.
    """
    config = resolve_encoder(config)
    network = _network(config, image_size)
    backbone = networks.cut_at(network, config.encoder_layer)
    preprocesses = any(isinstance(layer, Preprocessing) for _, layer in networks.walk(backbone))
    if preprocesses and config.preprocessing != "none":
        raise UserError(
            f"--encoder={config.encoder}: preprocesses by itself: add --preprocessing=none"
        )
    pixels = keras.Input((image_size, image_size, 3), dtype="float32", name="pixels")
    preprocessed = Preprocessing(config.preprocessing, name="preprocessing")(pixels)
    try:
        made_for = backbone.input_shape[1:]
        if made_for not in ((image_size, image_size, 3), (None, None, 3)):
            resized = networks.at_image_size(backbone, image_size)
            # A shape that is fixed within the network is met in a pass, not when layers are joined.
            resized(tf.zeros([1, image_size, image_size, 3]))
            backbone = resized
            print(
                f"--encoder={config.encoder}: was made for images of {made_for[0]} x "
                f"{made_for[1]} pixels, and gets --image_size={image_size}"
            )
        features = backbone(preprocessed)
    except (ValueError, tf.errors.InvalidArgumentError):
        raise UserError(
            f"--image_size={image_size}: does not fit --encoder={config.encoder}, "
            f"{_what_fits(backbone.input_shape)}"
        ) from None
    encoder = keras.Model(pixels, features, name="encoder")
    named = f" --encoder_layer={config.encoder_layer}" if config.encoder_layer else ""
    grids = ", ".join(networks.grids(network)) or "this network has none"
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
    for _, layer in networks.walk(encoder):
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
    encoder = networks.load_model(path, str(path), "put the file back that belongs to the run")
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
    layers = [*networks.walk(encoder.layers[-1])]
    names = ["all", *(path for path, _ in layers)]
    if first and first not in names:
        raise UserError(
            f"--finetune_from={first}: no such layer; {networks.suggestions(first, names)}"
        )
    encoder.trainable = bool(first)
    is_frozen = first != "all"
    for path, layer in layers:
        is_frozen = is_frozen and path != first
        if networks.is_graph(layer):
            continue  # if it were frozen, the layers in it would be
        layer.trainable = not is_frozen
        if is_frozen and isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0
    if first and not encoder.trainable_weights:
        raise UserError(f"--finetune_from={first}: no weights from there on; name an earlier layer")


def _at_precision(encoder: keras.Model, config: EncoderConfig) -> keras.Model:
    frozen = networks.POLICIES[config.encoder_precision]
    policy = keras.config.dtype_policy().name if config.finetune_from else frozen
    return networks.with_policy(encoder, policy)


def _name(config: EncoderConfig) -> str:
    """Return the normalised name of an encoder; "" of a file."""
    if config.encoder.endswith(".keras"):
        return ""
    name = networks.normalized_name(config.encoder)
    known = sorted({*networks.applications(), *_DEFAULT_LAYERS})
    if name not in known:
        raise UserError(
            f"--encoder={config.encoder}: no such encoder; {networks.suggestions(name, known)}, "
            "or the path of a .keras file"
        )
    return name


def _network(config: EncoderConfig, image_size: int) -> keras.Model:
    """Return the whole network with its weights."""
    weights = config.encoder_weights
    if name := _name(config):
        network = _named_network(name, config, image_size)
    elif weights == "none":
        raise UserError("--encoder_weights=none: a .keras file brings its own; leave it out")
    else:
        remedy = f"save it again by Keras {keras.__version__}"
        network = networks.load_model(config.encoder, f"--encoder={config.encoder}", remedy)
    if weights not in ("imagenet", "none"):
        networks.load_weights(network, weights)
    return network


def _named_network(name: str, config: EncoderConfig, image_size: int) -> keras.Model:
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
    if len(shape) != 4:
        return f"which takes {shape}, not images"
    _, rows, columns, channels = shape
    if channels != 3:
        return f"which does not take RGB images (channels: {channels})"
    if not (rows and columns):
        return "whose layers need larger images: give a larger --image_size"
    advice = f"give --image_size={rows}" if rows == columns else "images are made square here"
    return f"which takes images of {rows} x {columns} pixels: {advice}"


def _check_grid(encoder: keras.Model, where: str, advice: str = "") -> None:
    shape = encoder.output_shape
    if not isinstance(shape, tuple) or len(shape) != 4 or not all(shape[1:]):
        raise UserError(
            f"{where}: gives {shape}, but features need [images, rows, columns, channels]{advice}"
        )


def _without_names(config: Any, layers: dict[str, str]) -> Any:
    """Return `config` with numbers in place of layer names, without `trainable`."""
    if isinstance(config, dict):
        kept = config.keys() - {"trainable"}
        return {key: _without_names(config[key], layers) for key in kept}
    if isinstance(config, list | tuple):
        return [_without_names(value, layers) for value in config]
    return layers.get(config, config) if isinstance(config, str) else config


def cache_folder(config: Config, fingerprint: str) -> Path:
    """Return the folder of the cached features of an encoder at an image size."""
    return Path(config.encoder.cache_dir) / f"encoder-{fingerprint[:16]}"


def feature_source(
    encoder: keras.Model, records: Sequence[Record], config: Config, workers: Workers = ALONE
) -> ImageSource:
    """Fill the feature cache of a split's images and return it as a source of batches.

    With `--nocache_features` nothing is encoded: batches will hold images. `workers` all call this
    function, and encode together.
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
