"""Measure how long scores of text take, and what coco-caption's tokenizer would change.

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
from sat_tf.metrics.registry import EvaluationData, compute_scores
from sat_tf.metrics.text import tokenized


def penn_treebank(texts: list[list[str]]) -> list[list[str]]:
    """Tokenize the texts of each image with coco-caption's tokenizer."""
    entries = {
        image: [{"caption": text} for text in captions] for image, captions in enumerate(texts)
    }
    found = PTBTokenizer().tokenize(entries)
    return [found[image] for image in range(len(texts))]


def main() -> None:
    """Print the seconds, and the scores with both tokenizers."""
    results, dataset, data_dir, split = sys.argv[1:]
    data = from_flat({"dataset": dataset, "data_dir": data_dir}).data
    records = load_splits(data, (split,), objects_for=())[split]
    # The first text of each image is the caption, the others are its references.
    texts = [
        [caption, *record.captions]
        for caption, record in zip(read_results(Path(results), records), records, strict=True)
    ]

    start = time.perf_counter()
    ours = [[tokenized(text) for text in image] for image in texts]
    scores = compute(ours)
    print(f"{len(records):,} images without METEOR: {time.perf_counter() - start:.2f} s")

    theirs = penn_treebank(texts)
    pairs = [
        pair for images in zip(ours, theirs, strict=True) for pair in zip(*images, strict=True)
    ]
    differing = sum(a != b for a, b in pairs)
    print(f"{differing:,} of {len(pairs):,} texts are tokenized differently by coco-caption")
    others = compute(theirs)
    for name, value in scores.items():
        print(f"{name:<16}{value:10.4f}{others[name]:10.4f}")


def compute(texts: list[list[str]]) -> dict[str, float]:
    """Score the first text of each image by the others, without slow scores."""
    data = EvaluationData([image[0] for image in texts], [image[1:] for image in texts])
    metrics = compute_scores(data, monitor="bleu_4")
    return {name: metric.score for name, metric in metrics.items()}


if __name__ == "__main__":
    main()
