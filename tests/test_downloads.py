"""Downloads where there is no network, and where a server does not answer."""

import socket
import threading
import time

import keras
import pytest

from sat_tf import downloads
from sat_tf.config import EncoderConfig
from sat_tf.downloads import downloads_or_user_error, why_unreachable
from sat_tf.errors import UserError
from sat_tf.model import networks
from sat_tf.model.encoder import build_encoder

URL = "https://weights.example/models/tiny_notop.h5"


@pytest.fixture
def direct(monkeypatch, tmp_path):
    """No proxy, no files fetched before: a download goes to its host."""
    monkeypatch.setenv("no_proxy", "*")

    def application(**kwargs):
        keras.utils.get_file("tiny_notop.h5", URL, cache_dir=tmp_path)

    monkeypatch.setattr(networks, "applications", lambda: {"vgg16": application})


def test_without_a_network_the_file_and_the_flag_are_named(direct, monkeypatch):
    def fail(*args, **kwargs):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "create_connection", fail)
    with pytest.raises(UserError) as error:
        build_encoder(EncoderConfig(), 32)
    message = str(error.value)
    assert URL in message
    assert "--encoder_weights=PATH/tiny_notop.h5" in message
    assert "Name or service not known" in message
    assert "\n" not in message


def test_a_host_that_never_answers_does_not_hold_the_user(direct, monkeypatch):
    def connect(*args, **kwargs):
        time.sleep(3)
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", connect)
    monkeypatch.setattr(downloads, "_ANSWER_SECONDS", 0.1)
    start = time.monotonic()
    with pytest.raises(UserError, match=r"no answer from weights\.example"):
        build_encoder(EncoderConfig(), 32)
    assert time.monotonic() - start < 2


def test_what_fails_without_a_download_keeps_its_error():
    with (
        pytest.raises(ValueError, match="of its own"),
        downloads_or_user_error("--encoder_weights"),
    ):
        raise ValueError("of its own")


def test_a_name_that_does_not_exist_is_unreachable_in_seconds():
    start = time.monotonic()
    assert why_unreachable("http://no-such-host.invalid/x.zip", timeout=4)
    assert time.monotonic() - start < 6


def test_a_server_that_never_answers_is_given_up(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with socket.create_server(("127.0.0.1", 0)) as server:
        start = time.monotonic()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        assert why_unreachable(url, timeout=0.5)
        assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    ("status", "reason"),
    [(b"200 OK", ""), (b"405 Method Not Allowed", ""), (b"404 Not Found", "Not Found")],
)
def test_what_a_server_answers(monkeypatch, status, reason):
    monkeypatch.setenv("no_proxy", "*")

    def answer(server):
        connection, _ = server.accept()
        with connection:
            assert connection.recv(4096).startswith(b"HEAD /x.zip ")
            connection.sendall(b"HTTP/1.0 " + status + b"\r\nContent-Length: 9\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=answer, args=(server,))
        thread.start()
        assert why_unreachable(f"http://127.0.0.1:{server.getsockname()[1]}/x.zip") == reason
        thread.join()
