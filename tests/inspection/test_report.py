"""The report, in a browser."""

import io
import json
import re
import socket

import numpy as np
import PIL.Image
import pytest
from viewer_page import HOSTILE, Page, caption, check_light, hot, make_record

from sat_tf.data.images import Thumbnail
from sat_tf.data.objects import WHOLE, Box, NamedBox, ObjectBoxes
from sat_tf.inspection.attention_record import AttentionRecord
from sat_tf.inspection.report import LOG_PROBABILITY, write_report


def gallery(count=6):
    for index in range(count):
        words = [f"word{index}", "of", "all"]
        yield make_record(
            f"image {index}",
            captions=[caption(words, np.full((3, 4, 4), 1 / 16), -float(index))],
            references=[f"said of {index}"],
            scores={"BLEU-4": (index * 5 % 7) / 7, "CIDEr": float(index)} if index else {},
        )


@pytest.fixture
def report(browser, tmp_path):
    """Writes a report and opens it."""

    def write(inspections, **fields):
        path = tmp_path / "report.html"
        write_report(path, inspections, **{"title": "A report", **fields})
        browser.open(path)
        return browser

    return write


def names(browser):
    return [node.text for node in browser.find_all("name") if node.is_displayed()]


def press(browser, role, text):
    next(node for node in browser.find_all(role) if node.text.startswith(text)).click()


def test_the_report_shows_its_images(report):
    browser = report(gallery(2), title="A & B", subtitle="2 images")
    assert browser.driver.title == "A & B"
    assert browser.find("subtitle").text == "2 images"
    browser.wait("return document.querySelectorAll('.sat-word').length === 6")
    assert [node.text for node in browser.find_all("text")][3:] == ["word1", "of", "all"]
    assert [node.text for node in browser.find_all("reference")] == ["said of 0", "said of 1"]
    assert "BLEU-4\n0.714" in browser.find_all("card")[1].text
    assert browser.wait("return document.querySelector('.sat-picture').naturalWidth") == 90


def test_cards_open_with_attention_and_the_scale(report):
    captions = [caption(["a", "dog"], [hot((14, 14), 0, 0), hot((14, 14), 9, 5)])]
    page = Page(report([make_record(captions=captions)]))
    page.browser.wait("return document.querySelectorAll('.sat-word').length === 2")
    assert page.shown() == [1, 1]
    check_light(page, (14, 14), WHOLE, (60, 90), hot((14, 14), 9, 5), True)
    stated = [legend.is_displayed() for legend in page.browser.find_all("legend")]
    assert stated == [True, False, False]  # of the page; of the card and the dialog


def test_hovering_over_a_word_of_a_card_shows_its_attention(report):
    page = Page(report([make_record()]))
    page.browser.wait("return document.querySelectorAll('.sat-word').length === 3")
    page.hover(page.words()[1])
    check_light(page, (14, 14), WHOLE, (60, 90), hot((14, 14), 12, 13), True)


def test_sorting_by_a_score(report):
    browser = report(gallery())
    assert names(browser) == [f"image {i}" for i in range(6)]
    press(browser, "sort", "BLEU-4")
    # Images without the score are last in both directions.
    assert names(browser) == [f"image {i}" for i in (3, 2, 5, 1, 4, 0)]
    press(browser, "sort", "BLEU-4")
    assert names(browser) == [f"image {i}" for i in (4, 1, 5, 2, 3, 0)]
    press(browser, "sort", LOG_PROBABILITY)
    assert names(browser) == [f"image {i}" for i in (5, 4, 3, 2, 1, 0)]
    press(browser, "sort", "original order")
    assert names(browser) == [f"image {i}" for i in range(6)]


def test_sort_by_sets_the_first_order(report, tmp_path):
    browser = report(gallery(), sort_by="CIDEr")
    assert names(browser) == [f"image {i}" for i in (1, 2, 3, 4, 5, 0)]
    with pytest.raises(ValueError, match="METEOR"):
        write_report(tmp_path / "other.html", gallery(), "A report", sort_by="METEOR")
    assert not (tmp_path / "other.html").exists()


def test_search_finds_names_captions_and_references(report):
    browser = report(gallery())
    search = browser.find("search")
    for text, found in [("WORD3", [3]), ("image 4", [4]), ("of said 5", [5]), ("nowhere", [])]:
        search.clear()
        search.send_keys(text)
        assert names(browser) == [f"image {i}" for i in found]
        assert browser.find("count").text == f"{len(found)} of 6 images"


def test_enlarging_a_card(report):
    browser = report(gallery(3))
    browser.find_all("enlarge")[1].click()
    dialog = browser.find("dialog")
    assert browser.find("title", dialog).text == "image 1"
    browser.find("next", dialog).click()
    browser.find("next", dialog).click()  # the last stays
    assert browser.find("title", dialog).text == "image 2"
    assert browser.find("text", dialog).text == "word2"
    assert browser.find("play", dialog).is_displayed()
    assert not browser.find("play", browser.find("card")).is_displayed()
    browser.find("close", dialog).click()
    assert not dialog.is_displayed()
    last = browser.find_all("enlarge")[2]
    browser.wait("return document.activeElement === arguments[0]", last)


def test_markup_stays_text(report):
    hostile = f"</script>{HOSTILE}\u2028"
    one = make_record(
        hostile,
        captions=[caption([hostile], [hot((14, 14), 0, 0)])],
        references=[hostile],
        scores={hostile: 1.0},
    )
    browser = report([one], title=hostile, subtitle=hostile)
    browser.wait("return document.querySelectorAll('.sat-word').length === 1")
    expected = hostile.strip()  # of the line separator
    for role in ("headline", "subtitle", "name", "text", "reference", "score-name"):
        shown = [part.text.strip() for part in browser.find_all(role) if part.is_displayed()]
        assert expected in shown, role
    assert browser.run("return document.querySelectorAll('b').length") == 0


def test_content_security_policy_blocks_everything_else(browser, tmp_path):
    path = tmp_path / "report.html"
    write_report(path, gallery(1), "A report")
    text = path.read_text(encoding="utf-8")
    server = socket.create_server(("127.0.0.1", 0))
    server.settimeout(0.5)
    port = server.getsockname()[1]
    added = (
        f"<script>window.intruder = 1</script><img src='http://127.0.0.1:{port}/x.png'>"
        "<style>body { color: rgb(1, 2, 3) }</style>"
    )
    path.write_text(text.replace("</main>", f"</main>{added}"), encoding="utf-8")
    browser.open(path)
    assert browser.run("return window.intruder ?? null") is None
    body = browser.driver.find_element("css selector", "body")
    assert body.value_of_css_property("color") != "rgba(1, 2, 3, 1)"
    with server, pytest.raises(TimeoutError):
        server.accept()
    assert len([one for one in browser.console_errors() if "Content Security Policy" in one]) >= 3


def test_an_empty_report(report):
    assert report([]).find("count").text == "0 images"


def test_nan_and_infinity_become_null(tmp_path):
    path = tmp_path / "report.html"
    bad = caption(["x"], [hot((2, 2), 0, 0)], -np.inf)
    write_report(path, [make_record(captions=[bad], scores={"BLEU": np.nan})], "A report")
    blocks = re.findall(r'data-role="(\w+)">(.*)</script>', path.read_text(encoding="utf-8"))
    values = {role: json.loads(block, parse_constant=pytest.fail) for role, block in blocks}
    assert values["summary"]["images"][0]["scores"] == {LOG_PROBABILITY: None, "BLEU": None}


def test_undecodable_names_are_escaped(tmp_path):
    path = tmp_path / "report.html"
    odd = b"caf\xe9.jpg".decode(errors="surrogateescape")
    objects = ObjectBoxes(1, 1, [NamedBox("\ud800", Box(0, 0, 1, 1))], lambda words: {})
    write_report(path, [make_record(odd, objects=objects)], "A report", subtitle=odd)
    (block,) = re.findall(r'data-role="document">(.*)</script>', path.read_text(encoding="utf-8"))
    document = json.loads(block)
    assert (document["image_id"], document["objects"][0]["name"]) == (odd, "\ud800")


def thumbnail(index, size=(384, 512)):
    """Return an image that compresses as badly as a detailed photograph."""
    rng = np.random.default_rng(index)
    knots = PIL.Image.fromarray(rng.integers(0, 256, (24, 32, 3), np.uint8))
    smooth = np.asarray(knots.resize(size[::-1], PIL.Image.Resampling.BICUBIC), float)
    return np.clip(smooth + rng.normal(0, 11, (*size, 3)), 0, 255).astype(np.uint8)


def test_cards_of_many_images_are_filled_when_visible(browser, tmp_path):
    drawn = [thumbnail(index) for index in range(8)]
    buffer = io.BytesIO()
    PIL.Image.fromarray(drawn[0]).save(buffer, "JPEG", quality=85)
    assert buffer.tell() > 60_000  # a thumbnail of this size has about as much
    alphas = np.random.default_rng(0).dirichlet(np.ones(196), 12).reshape(12, 14, 14)
    words = ["a", "man", "in", "a", "red", "shirt", "is", "riding", "a", "wave", "of", "water"]
    many = (
        AttentionRecord(
            f"image {index}",
            Thumbnail(drawn[index % 8], Box(0.0, 0.125, 1.0, 0.875)),
            [caption(words, alphas)] * 3,
            [" ".join(words)] * 5,
            scores={"BLEU-4": 1 / (1 + index)},
        )
        for index in range(100)
    )
    path = tmp_path / "report.html"
    write_report(path, many, "A report", sort_by="BLEU-4")
    assert path.stat().st_size < 15e6
    browser.open(path)
    assert len(browser.find_all("card")) == 100
    assert browser.find("name").text == "image 99"
    # Cards that are not visible are empty.
    assert 0 < browser.wait("return document.querySelectorAll('.sat-viewer').length - 1") < 40
    browser.run("scrollTo(0, document.body.scrollHeight)")
    browser.wait(
        "return [...document.querySelectorAll('.report-card')].at(-1).querySelector('img')"
    )
