"""Encoders: what they give, what of them is trained, what they reject."""

import struct
import sys
import zipfile

import keras
import numpy as np
import pytest

from sat_tf.config import EncoderConfig, ImageConfig
from sat_tf.errors import UserError
from sat_tf.model import networks
from sat_tf.model.encoder import (
    Preprocessing,
    build_encoder,
    encoder_fingerprint,
    load_encoder,
    resolve_encoder,
    save_encoder,
)
from sat_tf.model.networks import precision

SIZE = 32
IMAGES = ImageConfig(image_size=SIZE)


def settings(encoder="slim_vgg16", **kwargs) -> EncoderConfig:
    file = encoder.endswith(".keras")
    defaults = {"encoder_weights": "imagenet" if file else "none", "encoder_width": 0.05}
    return EncoderConfig(encoder=encoder, **defaults | kwargs)


def pixels(count: int = 2, size: int = SIZE) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, (count, size, size, 3)).astype(np.float32)


@pytest.fixture(autouse=True)
def seed():
    keras.utils.set_random_seed(7)


@pytest.fixture(scope="module")
def slim() -> keras.Model:
    return networks.slim_vgg16(SIZE, 0.05)


@pytest.fixture(scope="module")
def own_file(tmp_path_factory) -> str:
    """A small network of the user's with batch normalisation and dropout."""
    inputs = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Conv2D(4, 3, strides=4, name="first")(inputs)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.Dropout(0.5, name="drop")(x)
    x = keras.layers.Conv2D(6, 1, name="last")(x)
    path = str(tmp_path_factory.mktemp("own") / "own.keras")
    keras.Model(inputs, x).save(path)
    return path


@pytest.mark.parametrize("name", sorted(networks.applications()))
def test_every_application_gets_the_pixels_it_was_trained_on(name):
    mode = resolve_encoder(settings(name)).preprocessing
    own = sys.modules[networks.applications()[name].__module__].preprocess_input
    np.testing.assert_allclose(Preprocessing(mode)(pixels()), own(pixels()), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("vgg16", "block5_conv3"),
        ("VGG_19", "block5_conv4"),
        ("Slim-VGG16", "block5_conv3"),
        ("ResNet50", ""),
    ],
)
def test_layers_are_resolved_under_any_spelling(name, layer):
    resolved = resolve_encoder(settings(name))
    assert (resolved.encoder_layer, resolved.preprocessing) == (layer, "caffe")
    assert resolve_encoder(resolved) == resolved


def test_what_is_given_is_not_replaced():
    given = settings("vgg16", encoder_layer="block4_conv1", preprocessing="tf")
    assert resolve_encoder(given) == given


def test_vgg16_is_keras_own_behind_its_own_preprocessing():
    encoder = build_encoder(settings("vgg16"), SIZE)
    assert encoder.output_shape == (None, 2, 2, 512)
    network = keras.applications.VGG16(include_top=False, weights=None, input_shape=(SIZE, SIZE, 3))
    weights = encoder.get_layer("backbone").get_weights()
    network.set_weights(weights)
    cut = keras.Model(network.input, network.get_layer("block5_conv3").output)
    want = cut(keras.applications.vgg16.preprocess_input(pixels()))
    np.testing.assert_allclose(encoder(pixels()), want, rtol=1e-5, atol=1e-5)


def test_another_application_gives_its_output():
    encoder = build_encoder(settings("MobileNet"), SIZE)
    assert encoder.output_shape == (None, 1, 1, 1024)


def test_slim_vgg16_keeps_vgg16s_layers_with_fewer_channels():
    encoder = build_encoder(settings(encoder_width=0.25), 64)
    names = [layer.name for layer in encoder.get_layer("backbone").layers if layer.weights]
    vgg16 = keras.applications.VGG16(include_top=False, weights=None)
    assert names == [layer.name for layer in vgg16.layers if layer.weights]
    assert encoder.output_shape == (None, 4, 4, 128)
    kernels = [w.shape for w in encoder.weights if w.name == "kernel"]
    wide = [w.shape for w in vgg16.weights if w.name == "kernel"]
    assert [k[-1] * 4 for k in kernels] == [k[-1] for k in wide]


def test_slim_vgg16_is_cut_after_normalisation_and_relu():
    encoder = build_encoder(settings(encoder_layer="block4_conv3", finetune_from="all"), SIZE)
    values = np.asarray(encoder(pixels(8), training=True))
    assert values.shape == (8, 4, 4, 26)
    assert values.min() == 0
    # Normalised over the batch, about half of each channel lies above zero.
    assert 0.3 < (values > 0).mean() < 0.7


def test_random_weights_come_from_the_seed():
    first = build_encoder(settings(), SIZE).get_weights()
    keras.utils.set_random_seed(7)
    again = build_encoder(settings(), SIZE).get_weights()
    other = build_encoder(settings(), SIZE).get_weights()
    assert all(map(np.array_equal, first, again))
    assert not all(map(np.array_equal, first, other))


def test_preprocessing_does_not_round_under_bfloat16():
    encoder = build_encoder(settings(encoder_precision="bfloat16"), SIZE)
    preprocessed = encoder.get_layer("preprocessing")(pixels())
    want = keras.applications.vgg16.preprocess_input(pixels())
    np.testing.assert_allclose(preprocessed, want, rtol=1e-5, atol=1e-4)
    assert keras.backend.standardize_dtype(encoder(pixels()).dtype) == "bfloat16"
    assert {weight.dtype for weight in encoder.weights} == {"float32"}


@pytest.mark.parametrize("kind", ["slim_vgg16", "file"])
def test_a_frozen_encoder_has_its_own_precision_and_a_trained_one_that_of_training(
    tmp_path, own_file, kind
):
    encoder, layer = (own_file, "") if kind == "file" else (kind, "block1_conv2")
    dtypes = {}
    for finetune_from, encoder_precision in (("", "float32"), ("", "bfloat16"), ("all", "float32")):
        given = settings(
            encoder,
            encoder_layer=layer,
            finetune_from=finetune_from,
            encoder_precision=encoder_precision,
        )
        with precision("float16"):
            built = build_encoder(given, SIZE)
            save_encoder(built, tmp_path / "encoder.keras")
            loaded = load_encoder(tmp_path / "encoder.keras", given, SIZE)
        finished = load_encoder(tmp_path / "encoder.keras", given, SIZE)
        dtypes[finetune_from, encoder_precision] = [
            keras.backend.standardize_dtype(model(pixels()).dtype)
            for model in (built, loaded, finished)
        ]
        assert {weight.dtype for weight in loaded.weights} == {"float32"}
        for weight, other in zip(built.get_weights(), finished.get_weights(), strict=True):
            np.testing.assert_array_equal(weight, other)
    assert dtypes == {
        ("", "float32"): ["float32"] * 3,
        ("", "bfloat16"): ["bfloat16"] * 3,
        ("all", "float32"): ["float16", "float16", "float32"],
    }


def test_features_in_bfloat16_are_close_to_those_in_float32(own_file):
    exact, rounded = (
        np.asarray(build_encoder(settings(own_file, encoder_precision=name), SIZE)(pixels()))
        for name in ("float32", "bfloat16")
    )
    assert not np.array_equal(rounded, exact)
    np.testing.assert_allclose(rounded.astype(np.float32), exact, atol=0.03 * np.abs(exact).max())


def test_an_unknown_preprocessing_is_refused():
    with pytest.raises(ValueError, match="caffe, tf, torch, none"):
        Preprocessing("vgg")


def test_a_frozen_encoder_is_the_same_in_training(own_file):
    encoder = build_encoder(settings(own_file), SIZE)
    assert not encoder.trainable
    assert not encoder.trainable_weights
    np.testing.assert_array_equal(encoder(pixels(), training=True), encoder(pixels()))


def test_a_trained_encoder_normalises_and_drops_out(own_file):
    encoder = build_encoder(settings(own_file, finetune_from="all"), SIZE)
    assert not np.allclose(encoder(pixels(), training=True), encoder(pixels()))
    assert len(encoder.trainable_weights) == 6


@pytest.mark.parametrize(
    ("encoder", "first", "trained"),
    [
        ("slim_vgg16", "block5_conv2", {"block5_conv2", "block5_conv3"}),
        ("slim_vgg16", "block4_pool", {"block5_conv1", "block5_conv2", "block5_conv3"}),
        ("vgg16", "block5_conv3", {"block5_conv3"}),
        ("slim_vgg16", "", set()),
    ],
)
def test_layers_are_trained_from_the_one_named_on_also_after_loading(
    tmp_path, encoder, first, trained
):
    given = settings(encoder, finetune_from=first)
    encoder = build_encoder(given, SIZE)
    save_encoder(encoder, tmp_path / "encoder.keras")
    loaded = load_encoder(tmp_path / "encoder.keras", given, SIZE)
    for model in (encoder, loaded):
        assert {
            w.path.split("/")[-3 if "/norm" in w.path or "/conv" in w.path else -2]
            for w in model.trainable_weights
        } == trained
    np.testing.assert_array_equal(loaded(pixels(), training=True), encoder(pixels(), training=True))


def test_a_file_is_cut_at_its_output_or_at_a_layer(own_file):
    network = keras.saving.load_model(own_file)
    encoder = build_encoder(settings(own_file), SIZE)
    want = network(keras.applications.vgg16.preprocess_input(pixels()))
    np.testing.assert_allclose(encoder(pixels()), want, rtol=1e-5, atol=1e-5)
    assert build_encoder(settings(own_file, encoder_layer="first"), SIZE).output_shape[-1] == 4


def test_a_sequential_file_is_cut_as_well(tmp_path):
    layers = [keras.layers.Conv2D(3, 3, name="first"), keras.layers.Flatten()]
    keras.Sequential([keras.Input((SIZE, SIZE, 3)), *layers]).save(tmp_path / "own.keras")
    encoder = build_encoder(settings(str(tmp_path / "own.keras"), encoder_layer="first"), SIZE)
    assert encoder.output_shape == (None, 30, 30, 3)
    assert encoder(pixels()).shape == (2, 30, 30, 3)


@pytest.fixture(scope="module", params=["functional", "sequential"])
def classifier(request, tmp_path_factory) -> tuple[keras.Model, str]:
    """A network for transfer learning, and its file.

    A classifier around a base model around a stem, with preprocessing and dropout of its own.
    """
    x = inputs = keras.Input((SIZE, SIZE, 3))
    for number, filters in enumerate((4, 5)):
        x = keras.layers.Conv2D(filters, 3, strides=2, name=f"conv_{number}")(x)
    stem = keras.Model(inputs, x, name="stem")
    parts = [stem, keras.layers.Dropout(0.5), keras.layers.Conv2D(6, 1, name="last")]
    if request.param == "sequential":
        base = keras.Sequential([keras.Input((SIZE, SIZE, 3)), *parts], name="base")
    else:
        x = inputs = keras.Input((SIZE, SIZE, 3))
        for part in parts:
            x = part(x)
        base = keras.Model(inputs, x, name="base")
    parts = [
        keras.layers.Rescaling(1 / 127.5, offset=-1),
        base,
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(3, name="classes"),
    ]
    if request.param == "sequential":
        network = keras.Sequential([keras.Input((SIZE, SIZE, 3)), *parts])
    else:
        x = inputs = keras.Input((SIZE, SIZE, 3))
        for part in parts:
            x = part(x)
        network = keras.Model(inputs, x)
    path = tmp_path_factory.mktemp("classifier") / "classifier.keras"
    network.save(path)
    return network, str(path)


@pytest.mark.parametrize(
    ("layer", "of_base"),
    [
        ("base", lambda base: base),
        ("base/last", lambda base: base),
        ("base/stem", lambda base: base.get_layer("stem")),
        ("base/stem/conv_0", lambda base: base.get_layer("stem").get_layer("conv_0")),
    ],
)
def test_a_model_in_a_network_and_its_layers_are_cut_at(tmp_path, classifier, layer, of_base):
    network, path = classifier
    given = settings(path, encoder_layer=layer, preprocessing="none")
    encoder = build_encoder(given, SIZE)
    want = of_base(network.get_layer("base"))(pixels() / 127.5 - 1)  # preprocessed by itself
    np.testing.assert_allclose(encoder(pixels(), training=True), want, rtol=1e-5, atol=1e-5)
    save_encoder(encoder, tmp_path / "encoder.keras")
    loaded = load_encoder(tmp_path / "encoder.keras", given, SIZE)
    np.testing.assert_array_equal(loaded(pixels()), encoder(pixels()))
    again = build_encoder(given, SIZE)
    fingerprints = {encoder_fingerprint(e, IMAGES) for e in (encoder, loaded, again)}
    assert len(fingerprints) == 1


def test_a_pooled_output_is_refused_with_the_layers_that_can_be_used(classifier):
    for flawed in ({}, {"encoder_layer": "classes"}):
        given = settings(classifier[1], preprocessing="none", **flawed)
        with pytest.raises(UserError) as error:
            build_encoder(given, SIZE)
        message, _, listed = str(error.value).partition("--encoder_layer: ")
        assert "(None, 3)" in message
        paths = {*listed.split(", ")}
        assert paths >= {"base", "base/stem", "base/stem/conv_0", "base/stem/conv_1", "base/last"}
        assert not {"classes", "global_average_pooling2d"} & paths


def test_a_layer_of_a_model_in_a_network_is_suggested_with_its_path(classifier):
    given = settings(classifier[1], encoder_layer="conv_1")
    with pytest.raises(UserError, match="did you mean base/stem/conv_1"):
        build_encoder(given, SIZE)


@pytest.mark.parametrize(
    ("first", "trained"),
    [
        ("base/stem/conv_1", {"conv_1", "last"}),
        ("base/stem", {"conv_0", "conv_1", "last"}),
        ("base/last", {"last"}),
        ("base", {"conv_0", "conv_1", "last"}),
    ],
)
def test_layers_of_a_model_in_a_network_are_trained(tmp_path, classifier, first, trained):
    given = settings(classifier[1], encoder_layer="base", finetune_from=first)
    encoder = build_encoder(given, SIZE)
    save_encoder(encoder, tmp_path / "encoder.keras")
    for model in (encoder, load_encoder(tmp_path / "encoder.keras", given, SIZE)):
        assert {weight.path.split("/")[-2] for weight in model.trainable_weights} == trained
        base = model.layers[-1].get_layer("base")
        assert len(base.trainable_weights) == len(model.trainable_weights)
    drops_out = not np.allclose(encoder(pixels(), training=True), encoder(pixels()))
    assert drops_out == (first != "base/last")  # dropout comes before the last layer


def test_a_lambda_layer_is_refused_with_what_can_be_done(tmp_path):
    inputs = keras.Input((SIZE, SIZE, 3))
    halved = keras.layers.Lambda(lambda x: x / 2)(inputs)
    keras.Model(inputs, keras.layers.Conv2D(4, 3)(halved)).save(tmp_path / "lambda.keras")
    with pytest.raises(UserError, match=r"Lambda layer.*Rescaling") as error:
        build_encoder(settings(str(tmp_path / "lambda.keras")), SIZE)
    assert "safe_mode" not in str(error.value)


def test_a_layer_of_ones_own_is_refused_by_its_name(tmp_path):
    class Halved(keras.layers.Layer):
        def call(self, inputs):
            return inputs / 2

    inputs = keras.Input((SIZE, SIZE, 3))
    keras.Model(inputs, Halved()(inputs)).save(tmp_path / "own.keras")
    with pytest.raises(UserError, match="the class Halved, which is not of Keras") as error:
        build_encoder(settings(str(tmp_path / "own.keras")), SIZE)
    assert "register_keras_serializable" not in str(error.value)


@pytest.mark.parametrize("lies", [False, True])
def test_an_archive_that_unpacks_to_far_more_than_its_size_is_refused(
    tmp_path, own_file, monkeypatch, lies
):
    monkeypatch.setattr(networks, "_UNPACKED_BYTES", 2**20)
    path = tmp_path / "bomb.keras"
    with (
        zipfile.ZipFile(own_file) as own,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for name in own.namelist():
            content = own.read(name)
            bomb.writestr(name, content + bytes(2**23) if name.endswith(".h5") else content)
    build_encoder(settings(own_file), SIZE)
    message = "would unpack to 8,"
    if lies:
        # In both places that give its size; no more than that is unpacked.
        content = path.read_bytes()
        with zipfile.ZipFile(path) as bomb:
            sizes = [struct.pack("<I", member.file_size) for member in bomb.infolist()]
        largest = max(sizes, key=lambda size: struct.unpack("<I", size))
        path.write_bytes(content.replace(largest, struct.pack("<I", 1000)))
        message = "can't be read as a Keras model"
    with pytest.raises(UserError, match=message):
        build_encoder(settings(str(path)), SIZE)


def test_an_encoder_of_another_image_size_than_the_run_is_refused(tmp_path, own_file):
    save_encoder(build_encoder(settings(own_file), SIZE), tmp_path / "encoder.keras")
    with pytest.raises(UserError, match=r"encoder\.keras: takes .*--image_size=48"):
        load_encoder(tmp_path / "encoder.keras", settings(), 48)


def test_an_encoders_own_file_is_not_preprocessed_twice(tmp_path, own_file):
    first = build_encoder(settings(own_file), SIZE)
    path = str(tmp_path / "encoder.keras")
    save_encoder(first, path)
    with pytest.raises(UserError, match=r"add --preprocessing=none"):
        build_encoder(settings(path), SIZE)
    second = build_encoder(settings(path, preprocessing="none"), SIZE)
    np.testing.assert_array_equal(second(pixels()), first(pixels()))


@pytest.mark.parametrize(
    ("flawed", "message"),
    [
        ({"encoder": "vgg61"}, r"--encoder=vgg61: .*did you mean .*vgg16.*slimvgg16.*\.keras"),
        ({"encoder_layer": "block5conv3"}, r"--encoder_layer=block5conv3: .*mean block5_conv3"),
        ({"finetune_from": "block5"}, r"--finetune_from=block5: .*allowed: all, .*block5_conv3"),
        ({"encoder_layer": "block5_conv1", "finetune_from": "block5_conv2"}, "--finetune_from"),
        ({"encoder_layer": "block4_pool", "finetune_from": "block4_pool"}, "no weights from there"),
        ({"encoder_weights": "imagenet"}, "--encoder_weights=imagenet: there are none"),
        ({"encoder": "absent.keras"}, r"--encoder=absent\.keras: no such file"),
        ({"encoder_weights": "absent.h5"}, r"--encoder_weights=absent\.h5: no such file"),
    ],
)
def test_what_does_not_exist_is_named_with_what_does(slim, monkeypatch, flawed, message):
    monkeypatch.setattr(networks, "slim_vgg16", lambda *_: slim)
    with pytest.raises(UserError, match=message):
        build_encoder(settings(**flawed), SIZE)


@pytest.mark.parametrize(("encoder", "size"), [("vgg16", 20), ("slim_vgg16", 15)])
def test_too_small_an_image_is_refused(encoder, size):
    with pytest.raises(UserError, match=rf"--image_size={size}: .*--encoder={encoder} .*at least"):
        build_encoder(settings(encoder), size)


def test_convolutions_of_a_file_take_another_image_size(own_file, tmp_path, capsys):
    """Shifted by its strides, an image gives the same features, shifted."""
    small, large = (build_encoder(settings(own_file), size) for size in (SIZE, 64))
    assert (
        "was made for images of 32 x 32 pixels, and gets --image_size=64" in capsys.readouterr().out
    )
    assert large.output_shape == (None, 16, 16, 6)
    images = pixels(size=64)
    np.testing.assert_allclose(
        large(images)[:, 8:, :8], small(images[:, SIZE:, :SIZE]), rtol=1e-5, atol=1e-5
    )
    assert encoder_fingerprint(small, IMAGES) != encoder_fingerprint(large, IMAGES)
    save_encoder(large, tmp_path / "encoder.keras")
    loaded = load_encoder(tmp_path / "encoder.keras", settings(own_file), 64)
    np.testing.assert_array_equal(loaded(images), large(images))


def test_layers_of_a_model_in_a_file_take_another_image_size(own_file, tmp_path):
    inputs = keras.Input((SIZE, SIZE, 3))
    base = keras.models.load_model(own_file)
    top = keras.Sequential([base, keras.layers.Flatten(), keras.layers.Dense(2)])
    path = str(tmp_path / "classifier.keras")
    keras.Model(inputs, top(inputs)).save(path)
    layer = f"{top.name}/{base.name}/last"
    large = build_encoder(settings(path, encoder_layer=layer), 64)
    expected = build_encoder(settings(own_file), 64)
    np.testing.assert_array_equal(large(pixels(size=64)), expected(pixels(size=64)))


@pytest.mark.parametrize(
    ("shape", "message"), [((SIZE, SIZE, 1), r"RGB images \(channels: 1\)"), ((10,), "not images")]
)
def test_a_file_that_takes_no_colour_images_is_refused(tmp_path, shape, message):
    inputs = keras.Input(shape)
    layer = keras.layers.Conv2D(4, 3) if len(shape) == 3 else keras.layers.Dense(4)
    path = str(tmp_path / "other.keras")
    keras.Model(inputs, layer(inputs)).save(path)
    with pytest.raises(UserError, match=message):
        build_encoder(settings(path), SIZE)


def _quarters(images):
    """[I, 8, 8, 3] -> [4 I, 4, 4, 3] -> [I, 2, 2, 48]; of larger images the second fails."""
    return keras.ops.reshape(keras.ops.reshape(images, (-1, 4, 4, 3)), (-1, 2, 2, 48))


@pytest.mark.parametrize("fixed", [keras.layers.Reshape((4, 4, 12)), _quarters])
def test_a_file_whose_layers_fit_one_image_size_is_refused_at_others(tmp_path, fixed):
    inputs = keras.Input((8, 8, 3))
    path = str(tmp_path / "fixed.keras")
    keras.Model(inputs, fixed(inputs)).save(path)
    with pytest.raises(UserError, match=r"--image_size=12: .*takes images of 8 x 8 pixels: give"):
        build_encoder(settings(path), 12)


def test_a_file_brings_its_own_weights(own_file):
    with pytest.raises(UserError, match="--encoder_weights=none"):
        build_encoder(settings(own_file, encoder_weights="none"), SIZE)


def test_a_file_that_is_no_model_is_refused(tmp_path, own_file):
    path = tmp_path / "damaged.keras"
    with open(own_file, "rb") as file:
        path.write_bytes(file.read()[:-100])
    with pytest.raises(UserError, match=r"--encoder=.*damaged\.keras: can't be read.*cut off"):
        build_encoder(settings(str(path)), SIZE)
    with pytest.raises(UserError, match=r"damaged\.keras: can't be read"):
        load_encoder(path, settings(), SIZE)


def test_an_output_that_is_no_grid_is_refused(tmp_path):
    inputs = keras.Input((SIZE, SIZE, 3))
    keras.Model(inputs, keras.layers.Flatten()(inputs)).save(tmp_path / "flat.keras")
    with pytest.raises(UserError, match=r"\(None, 3072\).*--encoder_layer"):
        build_encoder(settings(str(tmp_path / "flat.keras")), SIZE)
    with pytest.raises(UserError, match=r"flat\.keras: gives \(None, 3072\)"):
        load_encoder(tmp_path / "flat.keras", settings(), SIZE)


def test_a_model_of_two_inputs_is_refused(tmp_path):
    inputs = [keras.Input((SIZE, SIZE, 3)) for _ in range(2)]
    keras.Model(inputs, keras.layers.Add()(inputs)).save(tmp_path / "two.keras")
    with pytest.raises(UserError, match="one input"):
        build_encoder(settings(str(tmp_path / "two.keras")), SIZE)


@pytest.mark.parametrize("kind", ["slim_vgg16", "MobileNet", "file"])
def test_fingerprint_is_the_same_for_the_same_encoder(tmp_path, own_file, kind):
    given = settings(own_file if kind == "file" else kind)
    encoder, again = build_encoder(given, SIZE), build_encoder(given, SIZE)
    again.set_weights(encoder.get_weights())
    save_encoder(encoder, tmp_path / "encoder.keras")
    loaded = load_encoder(tmp_path / "encoder.keras", given, SIZE)
    assert len({encoder_fingerprint(e, IMAGES) for e in (encoder, again, loaded)}) == 1


def test_fingerprint_does_not_ask_what_is_trained(own_file):
    encoder, trained = (
        build_encoder(settings(own_file, finetune_from=first), SIZE) for first in ("", "last")
    )
    trained.set_weights(encoder.get_weights())
    assert encoder_fingerprint(trained, IMAGES) == encoder_fingerprint(encoder, IMAGES)


def test_fingerprint_tells_apart_all_that_annotations_depend_on(own_file):
    def build(encoder=own_file, **changes):
        return build_encoder(settings(encoder, **changes), SIZE)

    encoder, changed, *others = (
        build(),
        build(),
        build(encoder_layer="first"),
        build(encoder_layer="norm"),
        build(encoder_layer="drop"),  # the same weights as norm
        build(preprocessing="none"),
        build(encoder_precision="bfloat16"),
        build("slim_vgg16"),
        build("slim_vgg16", encoder_width=0.06),
    )
    last = changed.weights[-1]
    last.assign_add(keras.ops.full(last.shape, 1e-3))
    variants = [
        *(encoder_fingerprint(each, IMAGES) for each in (encoder, changed, *others)),
        *(
            encoder_fingerprint(encoder, ImageConfig(**{"image_size": SIZE, **changes}))
            for changes in ({"resize": "stretch"}, {"shorter_side": 300}, {"image_size": SIZE + 16})
        ),
    ]
    assert len(set(variants)) == len(variants)
