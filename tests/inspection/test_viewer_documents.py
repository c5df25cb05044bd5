"""The viewer on documents that are hostile, malformed or incomplete."""

import copy

from viewer_page import HOSTILE, caption, hot, make_record


def test_markup_in_documents_stays_text(show):
    alphas = [hot((14, 14), 0, 0)]
    document = make_record(
        HOSTILE, captions=[caption([HOSTILE], alphas)] * 2, references=[HOSTILE]
    ).document()
    document["objects"] = [{"name": HOSTILE, "box": [0, 0, 1, 1]}]
    page = show(document)
    page.browser.find("boxes").click()
    for role in ("text", "beam-text", "reference", "name"):
        assert page.browser.find(role).text == HOSTILE
    assert page.browser.run("return document.querySelectorAll('#host :is(script, b)').length") == 0
    page.browser.run("viewer.message(arguments[0])", HOSTILE)
    assert page.browser.find("message").text == HOSTILE


def changed(path, value):
    """Return a document with a part replaced, or removed if the value is `...`."""
    document = copy.deepcopy(make_record().document())
    *parents, last = path
    part = document
    for step in parents:
        part = part[step]
    if value is ...:
        del part[last]
    else:
        part[last] = value
    return document


WORD = ("captions", 0, "words", 1)
MALFORMED = [
    (None, "not an attention record"),
    ([], "not an attention record"),
    ("text", "not an attention record"),
    (changed(["format_version"], 1), "version 1"),
    (changed(["image_id"], 7), "image_id"),
    (changed(["image"], ...), "no image"),
    (changed(["image", "jpeg"], "x' onerror='alert(1)"), "no image"),
    (changed(["image", "jpeg"], "http://example.com/a.jpg"), "no image"),
    (changed(["image", "width"], 0), "no image"),
    (changed(["box"], [0, 0, 1]), "box"),
    (changed(["box"], [0, 0.5, 1, 0.5]), "box"),
    (changed(["box"], [1, 0, 0.5, 1]), "box"),
    (changed(["box"], [0, 0, 1, 7]), "box"),
    (changed(["rows"], 0), "grid"),
    (changed(["columns"], 1e9), "grid"),
    (changed(["references"], [3]), "references"),
    (changed(["objects"], [{"name": "x", "box": None}]), "objects"),
    (changed(["captions"], []), "no captions"),
    (changed(["captions"], ...), "no captions"),
    (changed(["captions", 0], None), "caption 1 is incomplete"),
    (changed(["captions", 0, "words"], None), "caption 1 is incomplete"),
    (changed(WORD, 3), "word 2 of caption 1 is incomplete"),
    (changed([*WORD, "word"], None), "word 2 of caption 1 is incomplete"),
    (changed([*WORD, "content"], None), "word 2 of caption 1 is incomplete"),
    (changed([*WORD, "beta"], "0.5"), "word 2 of caption 1 is incomplete"),
    (changed([*WORD, "objects"], [4]), "word 2 of caption 1 is incomplete"),
    (changed([*WORD, "hit"], "yes"), "word 2 of caption 1 is incomplete"),
    (changed([*WORD, "alpha"], "%%%"), "word 2 of caption 1 has no attention of 14 x 14"),
    (changed([*WORD, "alpha"], "AAAA"), "word 2 of caption 1 has no attention of 14 x 14"),
    (changed([*WORD, "alpha"], ...), "word 2 of caption 1 has no attention of 14 x 14"),
]


def test_malformed_documents_give_a_message(show):
    valid = make_record().document()
    page = show(valid)
    for document, part in MALFORMED:
        page.browser.run("viewer.show(arguments[0])", document)
        assert part in page.browser.find("message").text
        assert not page.browser.find("picture").is_displayed()
        page.browser.run("viewer.show(arguments[0])", valid)
        assert not page.browser.find("message").is_displayed()
        assert page.browser.find("picture").is_displayed()


def test_an_image_that_cannot_be_decoded_gives_a_message(show):
    page = show(changed(["image", "jpeg"], "AAAA"))
    page.browser.wait("return !document.querySelector('.sat-message').hidden")
    assert "image can't be decoded" in page.browser.find("message").text


def test_missing_numbers_are_shown_as_a_dash(show):
    document = changed([*WORD, "beta"], None)
    document["captions"][0]["words"][1]["entropy"] = None
    page = show(document)
    assert "β –, entropy –" in page.words()[1].get_attribute("title")
    assert page.browser.find_all("entropy-value")[1].text == "H –"
