"""Headless Chromium, as packaged by Debian, for tests of pages."""

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
    """Chromium, with the console messages and the requests of its pages.

    Attributes:
      driver: Selenium's.
    """

    def __init__(self, driver: Any):
        self.driver = driver

    def open(self, page: str | os.PathLike[str]) -> None:
        """Open a file or an address, and discard the logs of earlier pages."""
        address = str(page) if "://" in str(page) else Path(page).resolve().as_uri()
        self.driver.get("about:blank")
        self.console_errors(), self.requests()
        self.driver.get(address)

    def run(self, script: str, *arguments: Any) -> Any:
        """Return the value of a script, in which `arguments` holds the arguments."""
        return self.driver.execute_script(script, *arguments)

    def find(self, role: str, within: Any = None) -> Any:
        """Return the first element with this `data-role`."""
        return self.find_all(role, within)[0]

    def find_all(self, role: str, within: Any = None) -> list[Any]:
        """Return all elements with this `data-role`."""
        return (within or self.driver).find_elements("css selector", f'[data-role="{role}"]')

    def wait(self, script: str, *arguments: Any, seconds: float = 10) -> Any:
        """Return the value of a script as soon as it is true."""
        from selenium.webdriver.support.wait import WebDriverWait

        return WebDriverWait(self.driver, seconds, poll_frequency=0.05).until(
            lambda _: self.run(script, *arguments), f"never true: {script}"
        )

    def console_errors(self) -> list[str]:
        """Return errors and warnings on the console since the last call."""
        entries = self.driver.get_log("browser")
        return [entry["message"] for entry in entries if entry["level"] in ("SEVERE", "WARNING")]

    def requests(self) -> list[str]:
        """Return the addresses of all requests since the last call."""
        events = (json.loads(one["message"]) for one in self.driver.get_log("performance"))
        addresses = []
        for event in (one["message"] for one in events):
            if event["method"] == "Network.requestWillBeSent":
                addresses.append(event["params"]["request"]["url"])
            elif event["method"] in ("Network.webSocketCreated", "Network.webTransportCreated"):
                addresses.append(event["params"]["url"])
        return addresses

    def external_requests(self) -> list[str]:
        """Return the requests that would leave the machine."""
        return [address for address in self.requests() if not is_local(address)]


def is_local(address: str) -> bool:
    """Return whether an address is on this machine."""
    parts = urlsplit(address)
    return parts.scheme in ("file", "data", "blob", "about") or parts.hostname in _LOCAL_HOSTS


def missing() -> str:
    """Return what of the browser is not installed; empty if nothing."""
    absent = [name for name in (CHROMIUM, DRIVER) if shutil.which(name) is None]
    try:
        import selenium  # noqa: F401
    except ImportError:
        absent.append("Python's selenium")
    return ", ".join(absent)


def start(profile: os.PathLike[str]) -> Any:
    """Start Chromium with its profile in this folder; return Selenium's driver."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which(CHROMIUM)
    for option in (*_OPTIONS, f"--user-data-dir={profile}"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    # With the driver's path given, Selenium downloads none.
    return webdriver.Chrome(options, webdriver.ChromeService(shutil.which(DRIVER)))


@pytest.fixture(name="browser", scope="session")
def browser_fixture(tmp_path_factory) -> Iterator[Browser]:
    """The session's browser; without one, skip, or fail if SAT_TF_REQUIRE_BROWSER is set."""
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
