"""Read pickles of plain data, as Python 2 and 3 write them, without running what they ask for.

A pickle is a program. Two lists bound what it can do here: `_INSTRUCTIONS` are the opcodes that
plain data need, checked with their sizes and number before the standard library's unpickler sees
them; `_CONSTRUCTORS` are the names that can be asked for, each of which stands for a function
that checks its arguments rather than for the object of that name.
"""

import io
import os
import pickle
import pickletools
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from sat_tf.errors import UserError, in_current_folder

# A vocabulary of 100,000 words takes about two million bytes and a million steps.
MOST_BYTES = 1 << 24
MOST_STEPS = 1 << 21  # opcodes, and values copied by calls

_INSTRUCTIONS = re.compile(
    "PROTO|FRAME|STOP|MARK|NONE|NEWTRUE|NEWFALSE|INT|BININT[12]?|LONG1?|FLOAT|BINFLOAT"
    "|STRING|(SHORT_)?BINSTRING|UNICODE|(SHORT_)?BINUNICODE8?|(SHORT_)?BINBYTES8?"
    "|(EMPTY_)?(LIST|DICT|TUPLE)|TUPLE[123]|APPENDS?|SETITEMS?|(LONG_)?BIN(PUT|GET)|PUT|GET"
    "|MEMOIZE|(STACK_)?GLOBAL|REDUCE|BUILD"
)
_OPCODES = {opcode.code.encode("latin-1"): opcode for opcode in pickletools.opcodes}
_LENGTH_BYTES = {  # of the length in front of an argument
    pickletools.TAKEN_FROM_ARGUMENT1: 1,
    pickletools.TAKEN_FROM_ARGUMENT4: 4,
    pickletools.TAKEN_FROM_ARGUMENT4U: 4,
    pickletools.TAKEN_FROM_ARGUMENT8U: 8,
}
# About 64 bits: many larger integers have one hash, and a dictionary of them takes hours.
_INTEGER = re.compile(rb"[+-]?\d{1,19}L?\n")
_LONGEST_INTEGER = 9  # bytes
_DAMAGE = (pickle.UnpicklingError, ArithmeticError, AttributeError, EOFError, LookupError)


class PickleError(ValueError):
    """A pickle that can't be read, or asks for more than plain data; the message says why."""


def read_pickle(path: str | os.PathLike[str], what: str) -> Any:
    """Read a pickled value: dictionaries, lists, texts, numbers, bools, None.

    Texts of Python 2 (`str`) become bytes, its `unicode` str; NumPy's numbers become Python's;
    ordered and default dictionaries become dict. What follows the first value is ignored.

    Raises:
      UserError: the file can't be read as `what`, or asks for anything but plain data.
    """
    try:
        with open(path, "rb") as file:
            return load_plain_data(file.read(MOST_BYTES + 1))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file{in_current_folder(path)} ({what})") from None
    except (OSError, PickleError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"{path}: can't be read as {what}: {why}") from None


def load_plain_data(data: bytes) -> Any:
    """Return the value in a pickle, as `read_pickle` does; raise `PickleError` if there is none."""
    if len(data) > MOST_BYTES:
        raise PickleError(f"has more than {MOST_BYTES:,} bytes: more than plain data take")
    try:
        _check_instructions(data)
        return _Unpickler(data).load()
    except PickleError:
        raise
    except (*_DAMAGE, TypeError, ValueError):
        raise PickleError("is not a pickle, or a damaged one") from None


def _check_instructions(data: bytes) -> None:
    """Raise `PickleError` if opcodes, their arguments or their number are not of plain data."""
    is_tuple: dict[int, bool] = {}  # memo index -> kind of the value
    previous = ""
    for step, (name, argument) in enumerate(_split(data)):
        if not _INSTRUCTIONS.fullmatch(name):
            raise PickleError(f"holds the instruction {name}, which plain data do not need")
        if step >= MOST_STEPS:
            raise PickleError(f"takes more than {MOST_STEPS:,} steps: more than plain data take")
        is_text = name in ("INT", "LONG", "PUT", "GET")
        if is_text and not _INTEGER.fullmatch(argument):
            raise PickleError(f"holds {argument[:-1][:30]!a} for an integer of 64 bits")
        if name == "LONG1" and len(argument) > 1 + _LONGEST_INTEGER:
            raise PickleError("holds an integer of more than 64 bits")
        index = len(is_tuple)
        if "PUT" in name or "GET" in name:
            index = int(argument) if is_text else int.from_bytes(argument, "little")
        if "PUT" in name or name == "MEMOIZE":
            if index > step:  # the unpickler allocates the memo up to the index
                raise PickleError("is damaged: indices of its memo are too large")
            is_tuple[index] = "TUPLE" in previous
            continue
        # Nested and shared tuples take very long to hash: they may be arguments of calls alone.
        shared = "GET" in name and is_tuple.get(index, False)
        if shared or ("TUPLE" in previous and name not in ("REDUCE", "BUILD")):
            raise PickleError("holds a tuple, which plain data do not need")
        previous = name


def _split(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield each opcode's name and the bytes of its argument, a length in front included."""
    name, end = "", 0
    while name != "STOP":
        opcode, start = _OPCODES[data[end : end + 1]], end + 1
        name, size = opcode.name, opcode.arg.n if opcode.arg else 0
        end = start + max(size, 0)
        if size == pickletools.UP_TO_NEWLINE:
            for _ in range(2 if name in ("GLOBAL", "INST") else 1):
                end = data.index(b"\n", end) + 1
        elif size < 0:
            end += _LENGTH_BYTES[size]
            end += int.from_bytes(data[start:end], "little")
        if end > len(data):  # before anything allocates what a length claims
            raise EOFError
        yield name, data[start:end]


class _NumberType:
    """Stand-in for a NumPy type of numbers."""

    def __init__(self, code: str | bytes, *_: Any) -> None:
        text = code.decode("ascii") if isinstance(code, bytes) else code
        if not re.fullmatch("b1|f[248]|[iu][1248]", text):
            raise PickleError(f"holds numpy.dtype {text[:20]!a}, which is not a type of numbers")
        self.dtype = np.dtype(text)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order = state[1].decode("ascii") if isinstance(state[1], bytes) else state[1]
        if order not in ("<", ">", "|", "=") or any(part is not None for part in state[2:5]):
            raise PickleError("holds a NumPy type with a state that types of numbers do not have")
        self.dtype = np.dtype(order + self.dtype.str[1:])


def _make_number(kind: Any, data: Any) -> bool | int | float:
    if type(kind) is not _NumberType or type(data) is not bytes or len(data) != kind.dtype.itemsize:
        raise PickleError("holds a NumPy scalar whose data are not of its type")
    return np.frombuffer(data, kind.dtype)[0].item()


def _encode(text: Any, encoding: Any) -> bytes:
    """Return what `_codecs.encode` makes of bytes that Python 3 wrote for Python 2."""
    if type(text) is not str or encoding != "latin1":
        raise PickleError("calls _codecs.encode for something else than text in latin1")
    return text.encode("latin-1")


_CONSTRUCTORS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": dict,
    "collections.defaultdict": lambda factory=None: {},
    # The factory of a default dictionary is named but never called: anything can stand for it.
    **{f"builtins.{name}": dict for name in ("int", "long", "float", "str", "list", "dict")},
    "builtins.bytes": lambda: b"",
    "_codecs.encode": _encode,
    "numpy.dtype": _NumberType,
    "numpy._core.multiarray.scalar": _make_number,
}
# Names of Python 2 and NumPy 1.
_OLD_MODULES = {"__builtin__": "builtins", "numpy.core.multiarray": "numpy._core.multiarray"}


class _Constructor(NamedTuple):
    """What a pickle gets for a name: it can be called, and has no attribute that BUILD can set."""

    make: Callable[..., Any]
    charge: Callable[[int], None]

    def __call__(self, *arguments: Any) -> Any:
        # One long value may be copied again and again.
        self.charge(sum(len(x) for x in arguments if isinstance(x, str | bytes | list | dict)))
        return self.make(*arguments)


class _Unpickler(pickle.Unpickler):
    """Unpickler that finds the names in `_CONSTRUCTORS` and no others."""

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data), encoding="bytes")
        self._copied = 0

    def find_class(self, module: str, name: str) -> Any:
        known = f"{_OLD_MODULES.get(module, module)}.{name}"
        if known not in _CONSTRUCTORS:
            asked = f"{module}.{name}"[:200]
            raise PickleError(f"asks for {asked!a}, which is not plain data; nothing of it was run")
        return _Constructor(_CONSTRUCTORS[known], self._count)

    def _count(self, values: int) -> None:
        self._copied += values
        if self._copied > MOST_STEPS:
            raise PickleError(f"copies more than {MOST_STEPS:,} values: more than plain data do")
