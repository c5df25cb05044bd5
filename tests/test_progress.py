"""Progress bars outside of terminals."""

import sys
import time

from sat_tf import progress
from sat_tf.progress import activity, progress_bar


def test_short_work_shows_no_bar(capsys):
    assert list(progress_bar(range(3))) == [0, 1, 2]
    assert capsys.readouterr().err == ""


def test_a_log_file_gets_the_time_left_and_few_lines(monkeypatch, capsys):
    monkeypatch.setattr(progress, "_DELAY", 0.01)
    monkeypatch.setattr(progress, "_FILE_SECONDS", 0.1)
    for _ in progress_bar(range(30), desc="encoding", unit="image"):
        time.sleep(0.02)
    lines = [line for line in capsys.readouterr().err.split("\r") if line.strip()]
    assert 2 <= len(lines) <= 15
    assert lines[0].startswith("encoding: ")
    assert "<00:" in lines[0]  # after the time passed
    assert "30/30" in lines[-1]


def test_an_activity_is_a_line_in_a_file_and_passes_on_a_terminal(monkeypatch, capsys):
    with activity("loading"):
        assert capsys.readouterr().err == "loading ...\n"
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with activity("loading"):
        assert capsys.readouterr().err == "loading ..."
    assert capsys.readouterr().err == "\r           \r"
