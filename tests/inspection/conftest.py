"""Fixtures shared by the tests of pages: one browser and one TensorBoard per session."""

from browser import browser_fixture  # noqa: F401
from tensorboard_server import server_fixture  # noqa: F401
from viewer_page import no_errors_fixture, show_fixture  # noqa: F401
