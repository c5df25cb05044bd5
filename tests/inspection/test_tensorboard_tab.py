"""The tab Attention in a real browser, over a real TensorBoard with known attention.

Each test leaves a quiet console and asks nobody outside the machine, see `viewer_page.all_quiet`.
"""

import time

import pytest
from attention_logs import BOX, GRID
from tensorboard_server import HARD, MARKUP, SCRIPT, SHARED, SOFT, server_fixture  # noqa: F401

# TensorBoard's own complaints, and that the first run's document, malformed on purpose, is refused.
_KNOWN = ("Multiple instances of Three.js", "software WebGL", "422 (UNPROCESSABLE ENTITY)")
IN_FRAME = "return document.querySelectorAll('[data-role=word]').length > 0"


@pytest.fixture
def tab(browser, server):
    """The tab, on the image that two runs have, in run "soft"."""
    browser.driver.switch_to.default_content()
    browser.open(f"{server.address}/#sat_tf_attention")
    browser.wait("return document.querySelector('iframe') !== null", seconds=30)
    browser.driver.switch_to.frame(browser.driver.find_element("css selector", "iframe"))
    browser.wait("return document.querySelector('#run option') !== null", seconds=30)
    choose(browser, "run", "soft")
    choose(browser, "image", SHARED)
    wait_for_word(browser, "one")
    time.sleep(0.3)  # a second document may be on its way: what is chosen twice is asked for twice
    strange = [line for line in browser.complaints() if not any(known in line for known in _KNOWN)]
    assert strange == []
    return browser


def choose(browser, name, value):
    browser.run(
        "const select = document.getElementById(arguments[0]); select.value = arguments[1];"
        "select.dispatchEvent(new Event('change'));",
        name,
        value,
    )
    browser.wait(IN_FRAME)


def brightest(browser, pane=0):
    """The cell of the original image's covered part whose middle is brightest, row by row."""
    return browser.run(
        """
        const canvas = document.querySelectorAll('[data-role=overlay]')[arguments[0]];
        const [rows, columns] = arguments[1];
        const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
        const light = (cell) => {
          const y = Math.floor((Math.floor(cell / columns) + 0.5) * canvas.height / rows);
          const x = Math.floor((cell % columns + 0.5) * canvas.width / columns);
          const at = 4 * (y * canvas.width + x);
          // White lays light on, black takes it away; how much of either is its opacity.
          return (data[at] > 127 ? 1 : -1) * data[at + 3];
        };
        const cells = [...Array(rows * columns).keys()];
        return cells.reduce((best, cell) => (light(cell) > light(best) ? cell : best), 0);
        """,
        pane,
        GRID,
    )


def wait_for_word(browser, text, pane=0):
    browser.wait(
        "return document.querySelectorAll('section.pane')[arguments[1]]"
        ".querySelector('[data-role=word] [data-role=text]')?.textContent === arguments[0]",
        text,
        pane,
    )


def go_to(browser, position):
    """The slider of the first pane to that of its steps."""
    browser.run(
        "const slider = document.querySelector('.stepper input[type=range]');"
        "slider.value = arguments[0]; slider.dispatchEvent(new Event('input'));",
        position,
    )


def poll(read, expected, tries=40):
    """What `read` gives once it is as expected, or at last."""
    for _ in range(tries):
        if read() == expected:
            break
        time.sleep(0.05)
    return read()


def test_another_word_moves_the_overlay_to_its_place(tab):
    first, second = tab.find_all("word")
    first.click()
    assert brightest(tab) == SOFT[300][0]
    second.click()
    assert brightest(tab) == SOFT[300][1]
    picture, overlay = (
        tab.run(
            "const r = document.querySelector(`[data-role=${arguments[0]}]`)"
            ".getBoundingClientRect(); return [r.top, r.left, r.bottom, r.right];",
            role,
        )
        for role in ("picture", "overlay")
    )
    height, width = picture[2] - picture[0], picture[3] - picture[1]
    place = [
        (overlay[0] - picture[0]) / height,
        (overlay[1] - picture[1]) / width,
        (overlay[2] - picture[0]) / height,
        (overlay[3] - picture[1]) / width,
    ]
    assert place == pytest.approx(BOX, abs=0.01)


def test_the_slider_walks_through_the_steps(tab):
    tab.find_all("word")[0].click()
    label = "return document.querySelector('output.step').textContent"
    for position, (step, cells) in enumerate(sorted(SOFT.items())):
        go_to(tab, position)
        tab.wait(f"{label}.includes('{step}')")
        assert poll(lambda: brightest(tab), cells[0]) == cells[0]


def test_the_keyboard_walks_through_the_words(tab):
    from selenium.webdriver import Keys

    first, _ = tab.find_all("word")
    first.click()
    first.send_keys(Keys.ARROW_RIGHT)
    assert poll(lambda: brightest(tab), SOFT[300][1]) == SOFT[300][1]


def test_two_runs_stand_side_by_side(tab):
    choose(tab, "other", "hard")
    wait_for_word(tab, "later", pane=1)
    words = [word.text for word in tab.find_all("text") if word.is_displayed()]
    assert words == ["one", "two", "later", "due"]
    tab.find_all("word")[2].click()
    assert poll(lambda: brightest(tab, 1), HARD[290][0]) == HARD[290][0]


def test_texts_of_captions_stay_texts(tab):
    choose(tab, "image", MARKUP)
    wait_for_word(tab, SCRIPT)
    assert not tab.run("return document.querySelectorAll('section script, section b').length")


@pytest.mark.parametrize("broken", ["text", "deep", "number", "version"])
def test_what_is_malformed_is_told(browser, tab, broken):
    browser.run(
        "const run = document.getElementById('run'); run.value = 'broken';"
        "run.dispatchEvent(new Event('change'));"
    )
    browser.run(
        "const image = document.getElementById('image'); image.value = arguments[0];"
        "image.dispatchEvent(new Event('change'));",
        broken,
    )
    tab.wait(
        "return [...document.querySelectorAll('[data-role=message]')]"
        ".some((one) => !one.hidden && /document/.test(one.textContent))"
    )
    time.sleep(0.5)
    tab.complaints()  # Chromium notes the server's refusals, which are what was asked for
