"""Reading pickles that hold plain data, as Python 2 and 3 write them; nothing in them can act.

A pickle is a program. Python's own unpickler looks up the names in it, calls what it finds, and
makes room for whatever size is claimed. This one knows only the instructions that plain data
need, keeps a name as a text that is compared with a short list, and counts what it makes.
"""

import os
import pickletools
import re
import struct
from collections.abc import Callable
from typing import Any

from sat_tf.errors import UserError
from sat_tf.importers.pickled_values import (
    ADMITTED,
    OLD_MODULES,
    Name,
    NumberType,
    PickleError,
    ascii_text,
    checked_keys,
    checked_values,
    dict_of,
    made,
    tuple_of,
)

# A vocabulary of 100,000 words takes about two million bytes and a million steps.
MOST_BYTES = 1 << 24
MOST_STEPS = 1 << 21

_ESCAPE = re.compile(rb"\\(?:x([0-9a-fA-F]{2})|([\\'\"nrt]))")
_ESCAPED = {b"n": b"\n", b"r": b"\r", b"t": b"\t"}


def read_pickle(path: str | os.PathLike[str], what: str) -> Any:
    """The value in a pickle of plain data: containers, texts, numbers, bools, None.

    Texts of Python 2 (`str`) come back as bytes, its `unicode` as str; NumPy's numbers as
    Python's; dictionaries of every kind as dict. What follows the first value is not read.

    Args:
      path: the file.
      what: what it should be, for messages.

    Raises:
      UserError: it can't be read, or asks for anything but plain data.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(MOST_BYTES + 1)
        return plain_value(data)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file ({what})") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: can't be read as {what}: {error}") from None


def plain_value(data: bytes) -> Any:
    """The value that a pickle holds, as `read_pickle` gives it.

    Raises:
      ValueError: it is damaged, too large, or asks for anything but plain data.
    """
    if len(data) > MOST_BYTES:
        raise PickleError(f"has more than {MOST_BYTES:,} bytes: more than plain data take")
    try:
        return _Machine(data).run()
    except PickleError:
        raise
    except (LookupError, TypeError, ValueError, OverflowError, struct.error):
        # What is missing or of the wrong kind; numbers that are none.
        raise PickleError("is not a pickle, or a damaged one") from None


class _Machine:
    """Carries out the instructions of one pickle on a stack of plain values."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # the stacks under each mark
        self.memo: dict[int, Any] = {}
        self.steps = 0

    def run(self) -> Any:
        while (code := self.take(1)) != b".":
            self.spend(1)
            if code not in _INSTRUCTIONS:
                raise PickleError(f"holds {_instruction(code)}, which plain data do not need")
            _INSTRUCTIONS[code](self)
        (value,) = checked_values(self.stack)
        if self.below:
            raise PickleError("is damaged: ends in the middle of a value")
        return value

    def spend(self, steps: int) -> None:
        """Counts what is done and made, so that no small file becomes a large value."""
        self.steps += steps
        if self.steps > MOST_STEPS:
            raise PickleError(f"takes more than {MOST_STEPS:,} steps: more than plain data take")

    def take(self, count: int) -> bytes:
        taken = self.data[self.position : self.position + count]
        if len(taken) < count:
            raise PickleError("is not a pickle, or ends too early")
        self.position += count
        return taken

    def number(self, code: str) -> Any:
        (value,) = struct.unpack("<" + code, self.take(struct.calcsize("<" + code)))
        return value

    def line(self) -> bytes:
        end = self.data.find(b"\n", self.position)
        if end < 0:
            raise PickleError("is not a pickle, or ends too early")
        return self.take(end + 1 - self.position)[:-1]

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self, count: int = 1) -> list[Any]:
        """The last values, which are taken off."""
        if count > len(self.stack):
            raise PickleError("is damaged: takes values that are not there")
        taken = self.stack[-count:]
        del self.stack[-count:]
        return taken

    def mark(self) -> None:
        self.below.append(self.stack)
        self.stack = []

    def marked(self) -> list[Any]:
        """What lies above the last mark; both are taken off."""
        values, self.stack = self.stack, self.below.pop()
        return values

    def keep(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def extend(self, values: list[Any]) -> None:
        self.top(list).extend(checked_values(values))

    def add(self, values: list[Any]) -> None:
        self.top(set).update(checked_keys(values))

    def set_items(self, flat: list[Any]) -> None:
        self.top(dict).update(_flat_dict(flat))

    def top(self, kind: type) -> Any:
        """The container on top, which must be of this kind."""
        if not isinstance(self.stack[-1], kind):
            raise PickleError("is damaged: puts a value into what can't hold it")
        return self.stack[-1]

    def name(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise PickleError("is damaged: a name is not a text")
        known = f"{OLD_MODULES.get(module, module)}.{name}"
        if known not in ADMITTED:
            asked = f"{module}.{name}"[:200]
            raise PickleError(f"asks for {asked!a}, which is not plain data; nothing of it was run")
        self.push(Name(known))

    def old_instance(self) -> None:
        """What protocol 0 has for objects of a class: nothing that is admitted is one."""
        self.name(self.line().decode("ascii"), self.line().decode("ascii"))
        raise PickleError("holds the instruction INST, which plain data do not need")

    def call(self) -> None:
        name, arguments = self.pop(2)
        if not isinstance(name, Name) or not isinstance(arguments, tuple):
            raise PickleError("is damaged: calls what can't be called")
        for argument in arguments:
            # The same long list may be handed over again and again.
            self.spend(len(argument) if isinstance(argument, list | str) else 1)
        self.push(made(name.text, arguments))

    def build(self) -> None:
        """The state of a NumPy type: version, byte order, and what only structures have."""
        (state,) = self.pop()
        kind = self.stack[-1]
        if not isinstance(kind, NumberType):
            raise PickleError("sets the state of an object, which plain data have not")
        order = ascii_text(state[1])
        if order not in ("<", ">", "|", "=") or any(part is not None for part in state[2:5]):
            raise PickleError("holds a NumPy type that is not one of a number")
        kind.order = order.replace("|", "=")


def _instruction(code: bytes) -> str:
    names = {known.code: known.name for known in pickletools.opcodes}
    return f"the instruction {names.get(code.decode('latin-1'), f'0x{code.hex()}')}"


def _flat_dict(flat: list[Any]) -> dict[Any, Any]:
    """Keys and values in turn."""
    return dict_of(zip(flat[::2], flat[1::2], strict=True))


def _quoted(line: bytes) -> bytes:
    """A text of Python 2 as its protocol 0 writes it: between quotes, with escapes."""
    if len(line) < 2 or line[:1] not in (b"'", b'"') or line[-1:] != line[:1]:
        raise PickleError("is damaged: a text is not between quotes")
    return _ESCAPE.sub(
        lambda m: bytes.fromhex(m[1].decode()) if m[1] else _ESCAPED.get(m[2], m[2]), line[1:-1]
    )


def _decimal(line: bytes) -> int | bool:
    """A number of protocol 0, in which the bools are 00 and 01."""
    return line == b"01" if line in (b"00", b"01") else int(line.removesuffix(b"L"))


_Instruction = Callable[[_Machine], Any]


def _value(make: Callable[[_Machine], Any]) -> _Instruction:
    return lambda m: m.push(make(m))


def _counted(code: str, make: Callable[[bytes], Any]) -> _Instruction:
    """Makes a value of as many bytes as the number before them says."""
    return lambda m: m.push(make(m.take(m.number(code))))


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")


def _long(data: bytes) -> int:
    return int.from_bytes(data, "little", signed=True)


# By the bytes that stand for them; `pickletools` of the standard library describes each.
_INSTRUCTIONS: dict[bytes, _Instruction] = {
    b"\x80": lambda m: m.take(1),  # the protocol
    b"\x95": lambda m: m.take(8),  # how much may be read ahead
    b"N": _value(lambda m: None),
    b"\x88": _value(lambda m: True),
    b"\x89": _value(lambda m: False),
    b"I": _value(lambda m: _decimal(m.line())),
    b"L": _value(lambda m: _decimal(m.line())),
    b"J": _value(lambda m: m.number("i")),
    b"K": _value(lambda m: m.number("B")),
    b"M": _value(lambda m: m.number("H")),
    b"\x8a": _counted("B", _long),
    b"F": _value(lambda m: float(m.line())),
    b"G": _value(lambda m: struct.unpack(">d", m.take(8))[0]),
    b"S": _value(lambda m: _quoted(m.line())),
    b"T": _counted("I", bytes),
    b"U": _counted("B", bytes),
    b"B": _counted("I", bytes),
    b"C": _counted("B", bytes),
    b"\x8e": _counted("Q", bytes),
    b"V": _value(lambda m: m.line().decode("raw-unicode-escape")),
    b"X": _counted("I", _text),
    b"\x8c": _counted("B", _text),
    b"\x8d": _counted("Q", _text),
    b"(": lambda m: m.mark(),
    b"]": _value(lambda m: []),
    b"l": _value(lambda m: list(checked_values(m.marked()))),
    b"a": lambda m: m.extend(m.pop()),
    b"e": lambda m: m.extend(m.marked()),
    b")": _value(lambda m: ()),
    b"t": _value(lambda m: tuple_of(m.marked())),
    b"\x85": _value(lambda m: tuple_of(m.pop(1))),
    b"\x86": _value(lambda m: tuple_of(m.pop(2))),
    b"\x87": _value(lambda m: tuple_of(m.pop(3))),
    b"}": _value(lambda m: {}),
    b"d": _value(lambda m: _flat_dict(m.marked())),
    b"s": lambda m: m.set_items(m.pop(2)),
    b"u": lambda m: m.set_items(m.marked()),
    b"\x8f": _value(lambda m: set()),
    b"\x90": lambda m: m.add(m.marked()),
    b"\x91": _value(lambda m: frozenset(checked_keys(m.marked()))),
    b"p": lambda m: m.keep(int(m.line())),
    b"q": lambda m: m.keep(m.number("B")),
    b"r": lambda m: m.keep(m.number("I")),
    b"\x94": lambda m: m.keep(len(m.memo)),
    b"g": _value(lambda m: m.memo[int(m.line())]),
    b"h": _value(lambda m: m.memo[m.number("B")]),
    b"j": _value(lambda m: m.memo[m.number("I")]),
    b"c": lambda m: m.name(m.line().decode("ascii"), m.line().decode("ascii")),
    b"i": lambda m: m.old_instance(),
    b"\x93": lambda m: m.name(*m.pop(2)),
    b"R": lambda m: m.call(),
    b"b": lambda m: m.build(),
}
