"""An exported model and image files for bulk work."""

import dataclasses

import pytest


@pytest.fixture(scope="session")
def captioner(tmp_path_factory):
    """The run that is exported."""
    from exported_models import random_captioner

    return random_captioner(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="session")
def export_dir(captioner, tmp_path_factory):
    """A SavedModel with the part of the model card that bulk work reads; it is not verified."""
    from sat_tf.config import MOST_PIXELS
    from sat_tf.serving.saved_model import MODEL_CARD, write_saved_model
    from sat_tf.storage import write_json

    folder = tmp_path_factory.mktemp("exports") / "1"
    write_saved_model(captioner.runs[0], folder, MOST_PIXELS)
    settings = dataclasses.asdict(captioner.config)
    write_json(folder / MODEL_CARD, {"settings": settings})
    return folder


@pytest.fixture(scope="session")
def photographs(tmp_path_factory):
    """Ten images, of which 3 is cut off, 5 is empty and 7 is a web page; their paths."""
    import numpy as np
    import PIL.Image

    folder = tmp_path_factory.mktemp("photographs")
    random = np.random.default_rng(0)
    for number in range(10):
        pixels = random.integers(0, 255, [4, 5, 3]).astype(np.uint8)
        image = PIL.Image.fromarray(pixels).resize((50, 40))
        image.save(folder / f"{number}.jpg")
    cut = folder / "3.jpg"
    cut.write_bytes(cut.read_bytes()[:500])
    (folder / "5.jpg").write_bytes(b"")
    (folder / "7.jpg").write_text("<html></html>")
    return [str(folder / f"{number}.jpg") for number in range(10)]
