"""A real browser for tests of pages: headless Chromium, as it comes with Debian."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

REQUIRE = "SAT_TF_REQUIRE_BROWSER"
CHROMIUM, DRIVER = "chromium", "chromedriver"
WIDTH, HEIGHT = 1280, 900
_LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")
_OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--hide-scrollbars",
    "--no-proxy-server",
    f"--window-size={WIDTH},{HEIGHT}",
)


class Browser:
    """Chromium, what its pages complained of and what they asked for.

    driver: Selenium's.
    """

    def __init__(self, driver: Any):
        self.driver = driver

    def open(self, page: str | os.PathLike[str]) -> None:
        """Opens a file or an address, and forgets the logs of earlier pages."""
        address = str(page) if "://" in str(page) else Path(page).resolve().as_uri()
        self.driver.get("about:blank")
        self.complaints(), self.requests()
        self.driver.get(address)

    def run(self, script: str, *arguments: Any) -> Any:
        """The value that JavaScript returns; `arguments` there has the arguments."""
        return self.driver.execute_script(script, *arguments)

    def find(self, role: str, within: Any = None) -> Any:
        """The first element with that `data-role`."""
        return self.find_all(role, within)[0]

    def find_all(self, role: str, within: Any = None) -> list[Any]:
        """All elements with that `data-role`."""
        return (within or self.driver).find_elements("css selector", f'[data-role="{role}"]')

    def wait(self, script: str, *arguments: Any, seconds: float = 10) -> Any:
        """The value of a script once it is true."""
        from selenium.webdriver.support.wait import WebDriverWait

        return WebDriverWait(self.driver, seconds, poll_frequency=0.05).until(
            lambda _: self.run(script, *arguments), f"never true: {script}"
        )

    def complaints(self) -> list[str]:
        """Errors and warnings on the console since the last call."""
        entries = self.driver.get_log("browser")
        return [entry["message"] for entry in entries if entry["level"] in ("SEVERE", "WARNING")]

    def requests(self) -> list[str]:
        """Addresses of everything that was asked for since the last call."""
        events = (json.loads(one["message"]) for one in self.driver.get_log("performance"))
        asked = []
        for event in (one["message"] for one in events):
            if event["method"] == "Network.requestWillBeSent":
                asked.append(event["params"]["request"]["url"])
            elif event["method"] in ("Network.webSocketCreated", "Network.webTransportCreated"):
                asked.append(event["params"]["url"])
        return asked

    def requests_abroad(self) -> list[str]:
        """Those of the requests that would leave the machine."""
        return [address for address in self.requests() if not is_local(address)]


def is_local(address: str) -> bool:
    """Whether what is asked for there lies on this machine."""
    parts = urlsplit(address)
    return parts.scheme in ("file", "data", "blob", "about") or parts.hostname in _LOCAL_HOSTS


def missing() -> str:
    """What of the browser is not installed; empty if nothing."""
    absent = [name for name in (CHROMIUM, DRIVER) if shutil.which(name) is None]
    try:
        import selenium  # noqa: F401
    except ImportError:
        absent.append("Python's selenium")
    return ", ".join(absent)


def start(profile: os.PathLike[str]) -> Any:
    """Selenium's driver of a new Chromium with its profile in that folder."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which(CHROMIUM)
    for option in (*_OPTIONS, f"--user-data-dir={profile}"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    # Given the driver's path, Selenium looks for none and downloads none.
    return webdriver.Chrome(options, webdriver.ChromeService(shutil.which(DRIVER)))


@pytest.fixture(name="browser", scope="module")
def browser_fixture(tmp_path_factory) -> Iterator[Browser]:
    """A browser; skips, or with SAT_TF_REQUIRE_BROWSER set fails, where there is none."""
    if absent := missing():
        reason = f"no browser to test in: {absent} not found"
        if os.environ.get(REQUIRE):
            pytest.fail(f"{reason}, and {REQUIRE} is set")
        pytest.skip(reason)
    driver = start(tmp_path_factory.mktemp("chromium"))
    try:
        yield Browser(driver)
    finally:
        driver.quit()
