"""Text files as editors and spreadsheets write them."""

import codecs

import pytest

from sat_tf.errors import UserError
from sat_tf.text_files import NOT_TEXT, open_text


def lines(path, content):
    path.write_bytes(content)
    with open_text(path) as file:
        return [line.rstrip("\r\n") for line in file]


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_marks_encodings_and_line_ends_make_no_difference(tmp_path, encoding, end):
    # U+4E0A has the byte of a line feed in UTF-16; U+2028 ends a line for str.splitlines alone.
    expected = ["image", "", "\u4e0a \u2028x", "last"]
    assert lines(tmp_path / "a.txt", end.join(expected).encode(encoding)) == expected


def test_a_carriage_return_in_a_file_of_line_feeds_ends_no_line(tmp_path):
    assert lines(tmp_path / "a.txt", b"a\rb\nc\r\n") == ["a\rb", "c"]


def test_bytes_that_are_no_text_are_marked(tmp_path):
    first, second = lines(tmp_path / "a.txt", b"good\nb\xff")
    assert not NOT_TEXT.search(first) and NOT_TEXT.search(second)


def test_damaged_utf_16_is_named(tmp_path):
    with pytest.raises(UserError, match=r"a\.txt: begins as UTF-16 text"):
        lines(tmp_path / "a.txt", codecs.BOM_UTF16_LE + b"a\0b")


def test_what_can_t_be_opened_is_named(tmp_path):
    with (
        pytest.raises(UserError, match=r"\\x1b: can't be read: No such file"),
        open_text(tmp_path / "\x1b"),
    ):
        pass
