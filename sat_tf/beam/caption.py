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
from sat_tf.beam.shards import Attempts, attempted, commits, finished, forget_attempts, verify
from sat_tf.beam.supervisor import check_beam_flags, run_in_child
from sat_tf.config import Setting
from sat_tf.errors import UserError
from sat_tf.progress import progress_bar
from sat_tf.storage import check_folder, read_json, sole_writer, split_paths

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
LOG_FILE = "workers.log"
# Processes that die one after the other before the work is given up.
_MOST_DEATHS = 10
_DIGEST_CHARACTERS = 16
# The output's folder is listed at most once in so many times the duration of a listing.
_LISTING_SHARE = 50


def main(argv: list[str]) -> int:
    """Caption all images that can be read; return exit status 1 if one can't."""
    options = flags.FLAGS
    beam_flags = check_beam_flags(argv[1:])
    if not options.output:
        raise UserError("--output must be given: a folder for the captions")
    output = Path(options.output)
    if options.verify:
        captions, dead_letters = verify(output, Manifest.load(output))
        print(
            f"{output}: each of {captions + dead_letters:,} images stands exactly once: "
            f"{captions:,} captions, {dead_letters:,} dead letters"
        )
        return 0
    from sat_tf.datasets.image_list import find_images  # not for `--help`

    card = read_json(Path(options.export_dir) / MODEL_CARD, "the model card of an export")
    arguments = split_paths(options.input) if options.input else []
    paths = find_images(arguments, options.images_from)
    check_folder(options.output, "output")
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
        work = _Work(output, manifest, options.export_dir, options.decode_batch_size, beam_flags)
        return work.finish()


class _Work:
    """The shards of an output, until all are finished.

    Args:
      output: folder of the output.
      manifest: of the output.
      export_dir: of the SavedModel.
      batch_size: images captioned at a time.
      beam_flags: of the runner.
    """

    def __init__(
        self,
        output: Path,
        manifest: Manifest,
        export_dir: str,
        batch_size: int,
        beam_flags: Sequence[str],
    ) -> None:
        self._output, self._manifest = output, manifest
        self._export_dir, self._batch_size, self._beam_flags = export_dir, batch_size, beam_flags
        self._failed: dict[int, str] = {}
        self._counters: Counter[str] = Counter()

    def finish(self) -> int:
        """Caption the shards that are not finished; return the exit status.

        Raises:
          UserError: shards fail, or processes die whatever they work on.
        """
        deaths, last, started = 0, None, time.monotonic()
        bar = progress_bar(total=self._manifest.num_images, desc="captioning", unit="image")
        with bar:
            before = self._finished_images()
            bar.update(before)
            bar.initial = before  # the rate is that of this call
            while shards := self._todo():
                state = self._state()
                deaths = deaths + 1 if state == last else 0
                if deaths >= _MOST_DEATHS:
                    raise UserError(
                        f"{deaths} processes died one after the other before they had captioned an "
                        "image: is there memory enough? Try a smaller --decode_batch_size or fewer "
                        f"workers. {self._output / LOG_FILE} may tell more; finished shards are "
                        "kept, and the same command resumes"
                    )
                last = state
                counters = self._run(shards, bar)
                bar.update(self._finished_images() - bar.n)
                if counters is None:
                    bar.write(
                        f"a process died ({self._output / LOG_FILE} may tell why); restarting",
                        file=sys.stderr,
                    )
                else:
                    self._add(counters)
            made = bar.n - before
        self._print_counters(made / (time.monotonic() - started))
        if self._failed:
            shard, error = next(iter(self._failed.items()))
            raise UserError(
                f"{len(self._failed):,} of {self._manifest.num_shards:,} shards failed, the first "
                f"one {shard}: {error}; the same command tries them again"
            )
        return self._report()

    def _todo(self) -> tuple[list[int], bool] | None:
        """Return the shards of the next pipeline, and whether they are tried alone."""
        attempts = {}
        done = finished(self._output)
        for shard in attempted(self._output):
            if shard in done:  # its process died after the commit
                forget_attempts(self._output, shard)
                continue
            one = attempts[shard] = Attempts.load(self._output, shard)
            if one.trying:  # when its process died
                one.settle()
                one.save(self._output, shard)
            if one.error:
                self._failed.setdefault(shard, one.error)
                one.error = ""
                one.save(self._output, shard)
        left = (i for i in range(self._manifest.num_shards) if i not in done)
        todo = [shard for shard in left if shard not in self._failed]
        together = [i for i in todo if i not in attempts or not attempts[i].is_alone]
        if not todo:
            return None
        return (together, False) if together else (todo, True)

    def _state(self) -> tuple[int, int]:
        """Return the number of finished shards and of ranges that were tried."""
        tried = (Attempts.load(self._output, shard).passed for shard in attempted(self._output))
        return len(finished(self._output)), sum(tried)

    def _run(self, todo: tuple[list[int], bool], bar: Any) -> dict[str, int] | None:
        """Run a pipeline in a process; return its counters, None if it was killed."""
        shards, alone = todo
        due = 0.0

        def poll() -> None:
            nonlocal due
            started = time.monotonic()
            if started >= due:
                bar.update(self._finished_images() - bar.n)
                # A folder of many thousand files takes a while to list.
                due = started + _LISTING_SHARE * (time.monotonic() - started)

        try:
            return run_in_child(
                "sat_tf.beam.pipeline:caption_shards",
                *(str(self._output), self._export_dir, self._batch_size, alone, shards),
                self._beam_flags,
                log=self._output / LOG_FILE,
                poll=poll,
            )
        except BaseException:  # Ctrl-C too: what was in progress did not end its process
            done, total = len(finished(self._output)), self._manifest.num_shards
            bar.write(
                f"stopped with {done:,} of {total:,} shards finished, which are kept in "
                f"{self._output}: give the same command again to resume",
                file=sys.stderr,
            )
            for shard in attempted(self._output):
                attempts = Attempts.load(self._output, shard)
                if attempts.trying:
                    start, stop = attempts.trying
                    if alone and stop - start < self._manifest.size(shard):
                        attempts.pending.insert(0, attempts.trying)
                    attempts.trying = None
                    attempts.save(self._output, shard)
            raise

    def _finished_images(self) -> int:
        return sum(map(self._manifest.size, finished(self._output)))

    def _add(self, counters: dict[str, int]) -> None:
        for name, value in counters.items():
            if name.startswith("slowest"):
                self._counters[name] = min(self._counters.get(name, value), value)
            elif name.startswith("fastest"):
                self._counters[name] = max(self._counters[name], value)
            else:
                self._counters[name] += value

    def _print_counters(self, rate: float) -> None:
        """Print Beam's counters of the pipelines that ran to their end, and images a second."""
        count = self._counters
        if count["shards"]:
            print(
                f"Beam's counters: {count['shards']:,} shards, {count['read']:,} images read, "
                f"{count['captioned']:,} captioned, {count['broken']:,} broken; "
                f"{count['slowest_images_per_second']:,} to "
                f"{count['fastest_images_per_second']:,} images a second in a worker while it "
                f"captions, {rate:.1f} in all, with loading"
            )

    def _report(self) -> int:
        totals: Counter[str] = Counter()
        for commit in commits(self._output, self._manifest):
            totals.update({name: commit[name] for name in ("captioned", "broken")})
        print(f"{self._output}: captions of {totals['captioned']:,} images")
        if broken := totals["broken"]:
            print(
                f"warning: images without a caption: {broken:,}; their paths and the reasons are "
                f"in {self._output}/dead_letters-*",
                file=sys.stderr,
            )
        return 1 if totals["broken"] else 0


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
