"""Settings of a run that trains in seconds, with a trainable encoder of two convolutions."""

from pathlib import Path

import keras

from sat_tf.config import Config, from_flat

IMAGE_SIZE = 48


def tiny_encoder(folder: Path) -> Path:
    """An untrained network from 48 x 48 pixels to 6 x 6 x 5, with batch normalisation."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    path = Path(folder) / "tiny_encoder.keras"
    if not path.exists():
        keras.utils.set_random_seed(0)
        layers = keras.layers
        keras.Sequential(
            [
                keras.Input((IMAGE_SIZE, IMAGE_SIZE, 3)),
                layers.Rescaling(1 / 127.5, offset=-1),
                layers.Conv2D(4, 4, strides=4, activation="relu", name="conv1"),
                layers.Conv2D(5, 2, strides=2, use_bias=False, name="conv2"),
                layers.BatchNormalization(name="norm2"),
                layers.ReLU(name="relu2"),
            ]
        ).save(path)
    return path


def tiny_config(data_dir: Path, **changes) -> Config:
    """Twelve scenes, three minibatches an epoch, two epochs; `changes` are settings by name."""
    values = {
        "dataset": "shapes",
        "data_dir": str(data_dir),
        "shapes_train": 12,
        "shapes_dev": 4,
        "shapes_test": 4,
        "shapes_size": IMAGE_SIZE,
        "image_size": IMAGE_SIZE,
        "resize": "stretch",
        "encoder": str(tiny_encoder(data_dir)),
        "preprocessing": "none",
        "finetune_from": "all",
        "cache_features": False,
        "embedding_size": 8,
        "hidden_size": 9,
        "attention_size": 7,
        "batch_size": 20,
        "batch_by": "image",
        "learning_rate": 0.01,
        "max_epochs": 2,
        "max_length": 8,
        "log_captions": 1,
        "log_attention": 0,
    }
    return from_flat({**values, **changes})
