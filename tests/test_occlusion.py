"""What covering parts of a drawn scene costs the words of the demo's model, trained for less."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from command_line import call

from sat_tf.captioner import Captioner
from sat_tf.data.images import crop_objects
from sat_tf.data.pipeline import ImageReader, image_batches, iter_batches
from sat_tf.datasets import load_splits
from sat_tf.occlusion import Occlusion

DEMO = Path(__file__).parents[1] / "experiments" / "shapes_soft.flags"
SCENES = 24

pytestmark = pytest.mark.slow  # trains for minutes


@pytest.fixture(scope="module")
def captioner(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    sizes = ["--shapes_train=3200", "--shapes_dev=40", f"--shapes_test={SCENES}"]
    places = [f"--workdir={folder / 'run'}", f"--data_dir={folder / 'data'}"]
    short = ["--max_epochs=4", "--log_attention=0"]
    trained = call("train", f"--flagfile={DEMO}", *places, *sizes, *short)
    assert trained.returncode == 0, trained.stderr
    return Captioner.load(folder / "run")


@pytest.fixture(scope="module")
def scenes(captioner):
    """Of each scene the encoder's input and the objects."""
    config = captioner.config
    records = load_splits(config.data, ("test",))["test"]
    source = ImageReader(records, config.images)
    batches = iter_batches(image_batches(len(records), source, batch_size=1), source)
    images = [batch["images"][0].numpy() for batch in batches]
    objects = [crop_objects(record.objects, config.images) for record in records]
    return list(zip(images, objects, strict=True))


@pytest.fixture
def occlusion(captioner):
    return Occlusion(captioner.models[0], captioner.vocabulary, captioner.config.decoding)


def test_covering_an_object_costs_its_noun(captioner, scenes, occlusion):
    """It costs far more than covering as many cells that are not of the object."""
    grid, random = captioner.models[0].grid, np.random.default_rng(0)
    lost = []
    captions = captioner.evaluate("test").captions
    for (image, objects), caption in zip(scenes, captions, strict=True):
        for word, seen in objects.visible_mentions(caption.words, grid).items():
            elsewhere = np.zeros(seen.cells.shape, bool)
            count = min(seen.cells.sum(), (~seen.cells).sum())
            elsewhere.flat[random.choice(np.flatnonzero(~seen.cells), count, replace=False)] = True
            masks = np.stack([np.zeros_like(elsewhere), seen.cells, elsewhere])
            whole, *covered = occlusion.log_probs(image, caption.words, masks)[:, word]
            lost.append(whole - np.array(covered))
    of_object, of_others = np.mean(lost, axis=0)
    assert len(lost) > SCENES
    assert of_object > 0.4 + 5 * max(of_others, 0)


def falls(captioner, scenes, occlusion):
    """Return what a word loses with a tenth covered: as it attends, least, random, on average."""
    pairs = enumerate(zip(scenes, captioner.evaluate("test").captions, strict=True))
    sums = sum(occlusion.measure(image, caption, n) for n, ((image, _), caption) in pairs)
    return (sums[:4] / sums[-1]).tolist()


def test_dead_attention_is_not_faithful(captioner, scenes, occlusion):
    attended, least, random, average = falls(captioner, scenes, occlusion)
    assert attended > 2 * max(least, random)
    assert attended > average
    weights = {weight.path: weight for weight in captioner.models[0].decoder.weights}
    (path,) = (path for path in weights if path.endswith("attention/score/kernel"))
    weights[path].assign(tf.zeros_like(weights[path]))  # equal scores of all cells
    attended, _, random, average = falls(captioner, scenes, occlusion)
    assert attended == pytest.approx(average, abs=1e-3)
    assert abs(attended - random) < 0.1
