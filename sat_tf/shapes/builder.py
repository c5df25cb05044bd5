"""The embedded data set: a tensorflow-datasets builder that generates it, without downloads."""

import dataclasses
import hashlib
import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image, ImageOps

from sat_tf.config import DataConfig
from sat_tf.data.quiet_tfds import quiet_tfds
from sat_tf.data.records import Record
from sat_tf.errors import UserError, in_current_folder
from sat_tf.progress import progress_bar
from sat_tf.shapes.judge import Caption, describe, object_boxes, scene_objects
from sat_tf.shapes.scenes import COLOURS, SHAPES, SIZES, Scene, draw_scene, make_scene
from sat_tf.storage import temporary_folder, writing

DEFAULT_FOLDER = "runs/data"
CAPTIONS_PER_SCENE = 5
# Third part of the captions' seed, so that their random numbers are not those of the scene.
_CAPTION_STREAM = 1
# Two scenes count as equal if their objects are in the same cells of a grid of this many rows.
_CELLS = 8
_READ_BATCH = 256  # examples


@dataclasses.dataclass(kw_only=True)
class ShapesConfig(tfds.core.BuilderConfig):
    """A data set: its settings, and photographs that are in turn the background of a scene."""

    data: DataConfig
    photographs: tuple[Path, ...] = ()


class ShapesCaptions(tfds.core.GeneratorBasedBuilder):
    """Scenes of one to four coloured shapes, with five true captions each.

    Increase `VERSION` whenever scenes or captions change, so that data of earlier versions is not
    read.

    Features of an example:
      image: PNG, uint8 [size, size, 3].
      image_id: the split and a number.
      captions: five strings, lower case, words separated by single spaces.
      objects: shape, colour, size and box of each object.
      mentions: for each object that a noun refers to, the index of the caption, of the noun among
        its words, and of the object.
      scene: the scene as JSON, see `Scene.from_json`.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}  # noqa: RUF012 - how tfds declares it

    def _info(self) -> tfds.core.DatasetInfo:
        side = self.builder_config.data.shapes_size
        text = tfds.features.Text()
        objects = {
            "shape": tfds.features.ClassLabel(names=SHAPES),
            "colour": tfds.features.ClassLabel(names=tuple(COLOURS)),
            "size": tfds.features.ClassLabel(names=tuple(SIZES)),
            "bbox": tfds.features.BBoxFeature(),
        }
        mentions = dict.fromkeys(("caption", "word", "object"), np.int64)
        return self.dataset_info_from_configs(
            description="Scenes of coloured shapes with captions that are true of them.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(side, side, 3), encoding_format="png"),
                    "image_id": text,
                    "captions": tfds.features.Sequence(text, length=CAPTIONS_PER_SCENE),
                    "objects": tfds.features.Sequence(objects),
                    "mentions": tfds.features.Sequence(mentions),
                    "scene": text,
                }
            ),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, dict]]]:
        del dl_manager  # nothing is downloaded
        return {
            split: self._generate_examples(split, scenes)
            for split, scenes in make_splits(self.builder_config.data).items()
        }

    def _generate_examples(
        self, split: str, scenes: list[tuple[int, Scene]]
    ) -> Iterator[tuple[int, dict]]:
        bar = progress_bar(scenes, desc=f"drawing {split}", unit="scene")
        for number, (index, scene) in enumerate(bar):
            captions = describe_scene(self.builder_config.data.shapes_seed, index, scene)
            boxes = [tfds.features.BBox(*box) for box in object_boxes(scene)]
            file = io.BytesIO()
            Image.fromarray(draw_scene(scene, self._photograph(index))).save(file, "PNG")
            file.seek(0)
            example = {
                "image": file,
                "image_id": f"{split}-{number:06d}",
                "captions": [caption.text for caption in captions],
                "objects": [
                    {"shape": thing.shape, "colour": thing.colour, "size": thing.size, "bbox": box}
                    for thing, box in zip(scene.objects, boxes, strict=True)
                ],
                "mentions": [
                    {"caption": caption_index, "word": mention.word_index, "object": match}
                    for caption_index, caption in enumerate(captions)
                    for mention in caption.mentions
                    for match in mention.matches
                ],
                "scene": scene.to_json(),
            }
            yield number, example

    def _photograph(self, index: int) -> np.ndarray | None:
        """Return the background of the scene with that index: uint8 [size, size, 3], or None."""
        paths, size = self.builder_config.photographs, self.builder_config.data.shapes_size
        if not paths:
            return None
        path = paths[index % len(paths)]
        try:
            with Image.open(path) as image:
                square = ImageOps.fit(ImageOps.exif_transpose(image).convert("RGB"), (size, size))
        except Image.DecompressionBombError:
            raise UserError(f"{path}: can't be read as a photograph: is too large") from None
        except (OSError, ValueError):
            raise UserError(
                f"{path}: can't be read as a photograph: remove it, or convert it to JPEG or PNG"
            ) from None
        return np.asarray(square)


def make_splits(config: DataConfig) -> dict[str, list[tuple[int, Scene]]]:
    """Return the scenes of each split with their indices; no scene is in two splits.

    Scenes with the same objects at nearly the same positions count as equal, whatever the
    background. The test and the dev split come first, so that they do not depend on the size of
    the training split.
    """
    taken: set[tuple[Any, ...]] = set()
    splits: dict[str, list[tuple[int, Scene]]] = {"test": [], "dev": [], "train": []}
    index = 0
    for split, scenes in splits.items():
        contents = set()
        while len(scenes) < getattr(config, f"shapes_{split}"):
            scene = make_scene(config.shapes_seed, index, config.shapes_size)
            content = scene_content(scene)
            if content not in taken:
                scenes.append((index, scene))
                contents.add(content)
            index += 1
        taken |= contents
    return splits


def scene_content(scene: Scene) -> tuple[Any, ...]:
    """Return kinds and approximate positions of the objects, the same for scenes that are equal."""
    return tuple(
        sorted(
            (*thing.kind, *(int(_CELLS * at / scene.size) for at in thing.centre))
            for thing in scene.objects
        )
    )


def describe_scene(seed: int, index: int, scene: Scene) -> list[Caption]:
    """Generate the captions of the scene with that index, all different."""
    random = np.random.default_rng((seed, index, _CAPTION_STREAM))
    captions: dict[str, Caption] = {}
    while len(captions) < CAPTIONS_PER_SCENE:
        caption = describe(scene, random)
        captions.setdefault(caption.text, caption)
    return list(captions.values())


def load_shapes(config: DataConfig, split: str) -> tuple[Record, ...]:
    """Return the records of a split; generate the data set if it is not in `config.data_dir`.

    Raises:
      UserError: the folder can't be written, or its data set is damaged.
    """
    builder = _prepared(config)
    decoders = tfds.decode.PartialDecoding(
        {"image": True, "image_id": True, "captions": True, "scene": True},
        decoders={"image": tfds.decode.SkipDecoding()},
    )
    try:
        with quiet_tfds():
            dataset = builder.as_dataset(split=split, decoders=decoders)
        # In batches: converting from TensorFlow to NumPy takes longer than reading.
        return tuple(
            Record(
                image_id.decode(),
                image,
                tuple(caption.decode() for caption in captions),
                scene_objects(Scene.from_json(scene)),
            )
            for batch in tfds.as_numpy(dataset.batch(_READ_BATCH))
            for image_id, image, captions, scene in zip(
                batch["image_id"], batch["image"], batch["captions"], batch["scene"], strict=True
            )
        )
    except (tf.errors.DataLossError, tf.errors.NotFoundError, ValueError):
        raise UserError(
            f"{Path(builder.data_path).absolute()}: this data set is damaged: delete the folder to "
            "have it generated again"
        ) from None


def _find_photographs(folder: str) -> tuple[Path, ...]:
    """Return the images of a folder in the order of their names; none without a folder."""
    if not folder:
        return ()
    if not Path(folder).is_dir():
        where = in_current_folder(folder)
        raise UserError(f"--shapes_backgrounds={folder}: no such folder{where}")
    suffixes = Image.registered_extensions()
    found = (path for path in Path(folder).glob("*") if path.is_file())
    paths = sorted(path for path in found if path.suffix.lower() in suffixes)
    if not paths:
        raise UserError(f"--shapes_backgrounds={folder}: holds no image")
    return tuple(paths)


def _prepared(config: DataConfig) -> ShapesCaptions:
    """Return the builder of the data set that is configured, after generating it if need be."""
    photographs = _find_photographs(config.shapes_backgrounds)
    # Data sets of other sizes, seeds or photographs have other folders.
    parts = ("train", "dev", "test", "size", "seed")
    name = "_".join(f"{part}{getattr(config, f'shapes_{part}')}" for part in parts)
    if photographs:
        listed = "\n".join(f"{path.name} {path.stat().st_size}" for path in photographs)
        name += f"_over{hashlib.sha256(listed.encode()).hexdigest()[:12]}"
    folder = Path(config.data_dir or DEFAULT_FOLDER)
    variant = ShapesConfig(name=name, data=config, photographs=photographs)
    with quiet_tfds():
        builder = ShapesCaptions(data_dir=folder, config=variant)
        if builder.is_prepared():
            return builder
        tfds.disable_progress_bar()  # the builder has its own
        # Incomplete, if it exists; tensorflow-datasets would use it.
        target = Path(builder.data_path).parent
        try:
            with writing(target), temporary_folder(folder) as temporary:
                generated = ShapesCaptions(data_dir=temporary, config=variant)
                generated.download_and_prepare(file_format="tfrecord")
                shutil.rmtree(target, ignore_errors=True)
                target.parent.mkdir(exist_ok=True)
                os.replace(Path(generated.data_path).parent, target)
        except OSError as error:
            where = f"--data_dir={folder}" if config.data_dir else str(folder.absolute())
            advice = "" if config.data_dir else ", name another folder with --data_dir"
            raise UserError(
                f"{where}: the data set can't be written there{advice}: {error.strerror}"
            ) from None
        return ShapesCaptions(data_dir=folder, config=variant)
