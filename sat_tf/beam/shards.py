"""The files of a shard: captions, dead letters, the commit file, and attempts at it.

A shard is finished when its commit file is there, which is written last and holds the digests of
the others. An attempt file is there while a shard is worked on, and tells the next start of the
command what was in progress when a process died.
"""

import dataclasses
import itertools
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

from sat_tf.beam.manifest import INPUTS_FILE, Manifest, file_digest, names_of
from sat_tf.errors import UserError, printable
from sat_tf.progress import progress_bar
from sat_tf.storage import atomic_path, read_json, write_json

ATTEMPTS = "attempts"
# A shard in progress when so many processes died is tried with no other one in progress.
_DEATHS_IN_COMPANY = 2
# An image alone in progress when so many processes died becomes a dead letter.
_DEATHS_ALONE = 2
KILLER = f"ended its process {_DEATHS_ALONE} times, with no other image in progress"
_LISTED = 5  # problems that a message shows

# `path`, and `caption` with what comes with it or the `reason` why there is none.
Row = dict[str, Any]


@dataclasses.dataclass
class Attempts:
    """What has been tried of a shard that is not finished.

    A shard that was in progress at two deaths, among other shards or not, is tried alone in its
    process. If that dies too, its images are tried one by one, and then the shard without those
    that ended their process twice.

    Attributes:
      path: of the file, which holds the others.
      in_progress: whether a process is at work on it, or has died at it.
      deaths: of processes that worked on the shard as a whole.
      row: the image that is to be tried now, if they are tried one by one.
      deaths_at_row: of processes that worked on this image.
      killers: images that ended their process twice.
      error: message of the exception that ended the last attempt.
    """

    path: Path
    in_progress: bool = False
    deaths: int = 0
    row: int | None = None
    deaths_at_row: int = 0
    killers: list[int] = dataclasses.field(default_factory=list)
    error: str = ""

    @property
    def is_alone(self) -> bool:
        """Whether nothing else may be in progress beside it."""
        return self.deaths >= _DEATHS_IN_COMPANY

    @property
    def passed(self) -> int:
        """The number of images that were tried one by one and did not end their process."""
        return (self.row or 0) - len(self.killers)

    @classmethod
    def load(cls, output: Path, shard: int) -> "Attempts":
        """Read the attempts at a shard; none if there is no file."""
        path = _attempt_path(output, shard)
        if not path.exists():
            return cls(path)
        try:
            return cls(path, **read_json(path, "the attempts at a shard"))
        except TypeError:
            raise UserError(f"{path}: is damaged: delete it") from None

    def save(self) -> None:
        """Write the file."""
        content = dataclasses.asdict(self)
        del content["path"]
        write_json(self.path, content)

    def begin(self, row: int | None = None) -> None:
        """Note that the shard as a whole, or one image of it, is in progress."""
        if row != self.row:
            self.row, self.deaths_at_row = row, 0
        self.in_progress = True
        self.save()

    def end(self, *, died: bool, error: str = "") -> None:
        """Note that nothing is in progress any more: its process died, it failed or was stopped."""
        if died and self.row is None:
            self.deaths += 1
            # Once: what kills after it is no image.
            self.row = 0 if self.deaths == _DEATHS_IN_COMPANY + 1 else None
        elif died and self.row is not None:
            self.deaths_at_row += 1
            if self.deaths_at_row == _DEATHS_ALONE:
                self.killers.append(self.row)
                self.row, self.deaths_at_row = self.row + 1, 0
        self.in_progress, self.error = False, error
        self.save()


def _attempt_path(output: Path, shard: int) -> Path:
    return output / ATTEMPTS / f"{shard:05}.json"


def attempted(output: Path) -> dict[int, Attempts]:
    """Return the attempts at the shards that have a file of them, in order."""
    shards = sorted(int(path.stem) for path in (output / ATTEMPTS).glob("[0-9]*.json"))
    return {shard: Attempts.load(output, shard) for shard in shards}


def shard_path(manifest: Manifest, kind: str, shard: int) -> Path:
    """Return the file of a shard: its "captions", its "dead_letters" or the commit file, "done"."""
    suffix = "json" if kind == "done" else manifest.output_format
    return manifest.output / f"{kind}-{shard:05}-of-{manifest.num_shards:05}.{suffix}"


def write_shard(manifest: Manifest, shard: int, rows: list[Row], seconds: float) -> None:
    """Write captions and dead letters of a shard, and its commit file; forget the attempts at it.

    The order of the rows is that of the inputs; they took so many seconds.
    """
    letters = [row for row in rows if "reason" in row]
    captions = [row for row in rows if "reason" not in row]
    digests = {}
    for kind, of_kind in (("captions", captions), ("dead_letters", letters)):
        path = shard_path(manifest, kind, shard)
        if of_kind:
            with atomic_path(path) as temporary:
                _write_rows(temporary, of_kind, kind, manifest.attention)
                digests[path.name] = file_digest(temporary)
    commit = {
        "captioned": len(captions),
        "broken": len(letters),
        "seconds": round(seconds, 3),
        "sha256": digests,
    }
    write_json(shard_path(manifest, "done", shard), commit)
    _attempt_path(manifest.output, shard).unlink(missing_ok=True)


def finished(output: Path) -> set[int]:
    """Return the shards that are finished."""
    with os.scandir(output) as entries:
        names = [entry.name for entry in entries if entry.name.startswith("done-")]
    return {int(name.split("-")[1]) for name in names}


def read_commit(manifest: Manifest, shard: int) -> dict[str, Any]:
    """Read the commit file of a shard that is finished."""
    path = shard_path(manifest, "done", shard)
    return dict(read_json(path, "the commit file of a shard"))


def verify(manifest: Manifest) -> Counter[str]:
    """Prove that every input stands exactly once among the captions and the dead letters.

    Returns:
      The number of "captions" and of "dead_letters".

    Raises:
      UserError: it does not; says how many shards are not finished or wrong, and the first ones.
    """
    if file_digest(manifest.output / INPUTS_FILE) != manifest.inputs:
        raise UserError(
            f"{manifest.output / INPUTS_FILE}: is not as it was written: start in a new --output"
        )
    done, counts, problems = finished(manifest.output), Counter[str](), []
    for shard in progress_bar(range(manifest.num_shards), desc="verifying", unit="shard"):
        try:
            if shard not in done:
                raise UserError(
                    f"shard {shard}: is not finished: give the same command without --verify"
                )
            counts.update(_verify_shard(manifest, shard))
        except UserError as error:
            problems.append(str(error))
    if problems:
        more = ["..."] if len(problems) > _LISTED else []
        heading = f"{len(problems):,} problems in {manifest.output}:"
        raise UserError("\n  ".join([heading, *problems[:_LISTED], *more]))
    return counts


def _verify_shard(manifest: Manifest, shard: int) -> dict[str, int]:
    """Return the number of captions and of dead letters of a shard; `UserError` if it is wrong."""
    commit = shard_path(manifest, "done", shard)
    advice = f"delete {commit.name} and give the same command without --verify"
    digests = read_commit(manifest, shard)["sha256"]
    names = {}
    for kind in ("captions", "dead_letters"):
        path = shard_path(manifest, kind, shard)
        if digests.get(path.name) != (file_digest(path) if path.exists() else None):
            raise UserError(f"{path.name}: is not as it was committed: {advice}")
        names[kind] = _read_names(path) if path.exists() else []
    found = Counter(itertools.chain(*names.values()))
    as_written = _text if manifest.output_format == "parquet" else str
    inputs = itertools.chain(*map(names_of, manifest.inputs_of(shard)))
    expected = Counter(map(as_written, inputs))
    for name in (expected - found) + (found - expected):
        raise UserError(
            f"shard {shard}: {printable(name)} stands {found[name]} times, not {expected[name]}: "
            f"{advice}"
        )
    return {kind: len(of_kind) for kind, of_kind in names.items()}


def _text(name: str) -> str:
    """Return a name as Parquet can hold it: with escapes for bytes that are no text."""
    return name.encode(errors="backslashreplace").decode()


def _write_rows(path: Path, rows: list[Row], kind: str, attention: bool) -> None:
    if path.suffix == ".jsonl":
        with path.open("w", encoding="ascii") as file:
            file.writelines(json.dumps(row, allow_nan=False) + "\n" for row in rows)
        return
    import pyarrow
    import pyarrow.parquet

    # Stated, so that all shards have the same columns whatever their rows lack.
    columns = {"path": pyarrow.string(), "reason": pyarrow.string()}
    if kind == "captions":
        texts = ("path", "image_id", "caption", "model", "search")
        columns = dict.fromkeys(texts, pyarrow.string())
        columns |= dict.fromkeys(("score", "log_prob"), pyarrow.float64())
        if attention:
            floats = pyarrow.list_(pyarrow.float32())
            columns |= {"attention": pyarrow.list_(pyarrow.list_(floats)), "attention_box": floats}
    rows = [{name: _text(x) if isinstance(x, str) else x for name, x in r.items()} for r in rows]
    table = pyarrow.Table.from_pylist(rows, pyarrow.schema(columns))
    pyarrow.parquet.write_table(table, path)


def _read_names(path: Path) -> list[str]:
    if path.suffix == ".jsonl":
        with path.open(encoding="ascii") as file:
            return [json.loads(line)["path"] for line in file]
    import pyarrow.parquet

    return list(pyarrow.parquet.read_table(path, columns=["path"]).column("path").to_pylist())
