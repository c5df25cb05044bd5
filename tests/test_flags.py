"""Flags: one for each setting, and one clear line for each mistake."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from absl.flags import FlagValues

from sat_tf import config, flags
from sat_tf.config import Config
from sat_tf.config.setting import as_flag
from sat_tf.errors import UserError

EXPERIMENTS = Path(__file__).parent.parent / "experiments"
PACKAGE = Path(flags.__file__).parent
COMMANDS = sorted(
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    for path in (*PACKAGE.glob("*.py"), *PACKAGE.glob("beam/*.py"))
    if "\nUSAGE = " in path.read_text(encoding="utf-8")
)


@pytest.fixture(autouse=True)
def no_flags(monkeypatch):
    monkeypatch.setattr(flags, "FLAGS", FlagValues())


def define_train_flags() -> None:
    flags.FLAGS = FlagValues()
    flags.define_settings()
    flags.define_command_flags("workdir", "split", "decode_batch_size")


def config_of(*arguments: str) -> Config:
    """The settings of training with these arguments."""
    define_train_flags()
    flags.parse(["prog", "--workdir=run", *arguments])
    return flags.settings_from_flags()


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_no_flags_give_the_default_config():
    assert config_of() == Config()


def test_arguments_give_the_config_back():
    changed = {"seed": 7, "data_dir": "my photos", "cache_features": False, "lstm_encoder": True}
    expected = config.from_flat(changed)
    arguments = config.to_arguments(expected)
    assert len(arguments) == len(changed)
    assert config_of(*arguments) == expected


def test_each_setting_has_a_flag_of_its_type():
    expected = {}
    for name, declared in config.settings().items():
        default = declared.default
        if declared.choices:
            expected[name] = declared.choices[-1]
        elif isinstance(default, bool):
            expected[name] = not default
        elif isinstance(default, int):
            expected[name] = default + 1
        else:
            expected[name] = default / 2 if isinstance(default, float) else "elsewhere"
    arguments = [as_flag(name, value) for name, value in expected.items()]
    define_train_flags()
    flags.parse(["prog", "--workdir=run", *arguments])
    got = {name: flags.FLAGS[name].value for name in expected}
    assert got == expected
    assert [*map(type, got.values())] == [*map(type, expected.values())]


def test_settings_read_the_flags():
    settings = config_of("--seed=7", "--gate=none", "--learning_rate=1")
    assert (settings.training.seed, settings.decoder.gate) == (7, "none")
    assert settings.training.learning_rate == 1.0


@pytest.mark.parametrize(
    ("argument", "named"),
    [
        ("--sed=1", "'sed'"),
        ("--seed=one", "--seed='one': must be a whole number"),
        ("--dropout=half", "--dropout='half': must be a number"),
        ("--cache_features=maybe", "--cache_features='maybe': must be true or false"),
        ("--seed=-1", "--seed=-1: must be at least 0"),
        ("--seed", "--seed"),
        ("--gate=vector", "--gate='vector': must be one of none, scalar, channel"),
        ("--dropout=2", "--dropout=2.0: must be at most 0.95"),
        ("--split=all", "--split='all': must be one of train, dev, test"),
        ("--decode_batch_size=0", "--decode_batch_size=0: must be at least 1"),
        ("--nocache_features=1", "--nocache_features=1"),
        ("picture.jpg", "'picture.jpg'"),
        ("--flagfile=/nowhere/x.flags", "--flagfile=/nowhere/x.flags"),
        ("--flagfile=x.flags", f"No such file or directory in the current folder, {Path.cwd()}"),
        ("--flagfile=", "--flagfile must name a file"),
    ],
)
def test_a_wrong_argument_is_named(argument, named):
    with pytest.raises(UserError) as caught:
        config_of(argument)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_number_that_is_not_finite_is_rejected(value):
    with pytest.raises(UserError, match=f"--learning_rate={value}"):
        config_of(f"--learning_rate={value}")


def test_workdir_must_be_given():
    define_train_flags()
    with pytest.raises(UserError, match="--workdir must be given"):
        flags.parse(["prog"])


def test_arguments_go_to_the_commands_that_take_them():
    define_train_flags()
    argv = ["prog", "a.jpg", "--workdir=run", "b.jpg"]
    assert flags.parse(argv, takes_arguments=True) == ["prog", "a.jpg", "b.jpg"]


def test_a_flagfile_includes_its_base_and_changes_it(tmp_path):
    base = write(
        tmp_path / "base.flags", "# comment", "// comment", "", "--seed=5", "--log_captions=9"
    )
    variant = write(tmp_path / "variant.flags", f"--flagfile={base}", "--seed=3")
    settings = config_of(f"--flagfile={variant}")
    assert (settings.training.seed, settings.training.log_captions) == (3, 9)
    settings = config_of("--flagfile", str(variant), "--log_captions=1")
    assert (settings.training.seed, settings.training.log_captions) == (3, 1)


def test_included_paths_are_relative_to_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "experiments").mkdir()
    write(tmp_path / "experiments" / "base.flags", "--seed=5")
    write(tmp_path / "experiments" / "variant.flags", "--flagfile=experiments/base.flags")
    monkeypatch.chdir(tmp_path)
    settings = config_of("--flagfile=experiments/variant.flags")
    assert settings.training.seed == 5


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("--sed=1", ":2: unknown flag --sed"),
        ("seed=1", ":2: 'seed=1'"),
        ("--flagfile=/nowhere/y.flags", ": --flagfile=/nowhere/y.flags: can't be read"),
    ],
)
def test_a_bad_line_of_a_flagfile_is_named(tmp_path, line, complaint):
    path = write(tmp_path / "x.flags", "--log_captions=1", line)
    with pytest.raises(UserError) as caught:
        config_of(f"--flagfile={path}")
    assert f"{path}{complaint}" in str(caught.value)


def test_a_flagfile_may_come_from_any_editor(tmp_path):
    path = tmp_path / "windows.flags"
    path.write_bytes("\ufeff# größer\r\n--seed=3\r\n\r\n  --max_epochs=2  \r\n".encode())
    settings = config_of(f"--flagfile={path}")
    assert (settings.training.seed, settings.training.max_epochs) == (3, 2)


def test_a_path_that_is_no_text_is_rejected():
    with pytest.raises(UserError, match=r"--data_dir='gr\\udcf6sse': is not UTF-8 text"):
        config_of("--data_dir=gr\udcf6sse")


def test_a_flagfile_that_includes_itself_is_rejected(tmp_path):
    first, second = tmp_path / "first.flags", tmp_path / "second.flags"
    write(first, f"--flagfile={second}")
    write(second, f"--flagfile={first}")
    with pytest.raises(UserError, match=r"second\.flags: --flagfile=.* includes itself"):
        config_of(f"--flagfile={first}")


def test_a_flagfile_that_is_no_text_is_rejected(tmp_path):
    path = tmp_path / "x.flags"
    path.write_bytes(b"--seed=\xff\n")
    with pytest.raises(UserError, match="not UTF-8"):
        config_of(f"--flagfile={path}")


def test_overrides_are_the_values_that_are_given():
    flags.define_settings("doctor")
    flags.parse(["prog", "--max_length=5"])
    assert flags.overrides() == {"max_length": 5}
    assert "data_dir" in flags.FLAGS and "hidden_size" not in flags.FLAGS


def test_a_setting_of_other_commands_is_named():
    flags.define_settings("doctor")
    with pytest.raises(UserError, match="--seed: this command does not take it"):
        flags.parse(["prog", "--seed=5"])


def test_settings_name_commands_that_exist():
    named = {command for declared in config.settings().values() for command in declared.commands}
    assert named <= {*COMMANDS, "doctor"}


def test_help_describes_every_flag_under_its_section():
    define_train_flags()
    text = flags.help_text("python -m sat_tf.train --workdir=RUN")
    assert text.startswith("usage: python -m sat_tf.train --workdir=RUN\n")
    groups = dict(block.split(":\n", 1) for block in text.split("\n\n")[1:-1])
    assert list(groups) == ["command", *config.sections()]
    assert "--split: <train|dev|test>" in groups["command"]
    assert "--[no]cache_features" in groups["encoder"]
    assert "For --attention=hard." in " ".join(groups["decoding"].split())
    for section, declared in config.sections().items():
        for name in declared.settings():
            assert f"--{name}:" in groups[section].replace("[no]", "")


def call(monkeypatch, main, *arguments):
    """Run a command in this process; return its exit status."""
    monkeypatch.setattr(sys, "argv", ["prog", *arguments])
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    with pytest.raises(SystemExit) as finished:
        flags.run(main, "prog [IMAGE ...]", takes_arguments=True)
    return finished.value.code


def fail(error):
    raise error


@pytest.mark.parametrize(
    ("main", "arguments", "status", "stderr"),
    [
        (lambda _: None, (), None, ""),
        (lambda _: 3, (), 3, ""),
        (lambda _: fail(UserError("a.csv:3: no such column")), (), 1, "a.csv:3: no such column"),
        (lambda _: Path("/nowhere/x").read_text(), (), 1, "/nowhere/x: No such file or directory"),
        (lambda _: fail(KeyboardInterrupt()), (), 130, ""),
        (lambda _: 0, ("--sed=1",), 2, "'sed'"),
        (lambda arguments: fail(UserError(arguments[1])), ("a.jpg",), 1, "a.jpg"),
    ],
)
def test_exit_status(monkeypatch, capsys, main, arguments, status, stderr):
    assert call(monkeypatch, main, *arguments) == status
    written = capsys.readouterr().err
    assert written.count("\n") == (1 if stderr else 0)
    assert stderr in written


def test_a_bug_keeps_its_stack_trace(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["prog"])
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    with pytest.raises(KeyError):
        flags.run(lambda _: {}["x"], "prog")


PROBE = """
import sys
from sat_tf import flags
def main(argv):
    {body}
flags.run(main, "prog"{options})
"""


def run_probe(body, options="", **arguments):
    """Run a command with that body in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", PROBE.format(body=body, options=options)],
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
        **arguments,
    )


def test_sigterm_removes_what_is_half_written(tmp_path):
    body = (
        "import time; from sat_tf.storage import atomic_path\n"
        f"    with atomic_path({str(tmp_path / 'out')!r}) as path:\n"
        "        path.mkdir(); print('writing', flush=True); time.sleep(30)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", PROBE.format(body=body, options="")],
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


@pytest.mark.parametrize("needs_stdout", [False, True])
def test_a_closed_pipe_is_not_reported(needs_stdout, tmp_path):
    """A command ends then only if there is no use in it without standard output."""
    read, write_end = os.pipe()
    os.close(read)
    path = tmp_path / "written"
    body = f"print('x', flush=True); open({str(path)!r}, 'w').close()"
    done = run_probe(body, f", needs_stdout={needs_stdout}", stdout=write_end)
    os.close(write_end)
    assert (done.stderr, done.returncode) == ("", 1)
    assert path.exists() is not needs_stdout


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is full")
def test_a_full_disk_under_standard_output_is_reported_after_the_work(tmp_path):
    path = tmp_path / "written"
    with open("/dev/full", "w") as full:
        done = run_probe(f"print('x'); open({str(path)!r}, 'w').close()", stdout=full)
    assert done.stderr == "error: standard output: No space left on device\n"
    assert done.returncode == 1
    assert path.exists()


def test_what_cannot_be_encoded_is_printed_as_escapes():
    """Windows has such an encoding where output is redirected; names need not be Unicode at all."""
    body = r"print('rot \u0623'); print('gr\udcf6n', file=sys.stderr)"
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252:strict", "PYTHONUTF8": "0"}
    done = run_probe(body, stdout=subprocess.PIPE, env=environment)
    assert (done.stdout, done.stderr) == ("rot \\u0623\n", "gr\\udcf6n\n")
    assert done.returncode == 0


def test_a_command_runs_without_standard_streams(tmp_path):
    path = tmp_path / "written"
    body = f"print('\\udcf6'); print('x', file=sys.stderr); open({str(path)!r}, 'w').close()"
    program = PROBE.format(body=body, options="")
    command = ["sh", "-c", 'exec "$0" -c "$1" >&- 2>&-', sys.executable, program]
    assert subprocess.run(command, timeout=60, check=False).returncode == 0
    assert path.exists()


LIGHT = """
import os, runpy, sys
import sat_tf.flags
for command in sys.argv[1:]:
    for argument, status in (("--help", 0), ("--no_such_flag", 2)):
        if os.fork():
            assert os.wait()[1] == 0, (command, argument)
            continue
        sys.argv = [command, argument]
        try:
            runpy.run_module(f"sat_tf.{command}", run_name="__main__")
        except SystemExit as finished:
            assert (finished.code or 0) == status, finished.code
        heavy = {"tensorflow", "keras", "numpy", "matplotlib"} & set(sys.modules)
        assert not heavy, heavy
        sys.stdout.flush()
        os._exit(0)
"""


def test_help_and_wrong_flags_of_each_command_do_not_import_tensorflow():
    commands = (*COMMANDS, "doctor")
    done = subprocess.run(
        [sys.executable, "-c", LIGHT, *commands],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("no_such_flag") == len(commands)
    for command in commands:
        assert f"usage: python -m sat_tf.{command} " in done.stdout


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
def test_every_experiment_gives_a_config(path, monkeypatch):
    monkeypatch.chdir(EXPERIMENTS.parent)
    # What the user is to name: the data's folder, and the run to start from where one is needed.
    named = ["--data_dir=data", "--start_from=soft"]
    assert config_of(*named, f"--flagfile={path}") != Config()
