"""Declare settings: dataclass fields that carry all that the package needs to know of them."""

import dataclasses
import math
import reprlib
import sys
from collections.abc import Mapping
from typing import Any

from sat_tf.errors import UserError
from sat_tf.text_files import NOT_TEXT

_LARGEST_INT = 2**31 - 1  # TensorFlow's int32
_TYPES = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


class Not:
    """In `only_for`: any value but these."""

    def __init__(self, *values: Any) -> None:
        self.values = values


@dataclasses.dataclass(frozen=True)
class Setting:
    """All that is declared about one setting.

    Attributes:
      default: the value if none is given; its type is the setting's type.
      help: one sentence for `--help`.
      choices: the allowed values of a string.
      minimum: the smallest allowed number.
      maximum: the largest allowed number; of integers 2^31 - 1 if none is given.
      mutable: whether a trained run may be resumed, evaluated or exported with another value.
      defines_model: whether a run needs the value of the run that it starts from
        (`--start_from`), because the weights depend on it.
      only_for: the values that other settings need for this one to have an effect, by their names:
        `{"search": "sample"}` or `{"dataset": Not("shapes")}`. Config rejects another value than
        the default where it would have none.
      commands: the commands that work on a run and take this setting as a flag. `train`,
        `extract_features` and `check_captions` take all settings.
    """

    default: Any
    help: str
    choices: tuple[str, ...] | None = None
    minimum: float | None = None
    maximum: float | None = None
    mutable: bool = False
    defines_model: bool = False
    only_for: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    commands: tuple[str, ...] = ()

    def validated(self, name: str, value: Any) -> Any:
        """Return `value` in the setting's type.

        Raises:
          UserError: its type is another one, or it is outside the limits.
        """
        expected, maximum = type(self.default), self.maximum
        if expected is int and maximum is None:
            maximum = _LARGEST_INT
        if expected is float and type(value) is int:
            # Digits without end are JSON too.
            value = float(value) if abs(value) <= sys.float_info.max else math.inf
        if type(value) is not expected:
            shown = reprlib.repr(value)
            raise UserError(f"--{name}={shown}: must be {_TYPES[expected]}")
        if expected is str and "\0" in value:
            raise UserError(f"--{name}={value!r}: must not have a null character")
        # Only images, which are no settings, may have such names: TensorFlow opens no such file.
        if expected is str and NOT_TEXT.search(value):
            raise UserError(f"--{name}={value!r}: is not UTF-8 text: rename the file or folder")
        if self.choices is not None and value not in self.choices:
            raise UserError(f"--{name}={value}: must be one of {', '.join(self.choices)}")
        if expected is float and not math.isfinite(value):
            raise UserError(f"--{name}={value}: must be a finite number")
        if self.minimum is not None and value < self.minimum:
            raise UserError(f"--{name}={reprlib.repr(value)}: must be at least {self.minimum}")
        if maximum is not None and value > maximum:
            raise UserError(f"--{name}={reprlib.repr(value)}: must be at most {maximum}")
        return value

    @property
    def condition(self) -> str:
        """The condition of `only_for`, as sentences that follow `help`."""
        return "".join(
            f" Not for --{other}={' or '.join(map(str, wanted.values))}."
            if isinstance(wanted, Not)
            else f" For {as_flag(other, wanted)}."
            for other, wanted in self.only_for.items()
        )

    def why_without_effect(self, name: str, values: Mapping[str, Any]) -> str:
        """Return why the setting, if it is changed, has no effect; empty if it has one.

        Args:
          name: of this setting.
          values: of all settings, by name.
        """
        if values[name] == self.default:
            return ""
        for other, wanted in self.only_for.items():
            value, reason = values[other], ""
            if isinstance(wanted, Not):
                has_effect = value not in wanted.values
            else:
                has_effect = value == wanted
                reason = f"; it is for {as_flag(other, wanted)}"
            if not has_effect:
                return (
                    f"{as_flag(name, values[name])} has no effect with {as_flag(other, value)}"
                    f"{reason}"
                )
        return ""


def setting(default: Any, help: str, **declared: Any) -> Any:
    """Return a dataclass field that carries a `Setting`; its arguments are those of `Setting`."""
    metadata = {"setting": Setting(default, help, **declared)}
    return dataclasses.field(default=default, metadata=metadata)


def as_flag(name: str, value: Any) -> str:
    """Return the command-line argument that gives a setting its value."""
    return f"--{'' if value else 'no'}{name}" if isinstance(value, bool) else f"--{name}={value}"


@dataclasses.dataclass(frozen=True)
class Section:
    """Base class of the sections of a config: validates the value of each field.

    Raises:
      UserError: a value has another type than its field, or is outside its limits.
    """

    def __post_init__(self) -> None:
        for name, declared in self.settings().items():
            object.__setattr__(self, name, declared.validated(name, getattr(self, name)))

    @classmethod
    def settings(cls) -> dict[str, Setting]:
        """Return what is declared about each field, by name."""
        return {field.name: field.metadata["setting"] for field in dataclasses.fields(cls)}
