"""Tells what a data set holds, and everything that is wrong in its files of captions and boxes."""

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from sat_tf import flags
from sat_tf.config import Config
from sat_tf.errors import UserError

if TYPE_CHECKING:
    from sat_tf.data.objects import ObjectBoxes
    from sat_tf.data.records import Problem, Record

USAGE = """python -m sat_tf.check_captions --dataset=NAME --data_dir=DIR [--SETTING=VALUE ...]

Prints images, captions, their lengths and their words for each split of a data set, with --boxes
the objects that are known too, then every problem in its caption files and lists and in what
--boxes names. Exit status 1 if there is one."""


def main(argv: list[str]) -> int:
    """Prints the figures and the problems; 1 if there are any."""
    config = flags.settings_from_flags()
    data = config.data
    if data.dataset == "shapes" or data.boxes:
        # Scenes are drawn by tensorflow-datasets; what is seen of an image is TensorFlow's to say.
        flags.quiet_tensorflow()
    from sat_tf.data.records import describe_problems
    from sat_tf.datasets import available_splits, check_splits
    from sat_tf.datasets.statistics import describe, describe_objects, split_statistics

    checked = check_splits(data, available_splits(data))
    if not any(checked.records.values()) and not checked.problems:
        raise UserError(f"--dataset={data.dataset}: holds no image with a caption")
    objects, box_problems = _check_boxes(checked.records, config) if data.boxes else ({}, [])
    statistics = {split: split_statistics(records) for split, records in checked.records.items()}
    print(describe(statistics, (data.vocabulary_size, data.min_word_count)))
    if objects:
        print("\n" + describe_objects(objects))
    problems = describe_problems(checked.problems + box_problems)
    print("\n" + "\n".join([f"problems: {len(problems):,}", *problems]))
    return 1 if problems else 0


def _check_boxes(
    splits: Mapping[str, Sequence["Record"]], config: Config
) -> "tuple[dict[str, list[ObjectBoxes | None]], list[Problem]]":
    """The objects of each split's images, and what is wrong with `--boxes`."""
    from sat_tf.datasets.known_objects import check_objects, without_boxes

    # All at once: a file of boxes that holds several splits is read but once.
    records = [*itertools.chain.from_iterable(splits.values())]
    known, problems = check_objects(records, config.data, config.images)
    remaining = iter(known)
    objects = {split: [*itertools.islice(remaining, len(of))] for split, of in splits.items()}
    if not problems:
        for split, found in objects.items():
            if split != "train":  # which no training is scored on
                problems += without_boxes(splits[split], found, config.data)
    return objects, problems


if __name__ == "__main__":
    flags.define_settings()
    flags.run(main, USAGE)
