"""Which image is in which split: lists of image names, and where they are looked for."""

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from sat_tf.data.records import SPLIT_NAMES, GroupedRows, Problem, Row, SourceLocation
from sat_tf.datasets.text_formats import read_lines

Lists = Mapping[str, Sequence[Path]]


def find_lists(folder: Path, patterns: Sequence[str]) -> dict[str, list[Path]]:
    """The lists of a folder by split; a split may have several (COCO's train and restval).

    Args:
      folder: to look in.
      patterns: of file names, {} in place of a split's name; the first one that any file fits
        counts.
    """
    for pattern in patterns:
        found: dict[str, list[Path]] = {}
        for name, split in SPLIT_NAMES.items():
            path = folder / pattern.format(name)
            if path.is_file():
                found.setdefault(split, []).append(path)
        if found:
            return found
    return {}


@dataclasses.dataclass(frozen=True, slots=True)
class SplitLists:
    """The names that lists hold, by split, with what is wrong in the lists."""

    names: dict[str, dict[str, SourceLocation]]
    problems: list[Problem]

    def split_of(self, image: str) -> str:
        """The split of an image; "" for one in no list."""
        return next((split for split, names in self.names.items() if _listed(image, names)), "")

    def arrange(self, grouped: GroupedRows, captions: str) -> GroupedRows:
        """The rows in the order of the lists; those of no list are left out.

        Args:
          grouped: rows that `split_of` divided.
          captions: names of their files, for what is said of names without a row.
        """
        problems = [*self.problems, *grouped.problems]
        arranged: dict[str, dict[str, list[Row]]] = {}
        for split, names in self.names.items():
            rows = grouped.images.get(split, {})
            of_name: dict[str, list[str]] = {}
            for image in rows:
                of_name.setdefault(_listed(image, names), []).append(image)
            for name, location in names.items():
                images = of_name.get(name, [])
                if not images:
                    problems.append(Problem(location, f"{name!r} has no caption in {captions}"))
                elif len(images) > 1:
                    problems.append(Problem(location, f"{name!r} may be {' or '.join(images)}"))
            arranged[split] = {i: rows[i] for name in names for i in of_name.get(name, [])}
        return GroupedRows(arranged, problems)


def _listed(image: str, names: Mapping[str, SourceLocation]) -> str:
    """What a list calls an image: with its folder or without, or without its ending; or ""."""
    base = os.path.basename(image)
    forms = (image, base, os.path.splitext(base)[0])
    return next((form for form in forms if form in names), "")


def read_lists(lists: Lists, splits: Iterable[str]) -> SplitLists:
    """Reads the lists of some splits: files of one image name a line.

    Args:
      lists: from `find_lists`.
      splits: those wanted; the lists of others are not read.

    Raises:
      UserError: a list can't be read.
    """
    split_of: dict[str, str] = {}
    names: dict[str, dict[str, SourceLocation]] = {}
    problems: list[Problem] = []
    for split in splits:
        names[split] = {}
        for path in lists.get(split, ()):
            is_empty = True
            for number, line in read_lines(path):
                if isinstance(line, Problem):
                    is_empty = False
                    problems.append(line)
                elif name := line.strip():
                    is_empty = False
                    if split_of.setdefault(name, split) == split:
                        names[split].setdefault(name, SourceLocation(path, number))
                    else:
                        what = f"{name!r} is in the split {split_of[name]} already"
                        problems.append(Problem(SourceLocation(path, number), what))
            if is_empty:
                problems.append(Problem(SourceLocation(path), "lists no image"))
    return SplitLists(names, problems)
