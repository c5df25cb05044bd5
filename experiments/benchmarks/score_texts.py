"""How long captions take to be scored, and what coco-caption's own tokenizer would change.

    python experiments/benchmarks/score_texts.py RESULTS.json DATASET DATA_DIR SPLIT

Scores a file in COCO's results format (`evaluate --captions`) with this package's tokenizer and
with coco-caption's (Java, from the extra [metrics]).
"""

import sys
import time
from pathlib import Path

from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

from sat_tf.config import from_flat
from sat_tf.datasets import load_splits
from sat_tf.datasets.results import read_results
from sat_tf.metrics.text import text_measures
from sat_tf.vocabulary import tokenize


def penn_treebank(texts: list[list[str]]) -> list[list[list[str]]]:
    """The words of the texts of each image, by coco-caption's tokenizer."""
    entries = {image: [{"caption": text} for text in of] for image, of in enumerate(texts)}
    found = PTBTokenizer().tokenize(entries)
    return [[text.split() for text in found[image]] for image in range(len(texts))]


def main() -> None:
    """Prints seconds and scores by both tokenizers."""
    results, dataset, data_dir, split = sys.argv[1:]
    data = from_flat({"dataset": dataset, "data_dir": data_dir}).data
    records = load_splits(data, (split,))[split]
    captions = [[caption] for caption in read_results(Path(results), records)]
    references = [list(record.captions) for record in records]

    start = time.perf_counter()
    words, truths = (
        [[tokenize(t) for t in of] for of in texts] for texts in (captions, references)
    )
    scores = {
        name: measure.score
        for name, measure in text_measures([w for (w,) in words], truths).items()
    }
    print(f"{len(records):,} images without METEOR: {time.perf_counter() - start:.2f} s")

    other_words, other_truths = penn_treebank(captions), penn_treebank(references)
    pairs = [
        (ours, theirs)
        for of, of_others in zip([*words, *truths], [*other_words, *other_truths], strict=True)
        for ours, theirs in zip(of, of_others, strict=True)
    ]
    differ = sum(ours != theirs for ours, theirs in pairs)
    print(f"{differ:,} of {len(pairs):,} texts are taken apart otherwise by coco-caption")
    others = text_measures([w for (w,) in other_words], other_truths)
    for name, value in scores.items():
        print(f"{name:<16}{value:10.4f}{others[name].score:10.4f}")


if __name__ == "__main__":
    main()
