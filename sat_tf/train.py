"""Train a run, evaluate it on the held-out split and draw its attention."""

import dataclasses
from pathlib import Path

from sat_tf import flags
from sat_tf.storage import FIGURE_FILE, SCORES_FILE, write_json

USAGE = """python -m sat_tf.train --workdir=RUN [--flagfile=FILE] [--SETTING=VALUE ...]

Trains a run; the same command again resumes one that was interrupted. Then evaluates it on the test
split (dev, if there is none; RUN/scores.json) and draws its attention to one image
(RUN/attention.png).

With TF_CONFIG in the environment, or --cluster=slurm, it is one of several workers: all are given
the same command and share its folders (docs/several-machines.md)."""


def main(argv: list[str]) -> int:
    """Train and evaluate; return exit status 130 if interrupted."""
    config, workdir = flags.settings_from_flags(), Path(flags.FLAGS.workdir)
    # These take seconds to import: not for `--help` or a wrong flag.
    from sat_tf.metrics.registry import check_scores

    check_scores(config)
    flags.import_tensorflow()
    from sat_tf.workers import join_workers

    workers = join_workers(flags.FLAGS.cluster, flags.FLAGS.worker_timeout)
    from sat_tf.datasets import available_splits
    from sat_tf.training.train import train_and_evaluate

    with workers.watched():
        splits = workers.chief_first(lambda: available_splits(config.data))
    split = "test" if "test" in splits else "dev"
    # Problems of all splits are reported now, not after training.
    if not train_and_evaluate(config, workdir, split, workers):
        return 130
    if workers.is_chief:
        evaluate_best(workdir, split)
    return 0


def evaluate_best(workdir: Path, split: str) -> None:
    """Evaluate a run's best weights; print and write its scores and an attention figure."""
    from sat_tf.captioner import Captioner
    from sat_tf.inspection.attention_record import AttentionRecord
    from sat_tf.inspection.figures import save_figure
    from sat_tf.metrics.bootstrap import score_table

    captioner = Captioner.load(workdir)
    result = captioner.evaluate(split)
    document = {
        "split": split,
        "decoding": dataclasses.asdict(captioner.config.decoding),
        "scores": result.scores,
        "intervals": result.intervals,
    }
    write_json(workdir / SCORES_FILE, document)
    print(f"\nscores on {split}, {len(result.records)} images")
    print(score_table(result.scores, result.intervals))
    first = result.records[0]
    thumbnail = captioner.read_image(first.image).thumbnail
    figure = AttentionRecord(first.image_id, thumbnail, [result.captions[0]]).figure()
    save_figure(figure, workdir / FIGURE_FILE)
    print(f"\nattention: {workdir / FIGURE_FILE}")


if __name__ == "__main__":
    flags.define_settings()
    flags.define_command_flags("workdir", "cluster", "worker_timeout")
    flags.run(main, USAGE)
