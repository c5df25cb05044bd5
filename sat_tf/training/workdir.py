"""The folder of a run: held by one training, of its settings, its files written last."""

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from sat_tf.config import CONFIG_FILE, Config
from sat_tf.data.records import Record
from sat_tf.data.unreadable import (
    LIST_FILE,
    LeftOut,
    check_images,
    names_left_out,
    read_left_out,
    write_left_out,
)
from sat_tf.errors import UserError
from sat_tf.model.caption_model import CaptionModel
from sat_tf.model.encoder import resolve_encoder, save_encoder
from sat_tf.model.weights import newest_checkpoint
from sat_tf.storage import (
    BEST,
    ENCODER_FILE,
    LAST,
    LOCK_FILE,
    METRICS_FILE,
    VOCABULARY_FILE,
    sole_writer,
)
from sat_tf.training.checkpoints import has_state
from sat_tf.vocabulary import Vocabulary
from sat_tf.workers import Workers


@contextlib.contextmanager
def lock_run(workdir: Path) -> Iterator[None]:
    """Hold the folder of a run for one training; a killed process leaves no lock.

    Raises:
      UserError: another training is at work there, or it can't be a folder.
    """
    if os.path.lexists(workdir) and not workdir.is_dir():
        target = f"a link to {os.readlink(workdir)}, which is " if workdir.is_symlink() else ""
        raise UserError(f"--workdir={workdir}: is {target}no folder")
    workdir.mkdir(parents=True, exist_ok=True)
    refusal = (
        f"--workdir={workdir}: another training is at work there: wait for its end, or give "
        "another --workdir"
    )
    with sole_writer(workdir, refusal):
        try:
            yield
        finally:
            if os.listdir(workdir) == [LOCK_FILE]:  # what was wrong was found before the first file
                (workdir / LOCK_FILE).unlink()
                workdir.rmdir()


def await_state(workdir: Path, workers: Workers) -> None:
    """Wait until this worker sees the state that the chief sees.

    Raises:
      UserError: it sees another one.
    """

    def number() -> str:
        prefix = newest_checkpoint(workdir / LAST)
        return prefix.name if prefix else ""

    theirs = workers.from_chief(number())
    if not workers.wait_until(lambda: number() == theirs):
        raise _not_shared(workdir)


def await_run(workdir: Path, workers: Workers) -> None:
    """Wait until this worker sees the run that the chief has written.

    Raises:
      UserError: it does not see it.
    """
    if not workers.wait_until((workdir / CONFIG_FILE).exists):
        raise _not_shared(workdir)


def _not_shared(workdir: Path) -> UserError:
    return UserError(
        f"--workdir={workdir}: is not the chief's folder: all workers need one shared folder"
    )


def resolve_config(config: Config, workdir: Path) -> Config:
    """Return the config with the defaults of its encoder filled in.

    Raises:
      UserError: `workdir` holds a run that was not trained there, has lost its state or has other
        settings; `--start_from` holds no run.
    """
    config = dataclasses.replace(config, encoder=resolve_encoder(config.encoder))
    if config.training.start_from and not has_state(workdir):
        Config.load(config.training.start_from, "start_from")
    if (workdir / CONFIG_FILE).exists():
        if not has_state(workdir) and (workdir / BEST).exists():
            what = (
                f"has lost the state of its training (nothing complete is in {LAST}/): put it back,"
                " or"
                if (workdir / METRICS_FILE).exists()
                else "holds a model that was not trained there:"
            )
            raise UserError(
                f"--workdir={workdir} {what} train it further with --start_from={workdir} and "
                "another --workdir"
            )
        differing = config.differences(Config.load(workdir))
        if differing:
            raise UserError(
                f"--workdir={workdir} holds a run with other settings "
                f"({', '.join('--' + name for name in differing)}): "
                "give those of the run to resume it, or another --workdir"
            )
    return config


def readable_images(
    config: Config, workdir: Path, records: Mapping[str, Sequence[Record]]
) -> tuple[dict[str, tuple[Record, ...]], LeftOut]:
    """Return the records whose images can be read, and the names of those that are left out.

    A resumed run does without the images that it was started without, and no others.

    Raises:
      UserError: images can't be read, and are not to be left out; lists them.
    """
    listing = workdir / LIST_FILE
    if has_state(workdir):
        left_out = read_left_out(workdir)
        advice = "repair them: the run was started with them"
        kept = check_images(records, left_out=left_out, listing=listing, advice=advice)
        return kept, left_out
    skip = config.data.skip_unreadable
    kept = check_images(records, skip, decode=skip, listing=listing)
    return kept, names_left_out(records, kept)


def write_run(
    config: Config,
    workdir: Path,
    vocabulary: Vocabulary,
    model: CaptionModel,
    left_out: LeftOut,
) -> None:
    """Write the files that make a folder a run; `config.json`, which marks it as one, last."""
    workdir.mkdir(parents=True, exist_ok=True)
    if not has_state(workdir):
        save_encoder(model.encoder, workdir / ENCODER_FILE)
    vocabulary.save(workdir / VOCABULARY_FILE)
    write_left_out(workdir, left_out)
    config.save(workdir)
