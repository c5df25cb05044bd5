"""The arithmetic in which a network is built, and the size of its weights."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras

# Of each --precision: bfloat16 products with float32 weights, as training needs them.
_POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}
HALF = "bfloat16"  # the policy whose weights are bfloat16 too


@contextlib.contextmanager
def precision(name: str) -> Iterator[None]:
    """Within it layers are built for float32, or for bfloat16 with float32 weights."""
    with _policy(_POLICIES[name]):
        yield


@contextlib.contextmanager
def bfloat16_precision() -> Iterator[None]:
    """Within it layers are built with bfloat16 weights."""
    with _policy(HALF):
        yield


@contextlib.contextmanager
def _policy(name: str) -> Iterator[None]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def to_bfloat16(model: keras.Model) -> keras.Model:
    """A functional model built anew with bfloat16 weights, rounded from the model's.

    Layers that keep to float32 by themselves, as `Preprocessing` does, keep to it here.
    """
    in_bfloat16 = type(model).from_config(_with_policy(model.get_config(), HALF))
    assign_rounded(in_bfloat16, model)
    return in_bfloat16


def assign_rounded(model: keras.layers.Layer, source: keras.layers.Layer) -> None:
    """Gives a layer the weights of another of the same shape, in its own dtype."""
    for weight, value in zip(model.weights, source.weights, strict=True):
        weight.assign(keras.ops.cast(value, weight.dtype))


def _with_policy(config: Any, policy: str) -> Any:
    """A layer's configuration, and those within it, with another dtype policy."""
    if isinstance(config, dict):
        if config.get("class_name") == "DTypePolicy":
            return {**config, "config": {"name": policy}}
        return {key: _with_policy(value, policy) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return type(config)(_with_policy(value, policy) for value in config)
    return config
