"""Config <-> absl flags: the only place that defines a flag.

A command defines what it takes, at the end of its file:

    if __name__ == "__main__":
        flags.define_settings()
        flags.define_command_flags("workdir")
        flags.run(main, "python -m sat_tf.train --workdir=RUN [--SETTING=VALUE ...]")

and reads it once, in `main`: `flags.settings_from_flags()`, `flags.FLAGS.workdir`.

A flagfile holds one `--name=value` a line; lines that open with `#` or `//` are comments. Of two
values the later one counts, so a file that includes another (`--flagfile=...`) first may change
a few of its lines. As everywhere in absl, paths are relative to the working directory, the
paths of included files too.
"""

import contextlib
import dataclasses
import faulthandler
import os
import signal
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from absl import app
from absl import flags as absl_flags
from absl import logging as absl_logging

from sat_tf import config
from sat_tf.config import Config
from sat_tf.config.setting import setting
from sat_tf.errors import UserError

FLAGS = absl_flags.FLAGS

# The heading of a group of flags is the name absl files them under; the settings' are their parts.
COMMAND_GROUP = "command"

COMMAND_FLAGS: dict[str, Any] = {
    "workdir": setting("", "Folder of the run: settings, vocabulary, checkpoints and scores."),
    "split": setting("test", "Part of the data set.", choices=("train", "dev", "test")),
    "output": setting("", "JSON file that receives everything that is found, with the settings."),
    "captions": setting(
        "", "JSON file that receives the captions, one an image, in COCO's results format."
    ),
    "compare": setting("", "RUN_A,RUN_B: two runs to be compared on the same images."),
    "results": setting(
        "",
        "Captions of another system to be scored: a .json file in COCO's results format, or text "
        "with one caption a line.",
    ),
    "references": setting(
        "",
        "For --results of text: files of references, with commas between: the first one of each "
        "image, the second ones and so on; an empty line where there is none.",
    ),
    "figure": setting("", "Picture (.png, .pdf or .svg) of where the model looked, word by word."),
    "report": setting("", "HTML file of images, captions and attention, to open in a browser."),
    "text": setting("", "A sentence to be scored in place of captions that are searched for."),
    "num_return_sequences": setting(
        1, "Captions printed of each image, in the order of the search.", minimum=1
    ),
    "export_dir": setting("", "Folder that receives the SavedModel; must not hold files yet."),
    "precision": setting(
        "float32",
        "Weights and arithmetic of the export: float32, or bfloat16 of half the size.",
        choices=("float32", "bfloat16"),
    ),
    "max_pixels": setting(
        config.MOST_PIXELS, "Images of more pixels are refused before they are decoded.", minimum=1
    ),
    "decode_batch_size": setting(64, "Images captioned at once.", minimum=1),
    "npz": setting("", "Weights that arctic-captions saved (MODEL.npz)."),
    "options": setting("", "Options that arctic-captions saved with them (MODEL.npz.pkl)."),
    "dictionary": setting("", "Dictionary that arctic-captions was trained with (.pkl)."),
}
# Flags that must be given, each with those that may stand in its place.
REQUIRED: dict[str, tuple[str, ...]] = {
    "workdir": ("compare", "results"),
    "export_dir": (),
    "npz": (),
    "options": (),
    "dictionary": (),
}

_HELP = {"-h", "-?", "-help", "--help", "--helpshort"}


def define_settings(flag_values: absl_flags.FlagValues = FLAGS) -> None:
    """Defines one flag for each setting of every part."""
    for part, fields in config.sections().items():
        for field in dataclasses.fields(fields):
            _define(field.name, field, field.default, part, flag_values)


def settings_from_flags(flag_values: absl_flags.FlagValues = FLAGS) -> Config:
    """The settings that the flags of `define_settings` hold.

    Raises:
      UserError: a value is outside its limits, or two settings contradict each other.
    """
    names = config.to_flat(Config())
    return config.from_flat({name: flag_values[name].value for name in names})


def define_overrides(*names: str, flag_values: absl_flags.FlagValues = FLAGS) -> None:
    """Defines flags for those settings of a finished run that a command may change."""
    for part, fields in config.sections().items():
        for field in dataclasses.fields(fields):
            if field.name in names:
                _define(field.name, field, None, part, flag_values)


def overrides(flag_values: absl_flags.FlagValues = FLAGS) -> dict[str, Any]:
    """The values given for flags of `define_overrides`, by the settings' names."""
    by_group = flag_values.flags_by_module_dict()
    given = (flag for part in config.sections() for flag in by_group.get(part, ()))
    return {flag.name: flag.value for flag in given if flag.value is not None}


def define_command_flags(*names: str, flag_values: absl_flags.FlagValues = FLAGS) -> None:
    """Defines the named flags of `COMMAND_FLAGS`; those in `REQUIRED` must be given."""
    for name in names:
        field = COMMAND_FLAGS[name]
        _define(name, field, field.default, COMMAND_GROUP, flag_values)


def run(
    main: Callable[[list[str]], int | None], usage: str, *, takes_arguments: bool = False
) -> NoReturn:
    """Parses the command line, calls `main` and exits.

    `main` receives the program's name and the arguments that are no flags. The exit status is
    what it returns, 0 for None; 1 after a `UserError` or an error of the file system; 2 for a
    wrong command line; 130 after Ctrl-C; 143 when it is told to terminate. None of these prints a
    stack trace, and what was half written is removed.

    Args:
      main: the command.
      usage: how to call it, the first line of `--help`, and in further lines what it does.
      takes_arguments: whether arguments that are no flags are allowed.
    """
    status: Any = 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        try:
            app.run(main, flags_parser=lambda argv: _parse_or_exit(argv, usage, takes_arguments))
        except SystemExit as finished:
            status = finished.code
        sys.stdout.flush()
    except UserError as error:
        status = _complain(str(error))
    except KeyboardInterrupt:
        status = 130
    except BrokenPipeError:
        # The reader of our output has gone (`| head`); Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    except OSError as error:
        reason = error.strerror or str(error)
        status = _complain(f"{error.filename}: {reason}" if error.filename else reason)
    sys.exit(status)


def parse(
    argv: Sequence[str],
    *,
    takes_arguments: bool = False,
    flag_values: absl_flags.FlagValues = FLAGS,
) -> list[str]:
    """Parses `argv`, the program's name first; returns what is no flag.

    Raises:
      UserError: an unknown flag, a value of the wrong type, a missing flag, an argument that the
        command does not take, or a flagfile that can't be read, includes itself or has a line
        that is no flag of this command.
    """
    for position, argument in enumerate(argv):
        if argument.startswith(("--flagfile=", "-flagfile=")):
            _check_flagfile(argument.split("=", 1)[1], (), flag_values)
        elif argument in ("--flagfile", "-flagfile") and position + 1 < len(argv):
            _check_flagfile(argv[position + 1], (), flag_values)
    try:
        left = flag_values(list(argv))
    except (absl_flags.Error, ValueError) as error:
        # absl reports `--noflag=value` as a bare ValueError.
        raise UserError(str(error)) from None
    if len(left) > 1 and not takes_arguments:
        raise UserError(f"unexpected argument {left[1]!r}: flags are written --name=value")
    for name, others in REQUIRED.items():
        there = [each for each in (name, *others) if each in flag_values]
        if name in there and not any(flag_values[each].value for each in there):
            raise UserError(
                f"{' or '.join(f'--{each}' for each in there)} must be given: "
                f"{COMMAND_FLAGS[name].metadata['help']}"
            )
    return left


def help_text(usage: str, flag_values: absl_flags.FlagValues = FLAGS) -> str:
    """`usage`, then this command's flags by group, each with its default and its help."""
    blocks = [f"usage: {usage}"]
    by_group = flag_values.flags_by_module_dict()
    for group in (COMMAND_GROUP, *config.sections()):
        if group in by_group:
            blocks.append("\n".join([f"{group}:", *map(_describe, by_group[group])]))
    blocks.append(
        "--flagfile=FILE reads flags from a file, one a line; --helpfull adds absl's own."
    )
    return "\n\n".join(blocks)


def quiet_tensorflow() -> None:
    """Imports TensorFlow and lists its devices without its start-up notices.

    When that fails, all that was held back is printed. `TF_CPP_MIN_LOG_LEVEL` below 3 in the
    environment shows everything.
    """
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3") < "3":
        return
    with _held_back_stderr():
        # Here, not above: `--help` and errors in flags must not wait for it.
        import tensorflow as tf

        tf.config.list_physical_devices()
    # TensorFlow and tfds tell at length what they do, in the same log.
    absl_logging.set_verbosity(absl_logging.ERROR)


@contextlib.contextmanager
def _held_back_stderr() -> Iterator[None]:
    """Keeps what is written to file descriptor 2; prints it only if the body raises."""
    sys.stderr.flush()
    original = os.dup(2)
    # A crash in native code raises nothing: let it at least say where it happened.
    report_crash = not faulthandler.is_enabled()
    if report_crash:
        faulthandler.enable(original)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except Exception:
            held.seek(0)
            os.write(original, held.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(original, 2)
            if report_crash:
                faulthandler.disable()
            os.close(original)


def _define(
    name: str, field: Any, default: Any, group: str, flag_values: absl_flags.FlagValues
) -> None:
    """Defines the flag of a `setting`; its type is that of the setting's own default."""
    flag: absl_flags.Flag
    if isinstance(field.default, bool):
        flag = absl_flags.BooleanFlag(name, default, field.metadata["help"])
    else:
        serializer: absl_flags.ArgumentSerializer = absl_flags.ArgumentSerializer()
        flag = absl_flags.Flag(_parser(field), serializer, name, default, field.metadata["help"])
    absl_flags.DEFINE_flag(flag, flag_values, module_name=group)


def _parser(field: Any) -> absl_flags.ArgumentParser:
    minimum, maximum = field.metadata["minimum"], field.metadata["maximum"]
    if field.metadata["choices"] is not None:
        return absl_flags.EnumParser(field.metadata["choices"])
    if isinstance(field.default, int):
        return absl_flags.IntegerParser(minimum, maximum)
    if isinstance(field.default, float):
        return absl_flags.FloatParser(minimum, maximum)
    return absl_flags.ArgumentParser()


def _check_flagfile(
    path: str, including: tuple[str, ...], flag_values: absl_flags.FlagValues
) -> None:
    """Refuses, with file and line, what absl would report without them or pass over."""
    name = os.path.expanduser(path.strip())
    where = f"{including[-1]}: " if including else ""
    if name in including:
        raise UserError(f"{where}--flagfile={path.strip()} includes itself")
    try:
        lines = Path(name).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise UserError(f"{where}--flagfile={path.strip()} can't be read: {reason}") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith(("#", "//")):
            continue
        flag, _, value = line.strip().partition("=")
        bare = flag.lstrip("-")
        if bare == "flagfile" and value:
            _check_flagfile(value, (*including, name), flag_values)
        elif not flag.startswith("-"):
            raise UserError(f"{name}:{number}: {line.strip()!r}: flags are written --name=value")
        elif bare not in flag_values and bare.removeprefix("no") not in flag_values:
            raise UserError(f"{name}:{number}: unknown flag {flag}")


def _parse_or_exit(argv: Sequence[str], usage: str, takes_arguments: bool) -> list[str]:
    if _HELP.intersection(argv[1:]):
        print(help_text(usage))
        sys.exit(0)
    try:
        return parse(argv, takes_arguments=takes_arguments)
    except UserError as error:
        sys.exit(_complain(f"{error} (see --help)", status=2))


def _complain(message: str, status: int = 1) -> int:
    print(f"error: {message}", file=sys.stderr)
    return status


def _describe(flag: absl_flags.Flag) -> str:
    """A flag's lines of `--help`."""
    if flag.boolean:
        head = f"  --[no]{flag.name}"
        default = "" if flag.default is None else f" (default: {'on' if flag.default else 'off'})"
    else:
        value = flag.default_unparsed
        head = f"  --{flag.name}={'...' if value is None else value}"
        default = ""
    choices = getattr(flag.parser, "enum_values", None)
    allowed = f" [{', '.join(choices)}]" if choices else ""
    text = f"{flag.help}{default}{allowed}"
    return head + "\n" + textwrap.fill(text, 96, initial_indent=" " * 8, subsequent_indent=" " * 8)
