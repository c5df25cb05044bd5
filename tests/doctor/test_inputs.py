"""Checks of a run's parts, each with a planted fault."""

import dataclasses
import shutil

import keras
import numpy as np
import pytest
from planted_faults import (
    assert_fails,
    change_captions,
    change_images,
    check,
    fork,
    fork_with_images,
    load_network,
    replace_encoder,
)

from sat_tf.doctor import Status, inputs
from sat_tf.doctor.behaviour import attention
from sat_tf.doctor.run_context import RunContext
from sat_tf.model.encoder import resolve_encoder


def test_files_fails_on_weights_that_are_not_finite(context, weights):
    kernel = weights["decoder/deep_output/output_projection/kernel"]
    kernel.assign(np.nan * kernel)
    assert_fails(inputs.files(context), "decoder/deep_output/output_projection/kernel")


def test_files_fails_without_best_weights(run):
    shutil.rmtree(run / "best")
    assert_fails(check("files", run), "best: holds no checkpoint")
    (run / "metrics.jsonl").unlink()
    result = check("files", run)
    assert_fails(result, "stopped before its first validation")
    assert "resume" in result.advice


def test_dataset_fails_on_a_missing_image(context, photographs):
    with open(photographs / "captions.csv", "a") as file:
        file.write("none.png,a dog,train\n")
    changed = fork(context, data_dir=str(photographs))
    assert_fails(inputs.dataset(changed), "captions.csv:182", "none.png")


def test_vocabulary_fails_on_captions_with_other_words(context, photographs):
    change_captions(photographs, lambda captions: [c.replace("one", "patch") for c in captions])
    changed = fork(context, data_dir=str(photographs))
    assert_fails(
        inputs.vocabulary(changed),
        "1 of the run's 14 entries are missing and 1 are new: one, patch",
    )


def test_oov_rate_fails_on_words_outside_the_vocabulary(context, photographs):
    change_captions(photographs, lambda captions: [c.replace("square", "box") for c in captions])
    result = inputs.oov_rate(fork(context, data_dir=str(photographs)))
    assert_fails(result, "12.5% of train")
    assert "--vocabulary_size" in result.advice


def test_pixel_range_fails_on_images_saved_as_0_to_1(context):
    result = inputs.pixel_range(change_images(context, lambda pixels: pixels // 255))
    assert_fails(result, "0 to 1", "black or blank")


def test_pixel_range_fails_on_identical_images(context):
    same = change_images(context, lambda pixels: 0 * pixels + np.indices(pixels.shape[1:]).sum(0))
    assert_fails(inputs.pixel_range(same), "all images are the same")


def test_pixel_range_fails_on_another_range(squares, context, run):
    """The network takes -1 to 1 and gets 0 to 255: its features are saturated or zero."""
    result = inputs.pixel_range(replace_encoder(context, run, load_network(squares), "none"))
    assert_fails(result, "--preprocessing=none")
    assert "--preprocessing=tf" in result.advice or "--preprocessing=torch" in result.advice


@pytest.mark.parametrize(
    ("preprocessing", "failing"),
    [("tf", {"pixel_range", "channel_order"}), ("caffe", set()), ("auto", set())],
)
def test_preprocessing_of_imagenet_weights_is_known(context, preprocessing, failing):
    encoder = dataclasses.replace(
        context.config.encoder,
        encoder="vgg16",
        encoder_layer="",
        encoder_weights="imagenet",
        finetune_from="",
        preprocessing=preprocessing,
    )
    config = dataclasses.replace(context.config, encoder=resolve_encoder(encoder))
    changed = RunContext(context.workdir, config)
    changed.__dict__["train"] = context.train
    results = {name: getattr(inputs, name)(changed) for name in ("pixel_range", "channel_order")}
    assert {name for name, one in results.items() if one.status is Status.FAIL} == failing


def test_channel_order_fails_on_swapped_red_and_blue(squares, context, run):
    """The network detects red in the channel of blue."""
    network = load_network(squares)
    kernel, bias = network.get_layer("above").get_weights()
    network.get_layer("above").set_weights([kernel[:, :, ::-1], bias])
    result = inputs.channel_order(replace_encoder(context, run, network))
    assert_fails(result, "gets RGB", "100% of 64 images")


def test_channel_order_is_skipped_on_grey_images(context):
    grey = change_images(context, lambda pixels: np.repeat(pixels[..., :1], 3, axis=3))
    assert inputs.channel_order(grey).status is Status.SKIP


@pytest.mark.parametrize(
    "rearrange",
    [
        keras.layers.Permute((2, 1, 3)),
        lambda grid: keras.ops.flip(grid, axis=1),
        lambda grid: keras.ops.flip(grid, axis=2),
        # Channels first, reshaped instead of transposed.
        lambda grid: keras.layers.Reshape(grid.shape[1:])(keras.layers.Permute((3, 1, 2))(grid)),
    ],
    ids=["transposed", "upside down", "mirrored", "channels first"],
)
def test_grid_order_fails_on_a_rearranged_grid(squares, context, run, rearrange):
    network = load_network(squares)
    changed = keras.Model(network.inputs, rearrange(network.outputs[0]))
    assert_fails(inputs.grid_order(replace_encoder(context, run, changed)), "displaced")


def test_grid_order_passes_on_white_images(context):
    white = change_images(context, lambda pixels: np.where(pixels == 10, 255, pixels))
    assert inputs.grid_order(white).status is Status.PASS


def test_encoder_fails_on_other_weights(squares, context, run):
    network = load_network(squares)
    layer = network.get_layer("shades")
    layer.set_weights([1.1 * weight for weight in layer.get_weights()])
    changed = replace_encoder(context, run, network)
    assert_fails(inputs.encoder(changed), "root mean square")
    assert inputs.files(changed).status is Status.PASS


def test_encoder_fails_on_a_scale_of_zero(context, weights):
    weights["flatten_grid/scale"].assign(0.0)
    assert_fails(inputs.encoder(context), "0 when training began")


def test_feature_cache_fails_on_other_or_damaged_features(squares, context, tmp_path):
    """The features are in another order, with valid index and checksums; then they are damaged."""
    cache = tmp_path / "features"
    shutil.copytree(squares / "features", cache)
    (folder,) = cache.glob("*/train")
    (path,) = folder.glob("shard-*.npy")
    np.save(path, np.load(path)[::-1])
    result = inputs.feature_cache(fork_with_images(context, cache_dir=str(cache)))
    assert_fails(result, "other features")
    assert f"delete {folder}" in result.advice
    shard = np.load(path)
    shard["checksum"][0] += 1
    np.save(path, shard)
    result = inputs.feature_cache(fork_with_images(context, cache_dir=str(cache)))
    assert_fails(result, "features of image 0 are damaged")
    assert "run the same command" not in result.evidence
    path.write_bytes(path.read_bytes()[:-40])
    changed = fork_with_images(context, cache_dir=str(cache))
    assert_fails(inputs.feature_cache(changed), "1 of 1 shards are missing")
    # Checks that need features work without the cache.
    assert attention(changed).status is Status.PASS
    shutil.rmtree(cache)
    assert (
        inputs.feature_cache(fork_with_images(context, cache_dir=str(cache))).status is Status.SKIP
    )


def test_feature_cache_fails_on_a_replaced_image(context, photographs):
    """The image is not in the sample, and its name is the same: its size differs."""
    (photographs / "001.png").write_bytes((photographs / "002.png").read_bytes() + b" ")
    result = inputs.feature_cache(fork_with_images(context, data_dir=str(photographs)))
    assert_fails(result, "complete feature cache of other images")


def test_similarities_of_zero_features():
    assert inputs.similarities(np.zeros((3, 2, 2, 4))).tolist() == pytest.approx([1, 1, 1])
    one_hot = np.eye(3)[:, None, None]
    assert inputs.similarities(one_hot).tolist() == pytest.approx([0, 0, 0])
