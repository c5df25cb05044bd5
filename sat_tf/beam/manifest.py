"""The manifest of bulk work: the inputs, divided into shards once and for all.

`inputs.jsonl` in the folder of the output has a line for each image file, its path, and for each
range of rows of a TFRecord or Parquet file. `manifest.json`, written after it, says at which byte
of it each shard begins and what the output depends on beside the inputs.
"""

import bisect
import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sat_tf.beam.records import RecordRange, count_rows, is_record_file, ranges
from sat_tf.errors import UserError
from sat_tf.progress import progress_bar
from sat_tf.storage import atomic_path, read_json, write_json

MANIFEST_FILE, INPUTS_FILE = "manifest.json", "inputs.jsonl"
FORMAT_VERSION = 1
IMAGES_PER_SHARD = 1000  # unless a number of shards is given
_SHOWN = 16  # characters of a digest

# An image file, or rows of a file that holds many.
Input = str | RecordRange


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What is to be done, and what its results depend on.

    Attributes:
      output: the folder, which is not in the file.
      num_images: of all inputs.
      inputs: SHA-256 of `inputs.jsonl`.
      model: digest of the model, see `sat_tf.beam.caption.model_digest`.
      search: digest of the settings of the search.
      output_format: "jsonl" or "parquet".
      attention: whether attention is written.
      offsets: byte of `inputs.jsonl` at which each shard begins, and its size at the end.
    """

    output: Path
    num_images: int
    inputs: str
    model: str
    search: str
    output_format: str
    attention: bool
    offsets: tuple[int, ...]

    @property
    def num_shards(self) -> int:
        """The number of shards."""
        return len(self.offsets) - 1

    def size(self, shard: int) -> int:
        """Return the number of images of a shard."""
        first, following = (
            _first_image(one, self.num_images, self.num_shards) for one in (shard, shard + 1)
        )
        return following - first

    def inputs_of(self, shard: int) -> list[Input]:
        """Read the inputs of a shard."""
        begin, end = self.offsets[shard : shard + 2]
        with open(self.output / INPUTS_FILE, "rb") as file:
            file.seek(begin)
            found = map(json.loads, file.read(end - begin).splitlines())
            return [RecordRange(**one) if isinstance(one, dict) else one for one in found]

    @classmethod
    def load(cls, output: str | Path) -> "Manifest":
        """Read the manifest of an output.

        Raises:
          UserError: there is none, or it is damaged or of another version.
        """
        path = Path(output) / MANIFEST_FILE
        content = read_json(path, "the manifest of bulk work")
        try:
            if content.pop("format_version") != FORMAT_VERSION:
                raise UserError(f"{path}: is of another version of sat_tf; give another --output")
            return cls(Path(output), **{**content, "offsets": tuple(content["offsets"])})
        except (AttributeError, KeyError, TypeError):
            raise UserError(f"{path}: is no manifest of bulk work; give another --output") from None


def names_of(one: Input) -> list[str]:
    """Return the `path` by which the output names each image of an input: its path, or FILE:ROW."""
    if isinstance(one, str):
        return [one]
    return [f"{one.file}:{row}" for row in range(one.first, one.first + one.count)]


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def open_manifest(
    output: str | Path, paths: Sequence[str], num_shards: int, **depends_on: Any
) -> Manifest:
    """Write the manifest of an output, or compare it with the one that is there.

    Args:
      output: folder of the output.
      paths: of image files and of files that hold many.
      num_shards: 0 for that of the manifest, or for one shard for each 1,000 images.
      **depends_on: `model`, `search`, `output_format` and `attention` of the manifest.

    Raises:
      UserError: a file can't be read, there are more shards than images, or the manifest that is
        there is of other inputs, another model or search; says which.
    """
    output = Path(output)
    found = Manifest.load(output) if (output / MANIFEST_FILE).exists() else None
    counts = _count(paths)
    total = sum(counts)
    if not total:
        raise UserError("the files of --input hold no image")
    if num_shards > total:
        raise UserError(f"--num_shards={num_shards}: there are only {total:,} images")
    if not num_shards:
        num_shards = found.num_shards if found else -(-total // IMAGES_PER_SHARD)
    bounds = [_first_image(shard, total, num_shards) for shard in range(num_shards + 1)]
    offsets: list[int] = []
    with atomic_path(output / INPUTS_FILE) as temporary:
        with temporary.open("wb") as file:
            for position, one in _divide(paths, counts, bounds):
                if position == bounds[len(offsets)]:
                    offsets.append(file.tell())
                line = dataclasses.asdict(one) if isinstance(one, RecordRange) else one
                file.write(json.dumps(line).encode() + b"\n")
            offsets.append(file.tell())
        inputs = file_digest(temporary)
        manifest = Manifest(output, total, inputs, **depends_on, offsets=tuple(offsets))
        if found:  # the inputs that are there stay if they are others
            _compare(found, manifest)
    if not found:
        content = {"format_version": FORMAT_VERSION, **dataclasses.asdict(manifest)}
        del content["output"]
        write_json(output / MANIFEST_FILE, content)
    return manifest


def _compare(found: Manifest, manifest: Manifest) -> None:
    """Raise `UserError` if another start of the command had other inputs or another model."""
    for name in (
        *("num_images", "num_shards", "inputs"),
        *("model", "search", "output_format", "attention"),
    ):
        theirs, ours = (str(getattr(one, name))[:_SHOWN] for one in (found, manifest))
        if theirs != ours:
            raise UserError(
                f"--output={manifest.output}: holds work of another {name} ({theirs}, here {ours}):"
                " give the same, or another --output"
            )


def _first_image(shard: int, num_images: int, num_shards: int) -> int:
    return shard * num_images // num_shards


def _count(paths: Sequence[str]) -> list[int]:
    """Return the number of images of each file."""
    of_many = [path for path in paths if is_record_file(path)]
    if not of_many:
        return [1] * len(paths)
    bar = progress_bar(of_many, desc="counting rows", unit="file", leave=False)
    rows = {path: count_rows(path) for path in bar}
    return [rows.get(path, 1) for path in paths]


def _divide(
    paths: Sequence[str], counts: Sequence[int], bounds: Sequence[int]
) -> Iterator[tuple[int, Input]]:
    """Yield the inputs in order, divided at bounds, each with the number of its first image."""
    position = 0
    for path, count in zip(paths, counts, strict=True):
        if not is_record_file(path):
            yield position, path
        elif count:
            left = bisect.bisect_right(bounds, position)
            right = bisect.bisect_left(bounds, position + count)
            starts = [0, *(bound - position for bound in bounds[left:right])]
            for one in ranges(path, starts, count):
                yield position + one.first, one
        position += count
