"""Scores a run on a split of its data set, or captions that another system wrote."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sat_tf import flags
from sat_tf.config import Config, field_names, from_flat, override
from sat_tf.errors import UserError
from sat_tf.storage import check_target, write_json

if TYPE_CHECKING:
    from sat_tf.captioner import Captioner
    from sat_tf.evaluator import ScoredSplit
    from sat_tf.inspection.attention_record import AttentionRecord

USAGE = """python -m sat_tf.evaluate --workdir=RUN [--split=dev] [--output=FILE] [--report=FILE]

Captions each image of a split once, with the run's best weights, and prints the scores, from 0 to
100 each but for perplexity, CIDEr (0 to 10), words and counts, with the 95 % intervals of a
bootstrap over images. --workdir=RUN_A,RUN_B averages the words' probabilities over runs of one
vocabulary. --report writes one HTML file to look at the captions in, the worst first.

--compare=RUN_A,RUN_B scores two runs on the same images and tells whether they differ.
--results=FILE scores captions that another system wrote: COCO's results format with --dataset and
--data_dir (or --workdir of a run on it), text with --references."""

_ONLY_FOR = {"captions": ("workdir",), "report": ("workdir",), "references": ("results",)}
_SORT_BY = "smoothed BLEU-4"  # of the report at first: the worst captions come first


def main(argv: list[str]) -> None:
    """Prints the scores and writes what was asked for."""
    options = flags.FLAGS
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
    if options.compare:
        _compare(options.compare.split(","))
    elif options.results:
        _score_results(Path(options.results))
    else:
        _score_run(options.workdir.split(","))


def _load(workdirs: list[str]) -> "Captioner":
    changes = flags.overrides()
    for workdir in workdirs:
        override(Config.load(workdir), **changes)
    flags.quiet_tensorflow()
    # TensorFlow takes seconds to import: not for `--help` or a wrong flag.
    from sat_tf.captioner import Captioner

    return Captioner.load(*workdirs, **changes)


def _score_run(workdirs: list[str]) -> None:
    options, captioner = flags.FLAGS, _load(workdirs)
    from sat_tf.datasets.result_files import results_document
    from sat_tf.metrics.tables import missing_lines, score_table

    scored = captioner.score(options.split, options.decode_batch_size)
    print(score_table(scored.scores, scored.intervals))
    print(missing_lines(), end="")
    if options.output:
        write_json(options.output, _document(captioner, scored))
    if options.captions:
        numbered = captioner.config.data.dataset == "coco"
        texts = [caption.text for caption in scored.captions]
        write_json(options.captions, results_document(scored.records, texts, numbered))
    if options.report:
        from sat_tf.inspection.report import write_report

        title = f"{options.split}: {len(scored.records)} images"
        inspections = _inspections(captioner, scored)
        write_report(options.report, inspections, title, options.workdir, _SORT_BY)


def _document(captioner: "Captioner", scored: "ScoredSplit") -> dict[str, Any]:
    """All that was found, and what of."""
    from sat_tf.metrics.attention import beta_by_kind
    from sat_tf.metrics.coco_metrics import missing
    from sat_tf.model.encoder import encoder_fingerprint

    return {
        "split": flags.FLAGS.split,
        "images": len(scored.records),
        "runs": [
            {
                "settings": dataclasses.asdict(run.config),
                "vocabulary": run.vocabulary.fingerprint,
                "encoder": encoder_fingerprint(run.model.encoder, run.config.images),
            }
            for run in captioner.runs
        ],
        "scores": scored.scores,
        "intervals": scored.intervals,
        "left_out": missing(),
        "beta_by_kind": beta_by_kind(scored.captions),
        "captions": [
            {
                "image_id": record.image_id,
                "caption": caption.text,
                "log_probability": caption.log_probability,
                "score": caption.score,
                "references": list(record.captions),
            }
            for record, caption in zip(scored.records, scored.captions, strict=True)
        ],
    }


def _compare(workdirs: list[str]) -> None:
    options = flags.FLAGS
    if len(workdirs) != 2:
        raise UserError(f"--compare={options.compare}: name two runs, RUN_A,RUN_B")
    captioners = [_load([workdir]) for workdir in workdirs]
    from sat_tf.metrics.bootstrap import differences
    from sat_tf.metrics.tables import difference_table

    first, second = (
        captioner.score(options.split, options.decode_batch_size) for captioner in captioners
    )
    if [(r.image_id, r.captions) for r in first.records] != [
        (r.image_id, r.captions) for r in second.records
    ]:
        raise UserError(
            f"--compare={options.compare}: the split {options.split} of the first has other images "
            "or references than the second's"
        )
    found = differences(first.measures, second.measures)
    print(difference_table(first.scores, second.scores, found))
    if options.output:
        document: dict[str, Any] = {
            "split": options.split,
            "images": len(first.records),
            "runs": dict(zip(workdirs, (first.scores, second.scores), strict=True)),
            "differences": {name: one._asdict() for name, one in found.items()},
        }
        write_json(options.output, document)


def _score_results(path: Path) -> None:
    options = flags.FLAGS
    captions, references = _read_results(path)
    from sat_tf.metrics import diversity
    from sat_tf.metrics.bootstrap import intervals
    from sat_tf.metrics.tables import missing_lines, score_table
    from sat_tf.metrics.text import text_measures
    from sat_tf.vocabulary import tokenize

    words = [tokenize(caption) for caption in captions]
    truths = [[tokenize(text) for text in texts] for texts in references]
    measures = text_measures(words, truths, with_meteor=True)
    scores = {name: measure.score for name, measure in measures.items()} | diversity.counts(words)
    sure = intervals(measures)
    print(score_table(scores, sure))
    print(missing_lines(), end="")
    if options.output:
        document = {"results": str(path), "images": len(captions), "scores": scores}
        write_json(options.output, {**document, "intervals": sure})


def _read_results(path: Path) -> tuple[list[str], list[tuple[str, ...]]]:
    """The captions of a file and the references of each image."""
    options, changes = flags.FLAGS, flags.overrides()
    from sat_tf.datasets.result_files import read_lines, read_results

    if path.suffix != ".json":
        if not options.references:
            raise UserError(f"--results={path}: is text: give the files of --references too")
        return read_lines(path, [Path(name) for name in options.references.split(",")])
    if options.references:
        raise UserError(f"--references is for --results of text; those of {path} are the split's")
    if options.workdir:
        data = override(Config.load(options.workdir), **changes).data
    elif "dataset" in changes:
        data = from_flat(changes).data
    else:
        raise UserError(
            f"--results={path}: captions of which images? Give --dataset and --data_dir, or "
            "--workdir of a run on them"
        )
    if data.dataset == "shapes":
        flags.quiet_tensorflow()  # it is drawn by tensorflow-datasets
    from sat_tf.datasets import load_splits

    records = load_splits(data, (options.split,))[options.split]
    return read_results(path, records), [record.captions for record in records]


def _inspections(captioner: "Captioner", scored: "ScoredSplit") -> Iterator["AttentionRecord"]:
    """Each image of the split with its captions, for the report."""
    from sat_tf.inspection.attention_record import AttentionRecord
    from sat_tf.metrics.bleu import sentence_bleu
    from sat_tf.vocabulary import tokenize

    images = zip(scored.records, scored.objects, scored.found, strict=True)
    for record, objects, captions in images:
        references = [" ".join(tokenize(text)) for text in record.captions]
        yield AttentionRecord(
            record.image_id,
            captioner.read_image(record.image).thumbnail,
            captions,
            record.captions,
            objects,
            {_SORT_BY: sentence_bleu(captions[0].text, references)},
        )


if __name__ == "__main__":
    flags.define_command_flags(
        *("workdir", "compare", "results", "references", "split"),
        *("output", "captions", "report", "decode_batch_size"),
    )
    flags.define_overrides(*field_names("data"), "cache_dir", *field_names("decoding"))
    flags.run(main, USAGE)
