"""Pickles of plain data are read; whatever else a pickle asks for is refused and not run."""

import collections
import copyreg
import os
import pickle
import random
import struct
import sys
import time
import tracemalloc

import arctic_models
import numpy as np
import pytest

from sat_tf.errors import UserError
from sat_tf.importers import pickles
from sat_tf.importers.pickles import PickleError, load_plain_data, read_pickle

PLAIN = {
    "numbers": [0, 1, -1, 255, 256, -70000, 2**31, -(2**62), 2.5, float("inf")],
    "rest": [True, False, None],
    "text": ["", "é", "a\nb\\u0041'\"", "x" * 300],
    "bytes": [b"", b"\xff\n'\\x", b"y" * 300],
    "containers": [[], {}, [{}], {"k": [1]}],
    "ordered": collections.OrderedDict([("b", 1), ("a", 2)]),
    "default": [collections.defaultdict(factory, {"k": 1}) for factory in (int, list, None)],
}
NUMBERS = [np.bool_(True), np.int8(-3), np.uint64(2**63), np.int64(7), np.float16(0.5)]
NUMBERS += [np.float32(0.25), np.float64(1e-300), np.dtype(">i4").type(5), np.float32("nan")]
# As Python 2.7 wrote them in protocols 0, 1 and 2.
PYTHON_2 = [
    b"ccollections\nOrderedDict\np1\n((lp2\n(lp3\nS'a'\naI2\naa(lp4\nV\xe9\naF1.5\naa"
    b"(lp5\nS'caf\\xc3\\xa9\\'\"\\n'\np6\naI01\naa(lp7\nS'l'\naL5L\naa(lp8\nS'n'\naNaa(lp13\n"
    b"S'neg'\np14\naI-3\naatRp15\n.",
    b"ccollections\nOrderedDict\nq\x01(]q\x02(]q\x03(U\x01aK\x02e]q\x04(X\x02\x00\x00\x00"
    b"\xc3\xa9G?\xf8\x00\x00\x00\x00\x00\x00e]q\x05(U\x08caf\xc3\xa9'\"\nq\x06I01\ne]q\x07(U\x01lL"
    b"5L\ne]q\x08(U\x01nNe]q\r(U\x03negq\x0eJ\xfd\xff\xff\xffeetRq\x0f.",
    b"\x80\x02ccollections\nOrderedDict\nq\x01]q\x02(]q\x03(U\x01aK\x02e]q\x04(X\x02\x00\x00"
    b"\x00\xc3\xa9G?\xf8\x00\x00\x00\x00\x00\x00e]q\x05(U\x08caf\xc3\xa9'\"\nq\x06\x88e]q\x07(U"
    b"\x01l\x8a\x01\x05e]q\x08(U\x01nNe]q\r(U\x03negq\x0eJ\xfd\xff\xff\xffee\x85Rq\x0f.",
]


def with_types(value):
    """The value with the types of all that is in it: 1, 1.0 and True are equal."""
    if isinstance(value, dict):
        return dict, [(with_types(key), with_types(inner)) for key, inner in value.items()]
    if isinstance(value, list):
        return list, [with_types(inner) for inner in value]
    return type(value), value


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("dumps", [pickle.dumps, pickle._dumps], ids=["C", "Python"])
def test_plain_data_come_back(protocol, dumps):
    assert with_types(load_plain_data(dumps(PLAIN, protocol))) == with_types(PLAIN)
    numbers = load_plain_data(dumps(NUMBERS, protocol))
    types = [bool, int, int, int, float, float, float, int, float]
    assert [type(value) for value in numbers] == types
    np.testing.assert_array_equal(numbers, [value.item() for value in NUMBERS])


def test_the_byte_order_of_numbers_is_kept():
    scalar = b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(S'i2'\nI0\nI1\ntRp1\n"
    for order, expected in (("<", 0x0201), (">", 0x0102)):
        state = f"(I3\nS'{order}'\nNNNI-1\nI-1\nI0\ntb".encode()
        assert load_plain_data(scalar + state + b"S'\\x01\\x02'\ntR.") == expected


@pytest.mark.parametrize("data", PYTHON_2, ids=[0, 1, 2])
def test_pickles_of_python_2_come_back(data):
    expected = {b"a": 2, "é": 1.5, "café'\"\n".encode(): True, b"l": 5, b"n": None, b"neg": -3}
    assert with_types(load_plain_data(data)) == with_types(expected)


@pytest.mark.parametrize("protocol", [0, 1, 2])
def test_the_writer_of_these_tests_writes_as_python_2(protocol):
    options = arctic_models.numpy_scalars(arctic_models.make_options(dataset="caf\xe9'\n"))
    back = load_plain_data(arctic_models.python2_pickle(options, protocol))
    assert back[b"dataset"] == "café'\n".encode()
    assert back[b"RL_sumCost"] is True
    assert back[b"alpha_entropy_c"] == np.float32(0.002)


class Call:
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


DTYPE = b"cnumpy\ndtype\n"
I2 = DTYPE + b"(S'i2'\nI0\nI1\ntR"
ORDERED = b"ccollections\nOrderedDict\n"
ENCODE_AGAIN = b"c_codecs\nencode\n(h\x00" + text("latin1") + b"tR"
GLOBALS = b"OrderedDict.__init__.__globals__"
FIELDS = b"(I3\nS'|'\nN(lS'f0'\naNI8\nI1\nI16\ntb."  # the state of a structure
ATTACKS = {
    "eval": (in_all_protocols(Call(eval, "1")), r"(__builtin__|builtins)\.eval"),
    "getattr": (in_all_protocols(Call(getattr, {}, "pop")), r"\.getattr"),
    "a class": (in_all_protocols(Call), r"test_pickles\.Call"),
    "a codec": (
        [b"c_codecs\nencode\n(" + text("x") + text(name) + b"tR." for name in ("zlib", "utf-8")],
        "_codecs.encode",
    ),
    "a codec of bytes": ([b"c_codecs\nencode\n(S'x'\n" + text("latin1") + b"tR."], "_codecs"),
    "much room": ([b"c__builtin__\nbytearray\n(I1000000000000\ntR."], "bytearray"),
    "bytes of a size": ([b"c__builtin__\nbytes\n(I1000000000000\ntR."], "damaged"),
    "an array": (in_all_protocols(np.zeros(3)), r"numpy\._core.*\._reconstruct|a tuple|BYTEARRAY8"),
    "a structure of numpy": ([b"cnumpy\ndtype\n(S'V8'\nI0\nI1\ntR" + FIELDS], "dtype 'V8'"),
    "a numpy type with fields": ([I2 + FIELDS], "a state that types of numbers do not have"),
    "an object of numpy": (
        [b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(S'O8'\nI0\nI1\ntRS'abcdefgh'\ntR."],
        r"numpy\.dtype 'O8'",
    ),
    "a number of other data": (
        [b"cnumpy.core.multiarray\nscalar\n(" + I2 + data + b"tR." for data in (b"S''\n", b"Vxx\n")]
        + [b"cnumpy.core.multiarray\nscalar\n(NS'xx'\ntR."],
        "not of its type",
    ),
    "a numpy type of a function": ([b"cnumpy\ndtype\n(cposix\nsystem\ntR."], r"posix\.system"),
    "an object": (
        [b"ccopy_reg\n_reconstructor\n(c__main__\nX\nc__builtin__\nobject\nNtR."],
        r"copy_reg\._reconstructor",
    ),
    "a dotted name": (
        [
            b"\x80\x04" + text("collections") + text(GLOBALS.decode()) + b"\x93.",
            b"\x80\x04" + text("collections.OrderedDict.__init__") + text("__globals__") + b"\x93.",
            b"\x80\x04ccollections\n" + GLOBALS + b"\n.",
        ],
        r"collections\.OrderedDict\.__init__\.__globals__",
    ),
    "an instance of old": ([b"(S'true'\nios\nsystem\n.", b"(icollections\nOrderedDict\n."], "INST"),
    "an instance of a class on the stack": ([b"(" + ORDERED + b"o."], "OBJ"),
    "an instance of a new class": ([ORDERED + b")\x81.", ORDERED + b"]}\x92."], "a tuple|NEWOBJ"),
    "a persistent id": ([b"Pfile\n.", b"S'file'\nQ."], "PERSID"),
    "an extension": ([b"\x82\x01.", b"\x83\x01\x00.", b"\x84\x01\x00\x00\x00."], "EXT"),
    "an unknown instruction": ([b"\xff."], "not a pickle"),
    "a state that is set": (
        # On a dictionary, on what stands for a name, and on a class.
        [start + state for start in (ORDERED + b")R", b"}", ORDERED, DTYPE)
         for state in (b"}S'__class__'\nNsb.", b"(N}S'make'\nNstb.", b"(N}S'__init__'\nNstb.")],
        "damaged",
    ),
    "a call of a value": ([start + b")R." for start in (b"S'x'\n", b"}", b"]", I2)], "damaged"),
    "a call with other arguments": (
        [ORDERED + b"(I1\ntR.", ORDERED + b"(S'xy'\ntR.", b"c__builtin__\nint\n(S'1'\ntR."],
        "damaged",
    ),
    "a buffer": ([b"\x96" + struct.pack("<Q", 1) + b"x."], "BYTEARRAY8"),
    "a buffer from elsewhere": ([b"\x97."], "NEXT_BUFFER"),
    "a list of itself as a key": ([b"]q\x00h\x00a}h\x00Ns."], "damaged"),
    "a tuple": ([*in_all_protocols([(1, 2)]), b"}(I1\ntI2\ns."], "a tuple"),
    "a set": (in_all_protocols({1}), r"set|EMPTY_SET"),
    # Bombs: what takes little room in the file and much elsewhere.
    "a key that takes long to hash": (
        # Forty tuples, each of which holds the one before twice: 2^40 parts to hash.
        [b"()" + b"q\x00h\x00\x86" * 40 + b"I1\nd.", ORDERED + b"((tq\x000R" + b"h\x00h\x00\x86R."],
        "a tuple|POP",
    ),
    "a tuple got again": ([b"(l" + ORDERED + b"(tq\x00Ra" + ORDERED + b"h\x00Ra."], "a tuple"),
    "a deep tuple": ([b")" + b"\x85" * 1_000_000 + b"."], "a tuple"),
    "keys of one hash": (
        [b"}L%dL\nNs." % (5 * (2**61 - 1) ** 2), b"}\x8a\x0a" + b"x" * 10 + b"Ns."],
        "64 bits",
    ),
    "a number of endless digits": ([b"I" + b"9" * 100_000 + b"\n."], "64 bits"),
    "a long number": ([b"\x8b\xff\xff\xff\x7f.", b"\x8b\x01\x00\x00\x00\x01."], "LONG4|damaged"),
    "containers without end": ([b"}" * (20_001)], "20,000 steps"),
    "a text of terabytes": ([b"\x8d" + struct.pack("<Q", 1 << 42) + b"x."], "damaged"),
    "bytes of terabytes": ([b"\x8e" + struct.pack("<Q", 1 << 42) + b"x."], "damaged"),
    "bytes of a negative size": ([b"T\xfb\xff\xff\xff."], "damaged"),
    "a frame of terabytes": ([b"\x95" + struct.pack("<Q", 1 << 42) + b"x."], "damaged"),
    "a memo of gigabytes": ([b"Nr\xff\xff\xff\x7f.", b"Np2147483647\n."], "memo"),
    "texts copied again and again": (
        [text("x" * 1000) + b"q\x00" + ENCODE_AGAIN * 99 + b"."],
        "copies more than 20,000 values",
    ),
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_is_not_plain_is_refused_in_little_time_and_memory(tmp_path, monkeypatch, attack):
    monkeypatch.setattr(pickles, "MOST_STEPS", 20_000)
    data, message = ATTACKS[attack]
    path = tmp_path / "options.pkl"
    for each in data:
        path.write_bytes(each)
        tracemalloc.start()
        started = time.process_time()
        with pytest.raises(
            UserError, match=rf"options\.pkl: can't be read as options: .*({message})"
        ):
            read_pickle(path, "options")
        assert time.process_time() - started < 30
        assert tracemalloc.get_traced_memory()[1] < 20 * len(each) + 2 * pickles.MOST_BYTES
        tracemalloc.stop()


@pytest.mark.parametrize("protocol", range(6))
def test_nothing_is_run(tmp_path, protocol):
    path, trace = tmp_path / "options.pkl", tmp_path / "trace"
    path.write_bytes(pickle.dumps({"dim": Call(os.mkdir, str(trace))}, protocol))
    with pytest.raises(UserError, match=rf"{os.mkdir.__module__}\.mkdir"):
        read_pickle(path, "options")
    assert not trace.exists()
    pickle.loads(path.read_bytes())
    assert trace.exists()  # the payload works


def test_nothing_is_imported(tmp_path, monkeypatch):
    (tmp_path / "module_of_the_attack.py").write_text("raise SystemExit")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(PickleError, match=r"module_of_the_attack\.x"):
        load_plain_data(b"cmodule_of_the_attack\nx\n.")
    assert "module_of_the_attack" not in sys.modules


def test_a_registered_extension_is_refused_too():
    """The standard library's unpickler takes what is in the registry's cache without asking."""
    copyreg.add_extension("os", "system", 200)
    copyreg._extension_cache[200] = os.system
    try:
        assert pickle.loads(b"\x82\xc8.") is os.system
        with pytest.raises(PickleError, match="EXT1"):
            load_plain_data(b"\x82\xc8.")
    finally:
        copyreg.remove_extension("os", "system", 200)


def test_a_value_may_be_copied_but_not_again_and_again(monkeypatch):
    monkeypatch.setattr(pickles, "MOST_STEPS", 20_000)
    pairs = b"(l" + b"".join(b"(lI%d\naNaa" % key for key in range(1000)) + b"p0\n"
    copied = b"ccollections\nOrderedDict\np1\n" + pairs + b"g1\n(g0\ntR"
    assert load_plain_data(copied + b".") == dict.fromkeys(range(1000))
    with pytest.raises(PickleError, match="20,000 values"):
        load_plain_data(copied + b"g1\n(g0\ntR" * 20 + b".")


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    path = tmp_path / "x.pkl"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # takes no room on the disk
    with pytest.raises(UserError, match=r"x\.pkl: .*has more than 16,777,216 bytes"):
        read_pickle(path, "options")


@pytest.mark.parametrize("content", [b"", b".", b"}", b"..", b"(.", b"garbage", b"PK\3\4"])
def test_what_is_no_pickle_is_named(tmp_path, content):
    (tmp_path / "x.pkl").write_bytes(content)
    with pytest.raises(UserError, match=r"x\.pkl: can't be read as options: is not a pickle"):
        read_pickle(tmp_path / "x.pkl", "options")


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(UserError, match=r"x\.pkl: no such file \(options\)"):
        read_pickle(tmp_path / "x.pkl", "options")
    with pytest.raises(UserError, match=r"can't be read as options: .*directory"):
        read_pickle(tmp_path, "options")


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_damage_raises_nothing_else(protocol):
    data = pickle.dumps([PLAIN, NUMBERS[:2]], protocol)
    for end in range(0, len(data), 5):
        with pytest.raises(PickleError, match=r"pickle|damaged"):
            load_plain_data(data[:end])
    samples = random.Random(protocol)
    for _ in range(400):
        damaged = bytearray(data)
        for _ in range(samples.randint(1, 4)):
            damaged[samples.randrange(len(data))] = samples.randrange(256)
        try:
            load_plain_data(bytes(damaged))
        except PickleError as error:
            assert str(error)
