"""The user's own images, with captions in a CSV or JSON-lines file."""

import csv
import hashlib
from collections.abc import Iterator
from pathlib import Path

from sat_tf.config import DataConfig
from sat_tf.data.records import Problems, SourceLocation
from sat_tf.datasets.source import (
    OPTIONAL_TEXT,
    TEXT,
    CaptionFile,
    Reader,
    Row,
    Source,
    data_folder,
    find_splits,
    has_fields,
    parse_json,
    read_karpathy,
    read_lines,
)
from sat_tf.errors import UserError

# Images go to dev below the first share and to test below the second, if nothing names a split.
_DEV_BELOW, _TEST_BELOW = 0.1, 0.2
_FIELDS = {"image": TEXT, "caption": TEXT, "split": OPTIONAL_TEXT}


def find_files(config: DataConfig) -> Source:
    """Find the files of `--dataset=files`."""
    folder = data_folder(config)
    document, lists = find_splits(config, ())
    if document and config.captions_file:
        raise UserError(
            f"--splits={document} holds captions too: leave --captions_file out, or give lists"
        )
    if document:
        return Source((CaptionFile(document, read_karpathy),), folder)
    path = _captions_file(config)
    advice = (
        "a column split says where each is, and without one a tenth of the images goes to dev and "
        "to test: add images or the column"
    )
    file = CaptionFile(path, READERS[path.suffix.lower()])
    return Source((file,), folder, lists, _split_by_hash, "" if lists else advice)


def _captions_file(config: DataConfig) -> Path:
    if config.captions_file:
        path = Path(config.captions_file)
        if path.suffix.lower() not in READERS:
            raise UserError(f"--captions_file={path}: must end in {' or '.join(READERS)}")
        if not path.is_file():
            raise UserError(f"--captions_file={path}: no such file")
        return path
    names = [f"captions{suffix}" for suffix in READERS]
    for name in names:
        if (Path(config.data_dir) / name).is_file():
            return Path(config.data_dir) / name
    raise UserError(
        f"--data_dir={config.data_dir}: holds neither {' nor '.join(names)}; name the "
        "file with --captions_file"
    )


def _split_by_hash(image_id: str) -> str:
    """Return train for four images of five, else dev or test, independent of other images."""
    digest = hashlib.sha256(image_id.encode()).digest()
    share = int.from_bytes(digest[:8]) / 2**64
    return "dev" if share < _DEV_BELOW else "test" if share < _TEST_BELOW else "train"


def read_csv(path: Path, problems: Problems) -> Iterator[Row]:
    """Yield the captions of a CSV file with columns image, caption and, optionally, split."""
    before = len(problems)
    table = _parse_csv(path, problems)
    location, columns = next(table, (SourceLocation(path, 1), []))
    if len(problems) > before:
        return  # the header can't be read
    columns = [name.strip() for name in columns]
    if [columns.count(name) for name in _FIELDS] not in ([1, 1, 0], [1, 1, 1]):
        what = "the header must name image and caption, and maybe split, once each; it has "
        problems.add(location, what + (", ".join(columns) or "nothing"))
        return
    for location, values in table:
        if len(values) == len(columns):
            named = dict(zip(columns, values, strict=True))
            yield Row(location, named["image"], named["caption"], named.get("split", ""))
        else:
            problems.add(location, f"must have {len(columns)} columns; it has {len(values)}")


def _parse_csv(path: Path, problems: Problems) -> Iterator[tuple[SourceLocation, list[str]]]:
    """Yield the rows of a CSV file that are not empty, with the lines in which they begin."""
    # A line that can't be read is yielded empty, which keeps the parser's count of lines.
    lines = (line + "\n" for _, line in read_lines(path, problems))
    reader = csv.reader(lines, strict=True, skipinitialspace=True)
    while True:
        location = SourceLocation(path, reader.line_num + 1)
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            problems.add(location, f"is not CSV: {error}")
        else:
            if any(values):
                yield location, values


def read_json_lines(path: Path, problems: Problems) -> Iterator[Row]:
    """Yield the captions of a file with one JSON object a line: image, caption, optional split."""
    for location, line in read_lines(path, problems):
        entry = parse_json(line, location, problems) if line.strip() else None
        if entry is not None and has_fields(entry, _FIELDS, location, problems):
            yield Row(location, entry["image"], entry["caption"], entry.get("split") or "")


# By the extension of the file.
READERS: dict[str, Reader] = {".csv": read_csv, ".jsonl": read_json_lines}
