"""What may stand in a pickle of plain data, and what the few calls in it make."""

import struct
from collections.abc import Iterable, Sequence
from typing import Any

_KEYS = (str, bytes, bool, int, float, type(None))
_DICTS = ("collections.OrderedDict", "builtins.dict")
_SETS = {"builtins.set": set, "builtins.frozenset": frozenset}
_DEFAULTS = tuple(f"builtins.{name}" for name in ("int", "long", "float", "str", "list", "dict"))
_DEFAULTDICT = "collections.defaultdict"
_BYTES = "builtins.bytes"
_ENCODE = "_codecs.encode"  # bytes, as Python 3 writes them for Python 2
_DTYPE = "numpy.dtype"
_SCALAR = "numpy._core.multiarray.scalar"
ADMITTED = {*_DICTS, *_SETS, *_DEFAULTS, _DEFAULTDICT, _BYTES, _ENCODE, _DTYPE, _SCALAR}
# The same things by the names that Python 2 and NumPy 1 have for them.
OLD_MODULES = {"__builtin__": "builtins", "numpy.core.multiarray": "numpy._core.multiarray"}

# NumPy's codes of types of numbers -> those of `struct`.
_NUMBERS = {"b1": "?", "f2": "e", "f4": "f", "f8": "d"}
_NUMBERS |= {"i1": "b", "i2": "h", "i4": "i", "i8": "q", "u1": "B", "u2": "H", "u4": "I", "u8": "Q"}


class PickleError(ValueError):
    """A pickle that can't be read, or should not be; the message says why."""


class Name:
    """A name that the pickle asks for, as "module.name"; it is never looked up."""

    def __init__(self, text: str) -> None:
        self.text = text


class NumberType:
    """The type of a NumPy number: its code, and its byte order once that is told."""

    def __init__(self, code: str) -> None:
        self.code = code
        self.order = "="


class Arguments(tuple[Any, ...]):
    """What a call is handed if there are names or types in it; no value may hold it."""


_NO_VALUES = (Name, NumberType, Arguments)


def ascii_text(text: Any) -> str:
    """A text of Python 2 or 3 that has no letters but those of ASCII."""
    return text.decode("ascii") if isinstance(text, bytes) else str(text)


def checked_values(values: list[Any]) -> list[Any]:
    """The values, none of which is but a part of a call."""
    if any(isinstance(value, _NO_VALUES) for value in values):
        raise PickleError("keeps a name or a type among the values")
    return values


def tuple_of(values: list[Any]) -> tuple[Any, ...]:
    """A tuple of values, or what a call is to be handed."""
    if any(isinstance(value, Name | NumberType) for value in values):
        return Arguments(values)
    return tuple(checked_values(values))


def checked_keys(values: list[Any]) -> list[Any]:
    """The values, none of which takes long to hash."""
    if not all(isinstance(value, _KEYS) for value in values):
        raise PickleError("has a key that is neither a text nor a number")
    return values


def dict_of(items: Iterable[Sequence[Any]]) -> dict[Any, Any]:
    """A dict of pairs of a key and a value."""
    pairs = [(key, value) for key, value in items]
    checked_keys([key for key, _ in pairs])
    checked_values([value for _, value in pairs])
    return dict(pairs)


def made(name: str, arguments: tuple[Any, ...]) -> Any:
    """What a call of one of the admitted names would have made."""
    match (name, *arguments):
        case (known,) if known in _DICTS:
            return {}
        case (known, list() as items) if known in _DICTS:
            return dict_of(items)
        case (known, *default) if known == _DEFAULTDICT and _is_default(default):
            return {}
        case (known, list() as values) if known in _SETS:
            return _SETS[known](checked_keys(values))
        case (known,) if known == _BYTES:
            return b""
        case (known, str() as text, "latin1") if known == _ENCODE:
            return text.encode("latin-1")
        case (known, code, *_) if known == _DTYPE:
            return _number_type(code)
        case (known, NumberType() as kind, bytes() as data) if known == _SCALAR:
            return struct.unpack(kind.order + _NUMBERS[kind.code], data)[0]
    raise PickleError(f"calls {name} with what it does not take")


def _is_default(arguments: list[Any]) -> bool:
    match arguments:
        case [Name() as name]:
            return name.text in _DEFAULTS
    return arguments in ([], [None])


def _number_type(code: Any) -> NumberType:
    if not isinstance(code, str | bytes) or ascii_text(code) not in _NUMBERS:
        shown = f" {code[:20]!a}" if isinstance(code, str | bytes) else ""
        raise PickleError(f"holds numpy.dtype{shown}, which is not the type of a number")
    return NumberType(ascii_text(code))
