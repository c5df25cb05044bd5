"""Evaluate a run on a split of its data set, compare two runs, or score another system's captions.

The functions below `main` take arguments and may be imported; TensorFlow, which takes seconds to
import, is imported where they need it and not for `--help` or a wrong flag.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sat_tf import flags
from sat_tf.config import Config, field_names, from_flat, override
from sat_tf.errors import UserError
from sat_tf.storage import check_target, write_json

if TYPE_CHECKING:
    from sat_tf.captioner import Captioner
    from sat_tf.evaluator import EvaluationResult

USAGE = """python -m sat_tf.evaluate --workdir=RUN [--split=dev] [--output=FILE] [--report=FILE]

Captions each image of a split once, with the run's best weights, and prints the scores, from 0 to
100 each but for perplexity, CIDEr (0 to 10), mean length and counts, with bootstrap confidence
intervals at 95 %. --workdir=RUN_A,RUN_B averages the words' probabilities over runs of one
vocabulary. --report writes one HTML file that shows captions and attention, the worst first.

--compare=RUN_A,RUN_B scores two runs on the same images and tests whether they differ.
--results=FILE scores captions that another system wrote: COCO's results format with --dataset and
--data_dir (or --workdir of a run on it), text with --references."""

_ONLY_FOR = {"captions": ("workdir",), "report": ("workdir",), "references": ("results",)}
_SORT_BY = "smoothed BLEU-4"  # of the report at first: the worst captions come first


def main(argv: list[str]) -> None:
    """Print the scores and write the files asked for."""
    options, overrides = flags.FLAGS, flags.overrides()
    # Before the work, not after it.
    check_target(options.output, "output")
    check_target(options.captions, "captions")
    check_target(options.report, "report")
    if options.compare and (options.workdir or options.results):
        raise UserError("--compare names both runs: leave --workdir and --results out")
    mode = next(name for name in ("compare", "results", "workdir") if options[name].value)
    for name, modes in _ONLY_FOR.items():
        if options[name].value and mode not in modes:
            raise UserError(f"--{name} is not for --{mode}")
    split, batch_size = options.split, options.decode_batch_size
    if mode == "results":
        path = Path(options.results)
        data = read_results(path, options.references, options.workdir, split, overrides)
        text, document = score_results(path, *data)
    elif mode == "compare":
        workdirs = options.compare.split(",")
        if len(workdirs) != 2:
            raise UserError(f"--compare={options.compare}: name two runs, RUN_A,RUN_B")
        captioners = [_load([workdir], overrides) for workdir in workdirs]
        results = [captioner.evaluate(split, batch_size) for captioner in captioners]
        text, document = compare(workdirs, *results)
        document["split"] = split
    else:
        captioner = _load(options.workdir.split(","), overrides)
        result = captioner.evaluate(split, batch_size)
        text, document = describe(captioner, result)
        document["split"] = split
    print(text)
    if options.output:
        write_json(options.output, document)
    if options.captions:
        write_captions(options.captions, captioner, result)
    if options.report:
        title = f"{split}: {len(result.records)} images"
        write_report(options.report, captioner, result, title, options.workdir)


def describe(captioner: "Captioner", result: "EvaluationResult") -> tuple[str, dict[str, Any]]:
    """Return the table of scores, and the document of --output: scores, captions, settings."""
    from sat_tf.metrics.attention import beta_by_word_class
    from sat_tf.metrics.registry import left_out
    from sat_tf.metrics.tables import score_table
    from sat_tf.model.encoder import encoder_fingerprint

    document = {
        "images": len(result.records),
        "runs": [
            {
                "settings": dataclasses.asdict(run.config),
                "vocabulary": run.vocabulary.fingerprint,
                "encoder": encoder_fingerprint(run.model.encoder, run.config.images),
            }
            for run in captioner.runs
        ],
        "scores": result.scores,
        "intervals": result.intervals,
        "left_out": left_out(),
        "beta_by_word_class": beta_by_word_class(result.captions),
        "captions": [
            {
                "image_id": record.image_id,
                "caption": caption.text,
                "log_probability": caption.log_probability,
                "score": caption.score,
                "references": list(record.captions),
            }
            for record, caption in zip(result.records, result.captions, strict=True)
        ],
    }
    return score_table(result.scores, result.intervals), document


def compare(
    workdirs: Sequence[str], first: "EvaluationResult", second: "EvaluationResult"
) -> tuple[str, dict[str, Any]]:
    """Return the table and the document of two runs' scores and their differences.

    Raises:
      UserError: the runs were scored on different images or references.
    """
    from sat_tf.metrics.bootstrap import differences
    from sat_tf.metrics.tables import difference_table

    images = [[(r.image_id, r.captions) for r in result.records] for result in (first, second)]
    if images[0] != images[1]:
        raise UserError(
            f"--compare={','.join(workdirs)}: the split of the first has other images or "
            "references than the second's"
        )
    found = differences(first.metrics, second.metrics)
    document = {
        "images": len(first.records),
        "runs": dict(zip(workdirs, (first.scores, second.scores), strict=True)),
        "differences": {name: one._asdict() for name, one in found.items()},
    }
    return difference_table(first.scores, second.scores, found), document


def score_results(
    path: Path, captions: Sequence[str], references: Sequence[Sequence[str]]
) -> tuple[str, dict[str, Any]]:
    """Return the table and the document of the scores of captions read from a file."""
    from sat_tf.metrics.bootstrap import intervals
    from sat_tf.metrics.registry import EvaluationData, compute_scores
    from sat_tf.metrics.tables import score_table
    from sat_tf.metrics.text import tokenized

    data = EvaluationData(
        [tokenized(text) for text in captions],
        [[tokenized(text) for text in texts] for texts in references],
    )
    metrics = compute_scores(data)
    scores = {name: metric.score for name, metric in metrics.items()}
    document: dict[str, Any] = {"results": str(path), "images": len(captions), "scores": scores}
    document["intervals"] = intervals(metrics)
    return score_table(scores, document["intervals"]), document


def read_results(
    path: Path, reference_files: str, workdir: str, split: str, overrides: Mapping[str, Any]
) -> tuple[list[str], list[tuple[str, ...]]]:
    """Read the captions of a file, and the references of each image.

    Args:
      path: of captions; JSON, or text with one caption a line.
      reference_files: of text: files of references, with commas between.
      workdir: of JSON: a run on the data set, if `overrides` does not name it.
      split: of that data set.
      overrides: settings by name.

    Raises:
      UserError: the captions or their references can't be read, or do not fit each other.
    """
    from sat_tf.datasets import result_files

    if path.suffix != ".json":
        if not reference_files:
            raise UserError(f"--results={path}: is text: give the files of --references too")
        return result_files.read_lines(path, [Path(name) for name in reference_files.split(",")])
    if reference_files:
        raise UserError(f"--references is for --results of text; those of {path} are the split's")
    if workdir:
        data = override(Config.load(workdir), **overrides).data
    elif "dataset" in overrides:
        data = from_flat(dict(overrides)).data
    else:
        raise UserError(
            f"--results={path}: captions of which images? Give --dataset and --data_dir, or "
            "--workdir of a run on them"
        )
    if data.dataset == "shapes":
        flags.quiet_tensorflow()  # tensorflow-datasets makes it
    from sat_tf.datasets import load_splits

    records = load_splits(data, (split,), objects_for=())[split]
    return result_files.read_results(path, records), [record.captions for record in records]


def write_captions(path: str, captioner: "Captioner", result: "EvaluationResult") -> None:
    """Write the best captions in COCO's results format."""
    from sat_tf.datasets.result_files import results_document

    numbered = captioner.config.data.dataset == "coco"
    texts = [caption.text for caption in result.captions]
    write_json(path, results_document(result.records, texts, numbered))


def write_report(
    path: str, captioner: "Captioner", result: "EvaluationResult", title: str, subtitle: str
) -> None:
    """Write an HTML report of each image with its captions and attention."""
    from sat_tf.inspection import report
    from sat_tf.inspection.attention_record import AttentionRecord
    from sat_tf.metrics.text import sentence_bleu, tokenized_references

    images = zip(
        result.records,
        result.generated,
        tokenized_references(result.records),
        strict=True,
    )
    records = (
        AttentionRecord(
            record.image_id,
            captioner.read_image(record.image).thumbnail,
            captions,
            record.captions,
            record.objects,
            {_SORT_BY: sentence_bleu(captions[0].text, references)},
        )
        for record, captions, references in images
    )
    report.write_report(path, records, title, subtitle, _SORT_BY)


def _load(workdirs: Sequence[str], overrides: Mapping[str, Any]) -> "Captioner":
    for workdir in workdirs:
        override(Config.load(workdir), **overrides)  # errors before TensorFlow is imported
    flags.quiet_tensorflow()
    from sat_tf.captioner import Captioner

    return Captioner.load(*workdirs, **overrides)


if __name__ == "__main__":
    flags.define_command_flags(
        *("workdir", "compare", "results", "references", "split"),
        *("output", "captions", "report", "decode_batch_size"),
    )
    flags.define_overrides(*field_names("data"), "cache_dir", *field_names("decoding"))
    flags.run(main, USAGE)
