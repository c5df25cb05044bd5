"""Scores a run on a split of its data set."""

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

from sat_tf import flags
from sat_tf.config import Settings, changed, names
from sat_tf.storage import check_target, write_json

if TYPE_CHECKING:
    from sat_tf.captioner import Captioner
    from sat_tf.evaluation.scoring import ScoredSplit
    from sat_tf.inspection.inspections import Inspection

USAGE = """python -m sat_tf.evaluate --workdir=RUN [--split=dev] [--output=FILE] [--report=FILE]

Captions each image of a split once, with the run's best weights, and prints the scores, from 0 to
100 each but for perplexity and CIDEr (0 to 10; with the extra [metrics]). --workdir=RUN_A,RUN_B
averages the words' probabilities over runs of one vocabulary. --report writes one HTML file to
look at the captions in, the worst first."""

_SORT_BY = "smoothed BLEU-4"  # of the report at first: the worst captions come first


def main(argv: list[str]) -> None:
    """Prints the scores and writes what was asked for."""
    options = flags.FLAGS
    # Before the work, not after it.
    check_target(options.output, "output")
    check_target(options.captions, "captions")
    check_target(options.report, "report")
    workdirs, changes = options.workdir.split(","), flags.overrides()
    for workdir in workdirs:
        changed(Settings.load(workdir), **changes)
    flags.quiet_tensorflow()
    # TensorFlow takes seconds to import: not for `--help` or a wrong flag.
    from sat_tf.captioner import Captioner
    from sat_tf.evaluation.scoring import score_table
    from sat_tf.inspection.report import write_report

    captioner = Captioner.load(*workdirs, **changes)
    scored = captioner.score(options.split, options.decode_batch_size)
    print(score_table(scored.scores))
    if options.output:
        document = {
            "split": options.split,
            "images": len(scored.records),
            "vocabulary": captioner.vocabulary.fingerprint,
            "decoding": dataclasses.asdict(captioner.settings.decoding),
            "scores": scored.scores,
        }
        write_json(options.output, document)
    if options.captions:
        captions = [
            {
                "image_id": record.image_id,
                "caption": caption.text,
                "log_probability": caption.log_probability,
                "score": caption.score,
                "references": list(record.captions),
            }
            for record, caption in zip(scored.records, scored.captions, strict=True)
        ]
        write_json(options.captions, captions)
    if options.report:
        title = f"{options.split}: {len(scored.records)} images"
        inspections = _inspections(captioner, scored)
        write_report(options.report, inspections, title, options.workdir, _SORT_BY)


def _inspections(captioner: "Captioner", scored: "ScoredSplit") -> Iterator["Inspection"]:
    """Each image of the split with its captions, for the report."""
    from sat_tf.evaluation.bleu import sentence_bleu
    from sat_tf.inspection.inspections import Inspection
    from sat_tf.vocabulary import tokenize

    for record, captions in zip(scored.records, scored.found, strict=True):
        references = [" ".join(tokenize(text)) for text in record.captions]
        yield Inspection(
            record.image_id,
            captioner.read_image(record.image).photograph,
            captions,
            record.captions,
            record.scene,
            {_SORT_BY: sentence_bleu(captions[0].text, references)},
        )


if __name__ == "__main__":
    flags.define_command_flags(
        "workdir", "split", "output", "captions", "report", "decode_batch_size"
    )
    flags.define_overrides("data_dir", "captions_file", "cache_dir", *names("decoding"))
    flags.run(main, USAGE)
