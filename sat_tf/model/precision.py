"""Dtype policies of networks, and conversion of their weights to bfloat16."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras

# Policy of each --precision; training keeps float32 weights.
_POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}


@contextlib.contextmanager
def precision(name: str) -> Iterator[None]:
    """Build layers in the context for float32, or for bfloat16 with float32 weights."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(_POLICIES[name])
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def to_bfloat16(model: keras.Model) -> keras.Model:
    """Return a copy of a functional model with its weights rounded to bfloat16.

    Layers that always compute in float32, such as `Preprocessing`, still do.
    """
    copy = type(model).from_config(_with_policy(model.get_config(), "bfloat16"))
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
