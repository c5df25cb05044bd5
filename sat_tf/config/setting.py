"""What a setting is: a dataclass field with its help and its limits, checked when made."""

import dataclasses
import math
import types
from typing import Any

from sat_tf.errors import UserError


def setting(
    default: Any,
    help: str,
    *,
    choices: tuple[str, ...] | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    mutable: bool = False,
) -> Any:
    """A dataclass field with what its flag and its check need.

    Args:
      default: the value when none is given; its type is the setting's type.
      help: one sentence for `--help`.
      choices: the allowed values of a string, if they are few.
      minimum: smallest allowed number.
      maximum: largest allowed number.
      mutable: whether a run may be resumed with another value.
    """
    metadata = {
        "help": help,
        "choices": choices,
        "minimum": minimum,
        "maximum": maximum,
        "mutable": mutable,
    }
    return dataclasses.field(default=default, metadata=types.MappingProxyType(metadata))


@dataclasses.dataclass(frozen=True)
class Checked:
    """Refuses a value outside its field's type or limits, naming the field."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            expected = type(field.default)
            if expected is float and type(value) is int:
                object.__setattr__(self, field.name, float(value))
            elif type(value) is not expected:
                raise UserError(f"--{field.name}={value!r}: must be of type {expected.__name__}")
            choices = field.metadata["choices"]
            if choices is not None and value not in choices:
                raise UserError(f"--{field.name}={value}: must be one of {', '.join(choices)}")
            if expected is float and not math.isfinite(value):
                raise UserError(f"--{field.name}={value}: must be a finite number")
            minimum, maximum = field.metadata["minimum"], field.metadata["maximum"]
            if minimum is not None and value < minimum:
                raise UserError(f"--{field.name}={value}: must be at least {minimum}")
            if maximum is not None and value > maximum:
                raise UserError(f"--{field.name}={value}: must be at most {maximum}")
