"""Evaluate a run on a split of its data set, compare two runs, or score another system's captions.

The functions below `main` may be imported; each returns a table and a document for `--output`.
TensorFlow takes seconds to import: only `load` does, not `--help`, a wrong flag or `--results`.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sat_tf import flags
from sat_tf.config import Config, DataConfig, from_flat, override
from sat_tf.errors import UserError, printable
from sat_tf.storage import check_target, split_paths, write_json

if TYPE_CHECKING:
    from sat_tf.captioner import Captioner
    from sat_tf.evaluator import EvaluationResult

USAGE = """python -m sat_tf.evaluate --workdir=RUN [--split=dev] [--output=FILE] [--report=FILE]

Captions each image of a split once, with the run's best weights, and prints the scores, from 0 to
100 each but for perplexity, CIDEr (0 to 10), mean length and counts, with bootstrap confidence
intervals at 95 %. --workdir=RUN_A,RUN_B averages the words' probabilities over runs of one
vocabulary. --report writes one HTML file that shows captions and attention, the worst first.
--dataset with --data_dir (and --boxes) scores a run on data that it was not trained on.

--compare=RUN_A,RUN_B scores two runs on the same images and tests whether they differ.
--results=FILE scores captions that another system wrote: COCO's results format with --dataset and
--data_dir (or --workdir of a run on it), text with --references."""

_ONLY_FOR = {
    "captions": ("workdir",),
    "report": ("workdir",),
    "references": ("results",),
    "faithfulness": ("workdir", "compare"),
}


def main(argv: list[str]) -> None:
    """Print the scores and write the files asked for."""
    options, overrides = flags.FLAGS, flags.overrides()
    # Before the work, not after it.
    for name in ("output", "captions", "report"):
        check_target(getattr(options, name), name)
    if options.compare and (options.workdir or options.results):
        raise UserError("--compare names both runs: leave --workdir and --results out")
    mode = next(name for name in ("compare", "results", "workdir") if getattr(options, name))
    for name, modes in _ONLY_FOR.items():
        if getattr(options, name) and mode not in modes:
            raise UserError(f"--{name} is not for --{mode}")
    if mode == "results":
        path, references = Path(options.results), options.references
        captions = read_results(path, references, options.workdir, options.split, overrides)
        table, document = score_results(*captions)
        document["results"] = str(path)
    else:
        workdirs = split_paths(getattr(options, mode))
        if mode == "compare" and len(workdirs) != 2:
            raise UserError(f"--compare={options.compare}: name two runs, RUN_A,RUN_B")
        data = other_data_set(workdirs, overrides, mode)
        ensembles = [[workdir] for workdir in workdirs] if mode == "compare" else [workdirs]
        captioners = [load(ensemble, overrides, mode) for ensemble in ensembles]
        how = options.split, options.decode_batch_size, data, options.faithfulness
        results = [captioner.evaluate(*how) for captioner in captioners]
        if mode == "compare":
            table, document = compare(workdirs, *results)
        else:
            table, document = describe(captioners[0], results[0])
        document["split"] = options.split
        if data:
            shown = printable(data.data_dir or data.dataset)
            print(f"Not the data the run was trained on: {shown}")
            document["data"] = dataclasses.asdict(data)
    print(table)
    if options.output:
        write_json(options.output, document)
    if options.captions:
        from sat_tf.datasets.results import results_document

        texts = [caption.text for caption in results[0].captions]
        write_json(options.captions, results_document(results[0].records, texts))
    if options.report:
        title = f"{options.split}: {len(results[0].records)} images"
        write_report(options.report, captioners[0], results[0], title, options.workdir)


def load(workdirs: Sequence[str], overrides: Mapping[str, Any], flag: str) -> "Captioner":
    """Load a run, or an ensemble; errors in settings come before TensorFlow is imported."""
    for workdir in workdirs:
        override(Config.load(workdir, flag), **overrides)
    flags.import_tensorflow()
    from sat_tf.captioner import Captioner
    from sat_tf.progress import activity

    with activity(f"loading {' and '.join(workdirs)}"):
        return Captioner.load(*workdirs, **overrides)


def other_data_set(
    workdirs: Sequence[str], overrides: dict[str, Any], flag: str = "workdir"
) -> DataConfig | None:
    """Return the data set that `--dataset` names, if it is not that of the (first) run.

    Its settings are removed from the overrides, which are for the run's own.
    """
    given = {name: overrides[name] for name in DataConfig.settings() if name in overrides}
    own = dataclasses.asdict(Config.load(workdirs[0], flag).data)
    # These may be given of the run's own data set, too.
    own |= {name: given[name] for name in ("boxes", "skip_unreadable") if name in given}
    if "dataset" not in given or given.items() <= own.items():
        return None
    for name in given:
        del overrides[name]
    return from_flat(given).data


def describe(captioner: "Captioner", result: "EvaluationResult") -> tuple[str, dict[str, Any]]:
    """Return the table, and scores, captions and settings as one document."""
    from sat_tf.metrics import attention, bootstrap, grounding, registry
    from sat_tf.model.encoder import encoder_fingerprint

    others = {
        name: score
        for name, score in result.scores.items()
        if registry.SCORES[name].group != grounding.GROUP
    }
    tables = (
        bootstrap.score_table(others, result.intervals),
        grounding.grounding_table(result.scores, result.intervals),
    )
    return "\n\n".join(filter(None, tables)), {
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
        "left_out": registry.left_out(),
        "beta_by_word_class": attention.beta_by_word_class(result.captions),
        "captions": [
            {
                "image_id": record.image_id,
                "caption": caption.text,
                "log_probability": caption.log_prob,
                "score": caption.score,
                "references": list(record.captions),
            }
            for record, caption in zip(result.records, result.captions, strict=True)
        ],
    }


def compare(
    workdirs: Sequence[str], first: "EvaluationResult", second: "EvaluationResult"
) -> tuple[str, dict[str, Any]]:
    """Return the scores of two runs and their differences.

    Raises:
      UserError: the runs were scored on different images or references.
    """
    from sat_tf.metrics import bootstrap

    images = [[(r.image_id, r.captions) for r in result.records] for result in (first, second)]
    if images[0] != images[1]:
        raise UserError(
            f"--compare={','.join(workdirs)}: the split of the first has other images or "
            "references than the second's: name one data set for both with --dataset"
        )
    differences = bootstrap.differences(first.metrics, second.metrics)
    return bootstrap.difference_table(first.scores, second.scores, differences), {
        "images": len(first.records),
        "runs": dict(zip(workdirs, (first.scores, second.scores), strict=True)),
        "differences": {name: one._asdict() for name, one in differences.items()},
    }


def score_results(
    captions: Sequence[str], references: Sequence[Sequence[str]]
) -> tuple[str, dict[str, Any]]:
    """Return the scores of any system's captions, one an image."""
    from sat_tf.metrics import bootstrap, registry, text

    tokenized = [[text.tokenized(reference) for reference in image] for image in references]
    data = registry.EvaluationData([text.tokenized(caption) for caption in captions], tokenized)
    metrics = registry.compute_scores(data)
    scores = {name: metric.score for name, metric in metrics.items()}
    intervals = bootstrap.intervals(metrics)
    document = {"images": len(captions), "scores": scores, "intervals": intervals}
    return bootstrap.score_table(scores, intervals), document


def read_results(
    path: Path, references: str, workdir: str, split: str, overrides: Mapping[str, Any]
) -> tuple[list[str], list[tuple[str, ...]]]:
    """Read the captions of a file and the references of each image.

    References of text stand in further files; those of JSON are of the split of a data set, which
    the overrides or a run name.
    """
    from sat_tf.datasets import results

    if path.suffix != ".json":
        if not references:
            raise UserError(f"--results={path}: is text: give the files of --references too")
        return results.read_text_results(path, [Path(name) for name in split_paths(references)])
    if references:
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
        flags.import_tensorflow()  # tensorflow-datasets makes it
    from sat_tf.datasets import load_splits

    records = load_splits(data, (split,), objects_for=())[split]
    return results.read_results(path, records), [record.captions for record in records]


def write_report(
    path: str, captioner: "Captioner", result: "EvaluationResult", title: str, subtitle: str
) -> None:
    """Write an HTML report of each image with its captions and attention, worst captions first."""
    from sat_tf.inspection import report
    from sat_tf.inspection.attention_record import AttentionRecord
    from sat_tf.metrics.text import sentence_bleu, tokenized_references

    sort_by = "smoothed BLEU-4"
    references = tokenized_references(result.records)
    images = zip(result.records, result.generated, references, strict=True)
    records = (
        AttentionRecord(
            record.image_id,
            captioner.read_image(record.image).thumbnail,
            captions,
            record.captions,
            record.objects,
            {sort_by: sentence_bleu(captions[0].text, texts)},
        )
        for record, captions, texts in images
    )
    report.write_report(path, records, title, subtitle, sort_by)


if __name__ == "__main__":
    flags.define_command_flags(
        *("workdir", "compare", "results", "references", "split"),
        *("output", "captions", "report", "faithfulness", "decode_batch_size"),
    )
    flags.define_settings("evaluate")
    flags.run(main, USAGE)
