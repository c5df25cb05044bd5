"""Dtype policies: those of the settings, and networks under another one."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras

# Policy of each --precision and --encoder_precision; the weights stay float32.
POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}


@contextlib.contextmanager
def precision(name: str) -> Iterator[None]:
    """Build layers in the context under the policy of a `--precision`."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(POLICIES[name])
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def with_policy(model: keras.Model, policy: str) -> keras.Model:
    """Return a functional model under a dtype policy: itself if it has it, or else a copy.

    The weights are cast to the policy's variable dtype. Layers that always compute in float32,
    such as `Preprocessing`, still do.
    """
    config = model.get_config()
    wanted = _with_policy(config, policy)
    if wanted == config:
        return model
    copy = type(model).from_config(wanted)
    assign_rounded(copy, model)
    return copy


def assign_rounded(model: keras.layers.Layer, source: keras.layers.Layer) -> None:
    """Assign a layer the weights of another of the same shape, cast to its dtype."""
    for weight, value in zip(model.weights, source.weights, strict=True):
        weight.assign(keras.ops.cast(value, weight.dtype))


def _with_policy(config: Any, policy: str) -> Any:
    """Return a layer's configuration, and those nested in it, with another dtype policy."""
    if isinstance(config, dict):
        if config.get("class_name") == "DTypePolicy":
            return {**config, "config": {"name": policy}}
        return {key: _with_policy(value, policy) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return type(config)(_with_policy(value, policy) for value in config)
    return config
