"""Flickr8k and Flickr30k, in their official layout or with a document of Karpathy's."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sat_tf.config import DataConfig
from sat_tf.data.records import Problems
from sat_tf.datasets.source import (
    CaptionFile,
    Row,
    Source,
    data_folder,
    find_splits,
    read_karpathy,
    read_lines,
)
from sat_tf.errors import UserError


class _Layout(NamedTuple):
    images: str
    tokens: str
    lists: tuple[str, ...]


_LAYOUTS = {
    "flickr8k": _Layout(
        "Flicker8k_Dataset",
        "Flickr8k.token.txt",
        ("Flickr_8k.{}Images.txt", "flickr8k_{}.txt"),
    ),
    "flickr30k": _Layout("flickr30k-images", "results_20130124.token", ("flickr30k_{}.txt",)),
}


def find_flickr(config: DataConfig) -> Source:
    """Find the files of `--dataset=flickr8k` or `flickr30k`."""
    folder, layout = data_folder(config), _LAYOUTS[config.dataset]
    if not (folder / layout.images).is_dir():
        raise UserError(f"--data_dir={folder}: holds no {layout.images}")
    document, lists = find_splits(config, layout.lists)
    if document:
        return Source((CaptionFile(document, read_karpathy),), folder / layout.images)
    if not lists:
        names = ", ".join(layout.lists[0].format(name) for name in ("train", "val", "test"))
        raise UserError(
            f"--dataset={config.dataset}: which image is in which split? Put "
            f"dataset_{config.dataset}.json (Karpathy's) or lists of image names ({names}) into "
            "--data_dir, or name the file or their folder with --splits"
        )
    if not (folder / layout.tokens).is_file():
        raise UserError(f"--data_dir={folder}: holds no {layout.tokens}")
    return Source(
        (CaptionFile(folder / layout.tokens, read_tokens),),
        folder / layout.images,
        lists,
        advice=f"its list would be {layout.lists[0].format('{split}')}",
    )


def read_tokens(path: Path, problems: Problems) -> Iterator[Row]:
    """Yield the captions of a file with lines `NAME.jpg#NUMBER<tab>CAPTION`."""
    for location, line in read_lines(path, problems):
        name, tab, caption = line.partition("\t")
        image, _, _ = name.rpartition("#")
        if tab and image:
            yield Row(location, image, caption)
        elif line.strip():
            problems.add(location, "is not IMAGE#NUMBER<tab>CAPTION")
