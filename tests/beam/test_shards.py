"""The files of a shard: whole or not there, and the search for an image that kills."""

import os
import random

import pytest

from sat_tf.beam.manifest import Manifest, names_of, open_manifest
from sat_tf.beam.shards import Attempts, finished, verify, write_shard
from sat_tf.errors import UserError

DEPENDS_ON = {"model": "m", "search": "s", "attention": False}
NAMES = ["a.jpg", "b.jpg", "odd \udcff.jpg", "c.jpg", "a.jpg"]  # one given twice, as rows may be


def work(folder, output_format="jsonl"):
    return open_manifest(folder, NAMES, 2, output_format=output_format, **DEPENDS_ON)


def rows_of(manifest, shard):
    first, *others = [name for one in manifest.inputs_of(shard) for name in names_of(one)]
    captions = [{"path": name, "caption": "a dog", "score": -1.5} for name in others]
    return [{"path": first, "reason": "is empty"}, *captions]


def finish(manifest, shard):
    write_shard(manifest, shard, rows_of(manifest, shard), 1.0)


@pytest.mark.parametrize("output_format", ["jsonl", "parquet"])
def test_finished_work_is_verified(tmp_path, output_format):
    manifest = work(tmp_path, output_format)
    finish(manifest, 0)
    with pytest.raises(UserError, match="shard 1: is not finished"):
        verify(manifest)
    finish(manifest, 1)
    assert verify(manifest) == {"captions": 3, "dead_letters": 2}


@pytest.mark.parametrize("output_format", ["jsonl", "parquet"])
@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows.pop(),
        lambda rows: rows.append(rows[-1]),
        lambda rows: rows.append({"path": "x.jpg", "reason": ""}),
    ],
    ids=["missing", "twice", "foreign"],
)
def test_an_image_that_does_not_stand_exactly_once_is_found(tmp_path, output_format, change):
    manifest = work(tmp_path, output_format)
    finish(manifest, 0)
    rows = rows_of(manifest, 1)
    change(rows)
    write_shard(manifest, 1, rows, 1.0)
    with pytest.raises(UserError, match=r"shard 1: .* stands \d times, not"):
        verify(manifest)


@pytest.mark.parametrize(
    "name", ["captions-00001-of-00002.jsonl", "dead_letters-00000-of-00002.jsonl"]
)
@pytest.mark.parametrize("is_deleted", [True, False])
def test_a_file_that_was_changed_after_its_commit_is_found(tmp_path, name, is_deleted):
    manifest = work(tmp_path)
    for shard in range(2):
        finish(manifest, shard)
    path = tmp_path / name
    content = path.read_text()
    path.unlink() if is_deleted else path.write_text(content + content)
    with pytest.raises(UserError, match=f"{name}: is not as it was committed"):
        verify(manifest)


def test_a_shard_is_whole_wherever_its_writer_is_killed(tmp_path):
    """A process is killed before each of the renames and deletions of `write_shard`."""
    reference = tmp_path / "reference"
    finish(work(reference), 0)
    for kill_before in range(20):
        folder = tmp_path / str(kill_before)
        manifest = work(folder)
        Attempts.load(folder, 0).begin()
        child = os.fork()
        if not child:
            calls = iter(range(20))

            def counted(call, calls=calls, kill_before=kill_before):
                def wrapped(*args, **kwargs):
                    if next(calls) == kill_before:
                        os.kill(os.getpid(), 9)
                    return call(*args, **kwargs)

                return wrapped

            os.replace, os.unlink = counted(os.replace), counted(os.unlink)
            finish(manifest, 0)
            os._exit(0)
        was_killed = os.waitpid(child, 0)[1] != 0
        if not finished(folder):
            assert was_killed
            finish(manifest, 0)
        for path in reference.glob("*-00000-of-00002.*"):
            assert (folder / path.name).read_bytes() == path.read_bytes()
        if not was_killed:
            break
    assert 4 <= kill_before < 19


def search(size, killers, random_deaths=(), folder=None):
    """Try a shard as workers do until it is finished; return what was found and the deaths."""
    deaths = 0
    for attempt in range(1000):
        attempts = Attempts.load(folder, 0)
        if attempts.in_progress:
            attempts.end(died=True)

        def attempt_rows(rows, attempts=attempts, attempt=attempt):
            if killers & {*rows} - {*attempts.killers} or attempt in random_deaths:
                raise InterruptedError

        try:
            if attempts.row is not None:
                assert attempts.is_alone
                for row in range(attempts.row, size):
                    attempts.begin(row)
                    attempt_rows([row])
            attempts.begin()
            attempt_rows(range(size))
            return {*attempts.killers}, deaths
        except InterruptedError:
            deaths += 1
    raise AssertionError("not finished")


@pytest.mark.parametrize("size", [1, 2, 100])
def test_an_image_that_kills_is_found(tmp_path, size):
    assert search(size, set(), folder=tmp_path / "none") == (set(), 0)
    assert search(size, {size - 1}, folder=tmp_path / "last") == ({size - 1}, 5)


def test_images_that_kill_are_found_among_random_deaths_and_no_others(tmp_path):
    generator = random.Random(0)
    for trial in range(20):
        size = generator.choice([1, 5, 50])
        killers = {generator.randrange(size) for _ in range(generator.randrange(4))}
        # Never twice in a row, which no image alone could be told from.
        deaths = {2 * generator.randrange(20) for _ in range(4)}
        found, _ = search(size, killers, deaths, tmp_path / str(trial))
        assert found == killers


def test_a_stop_is_no_death(tmp_path):
    for _ in range(5):
        attempts = Attempts.load(tmp_path, 0)
        attempts.begin()
        attempts.end(died=False)
    assert not Attempts.load(tmp_path, 0).is_alone


def test_attempts_that_are_damaged_are_named(tmp_path):
    attempts = Attempts.load(tmp_path, 7)
    attempts.save()
    attempts.path.write_text("[]")
    with pytest.raises(UserError, match=r"00007\.json: is damaged: delete it"):
        Attempts.load(tmp_path, 7)


def test_a_manifest_is_needed(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        Manifest.load(tmp_path)
