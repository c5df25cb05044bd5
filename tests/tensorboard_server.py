"""A TensorBoard process over a log directory with known attention."""

import contextlib
import dataclasses
import json
import math
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

import numpy as np
import pytest
from attention_logs import make_record, write_run, write_value

from sat_tf.inspection import FORMAT_VERSION
from sat_tf.inspection.attention_record import AttentionRecord

# Images: in both runs, with very many steps, and with texts of HTML.
SHARED, MANY, MARKUP = "shared.jpg", "many.jpg", "<img src=x onerror=alert(1)>"
# An image whose document has numbers that JSON has, and browsers have not.
ENDLESS = "endless.jpg"
ENDLESS_DOCUMENT = f'{{"format_version": {FORMAT_VERSION}, "rows": [1e999, {10**400}, NaN, 1.5]}}'
SCRIPT = "<script>alert(1)</script>"
# Step -> the cells that two words attend to; the grid has 4 x 4.
SOFT = {100: (5, 6), 200: (12, 3), 300: (0, 15)}
HARD = {110: (10, 9), 290: (3, 12)}
LAST = 290
LARGE = 230  # images of the run "large"
# Values by image of the run "broken", and shapes that they do not have.
BROKEN = {
    "text": ("{ half", None),
    "deep": ("[" * 100_000, None),
    "number": (3.0, None),
    "shape": (np.ones(3, np.float32), (2, 2)),
    "version": ('{"format_version": 999}', None),
}
_SECONDS = 60


@dataclasses.dataclass(frozen=True)
class Server:
    """A running TensorBoard.

    Attributes:
      port: of its address.
      logs: its log directory.
      soft: records of the image SHARED in run "soft", by step.
    """

    port: int
    logs: Path
    soft: dict[int, AttentionRecord]

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def write_logs(logs: Path) -> dict[int, AttentionRecord]:
    """Write four runs; return `Server.soft`."""
    soft = {
        step: make_record(SHARED, ["one", "two"], cells, ["a reference"])
        for step, cells in SOFT.items()
    }
    hard = {step: make_record(SHARED, ["uno", "due"], cells) for step, cells in HARD.items()}
    small = make_record(MANY, ["a"], [0])
    markup = make_record(MARKUP, [SCRIPT, "&amp;"], [0, 1], [SCRIPT])
    endless = dataclasses.replace(markup.captions[0], score=math.nan)
    markup = dataclasses.replace(markup, captions=[endless])
    many = [(step, small) for step in range(0, 1500, 10)]
    write_run(logs / "soft", [*many, *soft.items(), (1, markup)])
    # The last step once more, as of a resumed run; in the same file, for TensorBoard reads files in
    # the order of their names, which within a second is not the order of their creation.
    again = (LAST, make_record(SHARED, ["later", "due"], HARD[LAST]))
    write_run(logs / "hard", [*hard.items(), again])
    for tag, (value, shape) in BROKEN.items():
        write_value(logs / "broken", tag, value, 1, shape)
    write_value(logs / "soft", ENDLESS, ENDLESS_DOCUMENT, 1)
    large = [make_record(f"photo {number:03}.jpg", ["a"], [0]) for number in range(LARGE)]
    write_run(logs / "large", [(1, one) for one in large])
    return soft


def serve(logs: Path, folder: Path) -> Iterator[int]:
    """Start TensorBoard; yield its port."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(logs)]
    options = ["--host", "127.0.0.1", "--port", "0", "--reload_interval", "1"]
    output = folder / "tensorboard.txt"
    with output.open("w") as sink:
        process = subprocess.Popen([*command, *options], stdout=sink, stderr=sink)
        try:
            yield _port(process, output)
        finally:
            process.terminate()
            process.wait(_SECONDS)


def _port(process: subprocess.Popen, output: Path) -> int:
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if found := re.search(r"http://127\.0\.0\.1:(\d+)/", output.read_text()):
            return int(found[1])
        time.sleep(0.05)
    raise AssertionError(f"TensorBoard did not start: {output.read_text()}")


@pytest.fixture(name="server", scope="session")
def server_fixture(tmp_path_factory) -> Iterator[Server]:
    """TensorBoard over the logs of `write_logs`, one for the whole session."""
    logs = tmp_path_factory.mktemp("logs")
    soft = write_logs(logs)
    for port in serve(logs, tmp_path_factory.mktemp("output")):
        server = Server(port, logs, soft)
        _await_data(server)
        yield server


def _await_data(server: Server) -> None:
    """Wait for the data that was written last: TensorBoard answers before it has read the logs."""
    data = f"{server.address}/data/plugin/sat_tf_attention"
    parameters = urlencode({"run": "soft", "tag": MARKUP})
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(HTTPError):
            runs = json.load(urlopen(f"{data}/runs"))
            broken = json.load(urlopen(f"{data}/images?run=broken"))
            large = json.load(urlopen(f"{data}/images?run=large"))
            soft = json.load(urlopen(f"{data}/images?run=soft"))
            json.load(urlopen(f"{data}/steps?{parameters}"))
            counts = [one["count"] for one in (broken, large, soft)]
            if len(runs) == 4 and counts == [len(BROKEN), LARGE, 4]:
                return
        time.sleep(0.1)
    raise AssertionError("TensorBoard did not read its log directory")
