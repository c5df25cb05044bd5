"""The three files of arctic-captions: read, checked against each other, refused with a reason."""

import pickle
import resource
import tracemalloc
import zipfile

import arctic_models
import numpy as np
import pytest

from sat_tf.errors import UserError
from sat_tf.importers.arctic_files import (
    ArcticOptions,
    read_arctic_model,
    read_options,
    read_vocabulary,
    read_weights,
    weight_sources,
)
from sat_tf.vocabulary import SPECIAL

N_WORDS = arctic_models.OPTIONS["n_words"]
VARIANTS = pytest.mark.parametrize("variant", arctic_models.VARIANTS.values(), ids=str)
SHAPES = {"b": (), "W": (2, 3)}


def write_options(tmp_path, **changes):
    path = tmp_path / "options.pkl"
    path.write_bytes(pickle.dumps(arctic_models.make_options(**changes), 2))
    return path


def write_dictionary(tmp_path, tokens):
    path = tmp_path / "dictionary.pkl"
    path.write_bytes(pickle.dumps(tokens, 2))
    return path


def write_npz(tmp_path, **arrays):
    path = tmp_path / "model.npz"
    np.savez(path, **arrays)
    return path


@VARIANTS
@pytest.mark.parametrize("protocol", [0, 1, 2])
def test_a_model_is_read_as_it_was_written(tmp_path, variant, protocol):
    options = arctic_models.make_options(**variant)
    model = read_arctic_model(**arctic_models.write_model(tmp_path, options, protocol, seed=4))
    written = arctic_models.make_weights(options, seed=4)
    assert model.weights.keys() == written.keys()
    for name, value in written.items():
        np.testing.assert_array_equal(model.weights[name], value)
        assert (model.weights[name].shape, model.weights[name].dtype) == (value.shape, np.float32)
    assert model.vocabulary.words == (*SPECIAL, *arctic_models.WORDS)
    for field in ArcticOptions.__dataclass_fields__:
        read = getattr(model.options, field)
        assert type(read) is type(options[field])
        assert read == pytest.approx(options[field])


@VARIANTS
def test_the_shapes_are_those_of_the_authors(tmp_path, variant):
    options = arctic_models.make_options(**variant)
    sources = weight_sources(read_options(write_options(tmp_path, **variant)))
    shapes = {name: source.shape for name, source in sources.items()}
    assert shapes == arctic_models.make_shapes(options)
    paths = [source.path for source in sources.values()]
    assert len(set(paths)) == len(paths)


def test_the_pickled_weights_in_the_archive_are_not_read(tmp_path):
    paths = arctic_models.write_model(tmp_path, arctic_models.make_options())
    with zipfile.ZipFile(paths["npz"]) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    assert b"pickle" not in members["Wemb.npy"]
    members["zipped_params.npy"] = b"neither an array nor a pickle"
    with zipfile.ZipFile(paths["npz"], "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    read_arctic_model(**paths)


# --- options


def test_what_older_versions_did_not_know_has_its_default(tmp_path):
    known = [field for field in ArcticOptions.__dataclass_fields__ if field != "feature_size"]
    older = {key: arctic_models.OPTIONS[key] for key in known[:15]}
    (tmp_path / "options.pkl").write_bytes(pickle.dumps(older, 0))
    options = read_options(tmp_path / "options.pkl")
    assert (options.temperature, options.semi_sampling_p) == (1.0, 0.5)
    assert {getattr(options, field) for field in known[17:]} == {None}


def test_switches_may_be_0_and_1(tmp_path):
    options = read_options(write_options(tmp_path, selector=1, prev2out=0))
    assert options.selector is True
    assert options.prev2out is False


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dim": "many"}, "dim must be a whole number from 1 to 10000000; it is 'many'"),
        ({"dim": 0}, "dim must be a whole number"),
        ({"dim": True}, "dim must be a whole number"),
        ({"dim": 6.0}, "dim must be a whole number from 1 to 10000000; it is 6.0"),
        ({"dim": None}, "dim must be a whole number"),
        ({"dim": [6]}, "dim must be a whole number from 1 to 10000000; it is a list"),
        ({"dim": 10**18}, "dim must be a whole number"),
        ({"n_layers_att": 101}, "n_layers_att must be a whole number from 1 to 100; it is 101"),
        ({"n_words": 2}, "n_words must be a whole number from 3 to 10000000; it is 2"),
        ({"attn_type": "soft"}, "attn_type must be 'deterministic' or 'stochastic'; it is 'soft'"),
        ({"attn_type": ["stochastic"]}, "attn_type must be .* it is a list"),
        ({"selector": "yes"}, "selector must be True or False; it is 'yes'"),
        ({"selector": 2}, "selector must be True or False"),
        ({"selector": 1.0}, "selector must be True or False"),
        ({"temperature": float("nan")}, "temperature must be a number from 0 up; it is nan"),
        ({"temperature": float("inf")}, "temperature must be"),
        ({"semi_sampling_p": 1.5}, "semi_sampling_p must be a number from 0 to 1"),
        ({"alpha_c": -1.0}, "alpha_c must be a number from 0 up"),
        ({"RL_sumCost": "x"}, "RL_sumCost must be True or False"),
        ({"optimizer": 3}, "optimizer must be a text; it is 3"),
        ({"dataset": b"\xff"}, "holds an option whose text is not UTF-8"),
        (
            {"lstm_encoder": True, "n_layers_lstm": 2},
            r"with lstm_encoder and n_layers_lstm of 2, ctx_dim must be twice dim \(12\); it is 7",
        ),
    ],
    ids=str,
)
def test_a_wrong_option_is_named(tmp_path, changes, message):
    with pytest.raises(UserError, match=rf"options\.pkl: {message}"):
        read_options(write_options(tmp_path, **changes))


def test_missing_options_are_named(tmp_path):
    options = arctic_models.make_options()
    del options["ctx_dim"], options["selector"]
    (tmp_path / "options.pkl").write_bytes(pickle.dumps(options))
    with pytest.raises(UserError, match=r"options\.pkl: has no ctx_dim, selector: name with"):
        read_options(tmp_path / "options.pkl")


def test_options_that_are_none_are_refused(tmp_path):
    (tmp_path / "options.pkl").write_bytes(pickle.dumps([1]))
    with pytest.raises(UserError, match=r"options\.pkl: must hold options by name; it holds a lis"):
        read_options(tmp_path / "options.pkl")


# --- weights


def test_weights_of_every_kind_of_float_and_order_come_back(tmp_path):
    value = np.arange(6, dtype=np.float32).reshape(2, 3) / 4
    for kind in ("<f2", "<f4", "<f8", ">f4", ">f8"):
        for order in ("C", "F"):
            path = write_npz(tmp_path, W=np.array(value, kind, order=order), b=np.array(0.5, kind))
            read = read_weights(path, SHAPES)
            np.testing.assert_array_equal(read["W"], value)
            assert read["W"].dtype == np.dtype("=f4")
            assert read["W"].flags.c_contiguous
            assert read["b"].shape == ()


def test_headers_with_long_integers_of_python_2_are_read(tmp_path):
    path = tmp_path / "model.npz"
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 3L), }".ljust(117) + b"\n"
    array = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("W.npy", array + np.ones(6, np.float32).tobytes())
    assert (read_weights(path, {"W": (2, 3)})["W"] == 1).all()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"W": np.ones((2, 3))}, "lacks b: name with --options the file that was saved with it"),
        (
            {"b": np.ones(()), "W_sel": np.ones(1)},
            "lacks W and has W_sel, which a model with these options does not have",
        ),
        ({"W": np.ones((3, 2))}, r"W must have the shape \(2, 3\) by the options; it has \(3, 2\)"),
        ({"b": np.ones(1)}, r"b must have the shape \(\) by the options; it has \(1,\)"),
        ({"W": np.array([[1, np.nan, 3], [4, np.inf, 6]])}, "W has 2 values that are not finite"),
        ({"W": np.full((2, 3), 1e39)}, "W has 6 values that are not finite in float32"),
        ({"W": np.ones((2, 3), int)}, "W must hold floating-point numbers; it holds int64"),
        ({"W": np.ones((2, 3), complex)}, "W must hold floating-point numbers"),
        ({"W": np.full((2, 3), None)}, "can't be read .* no archive of NumPy .Object arrays"),
        ({"W": np.full((2, 3), "x")}, "W must hold floating-point numbers"),
    ],
    ids=str,
)
def test_a_wrong_weight_is_named(tmp_path, arrays, message):
    good = {} if "lacks" in message else {"W": np.ones((2, 3)), "b": np.ones(())}
    path = write_npz(tmp_path, **{**good, **arrays})
    with pytest.raises(UserError, match=rf"model\.npz: {message}"):
        read_weights(path, SHAPES)


def test_many_names_are_counted(tmp_path):
    path = write_npz(tmp_path, **{f"x{number:02}": np.ones(1) for number in range(12)})
    with pytest.raises(UserError, match=r"has x00, .*x07 and 4 more, which"):
        read_weights(path, {})


def test_an_archive_that_claims_more_than_it_has_takes_no_room(tmp_path):
    shape = (1 << 15, 1 << 14)
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}".encode() + b"\n"
    array = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("W.npy", array + bytes(8))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for expected in ((2,), shape):
        with pytest.raises(UserError, match=r"x\.npz: can't be read .*EOF: reading array data"):
            read_weights(tmp_path / "x.npz", {"W": expected})
    # In kilobytes; it claims two million.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1_000_000


def test_an_archive_that_unpacks_to_more_than_a_weight_is_not_unpacked(tmp_path):
    np.savez_compressed(tmp_path / "x.npz", W=np.zeros(1 << 20))
    tracemalloc.start()
    with pytest.raises(UserError, match=r"W is too large for its shape by the options, \(2, 3\)"):
        read_weights(tmp_path / "x.npz", {"W": (2, 3)})
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_a_model_that_no_memory_holds_is_refused(tmp_path):
    path = write_npz(tmp_path, W=np.ones((2, 3)))
    with pytest.raises(UserError, match="has 100,000,000,000,000 weights by the options"):
        read_weights(path, {"W": (10**7, 10**7)})


def test_an_array_with_more_values_than_its_shape_has_is_damaged(tmp_path):
    path = write_npz(tmp_path, b=np.ones(()))
    with zipfile.ZipFile(path) as archive:
        array = archive.read("b.npy")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("b.npy", array + bytes(8))
    with pytest.raises(UserError, match=r"damaged.*\(the size of b is not that of its shape"):
        read_weights(path, {"b": ()})


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04", b"\x93NUMPY"])
def test_what_is_no_archive_is_named(tmp_path, content):
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(UserError, match=r"x\.npz: can't be read as weights of arctic-captions"):
        read_weights(tmp_path / "x.npz", SHAPES)


def test_damage_is_named_wherever_it_is(tmp_path):
    path = write_npz(tmp_path, W=np.arange(6.0).reshape(2, 3), b=np.ones(()))
    whole = path.read_bytes()
    for end in range(0, len(whole), 7):
        path.write_bytes(whole[:end])
        with pytest.raises(UserError, match=r"model\.npz: can't be read as weights"):
            read_weights(path, SHAPES)
    for position in range(0, len(whole), 3):
        damaged = bytearray(whole)
        damaged[position] ^= 0x55
        path.write_bytes(bytes(damaged))
        try:
            # Some bytes of an archive say nothing that is read, dates for one.
            read = read_weights(path, SHAPES)
        except UserError as error:
            assert "model.npz: " in str(error)
        else:
            np.testing.assert_array_equal(read["W"], np.arange(6.0).reshape(2, 3))


def test_missing_files_are_named(tmp_path):
    with pytest.raises(UserError, match=r"x\.npz: no such file \(weights of arctic-captions\)"):
        read_weights(tmp_path / "x.npz", SHAPES)
    with pytest.raises(UserError, match=r"x\.pkl: no such file \(options of arctic-captions\)"):
        read_options(tmp_path / "x.pkl")
    with pytest.raises(UserError, match=r"x\.pkl: no such file \(dictionary of arctic-captions\)"):
        read_vocabulary(tmp_path / "x.pkl", 5)


def test_options_of_another_model_are_refused(tmp_path):
    paths = arctic_models.write_model(tmp_path, arctic_models.make_options(selector=True))
    paths["options"] = write_options(tmp_path, n_layers_att=2)
    with pytest.raises(UserError, match="lacks decoder_W_att_1, decoder_b_att_1 and has decoder_W"):
        read_arctic_model(**paths)


# --- dictionary


def read_words(path, n_words):
    return read_vocabulary(path, n_words).words[len(SPECIAL) :]


def test_words_stand_by_their_tokens(tmp_path):
    tokens = {"dog": 3, "a": 2, "<eos>": 0, "UNK": 1, "rare": 5, "rarer": 90, "runs": 4}
    assert read_words(write_dictionary(tmp_path, tokens), 5) == ("a", "dog", "runs")


def test_a_short_dictionary_gives_fewer_words(tmp_path):
    assert read_words(write_dictionary(tmp_path, {"a": 2, "dog": 3}), N_WORDS) == ("a", "dog")


def test_words_may_be_texts_of_python_2(tmp_path):
    path = tmp_path / "dictionary.pkl"
    path.write_bytes(b"(dS'caf\\xc3\\xa9'\nI2\nsVcaf\xe8\nI3\ns.")
    assert read_words(path, N_WORDS) == ("café", "cafè")


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (["a"], "must hold tokens by word; it holds a list"),
        ({}, "has no words"),
        ({"a": 0}, "has no words"),
        ({"a": 20}, "has no words"),
        ({"a": "2"}, "the token of 'a' must be a whole number"),
        ({"a": 2.0}, "the token of 'a' must be a whole number"),
        ({"a": True}, "the token of 'a' must be a whole number"),
        ({"a": -1}, "the token of 'a' must be a whole number"),
        ({"a": 3}, "the token of 'a' is 3, not 2: words must have the tokens from 2 on, each"),
        ({"a": 2, "b": 4}, "the token of 'b' is 4, not 3"),
        ({"a": 2, "b": 2}, "the token of 'b' is 2, not 3"),
        ({"a": 2, b"a": 3}, "a vocabulary has no word twice, as 'a' is in this one: rename"),
        ({"a": 2, "<pad>": 3}, "a vocabulary has no word twice, as '<pad>' is"),
        ({"<end>": 2}, "a vocabulary has no word twice, as '<end>' is in this one: rename"),
        ({"<unk>": 2}, "a vocabulary has no word twice, as '<unk>' is"),
        ({2: 2}, "2 is no word"),
        ({"": 2}, "'' is no word"),
        ({"two words": 2}, "'two words' is no word: a text without spaces"),
        ({"a\n": 2}, r"'a\\n' is no word"),
        ({b"caf\xe9": 2}, r"the word b'caf\\xe9' is not UTF-8"),
        ({"\ud800": 2}, r"'\\ud800' is no word: a text without spaces, of valid Unicode"),
    ],
    ids=ascii,
)
def test_a_wrong_dictionary_is_refused(tmp_path, tokens, message):
    with pytest.raises(UserError, match=rf"dictionary\.pkl: {message}"):
        read_words(write_dictionary(tmp_path, tokens), N_WORDS)
