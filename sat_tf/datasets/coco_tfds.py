"""COCO as tensorflow-datasets prepares it (coco_captions), unpacked into files once.

Its records hold the bytes of the images, 20 GB in all: as files they are read when needed, like
those of every other data set.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sat_tf.downloads import why_unreachable
from sat_tf.errors import UserError, reason
from sat_tf.progress import progress_bar
from sat_tf.storage import atomic_path, writing

FOLDER, IMAGES, CAPTIONS = "coco_captions_files", "images", "captions.jsonl"
_NAME = "coco_captions"
# Karpathy's splits, as tensorflow-datasets calls them.
_SPLITS = ("train", "restval", "val", "test")
# One file of each host that a download needs.
_URLS = (
    "http://images.cocodataset.org/annotations/annotations_trainval2014.zip",
    "https://cs.stanford.edu/people/karpathy/deepimagesent/caption_datasets.zip",
)
_GIGABYTES = 120  # archives, their contents, records and the files made of these


def unpacked_folder(data_dir: Path) -> Path:
    """Return the folder of images and captions; made by the first call, whole or not at all.

    Reads coco_captions where tensorflow-datasets has it prepared, in `data_dir` or in its default
    folder; otherwise downloads it into `data_dir`.

    Raises:
      UserError: it is missing and can't be downloaded, is damaged, or can't be written.
    """
    folder = data_dir / FOLDER
    if folder.is_dir():
        return folder
    default = Path(os.environ.get("TFDS_DATA_DIR") or Path.home() / "tensorflow_datasets")
    root = next((root for root in (data_dir, default) if (root / _NAME).is_dir()), data_dir)
    shown = f"--data_dir={root}" if root == data_dir else str(root)
    if not (root / _NAME).is_dir():
        # Before tensorflow-datasets is imported, which takes seconds.
        _check_download(root, shown)
    builder = _prepared(root, shown)
    try:
        with atomic_path(folder) as temporary:
            (temporary / IMAGES).mkdir(parents=True)
            _unpack(builder, temporary)
    except OSError as error:
        raise UserError(f"{folder}: can't be written: {error.strerror or error}") from None
    return folder


def _check_download(folder: Path, shown: str) -> None:
    """Raise a `UserError` if the archives can't be downloaded, or the disk is too small.

    Without a network, tensorflow-datasets itself tries for minutes.
    """
    for url in _URLS:
        if reason := why_unreachable(url):
            raise UserError(
                f"{shown}: holds no COCO (annotations/captions_train2014.json "
                "with train2014/, dataset_coco.json, or coco_captions as tensorflow-datasets "
                f"prepares it), and {urlsplit(url).hostname} can't be reached: {reason}"
            )
    free = shutil.disk_usage(folder).free // 10**9
    if free < _GIGABYTES:
        raise UserError(
            f"{shown}: holds no COCO, and downloading and unpacking it takes "
            f"{_GIGABYTES} GB, of which {free} are free"
        )


def _prepared(root: Path, shown: str) -> Any:
    """Return the builder of coco_captions, downloaded if it is not on the disk."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError
    from tensorflow_datasets.core.download.extractor import ExtractError

    from sat_tf.data.quiet_tfds import quiet_tfds

    with quiet_tfds():
        builder = tfds.builder(_NAME, data_dir=root)
    if not builder.is_prepared():
        _check_download(root, shown)
        print(f"no COCO in {root}: tensorflow-datasets downloads it, 40 GB", flush=True)
        try:
            with writing(root):  # a full disk is an error of its own in tensorflow-datasets
                builder.download_and_prepare(file_format="tfrecord")
        except (
            OSError,
            tfds.download.DownloadError,
            NonMatchingChecksumError,
            ExtractError,
        ) as error:
            # The first line alone: advice on the code of tensorflow-datasets follows.
            why = getattr(error, "strerror", None) or reason(error).rstrip(":")
            raise UserError(f"{shown}: COCO can't be downloaded: {why}") from None
    return builder


def _unpack(builder: Any, folder: Path) -> None:
    """Write each image, and a line for each caption."""
    import tensorflow as tf
    import tensorflow_datasets as tfds

    from sat_tf.data.quiet_tfds import quiet_tfds

    decoders = tfds.decode.PartialDecoding(
        {"image": True, "image/filename": True, "captions": {"text": True}},
        decoders={"image": tfds.decode.SkipDecoding()},
    )
    config = tfds.ReadConfig(try_autocache=False)  # keeps memory constant
    count = sum(builder.info.splits[split].num_examples for split in _SPLITS)
    bar = progress_bar(total=count, desc="unpacking COCO", unit="image")
    try:
        with bar, open(folder / CAPTIONS, "w", encoding="utf-8") as captions:
            for split in _SPLITS:
                with quiet_tfds():
                    dataset = builder.as_dataset(split=split, decoders=decoders, read_config=config)
                for example in tfds.as_numpy(dataset):
                    # The last part alone, so that no record writes outside of the folder.
                    name = Path(example["image/filename"].decode()).name
                    (folder / IMAGES / name).write_bytes(example["image"])
                    for text in example["captions"]["text"]:
                        line = {"image": name, "caption": text.decode(), "split": split}
                        captions.write(json.dumps(line, ensure_ascii=False) + "\n")
                    bar.update()
    # The last one for file formats of tensorflow-datasets that tf.data can't read.
    except (tf.errors.OpError, ValueError, NotImplementedError):
        raise UserError(
            f"{builder.data_path}: can't be read (damaged, or in a format of files that tf.data "
            "does not read): delete the folder, and it will be prepared again"
        ) from None
