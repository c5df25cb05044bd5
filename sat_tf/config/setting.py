"""Declare settings: dataclass fields that carry all that the package needs to know of them."""

import dataclasses
import functools
import math
import reprlib
import sys
import typing
from collections.abc import Iterator, Mapping
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
      choices: the allowed values of a string; none: any. Those of a section are in the annotation
        of the field, a `Literal`.
      minimum: the smallest allowed number.
      maximum: the largest allowed number; of integers 2^31 - 1 if none is given.
      mutable: whether a trained run may be resumed, evaluated or exported with another value.
      defines_model: whether a run needs the value of the run that it starts from
        (`--start_from`), because the weights depend on it.
      only_for: the values that other settings need for this one to work, by their names:
        `{"search": "sample"}` or `{"dataset": Not("shapes")}`. Config rejects another value than
        the default where it would not.
      commands: the commands that work on a run and take this setting as a flag. `train`,
        `extract_features` and `check_captions` take all settings.
    """

    default: Any
    help: str
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    mutable: bool = False
    defines_model: bool = False
    only_for: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    commands: tuple[str, ...] = ()

    def validated(self, name: str, value: Any) -> Any:
        """Return `value` in the setting's type; raise `UserError` if it is not valid."""
        expected = type(self.default)
        maximum = _LARGEST_INT if expected is int and self.maximum is None else self.maximum
        if expected is float and type(value) is int:
            # Digits without end are JSON too.
            value = float(value) if abs(value) <= sys.float_info.max else math.inf
        problem = ""
        if type(value) is not expected:
            problem = f"must be {_TYPES[expected]}"
        elif expected is str and "\0" in value:
            problem = "must not have a null character"
        elif expected is str and NOT_TEXT.search(value):
            # Only images may have such names, which are no settings: TensorFlow opens no such file.
            problem = "is not UTF-8 text: rename the file or folder"
        elif self.choices and value not in self.choices:
            problem = f"must be one of {', '.join(self.choices)}"
        elif expected is float and not math.isfinite(value):
            problem = "must be a finite number"
        elif self.minimum is not None and value < self.minimum:
            problem = f"must be at least {self.minimum}"
        elif maximum is not None and value > maximum:
            problem = f"must be at most {maximum}"
        if problem:
            shown = repr(value) if type(value) is str else reprlib.repr(value)
            raise UserError(f"--{name}={shown}: {problem}")
        return value

    @property
    def condition(self) -> str:
        """The condition of `only_for`, as sentences that follow `help`."""
        sentences = ""
        for other, wanted in self.only_for.items():
            if isinstance(wanted, Not):
                sentences += f" Not for --{other}={' or '.join(map(str, wanted.values))}."
            elif wanted == "":
                sentences += f" Without --{other}."
            else:
                sentences += f" For {as_flag(other, wanted)}."
        return sentences

    def conflicts(self, name: str, values: Mapping[str, Any]) -> Iterator[str]:
        """Yield why the setting, if it is changed, does not work with others of all values."""
        if values[name] == self.default:
            return
        for other, wanted in self.only_for.items():
            value, advice = values[other], ""
            if isinstance(wanted, Not):
                works = value not in wanted.values
            else:
                works = value == wanted
                advice = f", only with {as_flag(other, wanted)}" if wanted != "" else ""
            if not works:
                yield (
                    f"{as_flag(name, values[name])} does not work with {as_flag(other, value)}"
                    f"{advice}"
                )


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
    @functools.cache
    def settings(cls) -> dict[str, Setting]:
        """Return what is declared about each field, by name."""
        return {
            field.name: dataclasses.replace(
                field.metadata["setting"], choices=typing.get_args(field.type)
            )
            for field in dataclasses.fields(cls)
        }
