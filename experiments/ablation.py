"""Vary one factor at a time on Flickr8k; print BLEU-4 and how far alpha moves between steps.

    python experiments/ablation.py --data_dir=DIR --encoder=SQUEEZENET.keras --workdir=RUNS

Each variant of `flickr8k_squeezenet.flags` is trained on the first 1,500 training images and the
first 500 validation images, for the same number of epochs, and scored on those 500 by greedy
search. Prints a table; runs and lists stay in --workdir, and a variant that exists there is not
trained again. Start it in the root of the repository, as all flagfiles.
"""

import argparse
import itertools
import json
import subprocess
import sys
from pathlib import Path

TRAIN_IMAGES, DEV_IMAGES = 1_500, 500
SETTINGS = (
    "--flagfile=experiments/flickr8k_squeezenet.flags",
    "--warmup_steps=50",
    "--log_attention=0",
    "--log_captions=0",
    "--beam_size=1",
)
VARIANTS = {
    "as it is": (),
    "lambda 0": ("--doubly_stochastic_weight=0",),
    "lambda 1": ("--doubly_stochastic_weight=1",),
    "no gate": ("--gate=none",),
    "gate by channel": ("--gate=channel",),
    "no deep output": ("--output_uses_embedding=false", "--output_uses_context=false"),
}


def write_lists(data_dir: Path, folder: Path) -> None:
    """Write lists of the first images of the official lists."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in (("train", TRAIN_IMAGES), ("dev", DEV_IMAGES)):
        with (data_dir / f"Flickr_8k.{split}Images.txt").open() as names:
            (folder / f"{split}.txt").write_text("".join(itertools.islice(names, count)))


def train(options: argparse.Namespace, name: str, flags: tuple[str, ...]) -> dict[str, float]:
    """Train a variant, unless it exists; return its scores and the minutes of training."""
    run = options.workdir / name.replace(" ", "_")
    if not (run / "scores.json").exists():
        given = (f"--{flag}={getattr(options, flag)}" for flag in ("data_dir", "encoder", "seed"))
        command = [
            *(sys.executable, "-m", "sat_tf.train", *SETTINGS, *given, *flags),
            f"--max_epochs={options.epochs}",
            f"--splits={options.workdir / 'lists'}",
            f"--cache_dir={options.workdir / 'features'}",
            f"--workdir={run}",
        ]
        subprocess.run(command, check=True)
    epochs = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    scores = json.loads((run / "scores.json").read_text())["scores"]
    return scores | {"minutes": sum(epoch["seconds_training"] for epoch in epochs) / 60}


def main() -> None:
    """Train all variants in turn and print their scores."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir", type=Path, required=True)
    parser.add_argument("--encoder", required=True)
    parser.add_argument("--workdir", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    write_lists(options.data_dir, options.workdir / "lists")
    table = {name: train(options, name, flags) for name, flags in VARIANTS.items()}
    columns = ("bleu_4", "perplexity", "attention_change", "minutes")
    print("| variant | " + " | ".join(columns) + " |")
    print("|---" * (1 + len(columns)) + "|")
    for name, scores in table.items():
        print(f"| {name} | " + " | ".join(f"{scores[column]:.1f}" for column in columns) + " |")


if __name__ == "__main__":
    main()
