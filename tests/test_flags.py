"""Flags: one for each setting, one clear line for what is wrong."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest
from absl import flags as absl_flags

from sat_tf import config, flags
from sat_tf.config import Config
from sat_tf.errors import UserError

EXPERIMENTS = Path(__file__).parent.parent / "experiments"
COMMANDS = sorted(
    path.stem
    for path in Path(flags.__file__).parent.glob("*.py")
    if "\nUSAGE = " in path.read_text(encoding="utf-8")
)


def train_flags() -> absl_flags.FlagValues:
    values = absl_flags.FlagValues()
    flags.define_settings(values)
    flags.define_command_flags("workdir", "split", "decode_batch_size", flag_values=values)
    return values


def parsed(*arguments: str) -> absl_flags.FlagValues:
    values = train_flags()
    flags.parse(["prog", "--workdir=run", *arguments], flag_values=values)
    return values


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_no_flags_are_the_default_settings():
    assert flags.settings_from_flags(parsed()) == Config()


def test_arguments_give_the_settings_back():
    changed = {"seed": 7, "data_dir": "my photos", "cache_features": False, "lstm_encoder": True}
    settings = config.from_flat(changed)
    arguments = config.to_arguments(settings)
    assert len(arguments) == len(changed)
    assert flags.settings_from_flags(parsed(*arguments)) == config


def other_value(field: dataclasses.Field) -> object:
    """A value that is allowed and not the default."""
    if field.metadata["choices"] is not None:
        return next(choice for choice in field.metadata["choices"] if choice != field.default)
    if isinstance(field.default, bool):
        return not field.default
    if isinstance(field.default, int):
        return field.default + 1
    return field.default / 2 if isinstance(field.default, float) else "elsewhere"


def test_each_setting_goes_from_its_flag_to_its_field():
    values, expected = train_flags(), {}
    arguments = []
    for part in config.sections().values():
        for field in dataclasses.fields(part):
            expected[field.name] = other = other_value(field)
            negated = f"--no{field.name}" if other is False else None
            arguments.append(negated or f"--{field.name}={other}")
    flags.parse(["prog", "--workdir=run", *arguments], flag_values=values)
    got = {name: values[name].value for name in expected}
    assert got == expected
    assert {name: type(value) for name, value in got.items()} == {
        name: type(value) for name, value in config.to_flat(Config()).items()
    }


def test_settings_read_the_flags():
    settings = flags.settings_from_flags(parsed("--seed=7", "--gate=none", "--learning_rate=1"))
    assert (settings.training.seed, settings.decoder.gate) == (7, "none")
    assert settings.training.learning_rate == 1.0


@pytest.mark.parametrize(
    ("argument", "named"),
    [
        ("--sed=1", "'sed'"),
        ("--seed=one", "--seed=one"),
        ("--seed=-1", "--seed=-1"),
        ("--seed", "--seed"),
        ("--gate=vector", "<none|scalar|channel>"),
        ("--dropout=2", "--dropout=2"),
        ("--nocache_features=1", "--nocache_features=1"),
        ("picture.jpg", "'picture.jpg'"),
        ("--flagfile=/nowhere/x.flags", "--flagfile=/nowhere/x.flags"),
    ],
)
def test_a_wrong_argument_is_named(argument, named):
    with pytest.raises(UserError) as caught:
        parsed(argument)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_number_that_is_none_is_refused(value):
    with pytest.raises(UserError, match=f"--learning_rate={value}"):
        flags.settings_from_flags(parsed(f"--learning_rate={value}"))


def test_workdir_must_be_given():
    with pytest.raises(UserError, match="--workdir must be given"):
        flags.parse(["prog"], flag_values=train_flags())


def test_arguments_go_to_the_commands_that_take_them():
    values = train_flags()
    argv = ["prog", "a.jpg", "--workdir=run", "b.jpg"]
    assert flags.parse(argv, takes_arguments=True, flag_values=values) == ["prog", "a.jpg", "b.jpg"]


def test_a_flagfile_includes_its_base_and_changes_it(tmp_path):
    base = write(
        tmp_path / "base.flags", "# comment", "// comment", "", "--seed=5", "--log_captions=9"
    )
    variant = write(tmp_path / "variant.flags", f"--flagfile={base}", "--seed=3")
    settings = flags.settings_from_flags(parsed(f"--flagfile={variant}"))
    assert (settings.training.seed, settings.training.log_captions) == (3, 9)
    settings = flags.settings_from_flags(parsed("--flagfile", str(variant), "--log_captions=1"))
    assert (settings.training.seed, settings.training.log_captions) == (3, 1)


def test_included_paths_are_relative_to_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "experiments").mkdir()
    write(tmp_path / "experiments" / "base.flags", "--seed=5")
    write(tmp_path / "experiments" / "variant.flags", "--flagfile=experiments/base.flags")
    monkeypatch.chdir(tmp_path)
    settings = flags.settings_from_flags(parsed("--flagfile=experiments/variant.flags"))
    assert settings.training.seed == 5


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("--sed=1", ":2: unknown flag --sed"),
        ("seed=1", ":2: 'seed=1'"),
        ("--flagfile=/nowhere/y.flags", ": --flagfile=/nowhere/y.flags can't be read"),
    ],
)
def test_a_bad_line_of_a_flagfile_is_named(tmp_path, line, complaint):
    path = write(tmp_path / "x.flags", "--log_captions=1", line)
    with pytest.raises(UserError) as caught:
        parsed(f"--flagfile={path}")
    assert f"{path}{complaint}" in str(caught.value)


def test_a_flagfile_that_includes_itself_is_refused(tmp_path):
    first, second = tmp_path / "first.flags", tmp_path / "second.flags"
    write(first, f"--flagfile={second}")
    write(second, f"--flagfile={first}")
    with pytest.raises(UserError, match=r"second\.flags: --flagfile=.* includes itself"):
        parsed(f"--flagfile={first}")


def test_a_flagfile_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "x.flags"
    path.write_bytes(b"--seed=\xff\n")
    with pytest.raises(UserError, match="not UTF-8"):
        parsed(f"--flagfile={path}")


def test_overrides_are_those_that_were_given():
    values = absl_flags.FlagValues()
    flags.define_overrides("data_dir", "max_length", flag_values=values)
    flags.parse(["prog", "--max_length=5"], flag_values=values)
    assert flags.overrides(values) == {"max_length": 5}


def test_help_names_every_flag_under_its_group():
    text = flags.help_text("python -m sat_tf.train --workdir=RUN", train_flags())
    assert text.startswith("usage: python -m sat_tf.train --workdir=RUN\n")
    groups = dict(block.split(":\n", 1) for block in text.split("\n\n")[1:-1])
    assert list(groups) == ["command", *config.sections()]
    assert "--split=test" in groups["command"]
    assert "--[no]cache_features" in groups["encoder"]
    for part, fields in config.sections().items():
        for field in dataclasses.fields(fields):
            assert field.name in groups[part]


PROBE = """
import sys
from sat_tf import flags
def main(argv):
    {body}
flags.define_settings()
flags.run(main, "prog [IMAGE ...]", takes_arguments=True)
"""


def run_probe(body: str, *arguments: str, **options) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", PROBE.format(body=body), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **options)


@pytest.mark.parametrize(
    ("body", "arguments", "status", "stderr"),
    [
        ("return None", (), 0, ""),
        ("return 3", (), 3, ""),
        ("raise flags.UserError('a.csv:3: no such column')", (), 1, "a.csv:3: no such column"),
        ("open('/nowhere/x')", (), 1, "/nowhere/x: No such file or directory"),
        ("raise KeyboardInterrupt", (), 130, ""),
        ("return 0", ("--sed=1",), 2, "'sed'"),
    ],
)
def test_exit_status(body, arguments, status, stderr):
    done = run_probe(body, *arguments)
    assert done.returncode == status
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == (1 if stderr else 0)
    assert stderr in done.stderr


def test_a_bug_keeps_its_stack_trace():
    done = run_probe("return {}['x']")
    assert done.returncode == 1
    assert "KeyError: 'x'" in done.stderr


def test_what_is_told_to_terminate_leaves_nothing_half_written(tmp_path):
    body = (
        "import time; from sat_tf.storage import atomic_path\n"
        f"    with atomic_path({str(tmp_path / 'out')!r}) as path:\n"
        "        path.mkdir(); print('writing', flush=True); time.sleep(30)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", PROBE.format(body=body)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "writing\n"
    assert len(list(tmp_path.iterdir())) == 1
    process.terminate()
    assert process.communicate(timeout=30)[1] == ""
    assert process.returncode == 143
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_goes_away_is_no_error():
    read, write_end = os.pipe()
    os.close(read)
    command = [sys.executable, "-c", PROBE.format(body="print('x')")]
    done = subprocess.run(
        command, stdout=write_end, stderr=subprocess.PIPE, text=True, timeout=60, check=False
    )
    os.close(write_end)
    assert done.stderr == ""


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command_does_not_import_tensorflow(command):
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['{command}', '--help']\n"
        "try:\n"
        f"    runpy.run_module('sat_tf.{command}', run_name='__main__')\n"
        "except SystemExit as finished:\n"
        "    assert finished.code == 0, finished.code\n"
        "heavy = {'tensorflow', 'keras', 'numpy', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: python -m sat_tf.{command} ")


def test_there_are_commands():
    assert "train" in COMMANDS


def test_held_back_notices_are_shown_when_the_import_fails(capfd):
    with pytest.raises(ImportError), flags._held_back_stderr():
        os.write(2, b"cannot open shared object\n")
        raise ImportError
    assert "cannot open shared object" in capfd.readouterr().err


def test_held_back_notices_are_dropped_otherwise(capfd):
    with flags._held_back_stderr():
        os.write(2, b"oneDNN is on\n")
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"


@pytest.mark.parametrize("path", sorted(EXPERIMENTS.glob("*.flags")), ids=lambda path: path.name)
def test_every_experiment_gives_settings(path, monkeypatch):
    monkeypatch.chdir(EXPERIMENTS.parent)
    values = train_flags()
    # What the user is to name: the data's folder, and the run to start from where one is needed.
    named = ["--workdir=run", "--data_dir=data", "--start_from=soft"]
    argv = ["prog", *named, f"--flagfile={path}"]
    flags.parse(argv, flag_values=values)
    assert flags.settings_from_flags(values) != Config()
