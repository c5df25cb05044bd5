import pytest

from sat_tf.errors import reason


@pytest.mark.parametrize(
    ("message", "line"), [("\nfirst\nsecond", "first"), ("", "NotImplementedError")]
)
def test_reason_is_the_first_line_of_the_message_or_the_name(message, line):
    assert reason(NotImplementedError(message)) == line
