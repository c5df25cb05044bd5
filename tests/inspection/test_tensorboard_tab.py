"""The tab Attention in a browser, over a TensorBoard with known attention.

`viewer_page.no_errors_fixture` checks after each test that there are no errors on the console and
no requests that leave the machine.
"""

import time

import pytest
from attention_logs import BOX, GRID, make_record, write_run
from tensorboard_server import HARD, MANY, MARKUP, SCRIPT, SHARED, SOFT, serve

# Messages of TensorBoard itself, and of the malformed document of the first run, which is rejected.
_KNOWN = ("Multiple instances of Three.js", "software WebGL", "422 (UNPROCESSABLE ENTITY)")
WORDS_SHOWN = "return document.querySelectorAll('[data-role=word]').length > 0"


def unknown_errors(browser):
    return [line for line in browser.console_errors() if not any(k in line for k in _KNOWN)]


@pytest.fixture
def tab(browser, server):
    """The tab's page, reloaded, showing the image that two runs have, in run "soft"."""
    from selenium.webdriver import ActionChains

    browser.driver.switch_to.default_content()
    if not browser.driver.current_url.startswith(server.address):
        browser.open(f"{server.address}/#sat_tf_attention")
        browser.wait("return document.querySelector('iframe') !== null", seconds=30)
        browser.driver.switch_to.frame(browser.driver.find_element("css selector", "iframe"))
    else:  # only the page of the plugin, which takes a tenth of the time
        browser.driver.switch_to.frame(browser.driver.find_element("css selector", "iframe"))
        browser.run("window.isOld = true; location.reload()")
        browser.wait("return !window.isOld && document.readyState === 'complete'", seconds=30)
    browser.wait("return document.querySelector('#run option') !== null", seconds=30)
    browser.wait("return document.querySelector('[data-role=message]') !== null")
    # Off the words: one under the mouse is shown instead of the selected one.
    run = browser.driver.find_element("id", "run")
    ActionChains(browser.driver, duration=0).move_to_element(run).perform()
    choose(browser, "run", "soft")
    choose(browser, "image", SHARED)
    wait_for_word(browser, "one")
    time.sleep(0.3)  # a second request for the document may be pending
    assert unknown_errors(browser) == []
    return browser


def choose(browser, name, value):
    select(browser, name, value)
    browser.wait(WORDS_SHOWN)


def select(browser, name, value):
    browser.run(
        "const select = document.getElementById(arguments[0]); select.value = arguments[1];"
        "select.dispatchEvent(new Event('change'));",
        name,
        value,
    )


def brightest(browser, pane=0):
    """Return the cell whose centre is brightest in the overlay, counted row by row."""
    return browser.run(
        """
        const canvas = document.querySelectorAll('[data-role=overlay]')[arguments[0]];
        const [rows, columns] = arguments[1];
        const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
        const light = (cell) => {
          const y = Math.floor((Math.floor(cell / columns) + 0.5) * canvas.height / rows);
          const x = Math.floor((cell % columns + 0.5) * canvas.width / columns);
          const at = 4 * (y * canvas.width + x);
          // White brightens, black darkens, each by its opacity.
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


def wait_for_step(browser, step, pane=0):
    browser.wait(
        "return document.querySelectorAll('output.step')[arguments[1]].textContent"
        ".startsWith(`step ${arguments[0]} `)",
        step,
        pane,
    )


def go_to(browser, position):
    """Move the slider of the first pane to a position."""
    browser.run(
        "const slider = document.querySelector('.stepper input[type=range]');"
        "slider.value = arguments[0]; slider.dispatchEvent(new Event('input'));",
        position,
    )


def poll(read, expected, tries=40):
    """Return the value of `read` once it is as expected, or the last one."""
    for _ in range(tries):
        if read() == expected:
            break
        time.sleep(0.05)
    return read()


def test_overlay_follows_the_selected_word(tab):
    from selenium.webdriver import Keys

    first, second = tab.find_all("word")
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
    box = [
        (overlay[0] - picture[0]) / height,
        (overlay[1] - picture[1]) / width,
        (overlay[2] - picture[0]) / height,
        (overlay[3] - picture[1]) / width,
    ]
    assert box == pytest.approx(BOX, abs=0.01)
    first.click()
    first.send_keys(Keys.ARROW_RIGHT)
    assert poll(lambda: brightest(tab), SOFT[300][1]) == SOFT[300][1]


def test_slider_selects_the_step(tab):
    tab.find_all("word")[1].click()
    for position, (step, cells) in enumerate(sorted(SOFT.items())):
        go_to(tab, position)
        wait_for_step(tab, step)
        assert poll(lambda cells=cells: brightest(tab), cells[1]) == cells[1]
    choose(tab, "image", MANY)  # every step can be reached
    wait_for_word(tab, "a")
    assert tab.run("return document.querySelector('.stepper input').max") == "149"
    go_to(tab, 0)
    wait_for_step(tab, 0)


def test_keys_move_through_steps_and_words(tab):
    from selenium.webdriver import Keys

    body = tab.driver.find_element("css selector", "body")
    for key, step in ((",", 200), (",", 100), (",", 100), (".", 200), (".", 300), (".", 300)):
        body.send_keys(key)
        wait_for_step(tab, step)
    # The document comes after the step's label, and its words replace those that have the focus.
    assert poll(lambda: brightest(tab), SOFT[300][0]) == SOFT[300][0]
    body.send_keys(Keys.ARROW_RIGHT)
    assert tab.driver.switch_to.active_element.text.startswith("one")
    tab.driver.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    assert poll(lambda: brightest(tab), SOFT[300][1]) == SOFT[300][1]


def test_two_runs_side_by_side_share_settings(tab):
    choose(tab, "other", "hard")
    wait_for_word(tab, "later", pane=1)
    words = [word.text for word in tab.find_all("text") if word.is_displayed()]
    assert words == ["one", "two", "later", "due"]
    tab.find_all("word")[3].click()
    assert poll(lambda: brightest(tab, 1), HARD[290][1]) == HARD[290][1]
    first, second = tab.find_all("smooth")
    second.click()
    assert not first.is_selected()


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


def test_markup_in_captions_and_names_stays_text(tab):
    choose(tab, "image", MARKUP)
    wait_for_word(tab, SCRIPT)
    assert not tab.run("return document.querySelectorAll('section script, section b').length")
    choose(tab, "other", "hard")  # which has no such image
    note = "return document.querySelectorAll('section.pane [data-role=message]')[1].textContent"
    sentence = f"The image {MARKUP} is not in the run hard."
    assert poll(lambda: tab.run(note), sentence) == sentence
    assert not tab.run("return document.querySelectorAll('img[src=x], option img').length")


def test_malformed_documents_give_a_message(browser, tab):
    messages = {
        "deep": "This step's document is malformed.",
        "number": "This step holds no document.",
        "shape": "The log of this image is malformed.",
        "text": "This step's document is malformed.",
        "version": "This step's document is malformed, or of another version of sat_tf.",
    }
    select(browser, "run", "broken")
    for image, message in messages.items():
        tab.wait("return document.getElementById('image').options[0].value === 'deep'")
        select(browser, "image", image)
        tab.wait(
            "return document.querySelector('[data-role=message]').textContent === arguments[0]",
            message,
        )
    time.sleep(0.5)
    assert unknown_errors(tab) == []  # Chromium logs the rejections, which are known


def test_many_images_are_listed_in_pages_and_searched(tab):
    def shown():
        selected = "const select = document.getElementById('image'); return [select.value, "
        return tab.run(selected + "select.options.length, document.getElementById('place').value]")

    def press(title):
        tab.driver.find_element("css selector", f"button[title='{title}']").click()

    def search(text):
        tab.run(
            "const field = document.getElementById('search'); field.value = arguments[0];"
            "field.dispatchEvent(new Event('input'));",
            text,
        )

    find = tab.driver.find_element
    assert not find("id", "search").is_displayed()  # few images
    choose(tab, "run", "large")
    expected = ["photo 000.jpg", 100, "1 of 230"]
    assert poll(shown, expected) == expected
    for title, expected in (
        ("previous image", ["photo 229.jpg", 30, "230 of 230"]),
        ("next image", ["photo 000.jpg", 100, "1 of 230"]),
        ("100 images on", ["photo 100.jpg", 100, "101 of 230"]),
        ("previous image", ["photo 099.jpg", 100, "100 of 230"]),
        ("100 images back", ["photo 229.jpg", 30, "230 of 230"]),
    ):
        press(title)
        assert poll(shown, expected) == expected, title
    search("o 22")
    expected = ["photo 229.jpg", 10, "10 of 10"]  # the selection stays
    assert poll(shown, expected) == expected
    press("next image")
    assert poll(shown, ["photo 220.jpg", 10, "1 of 10"])[0] == "photo 220.jpg"
    search("zebra")
    message = "return document.getElementById('message').textContent"
    assert poll(lambda: tab.run(message), "No") == "No name of an image has zebra in it."
    search("")
    wait_for_word(tab, "a")
    assert poll(shown, ["photo 000.jpg", 100, "1 of 230"])[1:] == [100, "1 of 230"]
    find("id", "search").send_keys(",.")  # not the keys of steps
    assert find("id", "search").get_attribute("value") == ",."


def test_page_without_data_has_instructions_and_finds_new_runs(browser, tmp_path):
    logs = tmp_path / "logs"
    logs.mkdir()
    frame = "return document.querySelector('iframe[src*=\"name=sat_tf_attention\"]')"
    for port in serve(logs, tmp_path):
        browser.driver.switch_to.default_content()
        browser.open(f"http://127.0.0.1:{port}/#sat_tf_attention")
        browser.driver.switch_to.frame(browser.wait(frame, seconds=30))
        message = browser.wait("return document.querySelector('#message:not(:empty)')?.textContent")
        assert "--log_attention" in message
        # A new run appears when TensorBoard reloads.
        write_run(logs / "run", [(1, make_record("new.jpg", ["new"], [0]))])
        runs = f"http://127.0.0.1:{port}/data/plugin/sat_tf_attention/runs"
        browser.wait(f"return fetch('{runs}').then((a) => a.json()).then((runs) => runs[0])")
        browser.driver.switch_to.default_content()
        browser.driver.find_element("css selector", "app-header-reload button").click()
        browser.driver.switch_to.frame(browser.wait(frame))
        wait_for_word(browser, "new")
        assert unknown_errors(browser) == []
