"""A page with the viewer, and records to show in it."""

import base64

import numpy as np
import pytest

from sat_tf.data.images import Thumbnail
from sat_tf.data.objects import WHOLE, Box
from sat_tf.inspection.attention_record import AttentionRecord
from sat_tf.inspection.figures import ATTENDED, FULL, UNATTENDED, upsample_attention
from sat_tf.inspection.report import join_scripts, read_static
from sat_tf.model.generation import AttentionMaps, Caption

HOSTILE = "<script>alert(1)</script><b>"
# Opacity of the overlay over a pixel with no attention, and at full brightness.
DARKEST, LIGHTEST = 1 - UNATTENDED, 1 - ATTENDED


def hot(grid, row, column):
    alpha = np.zeros(grid, np.float32)
    alpha[row, column] = 1
    return alpha


def caption(words, alphas, log_probability=-1.0):
    n = len(words)
    alphas = np.asarray(alphas, np.float32)
    betas = np.linspace(0.25, 0.75, n, dtype=np.float32)
    log_probabilities = np.full(n, log_probability / max(n, 1), np.float32)
    return Caption(
        tuple(words), log_probabilities, log_probability, (AttentionMaps(alphas, betas),)
    )


def make_record(name="an image", grid=(14, 14), size=(60, 90), box=WHOLE, alphas=None, **fields):
    """Return a record of three words: attention at the top left, the lower right, and uniform."""
    rows, columns = grid
    if alphas is None:
        alphas = [
            hot(grid, 0, 0),
            hot(grid, rows - 2, columns - 1),
            np.full(grid, 1 / rows / columns, np.float32),
        ]
    given = {"captions": [caption(["left", "right", "all"], alphas)], **fields}
    pixels = np.full((*size, 3), (90, 120, 150), np.uint8)
    return AttentionRecord(name, Thumbnail(pixels, Box(*box)), **given)


class Page:
    """A page with a viewer."""

    def __init__(self, browser):
        self.browser = browser

    def words(self):
        return self.browser.find_all("word")

    def press(self, keys):
        self.browser.driver.switch_to.active_element.send_keys(keys)

    def hover(self, node, x=0, y=0):
        """Move the mouse to a node, so many pixels right of and below its centre."""
        self.chain().move_to_element_with_offset(node, x, y).perform()

    def leave(self):
        """Move the mouse off the viewer."""
        self.hover(self.browser.find("corner"))

    def chain(self):
        from selenium.webdriver import ActionChains

        return ActionChains(self.browser.driver, duration=0)

    def shown(self):
        """Return the indices of the word that is shown and of the selected one, -1 for none."""
        return [
            self.browser.run(
                f"return [...document.querySelectorAll('.sat-word')].findIndex({test})"
            )
            for test in (
                "(word) => word.classList.contains('sat-shown')",
                "(word) => word.ariaPressed === 'true'",
            )
        ]

    def light(self):
        """Return the brightness of each pixel of the overlay, 0 to 1: [height, width]."""
        encoded, height, width = self.browser.run("""
            const canvas = document.querySelector('.sat-overlay');
            const { height, width } = canvas;
            const { data } = canvas.getContext('2d').getImageData(0, 0, width, height);
            const opacity = data.filter((_, byte) => byte % 4 === 3);
            return [btoa(String.fromCharCode(...opacity)), height, width];""")
        opacity = np.frombuffer(base64.b64decode(encoded), np.uint8).reshape(height, width) / 255
        return (DARKEST - opacity) / (DARKEST - LIGHTEST)

    def box_of(self, role):
        """Return top, left, bottom and right of an element, as fractions of the picture."""
        return self.browser.run(
            """const [of, within] = [arguments[0], '.sat-picture'].map(
                 (name) => document.querySelector(name).getBoundingClientRect());
               const { top, left, height, width } = within;
               return [(of.top - top) / height, (of.left - left) / width,
                 (of.bottom - top) / height, (of.right - left) / width];
            """,
            f".sat-{role}",
        )


@pytest.fixture(name="show", scope="session")
def show_fixture(browser, tmp_path_factory):
    """A function that shows a document in a new viewer, in a page with nothing else."""
    script = join_scripts("attention.js", "stage.js", "viewer.js")
    path = tmp_path_factory.mktemp("page") / "viewer.html"
    path.write_text(
        f"<!doctype html><title>viewer</title><style>{read_static('viewer.css')}</style>"
        "<body><p data-role='corner'>corner</p><div id='host'></div>"
        f"<script type='module'>{script}\n"
        "Object.assign(window, { mount, upsampleAttention, viewer: mount(host) });</script>",
        encoding="utf-8",
    )

    def show(document):
        if browser.driver.current_url != path.as_uri():
            browser.open(path)
        browser.run("viewer.destroy(); viewer = mount(host); viewer.show(arguments[0])", document)
        page = Page(browser)
        page.leave()
        return page

    return show


@pytest.fixture(name="no_errors", autouse=True)
def no_errors_fixture(request):
    """After each test: no errors on the console, no requests that left the machine."""
    yield
    if "browser" in request.fixturenames:
        browser = request.getfixturevalue("browser")
        assert browser.console_errors() == []
        assert browser.external_requests() == []


def check_light(page, grid, box, size, alpha, smooth):
    """Assert that the overlay covers the box, and is as bright there as `blend_attention`."""
    height = round((box[2] - box[0]) * size[0])
    width = round((box[3] - box[1]) * size[1])
    np.testing.assert_allclose(page.box_of("overlay"), box, atol=0.002)
    relative = alpha.size * upsample_attention(np.zeros((height, width)), alpha, smooth)
    light = page.light()
    assert light.shape == relative.shape
    # A byte for the range from darkest to lightest: 2.3 / 255.
    np.testing.assert_allclose(light, np.minimum(1, relative / FULL), atol=4 / 255)
