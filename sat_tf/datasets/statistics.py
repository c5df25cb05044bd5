"""What a data set holds, in figures: images, captions, their lengths, and what words they use."""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence

from sat_tf.data.records import Record
from sat_tf.vocabulary import SPECIAL, Vocabulary, tokenize

_SIZES = (1_000, 2_000, 5_000, 10_000)
_COUNTS = (2, 3, 5, 10)
# Of the captions, that have at most so many words.
_SHARES = {
    "shortest": 0.0,
    "5 % at most": 0.05,
    "half at most": 0.5,
    "95 % at most": 0.95,
    "longest": 1.0,
}
_BIN, _LAST_BIN = 5, 51  # of the histogram: words to a row; the last row has all that are longer
_BAR = 40  # characters


@dataclasses.dataclass(frozen=True)
class SplitStatistics:
    """What is counted in a split.

    Attributes:
      images: how many.
      captions: how many images have so many captions.
      lengths: how many captions have so many words.
      words: how often each word occurs.
    """

    images: int
    captions: Counter[int]
    lengths: Counter[int]
    words: Counter[str]


def split_statistics(records: Sequence[Record]) -> SplitStatistics:
    """Counts a split."""
    lengths: Counter[int] = Counter()
    words: Counter[str] = Counter()
    for record in records:
        for caption in record.captions:
            found = tokenize(caption)
            lengths[len(found)] += 1
            words.update(found)
    captions = Counter(len(record.captions) for record in records)
    return SplitStatistics(len(records), captions, lengths, words)


def longest_of(lengths: Counter[int], share: float) -> int:
    """Words that this share of the captions have at most."""
    reached = 0
    for length, count in sorted(lengths.items()):
        reached += count
        if reached >= share * lengths.total():
            return length
    return 0


@dataclasses.dataclass(frozen=True)
class Coverage:
    """How much of some captions a vocabulary knows.

    Attributes:
      size: words kept at most; 0 keeps all.
      min_count: times a word occurs at least.
      kept: words the vocabulary then has.
      unknown: share of the captions' words that it does not have.
    """

    size: int
    min_count: int
    kept: int
    unknown: float


def coverages(
    train: SplitStatistics, seen: SplitStatistics, limits: Sequence[tuple[int, int]]
) -> list[Coverage]:
    """What vocabularies of the training captions know of others.

    Args:
      train: whose words make the vocabulary.
      seen: whose words are looked up.
      limits: size and least count of each vocabulary.
    """
    # Every word a caption of its own and as often as it occurs: counted is counted.
    ranked = Vocabulary.build([list(train.words.elements())])
    words, counts = ranked.words[len(SPECIAL) :], ranked.counts[len(SPECIAL) :]
    found = []
    for size, least in limits:
        frequent = sum(count >= least for count in counts)
        kept = min(frequent, size or frequent)
        known = sum(seen.words[word] for word in words[:kept])
        found.append(Coverage(size, least, kept, 1 - known / max(seen.words.total(), 1)))
    return found


def describe(statistics: Mapping[str, SplitStatistics], as_set: tuple[int, int]) -> str:
    """A page about a data set.

    Args:
      statistics: of its splits.
      as_set: size and least count of the vocabulary that the settings ask for.
    """
    lines = _table(statistics)
    if not any(split.images for split in statistics.values()):
        return "\n".join(lines)
    first = next(split for split in statistics if statistics[split].images)
    made_of = "train" if "train" in statistics and statistics["train"].images else first
    lines += ["", f"words a caption, {made_of}", *_histogram(statistics[made_of].lengths)]
    seen = "dev" if "dev" in statistics and statistics["dev"].images else made_of
    limits = [(size, 1) for size in _SIZES] + [(0, least) for least in (1, *_COUNTS)]
    found = coverages(statistics[made_of], statistics[seen], [*dict.fromkeys([*limits, as_set])])
    lines += ["", f"words of {seen} that a vocabulary of {made_of} does not know"]
    lines += [f"{'--vocabulary_size':>20}{'--min_word_count':>18}{'words kept':>12}{'unknown':>10}"]
    for one in found:
        size = f"{one.size:,}" if one.size else "0 (all)"
        mark = "  as set" if (one.size, one.min_count) == as_set else ""
        lines.append(f"{size:>20}{one.min_count:>18}{one.kept:>12,}{one.unknown:>10.2%}{mark}")
    return "\n".join(lines)


def describe_objects(splits: Mapping[str, Sequence[Record]]) -> str:
    """Return a line for each split: number of known objects, and of images that have them.

    Args:
      splits: records of each split.
    """
    lines = ["objects that are known"]
    for split, images in splits.items():
        known = [len(image.objects.objects) for image in images if image.objects]
        lines.append(f"{split:<14}{sum(known):>10,} in {len(known):,} of {len(images):,} images")
    return "\n".join(lines)


def _table(statistics: Mapping[str, SplitStatistics]) -> list[str]:
    """A column for each split."""
    rows: dict[str, list[str]] = {"": list(statistics)}
    for split in statistics.values():
        few, many = min(split.captions, default=0), max(split.captions, default=0)
        cells = {
            "images": f"{split.images:,}",
            "captions": f"{split.lengths.total():,}",
            "captions an image": f"{few}" if few == many else f"{few} to {many}",
            "words": f"{split.words.total():,}",
            "different words": f"{len(split.words):,}",
        }
        for name, share in _SHARES.items():
            cells[f"words a caption, {name}"] = f"{longest_of(split.lengths, share)}"
        for name, cell in cells.items():
            rows.setdefault(name, []).append(cell)
    return [f"{name:<30}" + "".join(f"{cell:>12}" for cell in row) for name, row in rows.items()]


def _histogram(lengths: Counter[int]) -> list[str]:
    """A bar for each few lengths."""
    bins: Counter[int] = Counter()
    for length, count in lengths.items():
        bins[min((length - 1) // _BIN * _BIN + 1, _LAST_BIN)] += count
    most = max(bins.values())
    return [
        f"{f'{start} and more' if start == _LAST_BIN else f'{start} to {start + _BIN - 1}':>14}"
        f"{bins[start]:>10,}  {'#' * round(_BAR * bins[start] / most)}"
        for start in range(1, max(bins) + 1, _BIN)
    ]
