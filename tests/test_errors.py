import json
from pathlib import Path

import pytest

from sat_tf.errors import in_current_folder, printable, reason, why_not_json


@pytest.mark.parametrize(
    ("message", "line"), [("\nfirst\nsecond", "first"), ("", "NotImplementedError")]
)
def test_reason_is_the_first_line_of_the_message_or_the_name(message, line):
    assert reason(NotImplementedError(message)) == line


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"{", "Expecting property name enclosed in double quotes, line 1, column 2"),
        (b'"\xff"', "it is not UTF-8 text: save the file as UTF-8"),
        (b"1" * 5000, "it holds a number of too many digits"),
        (b"[" * 100_000, "its brackets are nested too deeply"),
    ],
)
def test_why_a_text_is_no_json_is_said_without_advice_of_python(text, why):
    with pytest.raises((ValueError, RecursionError)) as caught:
        json.loads(text)
    assert why_not_json(caught.value) == why


def test_a_relative_path_is_said_to_be_in_the_current_folder():
    assert in_current_folder("a/b") == f" in the current folder, {Path.cwd()}"
    assert in_current_folder("/a/b") == ""


def test_printable_escapes_what_a_terminal_would_obey():
    assert (
        printable("Bäume \x1b[2J\r\n\u202e\udcff.jpg") == "Bäume \\x1b[2J\\r\\n\\u202e\\udcff.jpg"
    )
    assert printable(printable("a\tb")) == "a\\tb"
