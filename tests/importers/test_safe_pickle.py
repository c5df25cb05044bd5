"""Pickles of plain data are read, and nothing else in a pickle acts."""

import collections
import copyreg
import os
import pickle
import random
import struct
import sys

import arctic_models
import numpy as np
import pytest

from sat_tf.errors import UserError
from sat_tf.importers import safe_pickle
from sat_tf.importers.safe_pickle import plain_value, read_pickle

PLAIN = {
    "numbers": [0, 1, -1, 255, 256, -70000, 2**31, 2**70, -(2**70), 2.5, float("inf")],
    "rest": [True, False, None],
    "text": ["", "é", "a\nb\\u0041'\"", "x" * 300],
    "bytes": [b"", b"\xff\n'\\x", b"y" * 300],
    "tuples": ((), (1,), (1, 2), (1, (2,), 3), (1, 2, 3, 4)),
    "sets": [{1, "a"}, set(), frozenset("b")],
    "containers": [[], {}, [{}], {"k": [1]}],
}
# As Python 2.7 wrote them: an OrderedDict, its protocol, its bytes.
PYTHON_2 = {
    "a": b"ccollections\nOrderedDict\np1\n((lp2\n(lp3\nS'a'\naI2\naa(lp4\nV\xe9\naF1.5\naa"
    b"(lp5\nS'caf\\xc3\\xa9\\'\"\\n'\np6\naI01\naa(lp7\nS'l'\naL5L\naa(lp8\nS'n'\naNaa(lp9\n"
    b"S's'\nac__builtin__\nset\np10\n((lp11\nS'x'\natRp12\naa(lp13\nS'neg'\np14\naI-3\naatRp15\n.",
    "b": b"ccollections\nOrderedDict\nq\x01(]q\x02(]q\x03(U\x01aK\x02e]q\x04(X\x02\x00\x00\x00"
    b"\xc3\xa9G?\xf8\x00\x00\x00\x00\x00\x00e]q\x05(U\x08caf\xc3\xa9'\"\nq\x06I01\ne]q\x07(U\x01lL"
    b"5L\ne]q\x08(U\x01nNe]q\t(U\x01sc__builtin__\nset\nq\n(]q\x0bU\x01xatRq\x0ce]q\r(U\x03negq\x0e"
    b"J\xfd\xff\xff\xffeetRq\x0f.",
    "c": b"\x80\x02ccollections\nOrderedDict\nq\x01]q\x02(]q\x03(U\x01aK\x02e]q\x04(X\x02\x00\x00"
    b"\x00\xc3\xa9G?\xf8\x00\x00\x00\x00\x00\x00e]q\x05(U\x08caf\xc3\xa9'\"\nq\x06\x88e]q\x07(U"
    b"\x01l\x8a\x01\x05e]q\x08(U\x01nNe]q\t(U\x01sc__builtin__\nset\nq\n]q\x0bU\x01xa\x85Rq\x0ce]q"
    b"\r(U\x03negq\x0eJ\xfd\xff\xff\xffee\x85Rq\x0f.",
}


def kind_of(value):
    """The value with the types of all that is in it: 1, 1.0 and True are equal."""
    if isinstance(value, dict):
        return {key: kind_of(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value), [kind_of(inner) for inner in value]
    return type(value), value


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("dumps", [pickle.dumps, pickle._dumps], ids=["C", "Python"])
def test_plain_data_come_back(protocol, dumps):
    assert kind_of(plain_value(dumps(PLAIN, protocol))) == kind_of(PLAIN)


@pytest.mark.parametrize("protocol", range(6))
def test_dictionaries_of_every_kind_come_back_as_dict(protocol):
    ordered = collections.OrderedDict([("b", 1), ("a", 2)])
    back = plain_value(pickle.dumps(ordered, protocol))
    assert type(back) is dict
    assert list(back.items()) == [("b", 1), ("a", 2)]
    for factory in (int, list, None):
        default = collections.defaultdict(factory, {"k": 1})
        assert plain_value(pickle.dumps(default, protocol)) == {"k": 1}


@pytest.mark.parametrize("protocol", range(6))
def test_numbers_of_numpy_come_back_as_those_of_python(protocol):
    values = [np.bool_(True), np.int8(-3), np.uint64(2**63), np.int64(7), np.float16(0.5)]
    values += [np.float32(0.25), np.float64(1e-300), np.dtype(">i4").type(5), np.float32("nan")]
    back = plain_value(pickle.dumps(values, protocol))
    assert [type(value) for value in back] == [bool, int, int, int, float, float, float, int, float]
    np.testing.assert_array_equal(back, [value.item() for value in values])


def test_the_byte_order_of_numbers_is_kept():
    scalar = b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(S'i2'\nI0\nI1\ntRp1\n"
    for order, expected in (("<", 0x0201), (">", 0x0102)):
        state = f"(I3\nS'{order}'\nNNNI-1\nI-1\nI0\ntb".encode()
        assert plain_value(scalar + state + b"S'\\x01\\x02'\ntR.") == expected


@pytest.mark.parametrize("protocol", PYTHON_2)
def test_pickles_of_python_2_come_back(protocol):
    back = plain_value(PYTHON_2[protocol])
    assert kind_of(back) == kind_of(
        {
            b"a": 2,
            "é": 1.5,
            "café'\"\n".encode(): True,
            b"l": 5,
            b"n": None,
            b"s": {b"x"},
            b"neg": -3,
        }
    )


@pytest.mark.parametrize("protocol", [0, 1, 2])
def test_the_writer_of_these_tests_writes_as_python_2(protocol):
    options = arctic_models.numpy_scalars(arctic_models.make_options(dataset="caf\xe9'\n"))
    back = plain_value(arctic_models.python2_pickle(options, protocol))
    assert back[b"dataset"] == "café'\n".encode()
    assert back[b"RL_sumCost"] is True
    assert back[b"alpha_entropy_c"] == np.float32(0.002)


def test_what_is_shared_stays_shared():
    inner = [1]
    back = plain_value(pickle.dumps([inner, inner]))
    assert back[0] is back[1]


class Calls:
    """Pickled, it asks for a call."""

    def __init__(self, function, *arguments):
        self.called = (function, arguments)

    def __reduce__(self):
        return self.called


def text(value):
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def in_all_protocols(value):
    return [pickle.dumps(value, protocol) for protocol in range(6)]


NUMBER_TYPE = b"cnumpy\ndtype\n(S'i2'\nI0\nI1\ntR"
ATTACKS = {
    "a structure of numpy": (
        [b"cnumpy\ndtype\n(S'V8'\nI0\nI1\ntR(I3\nS'|'\nN(S'f0'\ntNI8\nI1\nI16\ntb."],
        r"numpy\.dtype b'V8'",
    ),
    "a numpy type with fields": (
        [NUMBER_TYPE + b"(I3\nS'|'\nN(S'f0'\ntNI8\nI1\nI16\ntb."],
        "not one of a number",
    ),
    "an object of numpy": (
        [b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(S'O8'\nI0\nI1\ntRS'abcdefgh'\ntR."],
        r"numpy\.dtype b'O8'",
    ),
    "a numpy type of a function": ([b"cnumpy\ndtype\n(cposix\nsystem\ntR."], r"posix\.system"),
    "an array": (in_all_protocols(np.zeros(3)), r"numpy\._core.*\._(reconstruct|frombuffer)"),
    "an array of old": ([b"cnumpy.core.multiarray\n_reconstruct\n(tR."], "_reconstruct"),
    "an object": (
        [b"ccopy_reg\n_reconstructor\n(c__main__\nX\nc__builtin__\nobject\nNtR."],
        r"copy_reg\._reconstructor",
    ),
    "a function": (in_all_protocols(Calls), r"test_safe_pickle\.Calls"),
    "eval": (in_all_protocols(Calls(eval, "1")), r"(__builtin__|builtins)\.eval"),
    "getattr": (in_all_protocols(Calls(getattr, {}, "pop")), r"\.getattr"),
    "a dotted name": (
        [
            b"\x80\x04" + text("collections") + text("OrderedDict.__init__.__globals__") + b"\x93.",
            b"\x80\x04" + text("collections.OrderedDict.__init__") + text("__globals__") + b"\x93.",
            b"\x80\x04ccollections\nOrderedDict.__init__.__globals__\n.",
        ],
        r"collections\.OrderedDict\.__init__\.__globals__",
    ),
    "an instance of old": ([b"(S'true'\nios\nsystem\n."], r"os\.system"),
    "an admitted instance of old": ([b"(icollections\nOrderedDict\n."], "INST"),
    "an instance of a class on the stack": ([b"(ccollections\nOrderedDict\no."], "OBJ"),
    "an instance of a new class": (
        [b"ccollections\nOrderedDict\n)\x81.", b"ccollections\nOrderedDict\n)}\x92."],
        "NEWOBJ",
    ),
    "a persistent id": ([b"Pfile\n.", b"S'file'\nQ."], "PERSID"),
    "an extension": ([b"\x82\x01.", b"\x83\x01\x00.", b"\x84\x01\x00\x00\x00."], "EXT"),
    "an unknown instruction": ([b"\xff."], "0xff"),
    "the state of a dictionary": (
        [
            b"ccollections\nOrderedDict\n)R}S'__setstate__'\nS'x'\nsb.",
            b"}}S'__class__'\nS'x'\nsb.",
            b"ccollections\nOrderedDict\n(N}S'__init__'\nS'x'\nstb.",
        ],
        "sets the state",
    ),
    "a call of a value": (
        [b"S'x'\n)R.", b"})R.", b"])R.", NUMBER_TYPE + b")R."],
        "can't be called",
    ),
    "a call with other arguments": (
        [b"ccollections\nOrderedDict\n(I1\ntR.", b"c__builtin__\nint\n(S'1'\ntR."],
        "does not take",
    ),
    "a codec": ([b"c_codecs\nencode\n(" + text("x") + text("zlib") + b"tR."], "does not take"),
    "a factory": (
        [b"ccollections\ndefaultdict\n(ccollections\ndefaultdict\ntR."],
        "does not take",
    ),
    "a name as a value": (
        [
            b"c__builtin__\nint\n.",
            b"(lc__builtin__\nint\na.",
            b"(S'x'\nc__builtin__\nint\nd.",
            b"(S'x'\n(c__builtin__\nint\ntd.",
            b"((c__builtin__\nint\ntt.",
            NUMBER_TYPE + b".",
        ],
        "among the values",
    ),
    "a key that takes long to hash": (
        # Forty tuples, each of which holds the one before twice: 2^40 parts to hash.
        [b"()" + b"q\x00h\x00\x86" * 40 + b"I1\nd.", b"((I1\ntI1\nd.", b"(}I1\nd."],
        "neither a text nor a number",
    ),
    "a name as a key": ([b"(c__builtin__\nint\nI1\nd."], "neither a text nor a number"),
    "a buffer": ([b"\x96" + struct.pack("<Q", 1 << 40) + b"."], "BYTEARRAY8"),
    "a buffer from elsewhere": ([b"\x97."], "NEXT_BUFFER"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_is_not_plain_is_refused_by_name(tmp_path, attack):
    pickles, message = ATTACKS[attack]
    path = tmp_path / "options.pkl"
    for data in pickles:
        path.write_bytes(data)
        with pytest.raises(
            UserError, match=rf"options\.pkl: can't be read as options: .*{message}"
        ):
            read_pickle(path, "options")


@pytest.mark.parametrize("protocol", range(6))
def test_nothing_is_run(tmp_path, protocol):
    path, trace = tmp_path / "options.pkl", tmp_path / "trace"
    path.write_bytes(pickle.dumps({"dim": Calls(os.mkdir, str(trace))}, protocol))
    with pytest.raises(UserError, match=rf"{os.mkdir.__module__}\.mkdir"):
        read_pickle(path, "options")
    assert not trace.exists()
    pickle.loads(path.read_bytes())
    assert trace.exists()  # the payload works


def test_nothing_is_imported(tmp_path):
    (tmp_path / "module_of_the_attack.py").write_text("raise SystemExit")
    sys.path.insert(0, str(tmp_path))
    try:
        with pytest.raises(ValueError, match=r"module_of_the_attack\.x"):
            plain_value(b"cmodule_of_the_attack\nx\n.")
    finally:
        sys.path.remove(str(tmp_path))


def test_a_registered_extension_is_refused_too():
    """Python's own unpickler takes what lies in the registry's cache without asking."""
    copyreg.add_extension("os", "system", 200)
    copyreg._extension_cache[200] = os.system
    try:
        assert pickle.loads(b"\x82\xc8.") is os.system
        with pytest.raises(ValueError, match="EXT1"):
            plain_value(b"\x82\xc8.")
    finally:
        copyreg.remove_extension("os", "system", 200)


BOMBS = {
    "containers without end": (b"}" * (safe_pickle.MOST_STEPS + 1), "steps"),
    "a text of terabytes": (b"\x8d" + struct.pack("<Q", 1 << 42) + b"x.", "ends too early"),
    "bytes of a negative size": (b"T\xfb\xff\xff\xff.", "ends too early"),
    "a memo of gigabytes": (b"Nr\xff\xff\xff\x7f\x86.", "damaged"),
    "a number of endless digits": (b"I" + b"9" * 100_000 + b"\n.", "damaged"),
    "a long number": (b"\x8b\xff\xff\xff\x7f.", "LONG4"),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_bombs_are_refused(bomb):
    data, message = BOMBS[bomb]
    with pytest.raises(ValueError, match=message):
        plain_value(data)


def test_copies_count_as_steps(monkeypatch):
    monkeypatch.setattr(safe_pickle, "MOST_STEPS", 20_000)
    data = b"c__builtin__\nset\np1\n(" + b"N" * 1000 + b"lp0\n" + b"g1\n(g0\ntR" * 100
    with pytest.raises(ValueError, match="20,000 steps"):
        plain_value(data + b".")


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    path = tmp_path / "x.pkl"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # takes no room on the disk
    with pytest.raises(UserError, match=r"x\.pkl: .*has more than 16,777,216 bytes"):
        read_pickle(path, "options")


@pytest.mark.parametrize("content", [b"", b".", b"}", b"..", b"NN.", b"(N.", b"garbage", b"PK\3\4"])
def test_what_is_no_pickle_is_named(tmp_path, content):
    (tmp_path / "x.pkl").write_bytes(content)
    with pytest.raises(UserError, match=r"x\.pkl: can't be read as options: "):
        read_pickle(tmp_path / "x.pkl", "options")


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(UserError, match=r"x\.pkl: no such file \(options\)"):
        read_pickle(tmp_path / "x.pkl", "options")
    with pytest.raises(UserError, match=r"can't be read as options: .*directory"):
        read_pickle(tmp_path, "options")


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_damage_raises_nothing_else(protocol):
    value = {**PLAIN, "o": collections.OrderedDict(x=1), "n": np.float32(1)}
    data = pickle.dumps(value, protocol)
    for end in range(len(data)):
        with pytest.raises(ValueError, match=r"pickle|damaged"):
            plain_value(data[:end])
    draws = random.Random(protocol)
    for _ in range(3000):
        damaged = bytearray(data)
        for _ in range(draws.randint(1, 4)):
            damaged[draws.randrange(len(data))] = draws.randrange(256)
        try:
            plain_value(bytes(damaged))
        except ValueError as error:
            assert str(error)
