"""Flickr30k Entities, from tiny files in its format."""

import pytest
from box_files import SIZE, boxes_named, entity, make_entities

from sat_tf.data.objects import Box
from sat_tf.data.records import Problems, describe_problems
from sat_tf.datasets.flickr import read_entities

SENTENCES = [
    "[/EN#283585/people Two men] wearing [/EN#283587/clothing green shirts] at [/EN#9/scene parks]",
    "[/EN#283585/people Young guys] and [/EN#283586/people another] in [/EN#0/notvisual Time]",
]
MEN = [entity(["283585"], (21, 11, 60, 50)), entity(["283585", "283587"], (101, 1, 200, 100))]
FIRST, SECOND = Box(0.1, 0.1, 0.5, 0.3), Box(0.0, 0.5, 1.0, 1.0)


def read(folder, *names):
    problems = Problems()
    objects = read_entities(folder, names, problems)
    assert problems == []
    return objects


def problems(folder):
    """Return what is wrong with the image; it has no objects then."""
    problems = Problems()
    assert read_entities(folder, ["7.jpg"], problems) == {}
    return [line.removeprefix(f"{folder}/") for line in describe_problems(problems)]


def test_heads_of_phrases_name_the_boxes_of_their_chain(tmp_path):
    objects = [*MEN, entity(["9"]), entity(["283586"], (1, 1, 9, 9))]
    image = read(make_entities(tmp_path, "7", objects, SENTENCES), "7.jpg")["7.jpg"]
    assert (image.height, image.width) == (100, 200)
    caption = "two men and guys in green shirts with another in the parks with time"
    assert boxes_named(image, caption.split()) == {
        1: [FIRST, SECOND],
        3: [FIRST, SECOND],
        6: [SECOND],  # an object may belong to several chains
    }


def test_objects_are_called_by_the_first_phrase_of_their_chains(tmp_path):
    unnamed = entity(["5"], (1, 1, 9, 9))  # of a chain that is in no sentence
    outside = entity(["9"], (201, 1, 210, 9))
    folder = make_entities(tmp_path, "7", [unnamed, outside, *MEN], SENTENCES)
    image = read(folder, "7.jpg")["7.jpg"]
    assert image.objects == [("Two men", FIRST), ("Two men, green shirts", SECOND)]
    assert boxes_named(image, ["men", "shirts"]) == {0: [FIRST, SECOND], 1: [SECOND]}


def test_boxes_end_where_the_image_does(tmp_path):
    objects = [entity(["283585"], (0, 0, 210, 50))]
    image = read(make_entities(tmp_path, "7", objects, SENTENCES), "7.jpg")["7.jpg"]
    assert boxes_named(image, ["men"]) == {0: [Box(0, 0, 0.5, 1)]}


def test_a_head_that_several_chains_share_names_all_of_them(tmp_path):
    sentences = ["[/EN#1/people A man] sees [/EN#2/people/bodyparts another man] ."]
    objects = [entity(["1"], (21, 11, 60, 50)), entity(["2"], (101, 1, 200, 100))]
    image = read(make_entities(tmp_path, "7", objects, sentences), "7.jpg")["7.jpg"]
    assert boxes_named(image, ["man"]) == {0: [FIRST, SECOND]}


def test_images_are_found_by_their_names(tmp_path):
    make_entities(tmp_path, "7", MEN, SENTENCES)
    assert list(read(tmp_path, "8.jpg", "images/7.jpg")) == ["images/7.jpg"]
    (tmp_path / "Sentences" / "7.txt").unlink()
    assert read(tmp_path, "7.jpg") == {}


@pytest.mark.parametrize(
    ("objects", "size", "complaint"),
    [
        ([], "", "Annotations/7.xml: size: must have height and width"),
        ([], SIZE.replace("100", "0"), "Annotations/7.xml: size: must have height and width"),
        ([], SIZE.replace("100", "1" * 5000), "Annotations/7.xml: size: must have"),
        ([], SIZE.replace("100", "9" * 9), "Annotations/7.xml: size: must have"),
        (
            [MEN[0], entity([""], (1, 1, 2, 2))],
            SIZE,
            "Annotations/7.xml: object[2]: must",
        ),
        ([entity([], (1, 1, 2, 2))], SIZE, "Annotations/7.xml: object[1]: must have a name"),
        ([entity(["1"], (1, 1, "x", 2))], SIZE, "Annotations/7.xml: object[1].bndbox: must have"),
        ([entity(["1"], (5, 1, 4, 2))], SIZE, "Annotations/7.xml: object[1].bndbox: ends before"),
        (["<object>"], SIZE, "Annotations/7.xml:1: is not XML: mismatched tag"),
    ],
)
def test_malformed_annotations_are_reported_with_their_location(tmp_path, objects, size, complaint):
    folder = make_entities(tmp_path, "7", objects, SENTENCES, size)
    (message,) = problems(folder)
    assert message.startswith(complaint)


def test_bytes_that_are_no_xml_are_reported(tmp_path):
    folder = make_entities(tmp_path, "7", [], SENTENCES)
    (folder / "Annotations" / "7.xml").write_bytes(b"<?xml version='1.0' encoding='none'?><a/>")
    (message,) = problems(folder)
    assert message.startswith("Annotations/7.xml")
    assert "is not XML" in message


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b"[/EN#1/people A man sits .", "is not [/EN#CHAIN/KIND WORDS]"),
        (b"[/EN#1/people A [/EN#2/people man] ] .", "is not [/EN#CHAIN/KIND WORDS]"),
        (b"[/EN#x/people A man] .", "is not [/EN#CHAIN/KIND WORDS]"),
        (b"a caf\xe9", "is not UTF-8 text: save the file as UTF-8"),
    ],
)
def test_malformed_sentences_are_reported_with_their_line(tmp_path, line, complaint):
    folder = make_entities(tmp_path, "7", MEN, SENTENCES)
    path = folder / "Sentences" / "7.txt"
    path.write_bytes(path.read_bytes() + b"\n" + line)
    (message,) = problems(folder)
    assert message.startswith("Sentences/7.txt:3: ")
    assert message.endswith(complaint)
