import pytest

from sat_tf.errors import printable, reason


@pytest.mark.parametrize(
    ("message", "line"), [("\nfirst\nsecond", "first"), ("", "NotImplementedError")]
)
def test_reason_is_the_first_line_of_the_message_or_the_name(message, line):
    assert reason(NotImplementedError(message)) == line


def test_printable_escapes_what_a_terminal_would_obey():
    assert (
        printable("Bäume \x1b[2J\r\n\u202e\udcff.jpg") == "Bäume \\x1b[2J\\r\\n\\u202e\\udcff.jpg"
    )
    assert printable(printable("a\tb")) == "a\\tb"
