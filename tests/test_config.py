"""Config: validated when built, unchanged by JSON, conflicts named by both flags."""

import json

import pytest

from sat_tf import config
from sat_tf.config import CONFIG_FILE, Config, from_flat, override, settings, to_flat
from sat_tf.config.setting import Not, as_flag
from sat_tf.errors import UserError

CHANGED = {"seed": 7, "dataset": "files", "data_dir": "photos", "gate": "none", "dropout": 0.25}
# Settings that others need beside them.
NEEDED = {
    "dataset": {"data_dir": "data"},
    "self_critical": {"start_from": "run"},
    "finetune_from": {"cache_features": False},
}


def other_value(name):
    """A valid value of a setting that is not the default."""
    declared = settings()[name]
    if declared.choices:
        return next(choice for choice in declared.choices if choice != declared.default)
    if isinstance(declared.default, bool):
        return not declared.default
    if isinstance(declared.default, int):
        return declared.default + 1
    if isinstance(declared.default, float):
        return declared.default / 2 or 0.5
    return "cider" if name == "self_critical" else "elsewhere"


def test_json_round_trip(tmp_path):
    changed = from_flat(CHANGED)
    changed.save(tmp_path)
    assert Config.load(tmp_path) == changed != Config()


def test_flat_round_trip():
    changed = from_flat(CHANGED)
    assert from_flat(to_flat(changed)) == changed
    assert to_flat(changed)["data_dir"] == "photos"


def test_setting_names_are_unique_over_the_sections():
    names = [name for section in config.sections().values() for name in section.settings()]
    assert len(names) == len(set(names)) == len(to_flat(Config()))


def test_declarations_name_existing_settings():
    for name, declared in settings().items():
        assert declared.only_for.keys() <= settings().keys(), name
        assert not (declared.mutable and declared.defines_model), name


def test_an_integer_is_accepted_for_a_float():
    rate = from_flat({"learning_rate": 1}).training.learning_rate
    assert (rate, type(rate)) == (1.0, float)


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("seed", "1", "must be a whole number"),
        ("seed", 1.0, "must be a whole number"),
        ("seed", True, "must be a whole number"),
        ("cache_features", 1, "must be true or false"),
        ("data_dir", None, "must be a text"),
        ("dropout", "0.5", "must be a number"),
        ("dropout", float("nan"), "finite"),
        ("clip_norm", float("inf"), "finite"),
        ("dropout", 0.96, "at most 0.95"),
        ("dropout", 10**400, "finite"),
        ("batch_size", 0, "at least 1"),
        ("batch_size", 2**31, "at most 2147483647"),
        ("seed", 10**400, "at most"),
        ("image_size", 10**6, "at most 10000"),
        ("data_dir", "a\0b", "null character"),
        ("data_dir", [[]] * 10**6, "must be a text"),
        ("gate", "vector", "one of none, scalar"),
    ],
)
def test_a_refused_value_is_named(name, value, complaint):
    with pytest.raises(UserError, match=f"--{name}=.*{complaint}") as caught:
        from_flat({name: value})
    assert len(str(caught.value)) < 300


def test_an_unknown_setting_is_named():
    with pytest.raises(UserError, match="unknown setting: sed"):
        from_flat({"sed": 1})


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"finetune_from": "all"}, "--nocache_features"),
        (
            {"finetune_from": "all", "cache_features": False, "encoder_precision": "bfloat16"},
            "--encoder_precision=bfloat16 does not work with --finetune_from=all",
        ),
        ({"encoder_weights": "none"}, "--finetune_from=all"),
        ({"image_size": 300}, "--shorter_side=256"),
        ({"dataset": "files"}, "--data_dir"),
        ({"dataset": "files", "data_dir": "d", "attention_supervision": 0.1}, "--boxes"),
        ({"min_length": 9, "max_length": 8}, "--min_length=9"),
    ],
)
def test_conflicts_are_named(values, named):
    with pytest.raises(UserError, match=named):
        from_flat(values)


def conditions():
    """Each setting that has an effect only for some value of another one, with that one."""
    return [(name, other) for name, each in settings().items() for other in each.only_for]


def with_conditions(name, **changes):
    """Values with which the setting `name` has an effect, but for `changes`."""
    values = {name: other_value(name), **NEEDED.get(name, {})}
    for other, wanted in settings()[name].only_for.items():
        default = settings()[other].default
        value = wanted
        if isinstance(wanted, Not):
            value = other_value(other) if default in wanted.values else default
        values |= {other: changes.get(other, value)}
        values |= NEEDED.get(other, {}) if values[other] != default else {}
    return values


@pytest.mark.parametrize(("name", "other"), conditions())
def test_a_setting_without_effect_is_rejected_naming_both(name, other):
    assert from_flat(with_conditions(name))
    wanted = settings()[name].only_for[other]
    if isinstance(wanted, Not):
        value = wanted.values[0]
    else:
        others = settings()[other].choices or (settings()[other].default, other_value(other))
        value = next(each for each in others if each != wanted)
    with pytest.raises(UserError) as caught:
        from_flat(with_conditions(name, **{other: value}))
    message = f"{as_flag(name, other_value(name))} does not work with {as_flag(other, value)}"
    assert str(caught.value).startswith(message)


def edit(folder, change) -> None:
    """Save default settings and change the JSON document."""
    Config().save(folder)
    document = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    change(document)
    (folder / CONFIG_FILE).write_text(json.dumps(document), encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda d: d["settings"]["decoder"].update(gat=1), "unknown setting decoder.gat"),
        (lambda d: d["settings"].update(extra={}), "unknown section 'extra'"),
        (lambda d: d["settings"].update(decoder=[]), "section decoder must be an object"),
        (lambda d: d.update(settings=[]), "must be an object"),
        (lambda d: d["settings"]["images"].update(image_size=10**12), "--image_size"),
        (lambda d: d["settings"]["images"].update(image_size=None), "--image_size"),
        (lambda d: d["settings"]["images"].update(image_size=[[[[[]]]]]), "--image_size"),
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
    assert len(str(caught.value)) < 300


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(UserError, match=f"--workdir={tmp_path}"):
        Config.load(tmp_path)


def test_differences_leave_out_mutable_settings():
    first, second = from_flat({}), from_flat({"seed": 1, "max_epochs": 99, "data_dir": "x"})
    assert second.differences(first) == ["seed"]


def test_model_differences_are_those_that_the_weights_depend_on():
    changed = from_flat({"seed": 1, "dropout": 0.1, "hidden_size": 8, "min_word_count": 2})
    assert changed.model_differences(Config()) == ["min_word_count", "hidden_size"]


def test_override_changes_mutable_settings_only():
    run = from_flat({"hidden_size": 7, "beam_size": 5})
    assert override(run, beam_size=2) == from_flat({"hidden_size": 7, "beam_size": 2})
    with pytest.raises(UserError, match="--hidden_size can't be changed"):
        override(run, hidden_size=8)
    with pytest.raises(UserError, match="beam_sise"):
        override(run, beam_sise=8)


def test_override_drops_settings_of_the_run_that_have_no_effect():
    run = from_flat({"beam_size": 5})
    assert override(run, search="sample") == from_flat({"search": "sample"})
    with pytest.raises(UserError, match="--beam_size=4 does not work with --search=sample"):
        override(run, search="sample", beam_size=4)
