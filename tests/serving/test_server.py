"""Predictions by a server over REST and over gRPC: addresses, checks of answers, retries, errors."""

import contextlib
import re
import threading

import numpy as np
import pytest
import requests
from helpers import free_ports, refused
from serving.model_server import Refusal, serve_grpc, serve_rest

from keras_crosscoop.errors import InputError
from keras_crosscoop.evaluation import server
from keras_crosscoop.evaluation.server import connect

IMAGE = np.random.default_rng(0).integers(0, 256, (20, 24, 3), np.uint8)
SHAPE = (1, 20, 24)
CONFIDENCE = {"confidence": np.zeros(SHAPE)}
UNAVAILABLE = Refusal("UNAVAILABLE", "the queue is full")


def predict(url, image=IMAGE, *, model="a street-1", classes=3, **options):
    with connect(url, model, classes, **options) as predictor:
        return predictor(image)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://localhost:8501", "http://localhost:8501/v1/models/run%201"),
        ("https://models.example/tf/ ", "https://models.example/tf/v1/models/run%201"),
        ("http://h:1/v1/models", "http://h:1/v1/models/run%201"),
        ("http://h:1/v1/models/cars:predict", "http://h:1/v1/models/cars"),
        ("http://[::1]:8501/tf/v1/models/cars/versions/3/", "http://[::1]:8501/tf/v1/models/cars/versions/3"),
        *((" grpc://h:81/ ", "h:81"), ("grpc://[::1]/cars", "[::1]:8500"), ("grpc://me:secret@h/cars/7", "h:8500")),
    ],
)
def test_addresses(monkeypatch, url, address):
    def refuse(*arguments, **options):
        raise requests.ConnectionError(f"at {arguments[-1]}")

    monkeypatch.setattr(requests.Session, "post", refuse)
    monkeypatch.setattr(server.grpc, "insecure_channel", refuse)
    with pytest.raises((requests.ConnectionError, InputError), match=rf"at {re.escape(address)}(:predict|$)"):
        predict(url, model="run 1")


@pytest.mark.parametrize(
    "url",
    [
        *("", "localhost:8501", "http://", "ftp://h", "http://h:port", "http://h:99999", "http://[::1"),
        *("http://h?a=1", "http://h#a", "grpc://h/a/b", "grpc://h/a/1/2", "ftp://me:secret@h"),
    ],
)
def test_malformed_addresses(url):
    message = refused(predict, url)
    assert message.startswith("A server's address must be http://HOST:8501 or ")
    assert message.endswith(f"Received: {url.replace('me:secret@', '')}")


def test_grpc_needs_the_extra_and_rest_does_not(monkeypatch, rest):
    monkeypatch.setattr(server, "grpc", None)
    assert 'pip install "keras-crosscoop[serving]"' in refused(predict, "grpc://h")
    assert predict(rest).ids.shape == (20, 24)


@pytest.mark.parametrize(("protocol", "path"), [("rest", "/prefix/v1/models/a%20street-1"), ("grpc", "/a%20street-1")])
def test_the_address_names_the_model_and_its_version(request, model, protocol, path):
    url, separator = request.getfixturevalue(protocol) + path, "/versions/" if protocol == "rest" else "/"
    for existing in (url, f"{url}{separator}1"):
        assert predict(existing, model="other").ids.shape == (20, 24)
    message = refused(predict, f"{url}{separator}7")
    assert "Servable not found for request: Specific(a street-1, 7)" in message
    assert "If the model has another name than the run, add /v1/models/NAME" in message
    assert message.endswith(f"Received: {url}{separator}7")
    assert len(model.requests) == 2 + 2 + 1


def test_another_number_of_classes(url, model):
    assert "probabilities of shape (1, 1, 1, 3) for a run of 4 classes" in refused(predict, url, classes=4)
    assert len(model.requests) == 1


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Refusal("INVALID_ARGUMENT", "it \n broke" + 2000 * "x"), "it"),
        ({"classes": np.zeros((1, 20, 25), int), **CONFIDENCE}, "classes of shape (1, 20, 25) for a run of 3 classes"),
        *(({"classes": np.full(SHAPE, value), **CONFIDENCE}, "classes of shape (1, 20, 24)") for value in (-1, 0.5, 3)),
        (CONFIDENCE, ""),
        ({"probabilities": np.zeros((*SHAPE, 4))}, "probabilities of shape (1, 20, 24, 4) for a run of 3 classes"),
    ],
)
def test_errors_take_one_line(url, model, fault, reason):
    model.faults.extend([None, fault])
    message = refused(predict, url, probabilities=isinstance(fault, dict) and "probabilities" in fault)
    assert message.startswith("The prediction by the server failed (")
    assert reason in message
    assert message.endswith(f"Received: {url}")
    assert len(message) < 700
    assert len(model.requests) == 2


def test_nan_is_refused_before_the_first_image(url, model):
    model.faults.append({"probabilities": np.full((1, 1, 1, 3), np.nan)})
    assert "networks output NaN" in refused(predict, url)
    assert len(model.requests) == 1


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        *(("OK", body, "") for body in ("hello", "[]", "{}", '{"predictions": null}')),
        ("MOVED", "", "301 Moved Permanently /elsewhere)"),
    ],
)
def test_answers_of_other_programs(model, rest, status, body, reason):
    """Redirections are not followed."""
    model.faults.append(Refusal(status, body))
    assert f"The prediction by the server failed ({reason}" in refused(predict, rest)
    assert len(model.requests) == 1


def test_requests_over_the_time_limit_are_not_retried(url, model, monkeypatch):
    monkeypatch.setattr(server, "TIMEOUT", 0.2)
    released = threading.Event()
    model.faults.append(lambda: released.wait(10) and {})
    assert "failed (" in refused(predict, url)
    released.set()
    assert len(model.requests) == 1


@pytest.mark.parametrize("size", [(1200, 1200), (640, 640)])
def test_large_messages_over_grpc(grpc, size):
    """By default gRPC allows 4 MiB: the larger image and the probabilities of the smaller one exceed it."""
    assert predict(grpc, np.zeros((*size, 3), np.uint8), probabilities=size == (640, 640)).ids.shape == size


@pytest.mark.usefixtures("quick_retries")
def test_unavailable_servers_are_asked_again(url, model):
    """Also with a request over 256 KiB, gRPC's own limit for retries."""
    image = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    model.faults.extend([UNAVAILABLE, None, *[UNAVAILABLE] * 3])
    ids = predict(url, image).ids
    assert len(model.requests) == 2 + 4
    np.testing.assert_array_equal(predict(url, image).ids, ids)


@pytest.mark.usefixtures("quick_retries")
def test_broken_connections_are_retried(model, rest):
    model.faults.extend([ConnectionResetError()] * 3)
    assert predict(rest).ids.shape == (20, 24)
    model.faults.extend([ConnectionResetError()] * 4)
    assert "Connection reset by peer" in refused(predict, rest)
    assert len(model.requests) == 4 + 1 + 4


@pytest.mark.parametrize(("protocol", "serve"), [("http", serve_rest), ("grpc", serve_grpc)])
def test_a_server_that_starts_late(model, protocol, serve):
    (port,) = free_ports(1)
    with contextlib.ExitStack() as stack:
        timer = threading.Timer(0.1, lambda: stack.enter_context(serve(model, port)))
        timer.start()
        assert predict(f"{protocol}://127.0.0.1:{port}").ids.shape == (20, 24)
        timer.join()


@pytest.mark.usefixtures("quick_retries")
def test_a_lost_server_is_asked_once_for_each_later_image(url, model):
    with connect(url, "a street-1", 3) as predictor:
        for attempts in (4, 1, 1):
            model.requests.clear()
            model.faults.extend([UNAVAILABLE] * attempts)
            refused(predictor, IMAGE)
            assert len(model.requests) == attempts
        for _ in range(8):
            assert predictor(IMAGE).ids.shape == (20, 24)
        model.faults.extend([UNAVAILABLE] * 3)
        assert predictor(IMAGE).ids.shape == (20, 24)
