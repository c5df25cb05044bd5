"""Progress bars outside of terminals."""

import sys
import time

from sat_tf import progress
from sat_tf.progress import activity, progress_bar


def test_short_work_shows_no_bar(capsys):
    assert list(progress_bar(range(3))) == [0, 1, 2]
    assert capsys.readouterr().err == ""


def test_a_log_file_gets_a_line_now_and_then(monkeypatch, capsys):
    monkeypatch.setattr(progress, "_DELAY", 0.01)
    monkeypatch.setattr(progress, "_FILE_SECONDS", 0.1)
    with progress_bar(total=1, desc="epoch 1/1", delay=0) as outer:
        for _ in progress_bar(range(30), desc="encoding", unit="image", leave=False):
            time.sleep(0.02)
        outer.update()
    text = capsys.readouterr().err
    assert {character for character in text if not character.isprintable()} == {"\n"}
    lines = text.splitlines()
    inner = [line for line in lines if line.startswith("encoding: ")]
    assert 2 <= len(inner) <= 10
    assert all("/30 [00:0" in line and "<00:0" in line and "image/s" in line for line in inner)
    assert len(set(lines)) == len(lines)
    assert lines[0].startswith("epoch 1/1:   0%| 0/1 ")
    assert "1/1 [" in lines[-1]


def test_a_terminal_is_redrawn(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    for _ in progress_bar(range(3), desc="encoding", delay=0, mininterval=0):
        pass
    assert capsys.readouterr().err.count("\rencoding: ") > 3


def test_an_activity_is_a_line_in_a_file_and_passes_on_a_terminal(monkeypatch, capsys):
    with activity("loading"):
        assert capsys.readouterr().err == "loading ...\n"
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with activity("loading"):
        assert capsys.readouterr().err == "loading ..."
    assert capsys.readouterr().err == "\r           \r"
