"""Faithfulness of attention: what words lose when parts of the image are covered."""

import numpy as np
import pytest
from coloured_squares import SHADES

from sat_tf.captioner import Captioner
from sat_tf.metrics.faithfulness import FRACTIONS, ORDERS, faithfulness
from sat_tf.occlusion import Occlusion


@pytest.fixture(scope="module")
def captioner(squares):
    """Captions images of two squares in shades of red, one in each half."""
    return Captioner.load(squares / "run", beam_size=1)


@pytest.fixture(scope="module")
def images(captioner, squares):
    return [captioner.read_image(squares / f"{number}.png") for number in range(144, 152)]


@pytest.fixture
def occlusion(captioner):
    (run,) = captioner.runs
    return Occlusion(run.model, run.vocabulary, run.config.decoding)


@pytest.fixture
def measured(occlusion, captioner, images):
    """Of all images, the means over content words."""

    def measure():
        captions = [found[0] for found in captioner.caption_images(images)]
        pairs = enumerate(zip(images, captions, strict=True))
        sums = sum(occlusion.measure(image.inputs[0], caption, n) for n, (image, caption) in pairs)
        means = sums[:-1] / sums[-1]
        return dict(zip(ORDERS, means, strict=False)), dict(
            zip(ORDERS, means[len(ORDERS) :], strict=True)
        )

    return measure


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


def test_only_living_attention_is_faithful(measured, captioner):
    """With equal scores of all cells attention is dead: it is the same for every word."""
    falls, areas = measured()
    assert falls["attended"] > 0.5 + 3 * max(falls["random"], falls["least"])
    assert falls["attended"] > 0.2 + falls["average"]
    assert areas["attended"] + 0.05 < areas["random"] < areas["least"]
    score = captioner.models[0].decoder.cells[0].attention.score
    kernel = score.kernel.numpy()
    score.kernel.assign(np.zeros_like(kernel))
    try:
        falls, areas = measured()
    finally:
        score.kernel.assign(kernel)
    assert abs(falls["attended"] - falls["random"]) < 0.1
    assert areas["attended"] == pytest.approx(areas["random"], abs=0.02)


def test_areas_of_known_curves():
    flat = np.full([len(ORDERS), len(FRACTIONS)], np.log(0.5))
    found = faithfulness(np.log(0.5), flat, np.log(0.5))
    np.testing.assert_allclose(found, [0] * len(ORDERS) + [0.5] * len(ORDERS) + [1], atol=1e-12)
    # p falls in a straight line from 1 to 0, or is lost with the first tenth.
    straight = np.log(1 - np.asarray(FRACTIONS))
    lost = np.full(len(FRACTIONS), -np.inf)
    found = faithfulness(0.0, np.stack([straight, lost, straight, straight]), -np.inf)
    np.testing.assert_allclose(found[4:8], [0.5, 0.05, 0.5, 0.5], atol=1e-12)
    np.testing.assert_allclose(found[[0, 2, 3]], -np.log(0.9))
