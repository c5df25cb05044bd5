"""The files of a shard: captions, dead letters, the commit file, and attempts at it.

A shard is finished when its commit file is there, which is written last and holds the digests of
the others. An attempt file is there while a shard is worked on, and tells the next start of the
command what was in progress when a process died.
"""

import dataclasses
import hashlib
import itertools
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sat_tf.beam.manifest import Manifest
from sat_tf.errors import UserError, printable
from sat_tf.progress import progress_bar
from sat_tf.storage import atomic_path, read_json, write_json

ATTEMPTS = "attempts"
# A shard in progress when so many processes died is tried with no other one in progress.
_DEATHS_IN_COMPANY = 2
# An image alone in progress when so many processes died becomes a dead letter.
_DEATHS_ALONE = 2
_PARTS = 32  # of a range that ended its process
KILLER = f"ended its process {_DEATHS_ALONE} times, with no other image in progress"
_LISTED = 5  # problems that a message shows

Row = dict[str, Any]


@dataclasses.dataclass
class ShardResult:
    """The outcome of a shard.

    Attributes:
      shard: its number.
      captions: a row for each image that was captioned, in the order of the inputs.
      dead_letters: `path` and `reason` of each other one.
      seconds: that it took.
    """

    shard: int
    captions: list[Row]
    dead_letters: list[Row]
    seconds: float


@dataclasses.dataclass
class Attempts:
    """What has been tried of a shard that is not finished.

    A shard that was in progress at two deaths, among other shards or not, is tried alone in its
    process. If that dies too, the shard is divided into ranges, each of which is tried alone; one
    that ends its process is divided again, down to one image.

    Attributes:
      deaths: of processes while the shard was in progress beside others.
      trying: rows [start, stop) in progress, if any.
      pending: ranges to be tried alone before the shard.
      passed: number of ranges that were tried and did not end their process.
      suspect: the image that ended its process once, alone; -1: none.
      killers: images that did so twice.
      error: message of the exception that ended the last attempt.
    """

    deaths: int = 0
    trying: tuple[int, int] | None = None
    pending: list[tuple[int, int]] = dataclasses.field(default_factory=list)
    passed: int = 0
    suspect: int = -1
    killers: list[int] = dataclasses.field(default_factory=list)
    error: str = ""

    @property
    def is_alone(self) -> bool:
        """Whether nothing else may be in progress beside it."""
        return self.deaths >= _DEATHS_IN_COMPANY

    @classmethod
    def load(cls, output: str | Path, shard: int) -> "Attempts":
        """Read the attempts at a shard; none if there is no file."""
        path = _attempt_path(output, shard)
        if not path.exists():
            return cls()
        content = read_json(path, "the attempts at a shard")
        try:
            pending = [(start, stop) for start, stop in content.pop("pending")]
            trying = content.pop("trying")
            return cls(**content, pending=pending, trying=trying and (trying[0], trying[1]))
        except (AttributeError, IndexError, KeyError, TypeError, ValueError):
            raise UserError(f"{path}: is damaged: delete it") from None

    def save(self, output: str | Path, shard: int) -> None:
        """Write the file of the attempts at a shard."""
        write_json(_attempt_path(output, shard), dataclasses.asdict(self))

    def settle(self) -> None:
        """Draw the conclusion from a death with `trying` in progress."""
        if not self.trying:
            return
        start, stop = self.trying
        self.trying = None
        if not self.is_alone:
            self.deaths += 1
        elif stop - start > 1:
            self.pending = [*_parts(start, stop), *self.pending]
        elif self.suspect == start:
            self.killers.append(start)
            self.suspect = -1
            self.pending = [one for one in self.pending if one != (start, stop)]
        else:
            self.suspect = start
            self.pending = [(start, stop), *(one for one in self.pending if one[0] != start)]

    def begin(self, output: str | Path, shard: int, start: int, stop: int) -> None:
        """Write that rows [start, stop) are in progress."""
        self.trying = (start, stop)
        self.pending = [one for one in self.pending if one != (start, stop)]
        self.save(output, shard)

    def passed_range(self) -> None:
        """Note that the rows in progress did not end their process."""
        if self.trying and self.suspect == self.trying[0]:
            self.suspect = -1
        self.trying = None
        self.passed += 1


def _parts(start: int, stop: int) -> list[tuple[int, int]]:
    count = min(_PARTS, stop - start)
    bounds = [start + part * (stop - start) // count for part in range(count + 1)]
    return [*itertools.pairwise(bounds)]


def _attempt_path(output: str | Path, shard: int) -> Path:
    return Path(output) / ATTEMPTS / f"{shard:05}.json"


def _path(output: str | Path, kind: str, manifest: Manifest, shard: int, suffix: str) -> Path:
    return Path(output) / f"{kind}-{shard:05}-of-{manifest.num_shards:05}.{suffix}"


def write_shard(output: str | Path, manifest: Manifest, result: ShardResult) -> None:
    """Write the files of a shard, its commit file last; forget the attempts at it."""
    suffix, files = manifest.output_format, {}
    for kind, rows in (("captions", result.captions), ("dead_letters", result.dead_letters)):
        path = _path(output, kind, manifest, result.shard, suffix)
        if rows:
            with atomic_path(path) as temporary:
                _write_rows(temporary, rows, kind, manifest.attention)
                with temporary.open("rb") as file:
                    files[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    commit = {
        "captioned": len(result.captions),
        "broken": len(result.dead_letters),
        "seconds": round(result.seconds, 3),
        "sha256": files,
    }
    write_json(_path(output, "done", manifest, result.shard, "json"), commit)
    forget_attempts(output, result.shard)


def forget_attempts(output: str | Path, shard: int) -> None:
    """Delete the attempt file of a shard that is finished."""
    _attempt_path(output, shard).unlink(missing_ok=True)


def finished(output: str | Path) -> set[int]:
    """Return the shards that are finished."""
    with os.scandir(output) as entries:
        names = [entry.name for entry in entries if entry.name.startswith("done-")]
    return {int(name.split("-")[1]) for name in names}


def attempted(output: str | Path) -> list[int]:
    """Return the shards that have an attempt file, in order."""
    return sorted(int(path.stem) for path in (Path(output) / ATTEMPTS).glob("[0-9]*.json"))


def commits(output: str | Path, manifest: Manifest) -> Iterator[dict[str, Any]]:
    """Yield what the commit file of each finished shard holds."""
    for shard in sorted(finished(output)):
        path = _path(output, "done", manifest, shard, "json")
        yield read_json(path, "the commit file of a shard")


def verify(output: str | Path, manifest: Manifest) -> tuple[int, int]:
    """Prove that every input stands exactly once among the captions and the dead letters.

    Returns:
      The number of captions and of dead letters.

    Raises:
      UserError: it does not; says how many shards are not finished or wrong, and the first ones.
    """
    digest = hashlib.sha256()
    with open(Path(output) / "inputs.jsonl", "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    if digest.hexdigest() != manifest.inputs:
        raise UserError(f"{output}/inputs.jsonl: is not as it was written: start in a new --output")
    done, problems, counts = finished(output), [], [0, 0]
    bar = progress_bar(range(manifest.num_shards), desc="verifying", unit="shard")
    for shard in bar:
        if shard not in done:
            problems.append(
                f"shard {shard}: is not finished: give the same command without --verify"
            )
            continue
        for position, found in enumerate(_verify_shard(output, manifest, shard, problems)):
            counts[position] += found
    if problems:
        lines = [f"{len(problems):,} problems in {output}:", *problems[:_LISTED]]
        raise UserError("\n  ".join(lines + (["..."] if len(problems) > _LISTED else [])))
    return counts[0], counts[1]


def _verify_shard(
    output: str | Path, manifest: Manifest, shard: int, problems: list[str]
) -> list[int]:
    """Return the number of captions and of dead letters of a shard; append what is wrong."""
    commit_path = _path(output, "done", manifest, shard, "json")
    advice = f"delete {commit_path.name} and give the same command without --verify"
    digests = read_json(commit_path, "the commit file of a shard")["sha256"]
    found: Counter[str] = Counter()
    counts = []
    for kind in ("captions", "dead_letters"):
        path = _path(output, kind, manifest, shard, manifest.output_format)
        names: list[str] = []
        if path.exists() or path.name in digests:
            try:
                with path.open("rb") as file:
                    is_whole = hashlib.file_digest(file, "sha256").hexdigest() == digests[path.name]
            except (OSError, KeyError):
                is_whole = False
            if not is_whole:
                problems.append(f"{path.name}: is not as it was committed: {advice}")
                continue
            names = _read_names(path)
        found.update(names)
        counts.append(len(names))
    expected = Counter(map(_as_written(manifest), manifest.names(output, shard)))
    if found != expected and len(counts) == 2:
        (name, _), *_ = ((expected - found) + (found - expected)).items()
        problems.append(
            f"shard {shard}: {printable(name)} stands {found[name]} times, not {expected[name]}: "
            f"{advice}"
        )
    return counts


def _as_written(manifest: Manifest) -> Any:
    return _text if manifest.output_format == "parquet" else str


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
