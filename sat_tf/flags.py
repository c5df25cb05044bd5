"""Config <-> absl flags; the only file that defines flags.

A command defines its flags at the end of its file, and reads them in `main` alone:

    if __name__ == "__main__":
        flags.define_settings()
        flags.define_command_flags("workdir")
        flags.run(main, "python -m sat_tf.train --workdir=RUN [--SETTING=VALUE ...]")

A flagfile (`--flagfile=FILE`) holds one `--name=value` a line; lines that start with `#` or `//`
are comments. Of two values the later one counts, so a file that includes another one first may
change some of its values. Paths are relative to the working directory, those of included files
too.
"""

import contextlib
import errno
import faulthandler
import gc
import io
import itertools
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from absl import flags as absl_flags
from absl import logging as absl_logging

from sat_tf import config
from sat_tf.config import Config, Setting
from sat_tf.errors import TryAgainError, UserError, printable
from sat_tf.text_files import NOT_TEXT, open_text

# Not absl's global flags, which other packages define theirs in.
FLAGS = absl_flags.FlagValues()

# The heading of a command's own flags in `--help`; settings stand under their section.
COMMAND = "command"
COMMAND_FLAGS = {
    "workdir": Setting("", "Folder of the run: config, vocabulary, checkpoints and scores."),
    "cluster": Setting(
        "tf_config",
        "Where a worker finds the others: tf_config, the environment variable TF_CONFIG (without "
        "it the command works alone); slurm, the tasks of the job step.",
        choices=("tf_config", "slurm"),
    ),
    "worker_timeout": Setting(
        300.0,
        "Seconds that a worker waits for the others before it takes one of them for stuck: more "
        "than the longest of a step, the scores of a validation, and 64 MiB of features.",
        minimum=1,
    ),
    "split": Setting("test", "Split of the data set.", choices=("train", "dev", "test")),
    "output": Setting("", "JSON file to write all results to, with the settings."),
    "captions": Setting(
        "", "JSON file to write the captions to, one an image, in COCO's results format."
    ),
    "images_from": Setting(
        "",
        "File with the path of an image a line, relative to the current folder, beside those "
        "given; -: standard input.",
    ),
    "image_info": Setting(
        "",
        "For --captions: COCO's list of the images of a split (image_info_test2014.json). Their "
        "ids are written, each must be given, and others are left out.",
    ),
    "compare": Setting("", "RUN_A,RUN_B: two runs to compare on the same images."),
    "results": Setting(
        "",
        "Captions of another system to score: a .json file in COCO's results format, or text with "
        "one caption a line.",
    ),
    "references": Setting(
        "",
        "For --results of text: comma-separated files of references, the first one of each image, "
        "the second ones and so on; an empty line where there is none.",
    ),
    "figure": Setting("", "Figure (.png, .pdf or .svg) of the attention at each word."),
    "report": Setting("", "HTML file of images, captions and attention, to open in a browser."),
    "text": Setting("", "Sentence to score as the caption of each image, in place of a search."),
    "num_return_sequences": Setting(1, "Captions to print of each image, best first.", minimum=1),
    "export_dir": Setting("", "New folder for the SavedModel."),
    "precision": Setting(
        "float32",
        "Weights and arithmetic of the export: float32, or bfloat16 of half the size.",
        choices=("float32", "bfloat16"),
    ),
    "max_pixels": Setting(
        config.MOST_PIXELS, "Images of more pixels are rejected before decoding.", minimum=1
    ),
    "decode": Setting(
        False,
        "Decode every image in full; otherwise only those whose first or last bytes are unusual.",
    ),
    "decode_batch_size": Setting(64, "Images in a batch.", minimum=1),
    "faithfulness": Setting(
        0,
        "Images of the split whose parts are covered to see what the words depend on; it takes "
        "about 80 passes of the encoder for each.",
        minimum=0,
    ),
    "npz": Setting("", "Weights that arctic-captions saved (MODEL.npz)."),
    "options": Setting("", "Options that arctic-captions saved with them (MODEL.npz.pkl)."),
    "dictionary": Setting("", "Dictionary that arctic-captions was trained with (.pkl)."),
    "workers": Setting(2, "Workers to start on this machine.", minimum=1),
    "max_restarts": Setting(
        3, "How often all workers are started again after one has failed.", minimum=0
    ),
    "input": Setting(
        "",
        "Comma-separated image files, folders and patterns such as 'photos/**/*.jpg', and TFRecord "
        "(.tfrecord) and Parquet files (.parquet) of images.",
    ),
    "num_shards": Setting(0, "Number of shards of the output; 0: one for 1,000 images.", minimum=0),
    "output_format": Setting(
        "jsonl", "Lines of JSON, or Parquet files.", choices=("jsonl", "parquet")
    ),
    "write_attention": Setting(False, "Write the attention of each word, too."),
    "verify": Setting(
        False, "Prove that each input stands exactly once in the output; caption nothing."
    ),
}
# Flags that must be given, each with the flags that may replace it.
REQUIRED: dict[str, tuple[str, ...]] = {
    "workdir": ("compare", "results"),
    "export_dir": (),
    "npz": (),
    "options": (),
    "dictionary": (),
}


def define_settings(command: str = "") -> None:
    """Define one flag for each setting, or without defaults for those that `command` takes."""
    for section, declared in config.sections().items():
        for name, setting in declared.settings().items():
            if not command or command in setting.commands:
                _define(name, setting, None if command else setting.default, section)


def overrides() -> dict[str, Any]:
    """Return the settings that have a value, by name; defaults are values, too."""
    flags = itertools.chain.from_iterable(map(FLAGS.get_flags_for_module, config.sections()))
    return {flag.name: flag.value for flag in flags if flag.value is not None}


def settings_from_flags() -> Config:
    """Return the config of all settings; raise `UserError` if two conflict."""
    return config.from_flat(overrides())


def define_command_flags(*names: str, **others: Setting) -> None:
    """Define flags of a command; those in `REQUIRED` must be given.

    Args:
      *names: in `COMMAND_FLAGS`.
      **others: flags that mean something else here than in `COMMAND_FLAGS`.
    """
    for name, flag in {**{name: COMMAND_FLAGS[name] for name in names}, **others}.items():
        _define(name, flag, flag.default, COMMAND)


def _define(name: str, setting: Setting, default: Any, group: str) -> None:
    help_ = setting.help + setting.condition
    if setting.choices:
        help_ = f"<{'|'.join(setting.choices)}>: {help_}"
    is_boolean = isinstance(setting.default, bool)
    parser = _SettingParser(name=name, setting=setting)
    flag = absl_flags.Flag(parser, None, name, default, help_, boolean=is_boolean)
    absl_flags.DEFINE_flag(flag, FLAGS, module_name=group)


class _SettingParser(absl_flags.ArgumentParser):
    """Reads a value as absl does and validates it as that of a `config.json`, in the same words."""

    def __init__(self, name: str, setting: Setting) -> None:
        self._name, self._setting = name, setting
        self._convert: Callable[[Any], Any] = str
        if isinstance(setting.default, bool):
            self._convert = absl_flags.BooleanParser().parse
        elif isinstance(setting.default, (int, float)):
            is_whole = isinstance(setting.default, int)
            numbers: Any = absl_flags.IntegerParser if is_whole else absl_flags.FloatParser
            self.syntactic_help = numbers(setting.minimum, setting.maximum).syntactic_help
            self._convert = numbers().convert

    def parse(self, argument: Any) -> Any:
        with contextlib.suppress(ValueError):  # then it has another type
            argument = self._convert(argument)
        return self._setting.validated(self._name, argument)


def run(
    main: Callable[[list[str]], int | None],
    usage: str,
    *,
    takes_arguments: bool = False,
    needs_stdout: bool = False,
) -> NoReturn:
    """Parse the command line, call `main` and exit.

    The exit status is what `main` returns, 0 for None; 1 after a `UserError` or an error of the
    file system; 2 for a wrong command line; 75 after a `TryAgainError`; 130 after Ctrl-C; 143 after
    SIGTERM. None of these prints a stack trace, and partly written files are removed. Characters
    that standard output or standard error cannot encode are printed as escapes.

    Args:
      main: the command; its argument is the program's name and the arguments that are no flags.
      usage: the first lines of `--help`: how to call the command, and what it does.
      takes_arguments: whether arguments that are no flags are allowed.
      needs_stdout: whether the command ends at once when nothing can be written to standard output
        any more, as its reader has gone or the disk is full. Otherwise it goes on, and its exit
        status is 1.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    lost: list[OSError] = []
    sys.stdout = _printable(sys.stdout, None if needs_stdout else lost)
    sys.stderr = _printable(sys.stderr, [])
    try:
        if {"-h", "-?", "-help", "--help", "--helpshort"}.intersection(sys.argv[1:]):
            print(help_text(usage), flush=True)
            sys.exit()
        try:
            arguments = parse(sys.argv, takes_arguments=takes_arguments)
        except UserError as error:
            sys.exit(_report(f"{error} (see --help)", status=2))
        status = main(arguments)
        sys.stdout.flush()
        if lost:
            raise lost[0]
    except UserError as error:
        status = _report(str(error))
    except TryAgainError as error:
        _report(str(error))
        time.sleep(error.stay)
        sys.stdout.flush()
        os._exit(os.EX_TEMPFAIL)  # TensorFlow's own end would wait for the missing worker
    except KeyboardInterrupt:
        status = 130
    except BrokenPipeError:
        # The reader of our output has gone (`| head`); Python would report it again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    except OSError as error:
        reason = error.strerror or str(error)
        # Every other writer names its file.
        where = error.filename or ("standard output" if error.errno == errno.ENOSPC else "")
        status = _report(f"{where}: {reason}" if where else reason)
    sys.exit(status)


class _Dispensable(io.FileIO):
    """A file descriptor for text that is only shown: its errors are listed, not raised."""

    def __init__(self, descriptor: int, errors: list[OSError]) -> None:
        super().__init__(descriptor, "wb", closefd=False)
        self._errors = errors

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self._errors.append(OSError(error.errno, error.strerror, "standard output"))
            return len(data)


def _printable(stream: Any, errors: list[OSError] | None) -> Any:
    """Return a standard stream that prints what it can't encode as escapes.

    Args:
      stream: of text; None if it is closed, and then what is printed is dropped.
      errors: gets those of a full disk or of a reader that has gone; None: they are raised.
    """
    if stream is None:
        return open(os.devnull, "w", encoding="utf-8", errors="ignore")
    if not isinstance(stream, io.TextIOWrapper):
        return stream  # a test's, or a notebook's
    stream.reconfigure(errors="backslashreplace")
    raw = getattr(stream.buffer, "raw", stream.buffer)  # `python -u` has no buffer around it
    # Consoles of Windows have a class of their own.
    if errors is None or type(raw) is not io.FileIO:
        return stream
    stream.flush()
    file = _Dispensable(stream.fileno(), errors)
    return io.TextIOWrapper(
        file if raw is stream.buffer else io.BufferedWriter(file),
        stream.encoding,
        "backslashreplace",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def parse(argv: Sequence[str], *, takes_arguments: bool = False) -> list[str]:
    """Parse `argv`, the program's name first; return what is no flag.

    Raises:
      UserError: an unknown flag, a value of the wrong type or outside its limits, a missing flag,
        an argument that the command does not take, or a flagfile that can't be read, includes
        itself or has a line that is no flag of this command.
    """
    try:
        arguments = FLAGS(_with_flagfiles(argv))
    except (absl_flags.Error, ValueError) as error:  # the second for `--noflag=value`
        name = getattr(error, "flagname", "")  # of an unknown flag
        if name in config.settings():
            raise UserError(f"--{name}: this command does not take it") from None
        raise UserError(str(error)) from None
    if len(arguments) > 1 and not takes_arguments:
        raise UserError(f"unexpected argument {arguments[1]!r}: flags are written --name=value")
    for name, others in REQUIRED.items():
        defined = [each for each in (name, *others) if each in FLAGS]
        if name in defined and not any(FLAGS[each].value for each in defined):
            names = " or ".join(f"--{each}" for each in defined)
            raise UserError(f"{names} must be given: {FLAGS[name].help}")
    return arguments


def _with_flagfiles(argv: Sequence[str]) -> list[str]:
    """Return the arguments, each `--flagfile` replaced by the lines of its file."""
    expanded: list[str] = []
    remaining = iter(argv)
    for argument in remaining:
        flag, equals, value = argument.partition("=")
        if flag in ("--flagfile", "-flagfile"):
            expanded += _read_flagfile(value if equals else next(remaining, ""))
        else:
            expanded.append(argument)
        if argument == "--":
            break
    return [*expanded, *remaining]


def _read_flagfile(path: str, including: tuple[str, ...] = ()) -> list[str]:
    """Return the flags of a file, and of those that it includes.

    Not by absl, which names neither file nor line of what is wrong, and reads the file in the
    encoding of the locale.
    """
    name = os.path.expanduser(path)
    where = f"{including[-1]}: " if including else ""
    if not name:
        raise UserError(f"{where}--flagfile must name a file")
    if name in including:
        raise UserError(f"{where}--flagfile={path} includes itself")
    try:
        with open_text(Path(name)) as file:
            lines = file.readlines()
    except UserError as error:
        raise UserError(f"{where}--flagfile={error}") from None
    found = []
    for number, line in enumerate(map(str.strip, lines), start=1):
        if NOT_TEXT.search(line):
            raise UserError(f"{name}:{number}: is not UTF-8 text: save the file as UTF-8")
        if not line or line.startswith(("#", "//")):
            continue
        flag, _, value = line.partition("=")
        bare = flag.lstrip("-")
        if not flag.startswith("-"):
            raise UserError(f"{name}:{number}: {line!r}: flags are written --name=value")
        if bare == "flagfile":
            found += _read_flagfile(value, (*including, name))
        elif bare not in FLAGS and bare.removeprefix("no") not in FLAGS:
            raise UserError(f"{name}:{number}: unknown flag {flag}")
        else:
            found.append(line)
    return found


def help_text(usage: str) -> str:
    """Return `usage`, and the help of this command's flags by section."""
    sections = map(FLAGS.module_help, (COMMAND, *config.sections()))
    closing = (
        "--flagfile=FILE reads flags from a file, one a line. Paths, in flags and in such files, "
        "are relative to the current folder."
    )
    return "\n".join([f"usage: {usage}", *filter(None, sections), f"\n{closing}"])


def import_tensorflow() -> None:
    """Import TensorFlow, with oneDNN, and Keras, and list devices without start-up notices.

    Standard error says so, as it takes 3 to 13 seconds. If that fails, the notices are printed.
    `TF_CPP_MIN_LOG_LEVEL` below 3 in the environment shows them always.
    """
    # TensorFlow's default on x86 only with AVX-512 VNNI; other processors gain a third from it.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3") < "3":
        return
    # TensorFlow and tensorflow-datasets log their progress, with a warning if no flag was parsed.
    absl_flags.FLAGS.mark_as_parsed()
    absl_logging.set_verbosity(absl_logging.ERROR)
    if "tensorflow" in sys.modules:
        return
    # Not at the top: `--help` and errors in flags must not wait for them.
    from sat_tf.progress import activity

    # Modules are no garbage: to look for it takes a fifth of the time of the import, and as much of
    # each collection after it.
    gc.disable()
    with activity("loading TensorFlow"), _held_back_stderr():
        import keras  # noqa: F401
        import tensorflow as tf

        tf.config.list_physical_devices()
    gc.freeze()
    gc.enable()


@contextlib.contextmanager
def _held_back_stderr() -> Iterator[None]:
    """Hold back what is written to file descriptor 2; print it only if the body raises."""
    sys.stderr.flush()
    original = os.dup(2)
    # A crash in native code raises nothing: report where it happened.
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


def _report(message: str, status: int = 1) -> int:
    """Print an error; return the exit status."""
    lines = (printable(line) for line in f"error: {message}".splitlines())
    print("\n".join(lines), file=sys.stderr)
    return status
