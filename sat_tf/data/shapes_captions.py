"""The embedded data set: a tensorflow-datasets builder that draws its scenes, without a network."""

import dataclasses
import io
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from PIL import Image

from sat_tf.config import DataSettings
from sat_tf.data.captions import Record
from sat_tf.data.shapes_grammar import Caption, describe
from sat_tf.data.shapes_scenes import Scene, draw_scene, make_scene

DEFAULT_FOLDER = "runs/data"
CAPTIONS_OF_A_SCENE = 5
# Told apart from the scene's own stream of random numbers by this third part of their seed.
_CAPTION_STREAM = 1


@dataclasses.dataclass(kw_only=True)
class ShapesConfig(tfds.core.BuilderConfig):
    """Scenes of each split, side in pixels, and the seed that makes them all."""

    train: int
    dev: int
    test: int
    size: int
    seed: int


class ShapesCaptions(tfds.core.GeneratorBasedBuilder):
    """Scenes of one to four coloured shapes, with five true captions each.

    Features of an example:
      image: PNG, uint8 [size, size, 3].
      image_id: the split and a number.
      captions: five strings, lower case, words with single spaces between.
      mentions: JSON; for each caption a list of [position of a noun among its words, indices of
        the objects it speaks of].
      scene: JSON; `Scene.from_json` reads it. Its `objects` have shape, colour, size and box
        (left, top, right, bottom in pixels, right and bottom outside).
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            description="Scenes of coloured shapes with captions that are true of them.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
                    "image_id": tfds.features.Text(),
                    "captions": tfds.features.Sequence(tfds.features.Text()),
                    "mentions": tfds.features.Text(),
                    "scene": tfds.features.Text(),
                }
            ),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, dict]]]:
        return {
            split: self._generate_examples(split, scenes)
            for split, scenes in make_splits(self.builder_config).items()
        }

    def _generate_examples(
        self, split: str, scenes: list[tuple[int, Scene]]
    ) -> Iterator[tuple[int, dict]]:
        for number, (index, scene) in enumerate(scenes):
            captions = describe_scene(self.builder_config.seed, index, scene)
            mentions = [[[m.word_index, m.matches] for m in c.mentions] for c in captions]
            yield (
                number,
                {
                    "image": _png(scene),
                    "image_id": f"{split}-{number:06d}",
                    "captions": [caption.text for caption in captions],
                    "mentions": json.dumps(mentions),
                    "scene": scene.to_json(),
                },
            )


def make_splits(config: ShapesConfig) -> dict[str, list[tuple[int, Scene]]]:
    """The scenes of each split, with their indices; no two scenes have the same objects.

    The test and the dev split come first: they stay as they are when more are drawn for training.
    """
    seen: set[tuple[Any, ...]] = set()
    splits: dict[str, list[tuple[int, Scene]]] = {"test": [], "dev": [], "train": []}
    index = 0
    for split, scenes in splits.items():
        while len(scenes) < getattr(config, split):
            scene = make_scene(config.seed, index, config.size)
            things = tuple(sorted((o.shape, o.colour, o.box) for o in scene.objects))
            if things not in seen:
                seen.add(things)
                scenes.append((index, scene))
            index += 1
    return splits


def describe_scene(seed: int, index: int, scene: Scene) -> list[Caption]:
    """The captions of the scene with that index."""
    random = np.random.default_rng((seed, index, _CAPTION_STREAM))
    return [describe(scene, random) for _ in range(CAPTIONS_OF_A_SCENE)]


def load_shapes(settings: DataSettings, split: str) -> tuple[Record, ...]:
    """The records of a split; draws the data set when it is not in `data_dir` yet.

    Args:
      settings: `data_dir`, and the sizes and seed under `shapes_`.
      split: "train", "dev" or "test".
    """
    config = ShapesConfig(
        # Data sets of other sizes or seeds live beside each other.
        name=f"train{settings.shapes_train}_dev{settings.shapes_dev}_test{settings.shapes_test}"
        f"_size{settings.shapes_size}_seed{settings.shapes_seed}",
        train=settings.shapes_train,
        dev=settings.shapes_dev,
        test=settings.shapes_test,
        size=settings.shapes_size,
        seed=settings.shapes_seed,
    )
    logging.set_verbosity(logging.ERROR)  # tfds tells at length how it writes its files
    tfds.disable_progress_bar()
    builder = ShapesCaptions(data_dir=settings.data_dir or DEFAULT_FOLDER, config=config)
    builder.download_and_prepare(file_format="tfrecord")
    dataset = builder.as_dataset(split=split, decoders={"image": tfds.decode.SkipDecoding()})
    return tuple(
        Record(
            image_id=example["image_id"].decode(),
            image=example["image"],
            captions=tuple(caption.decode() for caption in example["captions"]),
            scene=Scene.from_json(example["scene"]),
        )
        for example in tfds.as_numpy(dataset)
    )


def _png(scene: Scene) -> io.BytesIO:
    file = io.BytesIO()
    Image.fromarray(draw_scene(scene)).save(file, "PNG")
    file.seek(0)
    return file
