"""The tab Attention in a real browser, over a real TensorBoard with known attention.

Each test leaves a quiet console and asks nobody outside the machine, see `viewer_page.all_quiet`.
"""

import time

import pytest
from attention_logs import BOX, GRID, make_record, write_run
from tensorboard_server import HARD, MANY, MARKUP, SCRIPT, SHARED, SOFT, serve

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
    strange = [
        line for line in browser.console_errors() if not any(known in line for known in _KNOWN)
    ]
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
    tab.console_errors()  # Chromium notes the server's refusals, which are what was asked for


def wait_for_step(browser, step, pane=0):
    browser.wait(
        "return document.querySelectorAll('output.step')[arguments[1]].textContent"
        ".startsWith(`step ${arguments[0]} `)",
        step,
        pane,
    )


def test_keys_walk_through_the_steps(tab):
    body = tab.driver.find_element("css selector", "body")
    for key, step in ((",", 200), (",", 100), (",", 100), (".", 200), (".", 300), (".", 300)):
        body.send_keys(key)
        wait_for_step(tab, step)


def test_the_arrow_keys_begin_at_the_first_word(tab):
    from selenium.webdriver import Keys

    tab.driver.find_element("css selector", "body").send_keys(Keys.ARROW_RIGHT)
    assert tab.driver.switch_to.active_element.text.startswith("one")
    tab.driver.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    assert poll(lambda: brightest(tab), SOFT[300][1]) == SOFT[300][1]


def test_every_step_can_be_reached(tab):
    choose(tab, "image", MANY)
    wait_for_word(tab, "a")
    assert tab.run("return document.querySelector('.stepper input').max") == "149"
    go_to(tab, 0)
    wait_for_step(tab, 0)


def test_the_other_run_follows_to_the_nearest_step_while_linked(tab):
    choose(tab, "other", "hard")
    wait_for_step(tab, 290, pane=1)
    go_to(tab, 0)
    wait_for_step(tab, 110, pane=1)
    wait_for_word(tab, "uno", pane=1)
    go_to(tab, 2)
    wait_for_step(tab, 290, pane=1)
    go_to(tab, 0)
    wait_for_step(tab, 110, pane=1)
    tab.driver.find_element("id", "linked").click()
    go_to(tab, 2)
    wait_for_step(tab, 300)
    wait_for_step(tab, 110, pane=1)


def test_what_is_set_holds_in_both_panes(tab):
    choose(tab, "other", "hard")
    wait_for_word(tab, "later", pane=1)
    first, second = tab.find_all("smooth")
    second.click()
    assert not first.is_selected()


def test_an_image_that_the_other_run_lacks_is_told(tab):
    choose(tab, "image", MARKUP)
    wait_for_word(tab, SCRIPT)
    choose(tab, "other", "hard")
    note = "return document.querySelectorAll('section.pane [data-role=message]')[1].textContent"
    sentence = f"The image {MARKUP} is not in the run hard."
    assert poll(lambda: tab.run(note), sentence) == sentence
    assert not tab.run("return document.querySelectorAll('img[src=x], option img').length")


def test_without_data_the_page_says_what_to_do_and_then_finds_it(browser, tmp_path):
    logs = tmp_path / "logs"
    logs.mkdir()
    frame = "return document.querySelector('iframe[src*=\"name=sat_tf_attention\"]')"
    for port in serve(logs, tmp_path):
        browser.driver.switch_to.default_content()
        browser.open(f"http://127.0.0.1:{port}/#sat_tf_attention")
        browser.driver.switch_to.frame(browser.wait(frame, seconds=30))
        said = browser.wait("return document.querySelector('#message:not(:empty)')?.textContent")
        assert "--log_attention" in said
        # A run that begins now appears with TensorBoard's own reload.
        write_run(logs / "run", [(1, make_record("new.jpg", ["new"], [0]))])
        tags = f"http://127.0.0.1:{port}/data/plugin/sat_tf_attention/tags"
        browser.wait(f"return fetch('{tags}').then((a) => a.json()).then((runs) => runs.run)")
        browser.driver.switch_to.default_content()
        browser.driver.find_element("css selector", "app-header-reload button").click()
        browser.driver.switch_to.frame(browser.wait(frame))
        wait_for_word(browser, "new")
        strange = [one for one in browser.console_errors() if not any(k in one for k in _KNOWN)]
        assert strange == []
