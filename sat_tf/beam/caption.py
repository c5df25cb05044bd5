"""Caption many images with an exported model, by many workers."""

import hashlib
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sat_tf import flags
from sat_tf.beam.manifest import Manifest, open_manifest
from sat_tf.beam.shards import finished, read_commit, verify
from sat_tf.beam.supervisor import LOG_FILE, check_beam_flags, run_pipelines
from sat_tf.config import Setting
from sat_tf.errors import UserError
from sat_tf.storage import check_target, read_json, sole_writer, split_paths

USAGE = """python -m sat_tf.beam.caption --export_dir=OUT --input=IMAGES --output=DIR
           [-- --BEAM_FLAG=VALUE ...]

Captions images with the SavedModel of sat_tf.export in a pipeline of Apache Beam. IMAGES are files,
folders, patterns such as 'photos/**/*.jpg', or TFRecord and Parquet files of many images, separated
by commas. DIR receives shards: captions-00012-of-00500.jsonl, with path, caption, score and log
probability of each image, and dead_letters-00012-of-00500.jsonl, with path and reason of each that
can't be read. A shard appears when it is finished; if the command is stopped, or killed, the same
command resumes it. --verify proves that every input stands exactly once in DIR.

Flags after -- are Beam's, such as --direct_num_workers=4 --direct_running_mode=multi_processing
for four processes of this machine, or --runner=NAME."""

MODEL_CARD = "model_card.json"
_DIGEST_CHARACTERS = 16


def main(argv: list[str]) -> int:
    """Caption all images that can be read; return exit status 1 if one can't."""
    options = flags.FLAGS
    beam_flags = check_beam_flags(argv[1:])
    if not options.output:
        raise UserError("--output must be given: a folder for the captions")
    output = Path(options.output)
    if options.verify:
        counts = verify(Manifest.load(output))
        print(
            f"{output}: each of {counts.total():,} images stands exactly once: "
            f"{counts['captions']:,} captions, {counts['dead_letters']:,} dead letters"
        )
        return 0
    from sat_tf.datasets.image_list import find_images  # not for `--help`

    card = read_json(Path(options.export_dir) / MODEL_CARD, "the model card of an export")
    arguments = split_paths(options.input) if options.input else []
    paths = find_images(arguments, options.images_from)
    check_target(options.output, "output", "folder")
    output.mkdir(parents=True, exist_ok=True)
    with sole_writer(output, f"--output={output}: another command is writing there"):
        manifest = open_manifest(
            output,
            paths,
            options.num_shards,
            model=model_digest(options.export_dir),
            search=search_digest(card),
            output_format=options.output_format,
            attention=options.write_attention,
        )
        del paths  # of a hundred million images
        return caption(manifest, options.export_dir, options.decode_batch_size, beam_flags)


def caption(manifest: Manifest, export_dir: str, batch_size: int, beam_flags: Sequence[str]) -> int:
    """Caption the shards that are not finished; print what was done and return the exit status.

    Raises:
      UserError: shards fail, or processes die whatever they work on.
    """
    output, before, started = manifest.output, finished(manifest.output), time.monotonic()
    counters, failed = run_pipelines(
        *("caption", manifest, (export_dir, batch_size), beam_flags),
        *(output / LOG_FILE, "captioning"),
        "Try a smaller --decode_batch_size or fewer workers",
    )
    seconds, totals, rates = time.monotonic() - started, Counter[str](), []
    made = 0
    for shard in finished(output):
        commit = read_commit(manifest, shard)
        totals.update(captioned=commit["captioned"], broken=commit["broken"])
        if shard not in before:
            made += manifest.size(shard)
            rates.append(manifest.size(shard) / max(commit["seconds"], 1e-3))
    if counters["shards"]:
        print(
            f"Beam's counters: {counters['shards']:,} shards, {counters['read']:,} images read, "
            f"{counters['captioned']:,} captioned, {counters['broken']:,} broken; "
            f"{min(rates):,.0f} to {max(rates):,.0f} images a second in a worker while it "
            f"captions, {made / seconds:.1f} in all, with loading"
        )
    if failed:
        shard, error = next(iter(failed.items()))
        raise UserError(
            f"{len(failed):,} of {manifest.num_shards:,} shards failed, the first one {shard}: "
            f"{error}; the same command tries them again"
        )
    print(f"{output}: captions of {totals['captioned']:,} images")
    if broken := totals["broken"]:
        print(
            f"warning: images without a caption: {broken:,}; their paths and the reasons are "
            f"in {output}/dead_letters-*",
            file=sys.stderr,
        )
    return 1 if broken else 0


def model_digest(export_dir: str | Path) -> str:
    """Return a digest of the files of a SavedModel that its captions depend on."""
    digest = hashlib.sha256()
    folder = Path(export_dir)
    files = (path for name in ("variables", "assets") for path in (folder / name).glob("**/*"))
    for path in [folder / "saved_model.pb", *sorted(files)]:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:_DIGEST_CHARACTERS]


def search_digest(card: dict[str, Any]) -> str:
    """Return a digest of the settings of the search, from the model card of an export."""
    settings = json.dumps(card["settings"]["decoding"], sort_keys=True)
    return hashlib.sha256(settings.encode()).hexdigest()[:_DIGEST_CHARACTERS]


if __name__ == "__main__":
    flags.define_command_flags(
        *("input", "images_from", "decode_batch_size", "num_shards", "output_format"),
        *("write_attention", "verify"),
        export_dir=Setting("", "Folder of the SavedModel."),
        output=Setting("", "Folder for the captions, which may hold a part of them already."),
    )
    flags.run(main, USAGE, takes_arguments=True)
