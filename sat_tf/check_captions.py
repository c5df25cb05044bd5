"""Print statistics of a data set and all problems in its files."""

from sat_tf import flags
from sat_tf.errors import UserError

USAGE = """python -m sat_tf.check_captions --dataset=NAME --data_dir=DIR [--SETTING=VALUE ...]

Prints the number of images and captions, their lengths and their words for each split of a data
set, with --boxes the number of objects too, then notes on how its files were read, and every
problem in its files of captions, splits and boxes, and every image that can't be read. Exit status
1 if there is one. Of an image the first and last bytes are checked; --decode checks all of it. With
--skip_unreadable images that can't be read are counted, left out of the statistics, and no
problem."""


def main(argv: list[str]) -> int:
    """Print statistics and problems; return exit status 1 if there is a problem."""
    data = flags.settings_from_flags().data
    if data.dataset == "shapes":
        flags.import_tensorflow()  # tensorflow-datasets generates the scenes
    from sat_tf.data.records import describe_problems
    from sat_tf.data.unreadable import find_unreadable
    from sat_tf.datasets import available_splits, check_splits
    from sat_tf.datasets.statistics import (
        describe,
        describe_notes,
        describe_objects,
        split_statistics,
    )

    checked = check_splits(data, available_splits(data))
    if not any(checked.records.values()) and not checked.problems:
        raise UserError(f"--dataset={data.dataset}: holds no image with a caption")
    splits, unreadable = dict(checked.records), list[str]()
    for split, records in checked.records.items():
        errors = find_unreadable(records, flags.FLAGS.decode, flags.import_tensorflow)
        unreadable += errors.values()
        if data.skip_unreadable:
            splits[split] = tuple(record for i, record in enumerate(records) if i not in errors)
    statistics = {split: split_statistics(records) for split, records in splits.items()}
    parts = [describe(statistics, (data.vocabulary_size, data.min_word_count))]
    if data.boxes:
        parts.append(describe_objects(splits))
    if notes := describe_notes(checked, data):
        parts.append("\n".join([f"notes: {len(notes):,}", *notes]))
    problems = describe_problems(checked.problems)
    if data.skip_unreadable:
        parts.append("\n".join([f"left out: {len(unreadable):,} images", *unreadable]))
    else:
        problems += unreadable
    parts.append("\n".join([f"problems: {len(problems):,}", *problems]))
    print("\n\n".join(parts))
    return 1 if problems else 0


if __name__ == "__main__":
    flags.define_settings()
    flags.define_command_flags("decode")
    flags.run(main, USAGE)
