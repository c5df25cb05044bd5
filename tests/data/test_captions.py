"""Caption files -> checked records."""

import json

import pytest

from sat_tf.data.captions import make_records, read_csv, read_flickr_tokens, read_json_lines
from sat_tf.errors import UserError


@pytest.fixture
def folder(tmp_path):
    for name in ("a.jpg", "b.jpg", "sub/c.jpg"):
        path = tmp_path / "images" / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(b"")
    return tmp_path


def read(folder, reader, content, wanted=None):
    path = folder / "captions.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return make_records(path, reader(path), folder / "images", wanted)


def complaint(*arguments):
    with pytest.raises(UserError) as caught:
        read(*arguments)
    return str(caught.value)


def test_flickr_tokens_are_grouped_by_image(folder):
    text = "a.jpg#0\tA dog .\nb.jpg#0\tA cat .\r\na.jpg#1\tOne dog .\n\n"
    records = read(folder, read_flickr_tokens, text)[""]
    assert [(r.image_id, r.captions) for r in records] == [
        ("a.jpg", ("A dog .", "One dog .")),
        ("b.jpg", ("A cat .",)),
    ]
    assert records[0].image == str(folder / "images" / "a.jpg")


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_csv_with_splits_quotes_and_a_byte_order_mark(folder, mark):
    text = mark + 'split,image,caption\ntrain,a.jpg,"a ""big"" dog, running"\nval,sub/c.jpg,cat\n'
    records = read(folder, read_csv, text)
    assert records["train"][0].captions == ('a "big" dog, running',)
    assert records["dev"][0].image_id == "sub/c.jpg"


def test_json_lines(folder):
    lines = [
        {"image": "a.jpg", "caption": "ein Mädchen"},
        {"image": "b.jpg", "caption": "x", "split": "test"},
    ]
    records = read(folder, read_json_lines, "\n".join(map(json.dumps, lines)) + "\n")
    assert records[""][0].captions == ("ein Mädchen",)
    assert records["test"][0].image_id == "b.jpg"


def test_every_problem_is_reported_with_its_line(folder):
    text = (
        b"image,caption,split\n"
        b"a.jpg,a dog,train\n"
        b"missing.jpg,a dog,train\n"
        b"b.jpg, . ,train\n"
        b"b.jpg,\xff\xfe,train\n"
        b"b.jpg,a cat,nonsense\n"
        b"b.jpg\n"
        b"a.jpg,a dog,dev\n"
        b"b.jpg,a\0b,train\n"
    )
    message = complaint(folder, read_csv, text)
    expected = {
        3: "no such image: 'missing.jpg'",
        4: "empty",
        5: "not UTF-8",
        6: "'nonsense' must be one of train, dev, test",
        7: "must have 3 columns",
        8: "in split 'train' already",
        9: "NUL byte",
    }
    for line, what in expected.items():
        assert any(
            f"captions.txt:{line}: " in row and what in row for row in message.splitlines()
        ), (line, message)
    assert "captions.txt:2:" not in message


@pytest.mark.parametrize(
    ("reader", "text", "what"),
    [
        (read_csv, "picture,text\na.jpg,a dog\n", "header has picture, text"),
        (read_csv, "", "no column image or caption"),
        (read_csv, 'image,caption\na.jpg,"a dog\n', "not CSV"),
        (read_flickr_tokens, "a.jpg a dog\n", ":1: is not IMAGE#NUMBER"),
        (read_flickr_tokens, "a.jpg\ta dog\n", ":1: is not IMAGE#NUMBER"),
        (read_json_lines, '\n{"image": "a.jpg"\n', ":2: is not JSON"),
        (read_json_lines, '["a.jpg", "a dog"]\n', ":1: must be an object"),
        (read_json_lines, '{"image": 7, "caption": "x"}\n', ":1: must be an object"),
        (read_json_lines, '{"image": "a.jpg"}\n', ":1: the caption of 'a.jpg' is empty"),
        (read_json_lines, '{"image": "a\\u0000.jpg", "caption": "x"}\n', ":1: no such image"),
        (read_json_lines, '{"image": "sub", "caption": "x"}\n', ":1: no such image: 'sub'"),
    ],
)
def test_what_no_reader_takes(folder, reader, text, what):
    assert what in complaint(folder, reader, text)


def test_many_problems_are_counted_not_listed(folder):
    text = "".join(f"x{number}.jpg#0\ta dog\n" for number in range(50))
    message = complaint(folder, read_flickr_tokens, text)
    assert "50 problem(s)" in message
    assert message.splitlines()[-1] == "... and 30 more"
    assert len(message.splitlines()) == 22


def test_images_that_are_not_wanted_may_be_missing(folder):
    text = "a.jpg#0\tA dog\nmissing.jpg#0\tA cat\n"
    records = read(folder, read_flickr_tokens, text, ["a.jpg"])
    assert [record.image_id for record in records[""]] == ["a.jpg"]


def test_a_missing_file_is_named(folder):
    with pytest.raises(UserError, match=r"nothing\.txt"):
        list(read_flickr_tokens(folder / "nothing.txt"))
    with pytest.raises(UserError, match="images"):
        list(read_csv(folder / "images"))
