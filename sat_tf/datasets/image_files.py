"""The files of images, by the names that caption files have for them."""

import contextlib
import functools
import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from sat_tf.data.image_bytes import SUFFIXES
from sat_tf.data.records import Problems, SourceLocation
from sat_tf.errors import UserError, printable


def name_key(name: str) -> str:
    """Return what names have in common that differ in case, composition or blanks around them."""
    # Composition: macOS writes the letter ä as two characters.
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold()).strip()


class ImageFiles:
    """Finds the files of images.

    A name counts as it is written if there is such a file. Otherwise it is that of the only file
    that looks alike: with letters of another case or composition, `/` for a backslash, without
    blanks around it, or with the ending of an image, which the name lacks. Each folder is listed
    once, which is fast on network drives.

    Args:
      folder: that names are relative to.
      nearby: folders that they may be relative to as well. If there are any, an image may also be
        in a sub-folder of these or of `folder` that its name does not mention.
    """

    def __init__(self, folder: Path, nearby: Sequence[Path] = ()) -> None:
        self._roots = list(dict.fromkeys(map(str, (folder, *nearby))))
        self._searches_subfolders = bool(nearby)
        self._list = functools.cache(_Listing)
        # As `Path` writes it, so that an image has one path.
        self._join = functools.cache(lambda folder, above: str(Path(folder, above)))
        self._folders_alike = functools.cache(self._find_folders)
        self._names: dict[str, str] = {}  # by the path of the file
        self._respelled: list[tuple[str, str]] = []  # name and path
        self._in_subfolder: list[str] = []

    def find(self, name: str, location: SourceLocation, problems: Problems) -> str:
        """Return the path of an image; "" for a name that is reported, at `location`.

        That is a name of no file, of several files, or of the file of another name.

        Raises:
          UserError: a folder must not be read.
        """
        paths, is_exact = self._search(self._roots, name)
        is_in_subfolder = not paths
        if is_exact:
            paths = paths[:1]  # a folder takes precedence over those after it
        elif is_in_subfolder:
            paths, is_exact = self._search(self._subfolders, name)
        if len(paths) != 1:
            problems.add(location, self._complaint(name, paths))
            return ""
        (path,) = paths
        first = self._names.setdefault(path, name)
        if first != name:
            problems.add(location, f"{name!r} is the file of {first!r} too: give it one name")
            return ""
        if not is_exact:
            self._respelled.append((name, path))
        if is_in_subfolder:
            self._in_subfolder.append(path)
        return path

    def add_notes(self, problems: Problems) -> None:
        """Add to the notes how many images were found otherwise than by their names."""
        location = SourceLocation(Path(self._roots[0]))
        if self._in_subfolder:
            folders = sorted({os.path.dirname(path) for path in self._in_subfolder})
            shown = ", ".join(folders[:3]) + (", ..." if len(folders) > 3 else "")
            problems.note(location, f"images found in {shown}: {len(self._in_subfolder):,}")
        if self._respelled:
            name, path = self._respelled[0]
            problems.note(
                location,
                f"images found under another spelling: {len(self._respelled):,}, as "
                f"{self._shown(path)} for {name!r}",
            )

    def _complaint(self, name: str, paths: Sequence[str]) -> str:
        """Return what is wrong with a name of no file or of several, and which files there are."""
        # With another ending, or without the folder, which may be one of another machine.
        base, folders = os.path.basename(name.replace("\\", "/")), self._roots + self._subfolders
        forms = (os.path.splitext(name)[0], base, os.path.splitext(base)[0])
        searches = (self._search(folders, form)[0] for form in forms)
        found = paths or next(filter(None, searches), [])
        where = "" if os.path.isabs(name) else f" in {' or '.join(self._roots)}"
        shown = " and ".join(map(self._shown, found[:3])) + (" ..." if len(found) > 3 else "")
        there = "" if not found else f"; there is {shown}"
        return f"no such image{where}: {name!r}{there}"

    def _shown(self, path: str) -> str:
        """Return a path as a message quotes it: relative to the first folder, if it is in it."""
        return repr(path.removeprefix(os.path.join(self._roots[0], "")))

    @functools.cached_property
    def _subfolders(self) -> list[str]:
        return [
            os.path.join(root, name)
            for root in (self._roots if self._searches_subfolders else ())
            for name in sorted(self._list(root).folders)
            if not name.startswith(".") and not self._list(os.path.join(root, name)).error
        ]

    def _search(self, folders: Sequence[str], name: str) -> tuple[list[str], bool]:
        """Return the files of a name, else those that look alike; and whether it is the name."""
        above, base = os.path.split(name)
        exact = []
        for place in (self._join(folder, above) for folder in folders):
            listing = self._list(place)
            if listing.error:
                raise UserError(f"{printable(place)}: can't be read: {listing.error}")
            if base in listing.files:
                exact.append(os.path.join(place, base))
        if exact:
            return exact, True
        name = name.replace("\\", "/").strip()
        *parts, base = [part for part in name.split("/") if part not in ("", ".")] or [""]
        alike = (
            os.path.join(place, file)
            for root in (["/"] if name.startswith("/") else folders)
            for place in self._folders_alike(root, tuple(parts))
            for file in self._list(place).by_key.get(name_key(base), ())
        )
        return list(dict.fromkeys(alike)), False

    def _find_folders(self, root: str, parts: tuple[str, ...]) -> list[str]:
        """Return the folders below `root` to which these parts of a name lead."""
        if not parts:
            return [root]
        found = []
        for folder in self._folders_alike(root, parts[:-1]):
            path = os.path.join(folder, parts[-1])
            if os.path.isdir(path):  # without listing the folder above, which may be long
                found.append(path)
            else:
                key = name_key(parts[-1])
                names = sorted(x for x in self._list(folder).folders if name_key(x) == key)
                found += [os.path.join(folder, one) for one in names]
        return found


class _Listing:
    """The names of files and folders in a folder, links included; `error`: why it can't be read."""

    def __init__(self, folder: str) -> None:
        self.files, self.folders, self.error = set[str](), set[str](), ""
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    with contextlib.suppress(OSError):  # circular links
                        if entry.is_file():
                            self.files.add(entry.name)
                        elif entry.is_dir():
                            self.folders.add(entry.name)
        except PermissionError as error:
            self.error = str(error.strerror)
        except (OSError, ValueError):  # no such folder, or no valid name of one
            pass

    @functools.cached_property
    def by_key(self) -> dict[str, list[str]]:
        """The files of each `name_key`, those of images without their ending too."""
        found: dict[str, list[str]] = {}
        for file in sorted(self.files):
            stem, ending = os.path.splitext(file)
            forms = (file, stem) if ending.lower() in SUFFIXES else (file,)
            for key in {*map(name_key, forms)}:
                found.setdefault(key, []).append(file)
        return found
