"""Tells what a data set holds, and everything that is wrong in its caption files."""

from sat_tf import flags
from sat_tf.errors import UserError

USAGE = """python -m sat_tf.check_captions --dataset=NAME --data_dir=DIR [--SETTING=VALUE ...]

Prints images, captions, their lengths and their words for each split of a data set, then every
problem in its caption files and lists. Exit status 1 if there is one."""


def main(argv: list[str]) -> int:
    """Prints the figures and the problems; 1 if there are any."""
    settings = flags.settings_from_flags().data
    if settings.dataset == "shapes":
        flags.quiet_tensorflow()  # it is drawn by tensorflow-datasets
    from sat_tf.data.caption_statistics import describe, split_statistics
    from sat_tf.data.captions import describe_problems
    from sat_tf.data.datasets import available_splits, check_splits

    checked = check_splits(settings, available_splits(settings))
    if not any(checked.records.values()) and not checked.problems:
        raise UserError(f"--dataset={settings.dataset}: holds no image with a caption")
    statistics = {split: split_statistics(records) for split, records in checked.records.items()}
    print(describe(statistics, (settings.vocabulary_size, settings.min_word_count)))
    problems = describe_problems(checked.problems)
    print("\n" + "\n".join([f"problems: {len(problems):,}", *problems]))
    return 1 if problems else 0


if __name__ == "__main__":
    flags.define_settings()
    flags.run(main, USAGE)
