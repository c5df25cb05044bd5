"""Config of a run that trains in seconds."""

from sat_tf.config import Config, from_flat


def tiny_settings(data_dir, **changes) -> Config:
    values = {
        "dataset": "shapes",
        "data_dir": str(data_dir),
        "shapes_train": 12,
        "shapes_dev": 4,
        "shapes_test": 4,
        "shapes_size": 48,
        "image_size": 48,
        "resize": "stretch",
        "encoder": "slim_vgg16",
        "encoder_width": 0.05,
        "encoder_layer": "block4_conv3",
        "encoder_weights": "none",
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
