"""Config: checked when made, the same after JSON."""

import dataclasses
import json

import pytest

from sat_tf import config
from sat_tf.config import CONFIG_FILE, Config, from_flat, override, to_flat
from sat_tf.errors import UserError

CHANGED = {"seed": 7, "dataset": "files", "data_dir": "photos", "gate": "none", "dropout": 0.25}


def test_json_round_trip(tmp_path):
    settings = from_flat(CHANGED)
    settings.save(tmp_path)
    assert Config.load(tmp_path) == settings != Config()


def test_flat_round_trip():
    settings = from_flat(CHANGED)
    assert from_flat(to_flat(settings)) == config
    assert to_flat(settings)["data_dir"] == "photos"


def test_field_names_are_unique_over_the_parts():
    names = [f.name for part in config.sections().values() for f in dataclasses.fields(part)]
    assert len(names) == len(set(names)) == len(to_flat(Config()))


def test_an_integer_will_do_for_a_float():
    rate = from_flat({"learning_rate": 1}).training.learning_rate
    assert (rate, type(rate)) == (1.0, float)


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("seed", "1", "of type int"),
        ("seed", 1.0, "of type int"),
        ("seed", True, "of type int"),
        ("cache_features", 1, "of type bool"),
        ("data_dir", None, "of type str"),
        ("dropout", "0.5", "of type float"),
        ("dropout", float("nan"), "finite"),
        ("clip_norm", float("inf"), "finite"),
        ("dropout", 0.96, "at most 0.95"),
        ("batch_size", 0, "at least 1"),
        ("gate", "vector", "one of none, scalar"),
    ],
)
def test_a_refused_value_is_named(name, value, complaint):
    with pytest.raises(UserError, match=f"--{name}=.*{complaint}"):
        from_flat({name: value})


def test_an_unknown_setting_is_named():
    with pytest.raises(UserError, match="unknown setting: sed"):
        from_flat({"sed": 1})


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"finetune_from": "all"}, "--nocache_features"),
        ({"encoder_weights": "none"}, "--finetune_from=all"),
        ({"image_size": 300}, "--shorter_side=256"),
        ({"dataset": "files"}, "--data_dir"),
        ({"captions_file": "x.csv"}, "--captions_file"),
        ({"splits": "lists"}, "--splits"),
        ({"boxes": "instances.json"}, "--boxes"),
    ],
)
def test_contradictions_are_named(values, named):
    with pytest.raises(UserError, match=named):
        from_flat(values)


def edit(folder, change) -> None:
    """Saves default settings and changes the JSON document."""
    Config().save(folder)
    document = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    change(document)
    (folder / CONFIG_FILE).write_text(json.dumps(document), encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda d: d["settings"]["decoder"].update(gat=1), "unknown setting decoder.gat"),
        (lambda d: d["settings"].update(extra={}), "unknown part 'extra'"),
        (lambda d: d.update(settings=[]), "must be an object"),
        (lambda d: d.update(format_version=99), "format_version must be 1"),
        (lambda d: d["settings"]["training"].update(seed="1"), "--seed='1'"),
        (lambda d: d["settings"]["training"].update(learning_rate=float("nan")), "--learning_rate"),
    ],
)
def test_a_damaged_document_is_refused_by_name(tmp_path, change, complaint):
    edit(tmp_path, change)
    with pytest.raises(UserError, match=complaint) as caught:
        Config.load(tmp_path)
    assert CONFIG_FILE in str(caught.value)


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(UserError, match=f"--workdir={tmp_path}"):
        Config.load(tmp_path)


def test_differences_leave_out_what_may_change():
    first, second = from_flat({}), from_flat({"seed": 1, "max_epochs": 99, "data_dir": "x"})
    assert second.differences(first) == ["seed"]


def test_a_finished_run_takes_other_values_for_what_may_change():
    run = from_flat({"hidden_size": 7, "beam_size": 5})
    assert override(run, beam_size=2) == from_flat({"hidden_size": 7, "beam_size": 2})
    with pytest.raises(UserError, match="--hidden_size belongs to the run"):
        override(run, hidden_size=8)
    with pytest.raises(UserError, match="beam_sise"):
        override(run, beam_sise=8)


@pytest.mark.parametrize("name", ["temperature", "top_k", "top_p"])
def test_settings_of_sampling_are_refused_for_beam_search(name):
    value = {"temperature": 0.5, "top_k": 3, "top_p": 0.5}[name]
    with pytest.raises(UserError, match=f"--{name}"):
        from_flat({name: value})
    assert from_flat({name: value, "search": "sample"})


def test_a_minimum_above_the_maximum_is_refused():
    with pytest.raises(UserError, match="--min_length=9"):
        from_flat({"min_length": 9, "max_length": 8})
