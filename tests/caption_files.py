"""Caption files and image folders as they are published, made small by the tests."""

import json
import os
from pathlib import Path

import pytest
from image_files import encoded

from sat_tf.data.records import Problems, describe_problems, raise_if_problems
from sat_tf.datasets.source import CaptionFile, Source
from sat_tf.errors import UserError

_IMAGE = encoded("PNG")


def make_images(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(_IMAGE)


def read(folder, reader, content, splits=("train",)):
    """Return the records of the splits; an image without a split is in train."""
    path = folder / "captions.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    files = (CaptionFile(path, reader),)
    checked = Source(files, folder / "images", default_split=lambda image: "train").validate(splits)
    raise_if_problems(checked.problems)
    return checked.records


def complaint(folder, *arguments):
    """Return the message about what is wrong, without the folder."""
    with pytest.raises(UserError) as caught:
        read(folder, *arguments)
    return str(caught.value).replace(f"{folder}{os.sep}", "")


def write_json(path: Path, document) -> Path:
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(json.dumps(document))
    return path


def coco(names, first=1):
    """Return COCO's document of these images, two captions each; ids count from `first`."""
    numbered = list(enumerate(names, start=first))
    return {
        "info": {"year": 2014},
        "licenses": [],
        "images": [
            {"id": number, "file_name": name, "height": 4, "width": 5} for number, name in numbered
        ],
        "annotations": [
            {"id": 10 * number + k, "image_id": number, "caption": f"Caption {k} of {name[-5]} ."}
            for k in range(2)
            for number, name in numbered
        ],
    }


def karpathy(splits, folder_of=lambda name: ""):
    """Return Karpathy's document of {split: names}, two sentences each."""
    images = []
    for split, names in splits.items():
        for name in names:
            sentences = [
                {"raw": f"Caption {k} of {name[-5]} .", "tokens": ["caption"], "sentid": k}
                for k in range(2)
            ]
            entry = {"filename": name, "split": split, "sentences": sentences, "imgid": len(images)}
            if folder_of(name):
                entry["filepath"] = folder_of(name)
            images.append(entry)
    return {"dataset": "some", "images": images}


def read_document(path, reader, document, **arguments):
    """Return the rows of a document, and its problems without the path."""
    if isinstance(document, bytes):
        path.write_bytes(document)
    else:
        write_json(path, document)
    problems = Problems()
    rows = list(reader(path, problems, **arguments))
    return rows, [line.replace(f"{path}", "J") for line in describe_problems(problems)]
