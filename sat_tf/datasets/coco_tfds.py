"""coco_captions of tensorflow-datasets -> files, written once.

Its records hold the images' bytes, 20 GB in all: as files they are read when they are needed, as
those of every other data set.
"""

import json
import os
import shutil
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from sat_tf.errors import UserError
from sat_tf.storage import atomic_path

FOLDER, IMAGES, CAPTIONS = "coco_captions_files", "images", "captions.jsonl"
_NAME = "coco_captions"
# Karpathy's splits under tensorflow-datasets' names; what they mean is the caption reader's affair.
_SPLITS = ("train", "restval", "val", "test")
# What preparing needs of each host, to see whether it is there.
_URLS = (
    "http://images.cocodataset.org/annotations/annotations_trainval2014.zip",
    "https://cs.stanford.edu/people/karpathy/deepimagesent/caption_datasets.zip",
)
_PATIENCE = 8.0  # seconds for a host to answer; without a network tfds itself tries for minutes
# Archives, what is in them, tfds's records and the files made of these.
_GIGABYTES = 120


def unpacked_folder(data_dir: Path) -> Path:
    """The folder of images and captions; made on the first call, whole or not at all.

    Reads coco_captions where tensorflow-datasets has it prepared, in `data_dir` or in its own
    folder; else downloads it into `data_dir`.

    Raises:
      UserError: it is not there and can't be downloaded, is damaged, or can't be written.
    """
    folder = data_dir / FOLDER
    if folder.is_dir():
        return folder
    own = Path(os.environ.get("TFDS_DATA_DIR") or Path.home() / "tensorflow_datasets")
    root = next((root for root in (data_dir, own) if (root / _NAME).is_dir()), data_dir)
    if not (root / _NAME).is_dir():
        # Before tensorflow-datasets is imported, which takes seconds.
        _check_download(data_dir)
    builder = _prepared(root)
    try:
        with atomic_path(folder) as temporary:
            (temporary / IMAGES).mkdir(parents=True)
            with open(temporary / CAPTIONS, "w", encoding="utf-8") as file:
                _unpack(builder, temporary / IMAGES, file)
    except OSError as error:
        raise UserError(f"{folder}: can't be written: {error.strerror or error}") from None
    return folder


def _check_download(data_dir: Path) -> None:
    """Raises `UserError` if the archives can't be fetched, or have no room."""
    for url in _URLS:
        if reason := why_unreachable(url):
            raise UserError(
                f"--data_dir={data_dir}: holds no COCO (annotations/captions_train2014.json with "
                "train2014/, dataset_coco.json, or coco_captions as tensorflow-datasets prepares "
                f"it), and {urlsplit(url).hostname} can't be reached: {reason}"
            )
    free = shutil.disk_usage(data_dir).free // 10**9
    if free < _GIGABYTES:
        raise UserError(
            f"--data_dir={data_dir}: holds no COCO, and downloading and unpacking it takes "
            f"{_GIGABYTES} GB, of which {free} are free"
        )


def why_unreachable(url: str, patience: float = _PATIENCE) -> str:
    """Why a server does not answer for `url` within some seconds; "" if it does."""
    reasons = ["no answer in time"]

    def ask() -> None:
        request = urllib.request.Request(url, method="HEAD")
        try:
            with urllib.request.urlopen(request, timeout=patience):
                reasons.append("")
        except urllib.error.URLError as error:
            reasons.append(str(error.reason))
        except (OSError, ValueError) as error:
            reasons.append(str(error))

    # A name that no server resolves may block for longer than the timeout of the connection.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(patience)
    return reasons[-1]


def _prepared(root: Path) -> Any:
    """The builder of coco_captions once it is on disk."""
    import tensorflow_datasets as tfds

    from sat_tf.data.quiet_tfds import quiet_tfds

    with quiet_tfds():
        builder = tfds.builder(_NAME, data_dir=root)
    if not builder.is_prepared():
        _check_download(root)
        print(f"no COCO in {root}: tensorflow-datasets downloads it, 40 GB", flush=True)
        try:
            builder.download_and_prepare(file_format="tfrecord")
        except (OSError, tfds.download.DownloadError) as error:
            raise UserError(f"--data_dir={root}: COCO can't be downloaded: {error}") from None
    return builder


def _unpack(builder: Any, images: Path, captions: IO[str]) -> None:
    """Writes each image, and a line for each caption."""
    from tqdm import tqdm

    count = sum(builder.info.splits[split].num_examples for split in _SPLITS)
    bar = tqdm(total=count, desc="unpacking COCO", unit=" images", disable=not sys.stderr.isatty())
    with bar:
        for split, example in _examples(builder):
            # Its last part: what is written stays in the folder, whatever a record says.
            name = Path(example["image/filename"].decode()).name
            (images / name).write_bytes(example["image"])
            for text in example["captions"]["text"]:
                line = {"image": name, "caption": text.decode(), "split": split}
                captions.write(json.dumps(line, ensure_ascii=False) + "\n")
            bar.update()


def _examples(builder: Any) -> Iterator[tuple[str, Any]]:
    """Name, image file and captions of each image, with its split, one at a time."""
    import tensorflow as tf
    import tensorflow_datasets as tfds

    from sat_tf.data.quiet_tfds import quiet_tfds

    decoders = tfds.decode.PartialDecoding(
        {"image": True, "image/filename": True, "captions": {"text": True}},
        decoders={"image": tfds.decode.SkipDecoding()},
    )
    reading = tfds.ReadConfig(try_autocache=False)  # memory stays flat
    try:
        for split in _SPLITS:
            with quiet_tfds():
                dataset = builder.as_dataset(split=split, decoders=decoders, read_config=reading)
            for example in tfds.as_numpy(dataset):
                yield split, example
    except (tf.errors.OpError, ValueError, NotImplementedError) as error:
        raise UserError(
            f"{builder.data_path}: can't be read ({str(error).splitlines()[0]}): delete the "
            "folder, and it will be prepared again"
        ) from None
