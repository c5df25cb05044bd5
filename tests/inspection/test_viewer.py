"""The viewer, in a browser."""

import numpy as np
import pytest
from viewer_page import caption, check_light, hot, make_record

from sat_tf.data.images import Thumbnail
from sat_tf.data.objects import WHOLE, Box, NamedBox, ObjectBoxes
from sat_tf.inspection.attention_record import AttentionRecord
from sat_tf.inspection.figures import FULL, upsample_attention
from sat_tf.shapes.judge import scene_objects
from sat_tf.shapes.scenes import draw_scene, make_scene

# Rows and columns of the grid, height and width of the image, its box that the grid covers.
GEOMETRIES = {
    "wide, cropped": ((14, 14), (60, 90), (0.0, 1 / 6, 1.0, 5 / 6)),
    "wide, stretched": ((14, 14), (60, 90), WHOLE),
    "tall, cropped": ((7, 7), (96, 64), (1 / 6, 0.0, 5 / 6, 1.0)),
    "tall, stretched": ((8, 8), (96, 64), WHOLE),
    "square, margin": ((14, 14), (64, 64), (1 / 16, 1 / 16, 15 / 16, 15 / 16)),
    "oblong grid": ((3, 5), (60, 90), (0.1, 0.2, 0.9, 0.8)),
}


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_overlay_shows_the_attention_of_the_selected_word(show, geometry):
    grid, size, box = GEOMETRIES[geometry]
    page = show(make_record(grid=grid, size=size, box=box).document())
    cells = {0: (0, 0), 1: (grid[0] - 2, grid[1] - 1)}
    for smooth, word in [(False, 0), (False, 1), (True, 0), (True, 1)]:
        row, column = cells[word]
        page.browser.run("viewer.configure({ smooth: arguments[0] })", smooth)
        page.hover(page.words()[word])
        check_light(page, grid, box, size, hot(grid, row, column), smooth)
        # The brightest pixels, computed independently, are in the middle of the cell.
        light = page.light()
        y, x = (np.argwhere(light >= light.max() - 1e-6) + 0.5).mean(axis=0)
        if not smooth:
            top, left, bottom, right = page.box_of("overlay")
            assert top + (bottom - top) * y / light.shape[0] == pytest.approx(
                box[0] + (row + 0.5) / grid[0] * (box[2] - box[0]), abs=0.02
            )
            assert left + (right - left) * x / light.shape[1] == pytest.approx(
                box[1] + (column + 0.5) / grid[1] * (box[3] - box[1]), abs=0.02
            )


@pytest.mark.parametrize("smooth", [False, True], ids=["raw", "smooth"])
@pytest.mark.parametrize(("grid", "size"), [((14, 14), (224, 224)), ((4, 7), (30, 45))])
def test_upsample_attention_equals_python(show, grid, size, smooth):
    alpha = np.random.default_rng(1).dirichlet(np.ones(grid[0] * grid[1])).reshape(grid)
    page = show(make_record().document())
    weights = page.browser.run(
        "return Array.from(upsampleAttention(...arguments))",
        alpha.ravel().tolist(),
        *grid,
        *size,
        smooth,
    )
    expected = upsample_attention(np.zeros(size), alpha, smooth)
    np.testing.assert_allclose(np.reshape(weights, size), expected, rtol=1e-5)


def test_overlay_of_random_attention_equals_python(show):
    random = np.random.default_rng(2).dirichlet(np.full(196, 0.3)).reshape(14, 14)
    # Half of the mass in one cell, the rest uniform: the document must keep small weights, too.
    peaked = (hot((14, 14), 3, 3) + 1 / 196) / 2
    page = show(make_record(captions=[caption(["one", "two"], [random, peaked])]).document())
    for smooth in (True, False):
        page.browser.run("viewer.configure({ smooth: arguments[0] })", smooth)
        for word, alpha in zip(page.words(), [random, peaked], strict=True):
            page.hover(word)
            check_light(page, (14, 14), WHOLE, (60, 90), alpha, smooth)


def test_cropped_parts_are_marked(show):
    page = show(make_record(box=(0.0, 1 / 6, 1.0, 5 / 6)).document())
    hole = page.browser.find("cropped").value_of_css_property("clip-path")
    assert "16.6667%" in hole and "83.3333%" in hole
    assert page.browser.find("cropped").is_displayed()
    page = show(make_record().document())
    assert not page.browser.find("cropped").is_displayed()


def test_hovering_shows_and_clicking_selects_a_word(show):
    page = show(make_record().document())
    first, second, _ = page.words()
    page.hover(second)
    assert page.shown() == [1, 0]
    page.leave()
    assert page.shown() == [0, 0]
    second.click()
    page.leave()
    assert page.shown() == [1, 1]
    second.click()
    page.leave()
    assert page.shown() == [-1, -1]
    assert page.light().min() > 1  # nothing drawn
    page.hover(first)
    assert page.shown() == [0, -1]


def test_the_first_content_word_is_selected(show):
    captions = [
        caption(["a", "dog", "runs"], [hot((14, 14), 1, column) for column in range(3)]),
        caption(["of", "a"], [hot((14, 14), 2, column) for column in range(2)]),
    ]
    page = show(make_record(captions=captions).document())
    assert page.shown() == [1, 1]
    check_light(page, (14, 14), WHOLE, (60, 90), hot((14, 14), 1, 1), True)
    page.browser.find_all("beam")[1].click()
    assert page.shown() == [0, 0]  # no content word
    # Until the reader selects a word, it is that of the document shown.
    page.browser.run("viewer.show(arguments[0])", make_record("b", captions=captions).document())
    page.browser.run("viewer.show(arguments[0])", make_record("b").document())
    assert page.shown() == [0, 0]


def test_the_scale_is_stated(show):
    page = show(make_record().document())
    assert " ".join(page.browser.find("scale").text.split()) == "α: 0 1× uniform 5× and more"
    scale, one = (page.browser.find(role).rect for role in ("scale-bar", "scale-uniform"))
    assert (one["x"] - scale["x"]) / scale["width"] == pytest.approx(1 / FULL, abs=0.005)


def test_words_have_probability_beta_and_entropy(show):
    document = make_record().document()
    document["captions"][0]["words"][1].update(probability=0.5, beta=0.625, entropy=0.97)
    page = show(document)
    word = page.words()[1]
    assert page.browser.find("text", word).text == "right"
    assert page.browser.find("value", word).text == "50%"
    assert page.browser.find("entropy-value", word).text == "H 97%"
    peak = "196× uniform, at row 13 of 14, column 14 of 14"
    for text in ("probability 50%", "β 0.63", "entropy 97%", peak):
        assert text in word.get_attribute("title")
        assert text in word.get_attribute("aria-label")
    for bar, share in (("probability", 0.5), ("beta", 0.625), ("entropy", 0.97)):
        drawn = page.browser.find(bar, word).value_of_css_property("background-image")
        assert f"{100 * share:g}%" in drawn


def test_keys_move_and_select(show):
    from selenium.webdriver import Keys

    page = show(make_record().document())
    page.words()[0].click()  # deselects it
    page.leave()
    page.browser.run("document.querySelector('.sat-play').focus()")
    for key, shown in [(Keys.ARROW_RIGHT, 0), (Keys.ARROW_RIGHT, 1), (Keys.ARROW_LEFT, 0)]:
        page.press(key)
        assert page.shown() == [shown, -1]
    check_light(page, (14, 14), WHOLE, (60, 90), hot((14, 14), 0, 0), True)
    page.press(Keys.ARROW_LEFT)
    assert page.shown() == [0, -1]  # no word before the first
    page.press(Keys.ENTER)
    assert page.shown() == [0, 0]
    page.press(Keys.ARROW_RIGHT)
    assert page.shown() == [1, 1]  # the selection moves, too
    page.press(Keys.SPACE)
    assert page.shown() == [1, -1]


def test_play_shows_each_word(show):
    captions = [caption(["a", "dog", "runs"], [hot((14, 14), 1, column) for column in range(3)])]
    page = show(make_record(captions=captions).document())
    play = page.browser.find("play")
    page.browser.run("""
        window.played = [];
        host.addEventListener('change', (event) => played.push(event.detail.selected));""")
    play.click()
    assert (play.text, page.shown()) == ("Pause", [0, 0])
    page.browser.wait("return document.querySelector('.sat-play').textContent === 'Play'")
    assert page.browser.run("return played") == [0, 1, 2, None]
    play.click()
    play.click()
    assert (play.text, page.shown()) == ("Play", [0, 0])


def test_opacity_fades_the_overlay(show):
    from selenium.webdriver import Keys

    page = show(make_record().document())
    canvas, slider = page.browser.find("overlay"), page.browser.find("opacity")
    assert canvas.value_of_css_property("opacity") == "1"
    slider.send_keys(Keys.HOME)
    assert canvas.value_of_css_property("opacity") == "0"
    slider.send_keys(Keys.ARROW_RIGHT * 3)
    assert float(canvas.value_of_css_property("opacity")) == pytest.approx(0.03)


def test_raw_cells_show_their_values(show):
    page = show(make_record(grid=(3, 5)).document())
    page.words()[1].click()
    assert page.browser.find_all("cell") == []
    page.browser.find("smooth").click()
    texts = [cell.text for cell in page.browser.find_all("cell")]
    assert texts == ["0.0×"] * 9 + ["15×"] + ["0.0×"] * 5
    for grid in [(2, 90), (90, 2)]:  # no room
        page = show(make_record(grid=grid).document())
        page.browser.find("smooth").click()
        page.words()[1].click()
        assert page.browser.find_all("cell") == []


def shades(page):
    return [
        float(page.browser.run("return arguments[0].style.getPropertyValue('--attended')", word))
        for word in page.words()
    ]


def values(page):
    return [node.text for node in page.browser.find_all("value")]


def test_the_cursor_shades_words_by_their_attention(show):
    page = show(make_record(grid=(2, 3)).document())  # cells: top left, top right, all
    page.browser.find("smooth").click()
    picture = page.browser.find("stage")
    before = values(page)
    width, height = picture.size["width"], picture.size["height"]
    page.hover(picture, -int(0.4 * width), -int(0.3 * height))
    assert shades(page) == pytest.approx([1, 0, 1 / FULL], abs=0.001)
    assert values(page) == ["6.0×", "0.0×", "1.0×"]
    colours = {word.value_of_css_property("background-color") for word in page.words()}
    assert len(colours) == 3
    page.hover(picture, int(0.4 * width), -int(0.3 * height))
    assert values(page) == ["0.0×", "6.0×", "1.0×"]
    page.hover(page.words()[0])
    assert shades(page) == [0, 0, 0]
    assert values(page) == before


def test_the_cursor_counts_within_the_box_only(show):
    page = show(make_record(grid=(2, 3), box=(0.0, 0.5, 1.0, 1.0)).document())
    page.browser.find("smooth").click()
    picture = page.browser.find("stage")
    width, height = picture.size["width"], picture.size["height"]
    page.hover(picture, int(0.05 * width), -int(0.3 * height))
    assert values(page)[0] == "6.0×"
    page.hover(picture, -int(0.05 * width), -int(0.3 * height))
    assert shades(page) == [0, 0, 0]


def test_keys_move_the_cursor(show):
    from selenium.webdriver import Keys

    page = show(make_record(grid=(3, 3)).document())
    page.browser.find("smooth").click()
    page.browser.run("document.querySelector('.sat-stage').focus()")
    page.press(Keys.ARROW_UP)
    page.press(Keys.ARROW_LEFT)
    assert values(page) == ["9.0×", "0.0×", "1.0×"]
    announcement = page.browser.run(
        "return document.querySelector('.sat-announcement').textContent"
    )
    assert announcement == "left 9.0×, all 1.0×, right 0.0×"


def test_other_beams_can_be_selected(show):
    captions = [
        caption(["left", "right"], [hot((14, 14), 0, 0), hot((14, 14), 2, 2)]),
        caption(["other"], [hot((14, 14), 7, 3)], -2.5),
        caption([], np.zeros((0, 14, 14))),
    ]
    page = show(make_record(captions=captions).document())
    beams = page.browser.find_all("beam-text")
    assert [beam.text for beam in beams] == ["left right", "other", "(no words)"]
    beams[1].click()
    assert [page.browser.find("text", word).text for word in page.words()] == ["other"]
    pressed = [beam.get_attribute("aria-pressed") for beam in page.browser.find_all("beam")]
    assert pressed == ["false", "true", "false"]
    check_light(page, (14, 14), WHOLE, (60, 90), hot((14, 14), 7, 3), True)
    page.browser.find_all("beam")[2].click()
    assert page.words() == []
    assert "without words" in page.browser.find("words").text


def scene_record():
    """Return a scene, and a record of two captions with attention inside and outside its object."""
    scene = next(
        scene
        for scene in (make_scene(5, index, 64) for index in range(99))
        if len(scene.objects) == 1 and scene.objects[0].size == "large"
    )
    thing = scene.objects[0]
    left, top, right, bottom = (side * 14 // 64 for side in thing.box)
    inside = hot((14, 14), (top + bottom) // 2, (left + right) // 2)
    words = ["a", thing.size, thing.colour, thing.shape]
    captions = [caption(words, [inside] * 4), caption(words, [np.roll(inside, 7, (0, 1))] * 4)]
    return scene, AttentionRecord(
        "scene", Thumbnail(draw_scene(scene), WHOLE), captions, ["one thing"], scene_objects(scene)
    )


def test_objects_and_hits_are_marked(show):
    scene, one = scene_record()
    page = show(one.document())
    page.browser.find_all("beam")[0].click()
    assert page.browser.find("hit", page.words()[3]).text == "✓"
    assert page.browser.find_all("hit", page.words()[0]) == []
    assert "inside a matching box" in page.words()[3].get_attribute("title")
    box = page.browser.find("object")
    assert not box.is_displayed()
    page.browser.find("boxes").click()
    assert box.is_displayed()
    left, top, right, bottom = (side / 64 for side in scene.objects[0].box)
    np.testing.assert_allclose(page.box_of("object"), [top, left, bottom, right], atol=0.005)
    page.words()[3].click()
    assert "sat-named" in box.get_attribute("class")
    peak = page.box_of("peak")
    assert top <= (peak[0] + peak[2]) / 2 <= bottom and left <= (peak[1] + peak[3]) / 2 <= right
    page.browser.find_all("beam")[1].click()
    assert page.browser.find("miss", page.words()[3]).text == "✗"


def test_objects_and_peak_in_a_cropped_image(show):
    """Boxes are fractions of the image, cells of its middle half."""
    seen = Box(0.0, 0.25, 1.0, 0.75)
    dog, cat = Box(0.25, 0.25, 0.5, 0.375), Box(0.0, 0.0, 0.5, 0.125)
    things = [NamedBox("dog", dog), NamedBox("cat", cat)]
    objects = ObjectBoxes(60, 120, things, lambda words: {0: [0], 1: [1]})
    alphas = [hot((4, 4), 1, 0), hot((4, 4), 0, 0)]
    captions = [caption(["dog", "cat"], alphas)]
    page = show(
        make_record(size=(60, 120), box=seen, captions=captions, objects=objects).document()
    )
    page.browser.find("boxes").click()
    for role, place in (("overlay", seen), ("object", dog), ("peak", dog)):
        np.testing.assert_allclose(page.box_of(role), place, atol=0.005)
    assert [node.text for node in page.browser.find_all("name")] == ["dog", "cat"]
    assert "sat-named" in page.browser.find("object").get_attribute("class")
    marks = [page.browser.find_all(mark) for mark in ("hit", "miss")]
    assert [len(nodes) for nodes in marks] == [1, 0]  # the cat is cropped


def test_marks_do_not_cover_values(show):
    objects = ObjectBoxes(1, 1, [NamedBox("ox", Box(0, 0, 0.1, 0.1))], lambda words: {0: [0]})
    certain = caption(["ox"], [hot((14, 14), 0, 0)], log_probability=0.0)
    page = show(make_record(captions=[certain], objects=objects).document())
    assert page.browser.find("value").text == "100%"
    gap = page.browser.run("""
        const text = document.createRange();
        text.selectNodeContents(document.querySelector('.sat-value'));
        const mark = document.querySelector('.sat-hit').getBoundingClientRect();
        return mark.left - text.getBoundingClientRect().right;""")
    assert gap > 0


def test_images_without_objects_have_no_checkbox(show):
    page = show(make_record().document())
    assert not page.browser.find("boxes").is_displayed()


def test_the_readers_selection_is_kept_between_steps(show):
    page = show(make_record().document())
    for selected in (1, -1):  # a word, and none
        page.words()[1].click()
        page.browser.run("viewer.show(arguments[0])", make_record().document())
        assert page.shown()[1] == selected
    page.words()[1].click()
    page.browser.run("viewer.show(arguments[0])", make_record("another").document())
    assert page.shown()[1] == 0


def test_changes_dispatch_events(show):
    page = show(make_record().document())
    page.browser.run("""
        window.details = [];
        host.addEventListener('change', (event) => details.push(event.detail));""")
    page.words()[1].click()
    page.browser.find("smooth").click()
    *_, selected, changed = page.browser.run("return details")
    assert (selected["caption"], selected["word"], selected["selected"]) == (0, 1, 1)
    assert changed["settings"] == {"opacity": 1, "smooth": False, "boxes": False}


def test_destroy_empties_the_host(show):
    page = show(make_record().document())
    page.browser.run("viewer.destroy()")
    assert page.browser.run("return host.childNodes.length") == 0
