"""Statistics of a data set: images, captions, their lengths and their words."""

import functools
import itertools
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from sat_tf.config import DataConfig
from sat_tf.data.records import Record, ValidatedSplits
from sat_tf.vocabulary import SPECIAL, Vocabulary, is_unsegmented, tokenize

# Sizes and minimum counts of vocabularies to compare: --vocabulary_size and --min_word_count.
_LIMITS = ((1_000, 1), (2_000, 1), (5_000, 1), (10_000, 1), (0, 1), (0, 2), (0, 3), (0, 5), (0, 10))
_QUANTILES = {
    "shortest": 0.0,
    "5 % at most": 0.05,
    "half at most": 0.5,
    "95 % at most": 0.95,
    "longest": 1.0,
}
# Lengths per row of the histogram; its last row has all captions from this length on.
_BIN, _LAST_BIN = 5, 51
_BAR_WIDTH = 40  # characters
_SAMPLE = 1_000  # images whose captions are checked for spaces
_SHOWN = 30  # characters of a caption


class SplitStatistics(NamedTuple):
    """Counts of a split."""

    images: int
    captions: Counter[int]  # images by their number of captions
    lengths: Counter[int]  # captions by their number of words
    words: Counter[str]  # occurrences

    def oov_rate(self, vocabulary: Vocabulary) -> float:
        """Return the share of the words that a vocabulary does not have."""
        unknown = sum(count for word, count in self.words.items() if word not in vocabulary)
        return unknown / max(self.words.total(), 1)


def split_statistics(records: Sequence[Record]) -> SplitStatistics:
    """Count the images, captions and words of a split."""
    tokenized = [tokenize(caption) for record in records for caption in record.captions]
    return SplitStatistics(
        len(records),
        Counter(len(record.captions) for record in records),
        Counter(map(len, tokenized)),
        Counter(itertools.chain.from_iterable(tokenized)),
    )


def describe(statistics: Mapping[str, SplitStatistics], limits: tuple[int, int]) -> str:
    """Return a page about the splits of a data set; limits: of size and counts, as they are set."""
    lines = _table(statistics)
    filled = [split for split, counts in statistics.items() if counts.images]
    if not filled:
        return "\n".join(lines)
    source = "train" if "train" in filled else filled[0]
    target = "dev" if "dev" in filled else source
    lines += ["", f"words a caption, {source}", *_histogram(statistics[source].lengths)]
    lines += ["", f"words of {target} that a vocabulary of {source} does not know"]
    lines += [f"{'--vocabulary_size':>20}{'--min_word_count':>18}{'words kept':>12}{'unknown':>10}"]
    for size, min_count in dict.fromkeys([*_LIMITS, limits]):
        vocabulary = Vocabulary.build([statistics[source].words], size=size, min_count=min_count)
        name, kept = f"{size:,}" if size else "0 (all)", len(vocabulary) - len(SPECIAL)
        unknown = statistics[target].oov_rate(vocabulary)
        mark = "  as set" if (size, min_count) == limits else ""
        lines.append(f"{name:>20}{min_count:>18}{kept:>12,}{unknown:>10.2%}{mark}")
    return "\n".join(lines)


def describe_objects(splits: Mapping[str, Sequence[Record]]) -> str:
    """Return a line for each split: number of known objects, and of images that have them."""
    lines = ["objects that are known"]
    for split, records in splits.items():
        known = [len(record.objects.objects) for record in records if record.objects]
        lines.append(f"{split:<14}{sum(known):>10,} in {len(known):,} of {len(records):,} images")
    return "\n".join(lines)


def describe_notes(checked: ValidatedSplits, data: DataConfig) -> list[str]:
    """Return lines on what is worth knowing of a data set and needs no correction.

    That is how its files were read, where that is not as documented; captions without spaces
    between words; and how many images are outside of `--data_dir`.
    """
    records = list(itertools.chain.from_iterable(checked.records.values()))
    notes = list(checked.problems.notes)
    step = -(-len(records) // _SAMPLE) or 1
    captions = [record.captions[0] for record in records[::step]]
    unsegmented = list(filter(is_unsegmented, captions))
    if 2 * len(unsegmented) > len(captions):
        notes.append(
            "warning: most captions are not separated into words by spaces, as "
            f"{unsegmented[0][:_SHOWN]!r}: each piece without a space would be one word "
            "of the vocabulary, and new captions could only repeat such pieces; put spaces between "
            "the words first, with a segmenter of the language"
        )
    if outside := count_outside(records, data.data_dir):
        notes.append(f"images outside of --data_dir: {outside:,} of {len(records):,}")
    return notes


def count_outside(records: Iterable[Record], folder: str) -> int:
    """Return how many images are files outside of a folder, whether named there or linked."""
    root, real_path = os.path.realpath(folder), functools.cache(os.path.realpath)
    count = 0
    for image in (record.image for record in records if isinstance(record.image, str)):
        path = real_path(image if os.path.islink(image) else os.path.dirname(image))
        count += os.path.commonpath([root, path]) != root
    return count


def _table(statistics: Mapping[str, SplitStatistics]) -> list[str]:
    """Return the lines of a table with a column for each split."""
    rows: dict[str, list[str]] = {"": list(statistics)}
    for split in statistics.values():
        few, many = min(split.captions, default=0), max(split.captions, default=0)
        lengths = [*split.lengths.elements()] or [0]
        quantiles = np.quantile(lengths, [*_QUANTILES.values()], method="inverted_cdf")
        cells = {
            "images": f"{split.images:,}",
            "captions": f"{split.lengths.total():,}",
            "captions an image": f"{few}" if few == many else f"{few} to {many}",
            "words": f"{split.words.total():,}",
            "different words": f"{len(split.words):,}",
            **{
                f"words a caption, {name}": f"{x}"
                for name, x in zip(_QUANTILES, quantiles, strict=True)
            },
        }
        for name, cell in cells.items():
            rows.setdefault(name, []).append(cell)
    return [f"{name:<30}" + "".join(f"{cell:>12}" for cell in row) for name, row in rows.items()]


def _histogram(lengths: Counter[int]) -> list[str]:
    bins: Counter[int] = Counter()
    for length, count in lengths.items():
        bins[min((length - 1) // _BIN * _BIN + 1, _LAST_BIN)] += count
    return [
        f"{f'{start} and more' if start == _LAST_BIN else f'{start} to {start + _BIN - 1}':>14}"
        f"{bins[start]:>10,}  {'#' * round(_BAR_WIDTH * bins[start] / max(bins.values()))}"
        for start in range(1, max(bins) + 1, _BIN)
    ]
