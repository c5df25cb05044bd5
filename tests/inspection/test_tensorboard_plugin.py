"""The back end of the tab Attention: HTTP requests to a TensorBoard with known attention."""

import http.client
import json
import subprocess
import sys
from urllib.parse import quote, urlencode

import pytest
from tensorboard import errors
from tensorboard.plugins import base_plugin
from tensorboard_server import ENDLESS, LAST, MANY, MARKUP, SHARED, SOFT
from werkzeug.test import Client

PREFIX = "/data/plugin/sat_tf_attention"


class Answer:
    def __init__(self, response: http.client.HTTPResponse):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def json(self):
        return json.loads(self.body)


@pytest.fixture(name="get")
def get_fixture(server):
    """A function that requests a path as it is: no client normalises it."""

    def get(path: str, **parameters) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        try:
            query = f"?{urlencode(parameters)}" if parameters else ""
            connection.request("GET", path + query)
            return Answer(connection.getresponse())
        finally:
            connection.close()

    return get


def test_tensorboard_finds_the_plugin_by_its_entry_point(get):
    plugin = get("/data/plugins_listing").json["sat_tf_attention"]
    assert plugin["enabled"]
    assert plugin["tab_name"] == "Attention"
    assert plugin["loading_mechanism"]["module_path"] == f"{PREFIX}/index.js"


def test_runs_and_their_images_are_listed(get):
    assert get(f"{PREFIX}/runs").json == ["broken", "hard", "large", "soft"]
    assert get(f"{PREFIX}/images", run="broken").json == {
        "images": ["deep", "number", "shape", "text", "version"],
        "start": 0,
        "count": 5,
    }
    assert get(f"{PREFIX}/images", run="hard").json["images"] == [SHARED]


@pytest.mark.parametrize(
    ("parameters", "start", "first", "listed", "count"),
    [
        ({}, 0, "photo 000.jpg", 100, 230),
        ({"start": 100}, 100, "photo 100.jpg", 100, 230),
        ({"start": 215}, 200, "photo 200.jpg", 30, 230),
        ({"start": -5}, 0, "photo 000.jpg", 100, 230),
        ({"start": 10**9}, 10**9, None, 0, 230),
        ({"image": "photo 123.jpg"}, 100, "photo 100.jpg", 100, 230),
        ({"image": "absent"}, 0, "photo 000.jpg", 100, 230),
        ({"search": "O 12"}, 0, "photo 120.jpg", 10, 10),
        ({"search": "O 12", "image": "photo 007.jpg"}, 0, "photo 120.jpg", 10, 10),
        ({"search": "none"}, 0, None, 0, 0),
    ],
)
def test_images_are_listed_in_pages(get, parameters, start, first, listed, count):
    found = get(f"{PREFIX}/images", run="large", **parameters).json
    assert (found["start"], len(found["images"]), found["count"]) == (start, listed, count)
    assert found["images"][:1] == ([first] if first else [])
    assert found["images"] == sorted(found["images"])


def test_numbers_that_browsers_do_not_have_are_null(get):
    answer = get(f"{PREFIX}/record", run="soft", tag=ENDLESS, step=1)
    assert answer.json["rows"] == [None, None, None, 1.5]


def test_steps_are_ascending(get):
    assert get(f"{PREFIX}/steps", run="soft", tag=SHARED).json == list(SOFT)


def test_all_steps_are_kept(get):
    # TensorBoard's data server would keep 100.
    assert get(f"{PREFIX}/steps", run="soft", tag=MANY).json == list(range(0, 1500, 10))


def test_record_returns_the_document_of_the_step(get, server):
    for step, one in server.soft.items():
        answer = get(f"{PREFIX}/record", run="soft", tag=SHARED, step=step)
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.json == one.document()


def test_the_later_of_two_writes_of_a_step_counts(get):
    words = get(f"{PREFIX}/record", run="hard", tag=SHARED, step=LAST).json["captions"][0]
    assert words["words"][0]["word"] == "later"


def test_nan_is_null(get):
    document = get(f"{PREFIX}/record", run="soft", tag=MARKUP, step=1).json
    assert document["captions"][0]["score"] is None


@pytest.mark.parametrize(
    ("name", "content_type"),
    [("index.js", "text/javascript"), ("viewer.js", "text/javascript"), ("plugin.css", "text/css")],
)
def test_static_files(get, name, content_type):
    answer = get(f"{PREFIX}/{name}")
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith(content_type)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("route", "parameters", "status", "named"),
    [
        ("steps", {}, 400, "'run'"),
        ("steps", {"run": "soft"}, 400, "'tag'"),
        ("steps", {"run": "none", "tag": SHARED}, 404, "'none'"),
        ("steps", {"run": "../..", "tag": "passwd"}, 404, "'../..'"),
        ("steps", {"run": b"\xff", "tag": b"\xff\x00"}, 404, "no attention"),
        ("images", {}, 400, "'run'"),
        ("images", {"run": "none"}, 404, "'none'"),
        ("images", {"run": "soft", "start": "x"}, 400, "'x'"),
        ("steps", {"run": "broken", "tag": "shape"}, 422, "malformed"),
        ("record", {"run": "broken", "tag": "shape", "step": 1}, 422, "malformed"),
        ("record", {"run": "soft", "tag": SHARED}, 400, "'step'"),
        ("record", {"run": "soft", "tag": SHARED, "step": "1.5"}, 400, "'1.5'"),
        ("record", {"run": "soft", "tag": SHARED, "step": "9" * 5000}, 400, "whole number"),
        ("record", {"run": "soft", "tag": SHARED, "step": -1}, 404, "step -1"),
        ("record", {"run": "soft", "tag": "none", "step": 1}, 404, "'none'"),
        ("record", {"run": "broken", "tag": "text", "step": 1}, 422, "malformed"),
        ("record", {"run": "broken", "tag": "deep", "step": 1}, 422, "malformed"),
        ("record", {"run": "broken", "tag": "number", "step": 1}, 422, "no document"),
        ("record", {"run": "broken", "tag": "version", "step": 1}, 422, "version"),
    ],
)
def test_errors_are_one_sentence(get, route, parameters, status, named):
    answer = get(f"{PREFIX}/{route}", **parameters)
    assert answer.status == status
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    (sentence,) = answer.json.values()
    assert answer.json.keys() == {"error"}
    assert named.lower() in sentence.lower()
    assert sentence.endswith(".") and len(sentence) < 150
    assert "Traceback" not in sentence


ABOVE = "../" * 12


@pytest.mark.parametrize(
    "path",
    [
        f"{PREFIX}/{ABOVE}etc/passwd",
        f"{PREFIX}/{quote(ABOVE, safe='')}etc/passwd",
        f"{PREFIX}/..%2f..%2f__init__.py",
        f"{PREFIX}/%2e%2e/tensorboard_plugin.py",
        f"{PREFIX}/../tensorboard_plugin.py",
        f"{PREFIX}/static/../../tensorboard_plugin.py",
        f"{PREFIX}/index.js/../../tensorboard_plugin.py",
        f"{PREFIX}/index.js%00.css",
        f"{PREFIX}//etc/passwd",
        f"{PREFIX}/..%5c..%5cetc%5cpasswd",
        f"{PREFIX}/record?run=../../../../etc&tag=passwd&step=0",
        f"{PREFIX}/steps?run=/etc&tag=passwd",
        f"{PREFIX}/record?run=soft&tag=../../../etc/passwd&step=0",
    ],
)
def test_no_other_file_can_be_read(get, path):
    answer = get(path)
    assert answer.status >= 400
    assert b"root:" not in answer.body
    assert b"Back end of TensorBoard" not in answer.body


def test_the_plugin_imports_no_tensorflow():
    code = "import sat_tf.inspection.tensorboard_plugin, sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    heavy = {"tensorflow", "keras", "matplotlib", "PIL", "sat_tf.model.generation"}
    assert heavy & set(done.stdout.split()) == set()


@pytest.mark.filterwarnings("ignore:html5lib's sanitizer is deprecated:DeprecationWarning")
def test_errors_of_the_data_provider_are_one_sentence():
    # Imported inside the test, so that the filter applies to a warning of TensorBoard's imports.
    from sat_tf.inspection.tensorboard_plugin import AttentionPlugin

    class Provider:
        def list_tensors(self, *args, **kwargs):
            raise errors.PermissionDeniedError("Not yours.")

    context = base_plugin.TBContext(data_provider=Provider())
    answer = Client(AttentionPlugin(context).get_plugin_apps()["/runs"]).get("/")
    assert answer.status_code == 403
    assert answer.json["error"].endswith("Not yours.")
