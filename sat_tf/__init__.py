"""Show, Attend and Tell in TensorFlow and Keras: image captions with visual attention.

    import sat_tf

    captioner = sat_tf.Captioner.load("runs/flickr8k_soft")
    for caption in captioner.caption(["a.jpg", "b.png"]):
        print(caption)

Shapes, in docstrings and comments:

| letter | counts                                                       |
|--------|--------------------------------------------------------------|
| B      | captions in a batch                                          |
| I      | images in a batch, each once for all its captions            |
| T      | decoding steps                                               |
| L      | locations, the cells of the encoder's grid, row by row       |
| D      | feature size                                                 |
| H      | hidden size of the decoder                                   |
| E      | embedding size of a word                                     |
| A      | attention size                                               |
| V      | vocabulary size, padding, end and unknown included           |
| K      | beams                                                        |
| S      | side of the square image given to the encoder, pixels        |
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sat_tf.captioner import Captioner
    from sat_tf.model.caption_model import CaptionModel
    from sat_tf.model.losses import CaptionLoss

__all__ = ["CaptionLoss", "CaptionModel", "Captioner", "__version__"]
__version__ = "0.1.0"


# Imported on first access: they import TensorFlow, for which `--help` must not wait. Keras finds
# the classes of a saved model after `sat_tf.CaptionModel` was accessed.
_MODULES = {
    "CaptionLoss": "sat_tf.model.losses",
    "CaptionModel": "sat_tf.model.caption_model",
    "Captioner": "sat_tf.captioner",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
