"""Train a run, evaluate it on the held-out split and draw its attention."""

import dataclasses
from pathlib import Path

from sat_tf import flags

USAGE = """python -m sat_tf.train --workdir=RUN [--flagfile=FILE] [--SETTING=VALUE ...]

Trains a run; the same command again resumes one that was interrupted. Then evaluates it on the test
split (dev, if there is none; RUN/scores.json) and draws its attention to one image
(RUN/attention.png)."""


def main(argv: list[str]) -> int:
    """Train and evaluate; return exit status 130 if interrupted."""
    config, workdir = flags.settings_from_flags(), Path(flags.FLAGS.workdir)
    # These take seconds to import: not for `--help` or a wrong flag.
    from sat_tf.metrics.registry import check_scores

    check_scores(config)
    flags.quiet_tensorflow()
    from sat_tf.captioner import Captioner
    from sat_tf.datasets import available_splits, load_splits
    from sat_tf.inspection.figures import attention_figure, save_figure
    from sat_tf.metrics.tables import score_table
    from sat_tf.storage import write_json
    from sat_tf.training.train import train_and_evaluate
    from sat_tf.workdir import FIGURE_FILE, SCORES_FILE

    split = "test" if "test" in available_splits(config.data) else "dev"
    # Report problems of all splits now, not after training.
    load_splits(config.data, ("train", "dev", split), objects_for=(split,))
    if not train_and_evaluate(config, workdir):
        return 130
    captioner = Captioner.load(workdir)
    scored = captioner.evaluate(split)
    decoding = dataclasses.asdict(captioner.config.decoding)
    document = {
        "split": split,
        "decoding": decoding,
        "scores": scored.scores,
        "intervals": scored.intervals,
    }
    write_json(workdir / SCORES_FILE, document)
    table = score_table(scored.scores, scored.intervals)
    print(f"\nscores on {split}, {len(scored.records)} images\n{table}")
    caption = scored.captions[0]
    picture, box = captioner.read_image(scored.records[0].image).thumbnail
    figure = attention_figure(picture, caption.words, caption.alphas, caption.betas, box=box)
    save_figure(figure, workdir / FIGURE_FILE)
    print(f"\nattention: {workdir / FIGURE_FILE}")
    return 0


if __name__ == "__main__":
    flags.define_settings()
    flags.define_command_flags("workdir")
    flags.run(main, USAGE)
