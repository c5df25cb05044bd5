"""Whether the words come out: captions that are cut, words unknown, captions all the same."""

from collections import Counter
from collections.abc import Sequence

from sat_tf.doctor.results import CheckResult, judge, not_needed
from sat_tf.doctor.run_context import RunContext
from sat_tf.vocabulary import SPECIAL, tokenize

_MOST_CUT, _MOST_LEFT_OUT = 0.02, 0.1
_MOST_UNKNOWN = 0.1
# Of one caption, and of different ones as a share of people's.
_MOST_OF_ONE, _LEAST_DISTINCT = 0.2, 0.2
_FEWEST = 8  # captions of which a share says something


def truncation(patient: RunContext) -> CheckResult:
    """Captions end by themselves, and few were left out of the training for their length.

    That people write longer captions than the model may is told, but no fault while its own end.
    """
    config = patient.config
    longest, limit = config.decoding.max_length, config.data.max_caption_words
    captions = patient.scored.captions
    # A caption that has ended has a probability more than words: that of its end.
    times = sum(len(one.log_probs) == len(one.words) for one in captions)
    cut = times / len(captions)
    lengths = patient.statistics["train"].lengths
    longer = _share_longer(lengths, longest)
    left_out = _share_longer(lengths, limit) if limit else 0.0
    return judge(
        (cut > _MOST_CUT and times > 1) or left_out > _MOST_LEFT_OUT,
        f"of {len(captions)} captions {cut:.1%} are cut at --max_length={longest}; of the "
        f"training captions {longer:.1%} are longer than that"
        + (f", and {left_out:.1%} left out by --max_caption_words={limit}" if limit else ""),
        "raise the limit that cuts (--max_length of the finished run, --max_caption_words of "
        "a new one); if captions go round in circles, --no_repeat_ngram=3",
        cut=cut,
        longer=longer,
        left_out=left_out,
    )


def _share_longer(lengths: Counter[int], limit: int) -> float:
    return sum(n for length, n in lengths.items() if length > limit) / max(lengths.total(), 1)


def oov_rate(patient: RunContext) -> CheckResult:
    """The vocabulary knows most words of the captions."""
    words = patient.run.vocabulary
    shares = {
        split: sum(count for word, count in found.words.items() if word not in words)
        / max(found.words.total(), 1)
        for split, found in patient.statistics.items()
        if found.lengths.total() >= _FEWEST
    }
    if not shares:
        return not_needed(f"fewer than {_FEWEST} captions are too few to see it by")
    seen = ", ".join(f"{share:.1%} of {split}" for split, share in shares.items())
    return judge(
        max(shares.values()) > _MOST_UNKNOWN,
        f"words unknown to the vocabulary of {len(words) - len(SPECIAL):,}: {seen}",
        "train again with a larger --vocabulary_size or a smaller --min_word_count (python -m "
        "sat_tf.check_captions has a table of what they would leave unknown); if the training "
        "captions know nearly all and the others do not, there are too few of them",
        **shares,
    )


def caption_diversity(patient: RunContext) -> CheckResult:
    """Captions differ from image to image."""
    captions = [caption.text for caption in patient.scored.captions]
    if len(captions) < _FEWEST:
        return not_needed(f"{len(captions)} captions are too few to see it by")
    (most, share), distinct = _variety(captions)
    # People may have little to say, too.
    references = [" ".join(tokenize(one.captions[0])) for one in patient.scored.records]
    (_, their_share), their_distinct = _variety(references)
    return judge(
        share > max(_MOST_OF_ONE, 2 * their_share) or distinct < _LEAST_DISTINCT * their_distinct,
        f"{distinct:.0%} of {len(captions):,} captions differ ({their_distinct:.0%} of people's); "
        f"the commonest, {most!r}, is said of {share:.1%} ({their_share:.1%})",
        "the model says what is always likely: train longer or with a higher --learning_rate, and "
        "look at the checks of the encoder and of images and references",
        commonest=share,
        distinct=distinct,
    )


def _variety(captions: Sequence[str]) -> tuple[tuple[str, float], float]:
    """The commonest caption with its share, and the share of captions that differ."""
    (most, times), *_ = Counter(captions).most_common(1)
    return (most, times / len(captions)), len(set(captions)) / len(captions)
