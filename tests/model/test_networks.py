"""Networks by name, and weights from files of every layout."""

import h5py
import keras
import numpy as np
import pytest

from sat_tf.config import EncoderConfig
from sat_tf.errors import UserError
from sat_tf.model import networks
from sat_tf.model.encoder import build_encoder


def write_older_format(path, layers):
    """The layout of Keras Applications' files, from [(layer name, its arrays)]."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name, _ in layers]
        for name, arrays in layers:
            group = file.create_group(name)
            group.attrs["weight_names"] = [f"{name}_W_{i}:0".encode() for i in range(len(arrays))]
            for i, array in enumerate(arrays):
                group.create_dataset(f"{name}_W_{i}:0", data=array)


def contents(model):
    return [(layer.name, layer.get_weights()) for layer in model.layers]


@pytest.fixture
def network() -> keras.Model:
    """Some convolutions with VGG's names."""
    return small(seed=1)


def small(seed: int, names=("block1_conv1", "block1_conv2"), width=3) -> keras.Model:
    keras.utils.set_random_seed(seed)
    x = inputs = keras.Input((8, 8, 3))
    for name in names:
        x = keras.layers.Conv2D(width, 3, name=name, bias_initializer="uniform")(x)
    return keras.Model(inputs, x)


def assert_same_weights(one, other):
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_vgg16_loads_its_official_layout(tmp_path):
    official = keras.applications.VGG16(include_top=False, weights=None, input_shape=(32, 32, 3))
    path = tmp_path / "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
    write_older_format(path, contents(official))
    encoder = build_encoder(EncoderConfig(encoder="vgg16", encoder_weights=str(path)), 48)
    assert_same_weights(encoder, official)


@pytest.mark.parametrize("suffix", [".weights.h5", ".keras"])
def test_loads_the_files_that_keras_writes(tmp_path, network, suffix):
    path = tmp_path / f"network{suffix}"
    (network.save if suffix == ".keras" else network.save_weights)(path)
    other = small(seed=2)
    networks.load_weights(other, path)
    assert_same_weights(other, network)


def test_a_top_may_follow(tmp_path, network):
    path = tmp_path / "network.h5"
    top = [("flatten", []), ("predictions", [np.zeros((12, 4)), np.zeros(4)])]
    write_older_format(path, contents(network) + top)
    other = small(seed=2)
    networks.load_weights(other, path)
    assert_same_weights(other, network)


def test_layers_numbered_by_keras_are_loaded_in_order(tmp_path, network):
    path = tmp_path / "network.h5"
    write_older_format(
        path, [(f"layer_{i}", arrays) for i, (_, arrays) in enumerate(contents(network))]
    )
    other = small(seed=2)
    networks.load_weights(other, path)
    assert_same_weights(other, network)


@pytest.mark.parametrize(
    "names",
    [
        ("block1_conv1", "block1_conv1b", "block1_conv2"),  # as VGG19 has more layers than VGG16
        ("block1_conv1",),
    ],
)
def test_a_file_of_another_network_is_refused(tmp_path, network, names):
    path = tmp_path / "network.h5"
    write_older_format(path, contents(small(seed=2, names=names)))
    with pytest.raises(UserError, match=r"--encoder_weights=.*network\.h5: .*--encoder"):
        networks.load_weights(network, path)


def test_slim_vgg16_loads_its_own(tmp_path):
    one, other = (networks.slim_vgg16(32, 0.02) for _ in range(2))
    one.save_weights(tmp_path / "slim.weights.h5")
    networks.load_weights(other, tmp_path / "slim.weights.h5")
    assert_same_weights(one, other)


def test_other_widths_are_refused(tmp_path, network):
    path = tmp_path / "network.weights.h5"
    network.save_weights(path)
    with pytest.raises(UserError, match=r"network\.weights\.h5: not a whole weights file"):
        networks.load_weights(small(seed=2, width=4), path)


@pytest.mark.parametrize("name", ["network.h5", "network.weights.h5", "network.keras"])
def test_a_damaged_file_is_refused(tmp_path, network, name):
    path = tmp_path / name
    if name == "network.h5":
        write_older_format(path, contents(network))
    else:
        (network.save if name.endswith(".keras") else network.save_weights)(path)
    path.write_bytes(path.read_bytes()[:-1500])
    with pytest.raises(UserError, match="fetch the file again"):
        networks.load_weights(network, path)


def test_a_file_of_an_unknown_kind_is_refused(tmp_path, network):
    path = tmp_path / "network.pth"
    path.write_bytes(b"0")
    with pytest.raises(UserError, match=r"must end in \.weights\.h5, \.h5 or \.keras"):
        networks.load_weights(network, path)
