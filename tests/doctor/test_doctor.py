"""The checks of a run, each with a planted fault; their runner and the command.

In one file, whose tests share a trained run, which pytest's processes would train once each.
"""

import dataclasses
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from coloured_squares import SHADES
from command_line import call
from planted_faults import (
    assert_fails,
    change_captions,
    change_images,
    check,
    fork,
    fork_with_images,
    load_network,
    rename_best_epoch,
    replace_encoder,
)

from sat_tf.captioner import Captioner
from sat_tf.config import Config, TrainingConfig, override
from sat_tf.doctor import CheckResult, Status, checks, fail_if, run_context
from sat_tf.doctor.__main__ import _format
from sat_tf.doctor.checks import CHECKS, run_checks
from sat_tf.doctor.run_context import RunContext
from sat_tf.metrics.faithfulness import ORDERS
from sat_tf.model.encoder import resolve_encoder
from sat_tf.occlusion import Occlusion
from sat_tf.vocabulary import END, Vocabulary

# --- What a run reads


def test_files_fails_on_weights_that_are_not_finite(context, weights):
    kernel = weights["decoder/deep_output/output_projection/kernel"]
    kernel.assign(np.nan * kernel)
    assert_fails(checks.files(context), "decoder/deep_output/output_projection/kernel")


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
    assert_fails(checks.dataset(changed), "captions.csv:182", "none.png")


def test_vocabulary_fails_on_captions_with_other_words(context, photographs):
    change_captions(photographs, lambda captions: [c.replace("one", "patch") for c in captions])
    changed = fork(context, data_dir=str(photographs))
    assert_fails(
        checks.vocabulary(changed),
        "1 of the run's 14 entries are missing and 1 are new: one, patch",
    )


def test_oov_rate_fails_on_words_outside_the_vocabulary(context, photographs):
    change_captions(photographs, lambda captions: [c.replace("square", "box") for c in captions])
    result = checks.oov_rate(fork(context, data_dir=str(photographs)))
    assert_fails(result, "12.5% of train")
    assert "smaller --min_word_count" in result.advice


def test_pixel_range_fails_on_images_saved_as_0_to_1(context):
    result = checks.pixel_range(change_images(context, lambda pixels: pixels // 255))
    assert_fails(result, "0 to 1", "black or blank")


def test_pixel_range_fails_on_identical_images(context):
    same = change_images(context, lambda pixels: 0 * pixels + np.indices(pixels.shape[1:]).sum(0))
    assert_fails(checks.pixel_range(same), "all images are the same")


def test_pixel_range_fails_on_another_range(squares, context, run):
    """The network takes -1 to 1 and gets 0 to 255: its features are saturated or zero."""
    result = checks.pixel_range(replace_encoder(context, run, load_network(squares), "none"))
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
    results = {name: getattr(checks, name)(changed) for name in ("pixel_range", "channel_order")}
    assert {name for name, one in results.items() if one.status is Status.FAIL} == failing


def test_channel_order_fails_on_swapped_red_and_blue(squares, context, run):
    """The network detects red in the channel of blue."""
    network = load_network(squares)
    kernel, bias = network.get_layer("above").get_weights()
    network.get_layer("above").set_weights([kernel[:, :, ::-1], bias])
    result = checks.channel_order(replace_encoder(context, run, network))
    assert_fails(result, "gets RGB", "100% of 64 images")


def test_channel_order_is_skipped_on_grey_images(context):
    grey = change_images(context, lambda pixels: np.repeat(pixels[..., :1], 3, axis=3))
    assert checks.channel_order(grey).status is Status.SKIP


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
    assert_fails(checks.grid_order(replace_encoder(context, run, changed)), "displaced")


def test_grid_order_passes_on_white_images(context):
    white = change_images(context, lambda pixels: np.where(pixels == 10, 255, pixels))
    assert checks.grid_order(white).status is Status.PASS


def test_encoder_fails_on_other_weights(squares, context, run):
    network = load_network(squares)
    layer = network.get_layer("shades")
    layer.set_weights([1.1 * weight for weight in layer.get_weights()])
    changed = replace_encoder(context, run, network)
    assert_fails(checks.encoder(changed), "root mean square")
    assert checks.files(changed).status is Status.PASS


def test_encoder_fails_on_a_scale_of_zero(context, weights):
    weights["flatten_grid/scale"].assign(0.0)
    assert_fails(checks.encoder(context), "0 when training began")


def test_feature_cache_fails_on_other_or_damaged_features(squares, context, tmp_path):
    """The features are in another order, with valid index and checksums; then they are damaged."""
    cache = tmp_path / "features"
    shutil.copytree(squares / "features", cache)
    (folder,) = cache.iterdir()
    (path,) = (path for path in folder.iterdir() if len(np.load(path)) > 100)  # of training
    shard = np.load(path)
    footer = path.read_bytes()[-32 * len(shard) :]

    def write(records, footer):
        with path.open("wb") as file:
            np.save(file, records)
            file.write(footer)
        return checks.feature_cache(fork_with_images(context, cache_dir=str(cache)))

    result = write(shard[::-1], footer)
    assert_fails(result, "other features")
    assert f"delete {folder}" in result.advice
    shard["checksum"][0] += 1
    result = write(shard, footer)
    assert_fails(result, "000.png are damaged")
    assert "run the same command" not in result.evidence
    assert "extract_features" in result.advice
    assert_fails(write(shard, footer[:-40]), "no features of 140 images")
    # Checks that need features work without the cache.
    changed = fork_with_images(context, cache_dir=str(cache))
    assert checks.attention(changed).status is Status.PASS
    shutil.rmtree(cache)
    assert (
        checks.feature_cache(fork_with_images(context, cache_dir=str(cache))).status is Status.SKIP
    )


def test_feature_cache_fails_on_a_replaced_image(context, photographs):
    """The image is not in the sample, and its name is the same."""
    (photographs / "001.png").write_bytes((photographs / "002.png").read_bytes() + b" ")
    result = checks.feature_cache(fork_with_images(context, data_dir=str(photographs)))
    assert_fails(result, "no features of 1 images")
    assert "001.png" in result.evidence


def test_similarities_of_zero_features():
    assert checks.similarities(np.zeros((3, 2, 2, 4))).tolist() == pytest.approx([1, 1, 1])
    one_hot = np.eye(3)[:, None, None]
    assert checks.similarities(one_hot).tolist() == pytest.approx([0, 0, 0])


# --- What it has learned


@pytest.mark.parametrize(
    ("curves", "advice"),
    [
        ({"loss": [3, 2, 1, 1.1], "perplexity": [9, 4, 4.1, 5]}, ""),
        ({"loss": [3, 2, 1, 0.5], "perplexity": [4, 3, 2, 2.7]}, "--dropout"),
        ({"loss": [3, 2, 1], "perplexity": [2, 3, 4]}, "--dropout"),
        ({"loss": [4, 3, 2, 1], "perplexity": [9, 2, 2.3, 2]}, "--dropout"),
        ({"loss": [3, 2, np.nan], "perplexity": [4, 3, 2]}, "--learning_rate"),
        ({"loss": [3, 1, 2.5], "perplexity": [4, 4, 4]}, "--learning_rate"),
        ({"loss": [6, 5, 4, 3], "perplexity": [9, 8, 7, 6]}, "--monitor=perplexity selected an"),
        ({"loss": [4, 3, 2], "perplexity": [9, 8, 7]}, "ended too early"),
        ({"loss": [4, 3, 2], "perplexity": [9, 7.2, 7]}, ""),
    ],
    ids=[
        *("correct", "overfits", "from the start", "selected late", "not finite", "diverges"),
        *("selected early", "ended early", "converged"),
    ],
)
def test_training_curves(run, curves, advice):
    entries = [
        dict(zip(curves, values, strict=True)) for values in zip(*curves.values(), strict=True)
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    rename_best_epoch(run, 3)
    result = check("training_curves", run)
    assert (result.status is Status.FAIL) == bool(advice)
    assert advice in result.advice


def test_perplexity_fails_on_changed_weights(context, weights):
    kernel = weights["decoder/deep_output/output_projection/kernel"]
    kernel.assign(0.5 * kernel)
    assert_fails(checks.perplexity(context), "when the weights were saved, after epoch 5")


def test_perplexity_of_a_sample_has_an_interval(context, monkeypatch):
    monkeypatch.setattr(run_context, "CAPTIONED", 10)
    result = checks.perplexity(fork(context))
    assert result.status is Status.PASS
    assert "on 10 validation images" in result.evidence
    assert result.values["low"] < result.values["now"] < result.values["high"]


def test_attention_fails_if_it_ignores_h(context, weights):
    kernel = weights["decoder/lstm_0/attention/query_projection/kernel"]
    kernel.assign(tf.zeros_like(kernel))
    assert_fails(checks.attention(context), "0.0 % of alpha moves to other locations with the h of")


@pytest.mark.parametrize(
    ("sensitivity", "change", "locations", "status"),
    [
        (3.0, 20.0, 9, Status.PASS),
        (0.1, 20.0, 9, Status.FAIL),
        (3.0, 0.1, 9, Status.FAIL),
        (3.0, None, 9, Status.PASS),  # captions of one word: there is no change to measure
        (None, 20.0, 9, Status.SKIP),  # a single caption
        (0.0, 0.0, 1, Status.SKIP),
    ],
)
def test_attention_must_depend_on_h_and_change(sensitivity, change, locations, status):
    scores = {"state_sensitivity": sensitivity, "attention_change": change}
    known = {name: score for name, score in scores.items() if score is not None}
    context = SimpleNamespace(
        run=SimpleNamespace(model=SimpleNamespace(num_locations=locations)),
        evaluation=SimpleNamespace(scores=known, captions=[None]),
    )
    assert checks.attention(context).status is status


def test_caption_diversity_fails_on_one_caption_for_all(context, weights):
    weights["flatten_grid/scale"].assign(1e6)
    result = checks.caption_diversity(context)
    assert_fails(result, "3% of 36 captions are distinct", "100.0%")


DIFFERENT = [f"dog {number}" for number in range(20)]


@pytest.mark.parametrize(
    ("captions", "references", "status"),
    [
        (DIFFERENT, DIFFERENT, Status.PASS),
        ([*DIFFERENT[:15], *["dog 1"] * 5], DIFFERENT, Status.FAIL),  # one is too frequent
        (["dog 1", "dog 2", "dog 3", "dog 4", "dog 5"] * 4, DIFFERENT, Status.PASS),
        ([f"dog {number // 9}" for number in range(54)], DIFFERENT, Status.FAIL),  # too few
        (["dog 1"] * 20, ["A dog."] * 20, Status.PASS),  # references are as uniform
        (["dog 1"] * 7, DIFFERENT, Status.SKIP),
    ],
)
def test_caption_diversity_is_relative_to_references(captions, references, status):
    evaluation = SimpleNamespace(
        captions=[SimpleNamespace(text=text) for text in captions],
        records=[SimpleNamespace(captions=(text,)) for text in references],
    )
    context = SimpleNamespace(evaluation=evaluation)
    assert checks.caption_diversity(context).status is status


def test_truncation_fails_if_captions_do_not_end(context, weights):
    bias = weights["decoder/deep_output/output_projection/bias"]
    bias.assign(bias - 1e3 * tf.one_hot(END, bias.shape[0]))
    assert_fails(checks.truncation(context), "100.0% are truncated at --max_length=12")


def test_truncation_fails_if_max_length_is_too_small(context):
    shorter = fork(context, max_length=7)
    del shorter.__dict__["_evaluator"]
    assert shorter._evaluator._decoding.max_length == 7
    captions = [
        dataclasses.replace(one, words=one.words[:7], log_probs=one.log_probs[:7])
        for one in context.evaluation.captions
    ]
    shorter.__dict__["evaluation"] = SimpleNamespace(captions=captions)
    result = checks.truncation(shorter)
    assert_fails(result, "truncated at --max_length=7", "100.0% are longer")
    assert result.values["truncated"] > 0.5


def test_truncation_fails_if_training_leaves_captions_out(context, monkeypatch):
    data = dataclasses.replace(context.config.data, max_caption_words=7)
    monkeypatch.setattr(context, "config", dataclasses.replace(context.config, data=data))
    result = checks.truncation(context)
    assert_fails(result, "100.0% left out by --max_caption_words=7")
    assert result.values["truncated"] == 0


def test_alignment_fails_on_captions_shifted_by_a_line(context, photographs):
    change_captions(photographs, lambda captions: captions[1:] + captions[:1])
    result = checks.alignment(fork_with_images(context, data_dir=str(photographs)))
    assert_fails(result, "of train", "dev")


@pytest.mark.parametrize("shifted", [False, True])
def test_alignment_fails_if_the_last_caption_of_each_image_is_shifted(
    context, photographs, shifted
):
    path = photographs / "captions.csv"
    head, *rows = path.read_text().splitlines()
    names, captions, splits = zip(*(row.split(",") for row in rows), strict=True)
    last = captions[1:] + captions[:1] if shifted else captions
    each = zip(names, captions, captions, last, splits, strict=True)
    lines = [f"{name},{one},{split}" for name, *three, split in each for one in three]
    path.write_text("\n".join([head, *lines]))
    result = checks.alignment(fork_with_images(context, data_dir=str(photographs)))
    assert max(result.values["train"], result.values["dev"]) < 0.25
    if shifted:
        assert_fails(result, "of caption 3 of each image alone")
    else:
        assert result.status is Status.PASS


def test_own_ranks_ignore_how_likely_a_caption_is_in_itself():
    fits = np.array([[3.0, 0, 0], [0, 3, 0], [0, 0, 3]])
    assert checks.own_ranks(fits).tolist() == [0, 0, 0]
    assert checks.own_ranks(fits + np.array([0, -100, 50])).tolist() == [0, 0, 0]
    assert checks.own_ranks(-fits).tolist() == [1, 1, 1]


def test_own_ranks_count_ties_half():
    assert checks.own_ranks(np.zeros((5, 5))).tolist() == [0.5] * 5
    ties = np.array([[1.0, 1, -2], [1, 1, -2], [-2, -2, 4]])
    assert checks.own_ranks(ties).tolist() == [0.25, 0.25, 0]


def test_own_ranks_of_random_captions_average_one_half():
    log_p = np.random.default_rng(0).normal(size=(64, 64)) + 9 * np.eye(64)
    assert checks.own_ranks(log_p).mean() < 0.01
    shifted = np.roll(log_p, 1, axis=1)
    assert checks.own_ranks(shifted).mean() == pytest.approx(0.5, abs=0.1)


def test_overfit_batch_fails_on_two_images_with_equal_features(context, photographs, monkeypatch):
    """One bit, over eight words, is less than the limit per word: that per caption fails."""
    monkeypatch.setattr(checks, "_OVERFIT_STEPS", 150)  # enough, as the last line shows
    path = photographs / "captions.csv"
    head, *rows = path.read_text().splitlines()
    path.write_text("\n".join([head, rows[0], rows[143], rows[-1]]))
    changed = fork_with_images(context, data_dir=str(photographs))
    changed.train.features[1] = changed.train.features[0]
    result = checks.overfit_batch(changed)
    assert_fails(result, "per caption on 2 training captions (0.7 if")
    assert result.values["nats_per_word"] < 0.1


def test_captions_that_are_certain_but_for_each_word_are_not_memorised():
    assert checks._is_memorised(16, 0.09, 1.3)
    assert not checks._is_memorised(16, 0.11, 1.3)
    assert not checks._is_memorised(16, 0.09, 1.4)


# --- What covering parts of an image reveals


@pytest.fixture(scope="module")
def captioner(context):
    """Captions images of two squares in shades of red, one in each half."""
    decoding = dataclasses.replace(context.config.decoding, beam_size=1)
    return Captioner(
        context.run._replace(config=dataclasses.replace(context.config, decoding=decoding))
    )


@pytest.fixture(scope="module")
def images(captioner, squares):
    return [captioner.read_image(squares / f"{number}.png") for number in range(144, 152)]


@pytest.fixture(scope="module")
def occlusion(captioner):
    return Occlusion(captioner.models[0], captioner.vocabulary, captioner.config.decoding)


def measure(occlusion, captioner, images):
    """Return falls and areas by order, means over the content words of all images."""
    captions = [found[0] for found in captioner.caption_images(images)]
    pairs = enumerate(zip(images, captions, strict=True))
    sums = sum(occlusion.measure(image.inputs[0], caption, n) for n, (image, caption) in pairs)
    means = sums[:-1] / sums[-1]
    return dict(zip(ORDERS, means, strict=False)), dict(
        zip(ORDERS, means[len(ORDERS) :], strict=True)
    )


def test_covering_a_square_costs_its_shade_alone(captioner, occlusion, images):
    """The shade of a square is named in the half of the caption that is about it."""
    lost = np.zeros([2, 2])
    for image in images:
        (found,) = captioner.caption_images([image])
        first, second = (n for n, word in enumerate(found[0].words) if word in SHADES)
        halves = np.zeros([3, 8, 8], bool)
        halves[1, :, :4] = halves[2, :, 4:] = True
        log_probs = occlusion.log_probs(image.inputs[0], found[0].words, halves)
        lost += log_probs[0, [first, second]] - log_probs[1:, [first, second]]
    lost /= len(images)  # [covered half, word]
    assert min(lost[0, 0], lost[1, 1]) > 2
    assert lost[0, 0] > 3 * lost[1, 0]
    assert lost[1, 1] > 3 * lost[0, 1]


def test_nothing_covered_is_the_image_itself(captioner, occlusion, images):
    (image, *_), text = images, "a dark square and then a dim one"
    (expected,) = captioner.score_text([image], text)
    found = occlusion.log_probs(image.inputs[0], text.split(), np.zeros([1, 8, 8], bool))
    np.testing.assert_allclose(found[0], expected.log_probs[:-1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("text", ["", "there is a"])
def test_a_caption_without_content_words_costs_nothing(captioner, occlusion, images, text):
    """A model that has learned nothing yet gives such captions."""
    words = tuple(text.split())
    (caption,) = captioner.score_text(images[:1], "a square")
    caption = dataclasses.replace(caption, words=words)
    assert not occlusion.measure(images[0].inputs[0], caption, 0).any()


def test_only_living_attention_is_faithful(occlusion, captioner, images, weights):
    """With equal scores of all cells attention is dead: it is the same for every word."""
    falls, areas = measure(occlusion, captioner, images)
    assert falls["attended"] > 0.5 + 3 * max(falls["random"], falls["least"])
    assert falls["attended"] > 0.2 + falls["average"]
    assert areas["attended"] + 0.05 < areas["random"] < areas["least"]
    kernel = weights["decoder/lstm_0/attention/score/kernel"]
    kernel.assign(tf.zeros_like(kernel))
    falls, areas = measure(occlusion, captioner, images)
    assert falls["attended"] == pytest.approx(falls["average"])
    assert abs(falls["attended"] - falls["random"]) < 0.1
    assert areas["attended"] == pytest.approx(areas["random"], abs=0.02)


def test_attention_maps_fails_if_words_do_not_depend_on_them(context, weights):
    kernel = weights["decoder/lstm_0/attention/score/kernel"]
    kernel.assign(tf.zeros_like(kernel))
    result = checks.attention_maps(context)
    assert_fails(result, "entropy of alpha 100 %")
    assert result.values["fall_attended"] == pytest.approx(result.values["fall_average"])


@pytest.mark.parametrize(
    ("entropy", "falls", "status"),
    [
        (80.0, (0.2, 0.1), Status.PASS),
        (97.0, (0.2, 0.1), Status.FAIL),
        (80.0, (0.1, 0.1), Status.FAIL),
        (80.0, (0.0, 0.0), Status.FAIL),
    ],
)
def test_attention_maps_must_be_focused_and_matter(entropy, falls, status):
    context = SimpleNamespace(
        run=SimpleNamespace(model=SimpleNamespace(num_locations=9)),
        evaluation=SimpleNamespace(scores={"attention_entropy": entropy}),
        falls=falls,
        config=Config(),
    )
    assert checks.attention_maps(context).status is status


def test_attention_maps_advises_no_weight_that_the_run_has():
    for weight, is_advised in ((0.33, True), (0.0, False)):
        context = SimpleNamespace(
            run=SimpleNamespace(model=SimpleNamespace(num_locations=9)),
            evaluation=SimpleNamespace(scores={"attention_entropy": 97.0}),
            falls=(0.2, 0.1),
            config=Config(training=TrainingConfig(doubly_stochastic_weight=weight)),
        )
        advice = checks.attention_maps(context).advice
        assert ("--doubly_stochastic_weight=0" in advice) is is_advised
        assert "Train again with " in advice


def test_evidence_is_printed_line_by_line_without_control_characters():
    result = CheckResult(Status.FAIL, "2 problems\na\x1b[2J.jpg: is empty", "repair them")
    indent = " " * 20
    assert _format("dataset", result) == (
        "dataset             FAIL: 2 problems\n"
        f"{indent}a\\x1b[2J.jpg: is empty\n"
        f"{indent}-> repair them"
    )


def test_an_error_of_the_file_system_is_named_by_its_file(run, monkeypatch):
    monkeypatch.setattr(checks, "CHECKS", {"training_curves": checks.training_curves})
    (run / "metrics.jsonl").unlink()
    (run / "metrics.jsonl").mkdir()
    results = dict(run_checks(RunContext(run, Config.load(run))))
    assert results["training_curves"].evidence == f"{run / 'metrics.jsonl'}: Is a directory"


def test_advice_on_a_data_set_is_a_command_with_its_flags(run, tmp_path):
    gone = override(Config.load(run), data_dir=str(tmp_path / "gone"))
    result = checks.dataset(RunContext(run, gone))
    assert_fails(result, "no such folder")
    assert f"check_captions --dataset=files --data_dir={tmp_path}/gone lists" in result.advice


# --- The runner and the command


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_fail_if_fails_on_values_that_are_not_finite(value):
    result = fail_if(False, "evidence", "advice", {"share": value, "other": 1.0})
    assert result.status is Status.FAIL
    assert result.values == {"share": None, "other": 1.0}


def test_checks_after_a_required_one_are_errors(run):
    path = run / "vocabulary.json"
    own = Vocabulary.load(path)
    Vocabulary((*own.words[:3], *reversed(own.words[3:])), own.counts).save(path)
    results = dict(run_checks(RunContext(run, Config.load(run))))
    assert list(results) == list(CHECKS)
    assert_fails(results.pop("files"), "another vocabulary")
    assert {result.status for result in results.values()} == {Status.ERROR}


def test_damaged_metrics_are_an_error(run, monkeypatch):
    names = ("training_curves", "perplexity")
    monkeypatch.setattr(checks, "CHECKS", {name: CHECKS[name] for name in names})
    lines = (run / "metrics.jsonl").read_text().splitlines()
    (run / "metrics.jsonl").write_text("\n".join([*lines[:3], "{}", *lines[4:]]))
    for _, result in run_checks(RunContext(run, Config.load(run))):
        assert result.status is Status.ERROR
        assert "metrics.jsonl:4: not a record" in result.evidence


def test_an_unreadable_image_is_an_error(context, photographs, monkeypatch):
    names = ("training_curves", "pixel_range")
    monkeypatch.setattr(checks, "CHECKS", {name: CHECKS[name] for name in names})
    (photographs / "000.png").write_bytes(b"no image")
    results = dict(run_checks(fork(context, data_dir=str(photographs))))
    assert results["training_curves"].status is Status.PASS
    assert results["pixel_range"].status is Status.ERROR
    assert "000.png" in results["pixel_range"].evidence


def test_checks_of_the_training_are_skipped_for_imported_runs(run):
    shutil.rmtree(run / "checkpoints")
    assert check("training_curves", run).status is Status.PASS
    (run / "metrics.jsonl").unlink()
    for name in ("training_curves", "vocabulary", "encoder", "perplexity"):
        assert check(name, run).status is Status.SKIP


def test_rates_of_few_images_are_skipped(context, photographs):
    path = photographs / "captions.csv"
    head, *rows = path.read_text().splitlines()
    path.write_text("\n".join([head, rows[0], *rows[-2:]]) + "\n")
    small = fork_with_images(context, data_dir=str(photographs), cache_dir="none")
    for name in ("channel_order", "caption_diversity", "alignment", "overfit_batch"):
        assert CHECKS[name](small).status is Status.SKIP
    for name in ("pixel_range", "grid_order", "attention"):
        assert CHECKS[name](small).status is Status.PASS


def test_command_passes_on_a_correct_run(squares, context, tmp_path, monkeypatch):
    """It checks a run that is loaded already."""

    def load(workdir, config):
        assert (Path(workdir), config) == (context.workdir, context.config)
        return context

    monkeypatch.setattr(run_context, "RunContext", load)
    output = tmp_path / "results.json"
    done = call("doctor", f"--workdir={squares / 'run'}", f"--output={output}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all checks passed" in done.stdout
    assert done.stderr == ""
    document = json.loads(output.read_text())
    assert document["passed"] is True
    assert document["config"]["decoder"]["hidden_size"] == 64
    assert {name: one["status"] for name, one in document["checks"].items()} == {
        name: "pass" for name in CHECKS
    }
    assert document["checks"]["grid_order"]["values"]["rows"] < 0.1


def test_command_fails_on_a_damaged_run(run, tmp_path):
    output = tmp_path / "results.json"
    (run / "encoder.keras").unlink()
    done = call("doctor", f"--workdir={run}", f"--output={output}")
    assert done.returncode == 1
    assert done.stderr == ""
    assert "fail: files; error: training_curves, dataset" in done.stdout
    assert "encoder.keras: no such file" in " ".join(done.stdout.split())
    document = json.loads(output.read_text())
    assert document["passed"] is False
    assert document["checks"]["files"]["advice"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--workdir must be given"),
        (["--workdir=none"], "--workdir=none: holds no run"),
        (["--workdir=A,B"], "one run"),
        (["--workdir=none", "--output=/"], "--output=/: is a folder"),
        (["--workdir=none", "--split=dev"], "split"),
    ],
)
def test_wrong_arguments_give_one_line(arguments, message, tmp_path):
    done = call("doctor", *arguments, cwd=tmp_path)
    assert done.returncode in (1, 2)
    assert done.stderr.startswith("error: ") and message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not done.stdout
