"""Caption files with one caption a line: Flickr's, CSV, JSON lines."""

import json
from pathlib import Path

import pytest
from caption_files import complaint, make_images, read

from sat_tf.data.records import Problems
from sat_tf.datasets.files import read_json_lines, read_table
from sat_tf.datasets.flickr import read_tokens
from sat_tf.errors import UserError


@pytest.fixture
def folder(tmp_path):
    make_images(tmp_path / "images", "a.jpg", "b.jpg", "sub/c.jpg", "d#1.jpg")
    return tmp_path


def test_flickr_tokens_are_grouped_by_image(folder):
    text = "a.jpg#0\tA dog .\nb.jpg#0\tA cat .\r\n\r\na.jpg#1\t One\tdog .\n\n"
    records = read(folder, read_tokens, text)["train"]
    assert [(r.image_id, r.captions) for r in records] == [
        ("a.jpg", ("A dog .", "One\tdog .")),
        ("b.jpg", ("A cat .",)),
    ]
    assert records[0].image == str(folder / "images" / "a.jpg")


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_csv_with_splits_quotes_and_a_byte_order_mark(folder, mark, end):
    lines = [
        mark + "split, image, number, caption",
        'train, a.jpg, 1, "a ""big"" dog, running"',
        "",
        ",,,",
        'val,sub/c.jpg,2,"a cat',
        'asleep"',
        "Train , a.jpg,3,one dog",
        "dev,sub/c.jpg,4,one cat",
    ]
    records = read(folder, read_table, end.join(lines), ("train", "dev"))
    assert records["train"][0].captions == ('a "big" dog, running', "one dog")
    (cat,) = records["dev"]
    assert (cat.image_id, cat.captions) == ("sub/c.jpg", ("a cat\nasleep", "one cat"))


def test_json_lines(folder):
    lines = [
        {"image": "a.jpg", "caption": "ein Mädchen", "split": None, "id": 1},
        {"image": "b.jpg", "caption": "x"},
    ]
    text = "\ufeff" + "\r\n\n".join(map(json.dumps, lines)) + "\n"
    records = read(folder, read_json_lines, text)["train"]
    assert [record.captions for record in records] == [("ein Mädchen",), ("x",)]


def noted(folder, reader, content):
    """Return the images and captions of a file, and what is noted of it, without its path."""
    path = folder / "captions.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    problems = Problems()
    rows = [(row.image, row.caption) for row in reader(path, problems)]
    assert not problems
    return rows, [note.replace(f"{path}", "F") for note in problems.notes]


ROWS = [("a.jpg", "a dog, running"), ("a.jpg", "a 2nd dog"), ("b.jpg", 'says "hi"')]
NOTE = "F: read with {!r} between columns, {}"


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ('image,caption\na.jpg,"{}"\na.jpg,{}\nb.jpg,"says ""hi"""\n', None),
        # Kaggle's Flickr30k, whose row lacks a bar.
        (
            "image_name| comment_number| comment\na.jpg| 0| {}\na.jpg| 1   {}\nb.jpg| 0| {}\n",
            NOTE.format("|", "image_name, comment"),
        ),
        # Hugging Face's metadata.csv.
        (
            'file_name,text\na.jpg,"{}"\na.jpg,{}\nb.jpg,"says ""hi"""\n',
            NOTE.format(",", "file_name, text"),
        ),
        ('image;caption\na.jpg;{}\na.jpg;"{}"\nb.jpg;{}\n', NOTE.format(";", "image, caption")),
        # A spreadsheet's Unicode text.
        (
            'ID\tCaption\tFileName\n1\t"{}"\ta.jpg\n2\t{}\ta.jpg\n3\t"says ""hi"""\tb.jpg\n',
            NOTE.format("\t", "caption, filename"),
        ),
        (
            "{}\ta.jpg\n{}\ta.jpg\n{}\tb.jpg\n",
            NOTE.format("\t", "caption, image; it has no header"),
        ),
        (
            "a.jpg#0\t{}\na.jpg#1\t{}\nb.jpg#0\t{}\n",
            NOTE.format("\t", "image, caption; it has no header"),
        ),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_tables_as_they_are_published(folder, text, note, end, encoding):
    content = text.format(*(caption for _, caption in ROWS)).replace("\n", end)
    rows, notes = noted(folder, read_table, content.encode(encoding))
    assert [(image, caption.strip()) for image, caption in rows] == ROWS
    assert notes[:1] == ([note] if note else [])
    assert notes[1:] == (["F:3: read as if '|' followed the 1"] if "comment_n" in text else [])


@pytest.mark.parametrize("row", ["a.jpg| two dogs", "a.jpg| 4", "a.jpg"])
def test_a_row_that_lacks_more_than_a_bar_is_a_problem(folder, row):
    text = f"image_name| comment_number| comment\nb.jpg| 0| x\n{row}\n"
    assert "captions.txt:3: must have 3 columns; it has" in complaint(folder, read_table, text)


def test_json_lines_of_hugging_face(folder):
    lines = [
        {"file_name": "a.jpg", "text": "one dog", "more": [1]},
        {"file_name": "b.jpg", "text": ["a cat", "one cat"]},
        {"image": "b.jpg", "caption": "x"},
    ]
    rows, notes = noted(folder, read_json_lines, "\n".join(map(json.dumps, lines)))
    assert rows == [("a.jpg", "one dog"), ("b.jpg", "a cat"), ("b.jpg", "one cat"), ("b.jpg", "x")]
    assert notes == ["F: read file_name, text"]


def test_the_first_of_the_columns_for_one_thing_counts(folder):
    text = "text,file_name,image,caption\nno,no.jpg,a.jpg,a dog\n"
    assert noted(folder, read_table, text) == ([("a.jpg", "a dog")], [])


def test_a_carriage_return_within_a_row_is_a_blank(folder):
    rows, _ = noted(folder, read_table, b"image,caption\na.jpg,a\rdog\r\r\n")
    assert rows == [("a.jpg", "a dog")]


def test_images_may_lie_anywhere(folder):
    absolute = str(folder / "images" / "b.jpg")
    lines = [f"{name}#0\tx" for name in (absolute, "sub/c.jpg", "sub/../a.jpg", "d#1.jpg")]
    records = read(folder, read_tokens, "\n".join(lines))["train"]
    assert [Path(record.image).resolve() for record in records] == [
        folder.resolve() / "images" / name for name in ("b.jpg", "sub/c.jpg", "a.jpg", "d#1.jpg")
    ]


def test_every_problem_is_reported_with_its_line(folder):
    text = (
        b"image,caption,split\n"
        b"a.jpg,a dog,train\n"
        b"missing.jpg,a dog,train\n"
        b"b.jpg, . ,train\n"
        b"b.jpg,\xff\xfe,train\n"
        b"sub/c.jpg,a cat,nonsense\n"
        b"b.jpg\n"
        b"a.jpg,a dog,dev\n"
        b"b.jpg,a\0b,train\n"
        b'b.jpg,"a" cat,train\n'
        b"b.jpg,a cat,\n"
        b'b.jpg,"two\n'
        b'lines",train,more\n'
        b"sub/c.jpg,a cat,dev\n"
        b'sub/c.jpg,"never\n'
        b"closed,train\n"
    )
    message = complaint(folder, read_table, text).splitlines()
    assert message == [
        "11 problems in captions.txt",
        "captions.txt:3: no such image in images: 'missing.jpg'",
        "captions.txt:4: the caption of 'b.jpg' is empty",
        "captions.txt:5: is not UTF-8 text: save the file as UTF-8",
        "captions.txt:6: split 'nonsense' must be one of train, dev, test, val, valid, validation, "
        "restval",
        "captions.txt:7: must have 3 columns; it has 1",
        "captions.txt:8: 'a.jpg' is in the split train already",
        "captions.txt:9: holds a NUL byte",
        "captions.txt:10: is not CSV: a closing quotation mark must end the value: inside of one, "
        "write two in place of one",
        "captions.txt:11: names no split, as others do",
        "captions.txt:12: must have 3 columns; it has 4: enclose a caption that holds ',' in "
        "quotation marks",
        "captions.txt:15: is not CSV: a quotation mark that it opens is never closed",
    ]


HEADER = (
    ":1: the header must name image (or image_name, image_path, file_name, filename, file), "
    "caption (or captions, comment, text, sentence, description) and maybe split, once each; it has"
)


@pytest.mark.parametrize(
    ("reader", "text", "what"),
    [
        (read_table, "picture,text\na.jpg,a dog\n", f"{HEADER} picture, text"),
        (read_table, "image;what\na.jpg;a dog\n", f"{HEADER} image, what"),
        (read_table, "https://x.org/a.jpg\ta dog\n", ":1: holds the address of an image: down"),
        (read_table, "caption,url\na dog,a.jpg\n", f"{HEADER} caption, url"),
        (read_table, "1\ta dog, running\ta.jpg\n", f"{HEADER} 1, a dog, running, a.jpg"),
        (read_table, "a.jpg\tb.jpg\n", f"{HEADER} a.jpg, b.jpg"),
        (read_table, "image,caption,caption\na.jpg,x,y\n", f"{HEADER} image, caption, caption"),
        (read_table, "image,caption,split,split\na.jpg,x,dev,train\n", "once each"),
        (read_table, "\n\npicture\n", ":3: the header"),
        (read_table, "", f"{HEADER} nothing"),
        (read_table, b"im\xe4ge,caption\nimage,caption\n", ":1: is not UTF-8"),
        (read_table, "image,caption,split\na.jpg,x,tset\n", ":2: split 'tset'"),
        (read_tokens, "a.jpg a dog\n", ":1: is not IMAGE#NUMBER"),
        (read_tokens, "a.jpg#0 a dog\n", ":1: is not IMAGE#NUMBER"),
        (read_tokens, "a.jpg\ta dog\n", ":1: is not IMAGE#NUMBER"),
        (read_tokens, "#0\ta dog\n", ":1: is not IMAGE#NUMBER"),
        (read_tokens, "a.jpg#0\t\n", ":1: the caption of 'a.jpg' is empty"),
        (read_json_lines, '\n{"image": "a.jpg"\n', ":2: is not JSON: Expecting"),
        (read_json_lines, "[" * 100_000, ":1: is not JSON"),
        (read_json_lines, '{"image": ' + "1" * 5000, ":1: is not JSON"),
        (read_json_lines, '["a.jpg", "a dog"]\n', ":1: is not a JSON object"),
        (read_json_lines, '{"image": 7, "caption": "x"}\n', "must have image (a text)"),
        (read_json_lines, '{"image": "a.jpg", "title": "x"}\n', "must have caption (a text or"),
        (read_json_lines, '{"image": "a.jpg", "text": []}\n', "must have text (a text or a list"),
        (
            read_json_lines,
            '{"image": "a.jpg", "caption": "x", "split": 1}\n',
            "must have split (a text, optional)",
        ),
        (read_json_lines, '{"image": "a.jpg", "caption": "\\ud800"}', ":1: holds half a char"),
        (read_json_lines, '{"image": "a\\u0000/a.jpg", "caption": "x"}\n', ":1: no such image"),
        (
            read_json_lines,
            '{"image": "sub", "caption": "x"}\n',
            ":1: no such image in images: 'sub'",
        ),
        (read_json_lines, '{"image": "", "caption": "x"}\n', ":1: no such image in images: ''"),
        (read_json_lines, '{"image": "no/a.jpg", "caption": "x"}\n', ":1: no such image"),
    ],
)
def test_one_problem_is_one_line(folder, reader, text, what):
    message = complaint(folder, reader, text)
    assert message.startswith("captions.txt:")
    assert what in message
    assert "\n" not in message


def test_a_file_that_can_t_be_read_is_named(folder):
    with pytest.raises(UserError, match=r"nothing\.txt: can't be read: No such file"):
        list(read_tokens(folder / "nothing.txt", Problems()))
    with pytest.raises(UserError, match=r"images: can't be read: Is a directory"):
        list(read_table(folder / "images", Problems()))
