"""Predictions by a server over REST and over gRPC: addresses, checks of answers, retries, errors."""

import contextlib
import socket
import struct
import threading

import numpy as np
import pytest
from helpers import free_ports, refused
from serving.model_server import Refusal, serve_rest
from tensorflow_serving.apis import get_model_metadata_pb2

from keras_crosscoop.evaluation import server
from keras_crosscoop.evaluation.server import connect, open_connection

IMAGE = np.random.default_rng(0).integers(0, 256, (20, 24, 3), np.uint8)
UNAVAILABLE = Refusal("UNAVAILABLE", "the queue is full")


def predict(url, image=IMAGE, *, model="a street-1", classes=3, **options):
    with connect(url, model, classes, **options) as predictor:
        return predictor(image)


def send(status, body, **headers):
    return lambda handler: handler.send(status, body, **headers)


def reset(handler):
    """Breaks the connection, like a machine that restarts."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()
    handler.close_connection = True


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://localhost:8501", "http://localhost:8501/v1/models/run%201"),
        ("https://models.example/tf/ ", "https://models.example/tf/v1/models/run%201"),
        ("http://h:1/v1/models", "http://h:1/v1/models/run%201"),
        ("http://h:1/v1/models/cars:predict", "http://h:1/v1/models/cars"),
        ("http://me:secret@h/tf/v1/models/cars/versions/3/", "http://h/tf/v1/models/cars/versions/3"),
        ("http://[::1]:8501", "http://[::1]:8501/v1/models/run%201"),
        (" grpc://h:81/ ", "grpc://h:81/run%201"),
        ("grpc://[::1]/cars", "grpc://[::1]:8500/cars"),
        ("grpc://me:secret@h/two%20cars/7", "grpc://h:8500/two%20cars/7"),
    ],
)
def test_addresses(url, address):
    with contextlib.closing(open_connection(url, "run 1")) as connection:
        assert connection.address == address


@pytest.mark.parametrize(
    "url",
    [
        *("", "localhost:8501", "http://", "ftp://h", "http://h:port", "http://h:99999", "http://[::1"),
        *("http://h?a=1", "http://h#a", "grpc://h/a/b", "grpc://h/a/1/2", "ftp://me:secret@h"),
    ],
)
def test_malformed_addresses(url):
    message = refused(open_connection, url, "run-1")
    assert message.startswith("A server's address must be http://HOST:8501 or ")
    assert message.endswith(f"Received: {url.replace('me:secret@', '')}")


def test_grpc_needs_the_extra_and_rest_does_not(monkeypatch, rest):
    monkeypatch.setattr(server, "grpc", None)
    assert 'pip install "keras-crosscoop[serving]"' in refused(open_connection, "grpc://h", "m")
    assert predict(rest).ids.shape == (20, 24)


@pytest.mark.parametrize("path", ["/prefix", "/v1/models/a%20street-1", "/v1/models/a%20street-1/versions/1:predict"])
def test_paths_over_rest(rest, path):
    assert predict(rest + path, model="a street-1" if path == "/prefix" else "other").ids.shape == (20, 24)


@pytest.mark.parametrize("path", ["/a%20street-1", "/a%20street-1/1"])
def test_paths_over_grpc(grpc, path):
    assert predict(grpc + path, model="other").ids.shape == (20, 24)


def test_no_such_model(url, model):
    message = refused(predict, url, model="other")
    assert "Servable not found for request: Latest(other)" in message
    assert "Is the model loaded? The address can name another: http://HOST:8501/v1/models/NAME" in message
    assert model.requests == 1


def test_no_such_version(rest, grpc):
    for path in (f"{rest}/v1/models/a%20street-1/versions/7", f"{grpc}/a%20street-1/7"):
        message = refused(predict, path)
        assert "Servable not found for request: Specific(a street-1, 7)" in message
        assert message.endswith(f"Received: {path}")


@pytest.mark.parametrize("missing", ["class signature", "probabilities"])
def test_missing_signatures(url, model, monkeypatch, missing):
    if missing == "class signature":
        missing = "serve_bytes" if url.startswith("http") else "serving_default"
    monkeypatch.delitem(model.signatures, missing)
    assert f"The server's model is not an export of this run (no signature {missing})" in refused(predict, url)


@pytest.mark.parametrize("probabilities", [False, True])
def test_another_number_of_classes(url, model, probabilities):
    message = refused(predict, url, classes=4, probabilities=probabilities)
    assert "3 classes instead of 4" in message
    assert "Serve the folder that crosscoop-tf export wrote for the run." in message
    assert model.predictions == []


@pytest.mark.parametrize(
    ("outputs", "reason"),
    [
        ({"classes": np.zeros((1, 20, 25), int)}, "shape (1, 20, 25) for 3 classes"),
        ({"classes": np.full((1, 20, 24), 3)}, "int64 and shape (1, 20, 24) for 3 classes"),
        ({"classes": np.full((1, 20, 24), -1)}, "int64 and shape (1, 20, 24) for 3 classes"),
        ({"classes": np.zeros((1, 20, 24))}, "float64 and shape (1, 20, 24)"),
        ({"confidence": np.zeros((1, 20, 24))}, ""),
        ({"probabilities": np.zeros((1, 20, 24, 4))}, "shape (1, 20, 24, 4) for 3 classes"),
        ({"probabilities": np.zeros((1, 20, 24, 3), int)}, "int64 and shape"),
    ],
)
def test_outputs_of_another_form(url, model, monkeypatch, outputs, reason):
    if "classes" in outputs and url.startswith("http"):  # so that it has names
        outputs = {**outputs, "confidence": np.zeros((1, 20, 24))}
    monkeypatch.setattr(model, "predict", lambda *_: outputs)
    message = refused(predict, url, probabilities="probabilities" in outputs)
    assert message.startswith("The server's model is not an export of this run (")
    assert reason in message


@pytest.mark.parametrize("body", ["hello", "[]", "null", "{}", '{"metadata": {"signature_def": {"signature_def": 1}}}'])
def test_metadata_of_another_program(model, rest, body):
    model.faults.append(send(200, body))
    assert refused(predict, rest).startswith("The server's model is not an export of this run (")


def test_empty_metadata_over_grpc(model, grpc):
    model.faults.append(lambda context: get_model_metadata_pb2.GetModelMetadataResponse())
    assert refused(predict, grpc).startswith("The server's model is not an export of this run (")


@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        ("INVALID_ARGUMENT", "does the model accept images of this size?"),
        ("DEADLINE_EXCEEDED", "--rest_api_timeout_in_ms"),
        ("INTERNAL", "See the server's log."),
    ],
)
def test_refused_requests(url, model, status, remedy):
    model.faults.extend([None, Refusal(status, "it \n broke" + 2000 * "x")])
    message = refused(predict, url)
    assert "it" in message
    assert remedy in message
    assert message.endswith(f"Received: {url}/{'v1/models/' if url.startswith('http') else ''}a%20street-1")
    assert len(message) < 700
    assert model.requests == 2


def test_redirections_are_not_followed(model, rest):
    model.faults.append(send(301, "", Location="https://h/"))
    assert "(301 Moved Permanently https://h/)" in refused(predict, rest)
    assert model.requests == 1


def test_requests_over_the_time_limit_are_not_retried(url, model, monkeypatch):
    monkeypatch.setattr(server, "TIMEOUT", 0.2)
    released = threading.Event()

    def wait(channel):
        released.wait(10)
        raise Refusal("INTERNAL", "too late")

    model.faults.append(wait)
    message = refused(predict, url)
    released.set()
    assert "Is it overloaded, or the image too large?" in message
    assert model.requests == 1


@pytest.mark.parametrize("size", [(1200, 1200), (640, 640)])
def test_large_messages_over_grpc(grpc, size):
    """By default gRPC allows 4 MiB: the larger image and the probabilities of the smaller one exceed it."""
    assert predict(grpc, np.zeros((*size, 3), np.uint8), probabilities=size == (640, 640)).ids.shape == size


@pytest.mark.usefixtures("quick_retries")
def test_unavailable_servers_are_asked_again(url, model):
    """Also with a request over 256 KiB, gRPC's own limit for retries."""
    image = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    expected = predict(url, image).ids
    model.requests = 0
    model.faults.extend([UNAVAILABLE, None, *[UNAVAILABLE] * 3])
    np.testing.assert_array_equal(predict(url, image).ids, expected)
    assert model.requests == 2 + 4


@pytest.mark.usefixtures("quick_retries")
def test_broken_connections_are_retried(model, rest):
    model.faults.extend([reset, None, *[reset] * 3])
    assert predict(rest).ids.shape == (20, 24)
    model.faults.extend([reset] * 4)
    assert "Connection reset by peer" in refused(predict, rest)
    assert model.requests == 2 + 4 + 4


def test_a_server_that_starts_late(model, serve):
    (port,) = free_ports(1)
    with contextlib.ExitStack() as stack:
        timer = threading.Timer(0.1, lambda: stack.enter_context(serve(model, port)))
        timer.start()
        assert predict(f"{'http' if serve is serve_rest else 'grpc'}://127.0.0.1:{port}").ids.shape == (20, 24)
        timer.join()


@pytest.mark.usefixtures("quick_retries")
def test_a_lost_server_is_asked_once_for_each_later_image(url, model):
    with connect(url, "a street-1", 3) as predictor:
        for attempts in (4, 1, 1):
            model.requests = 0
            model.faults.extend([UNAVAILABLE] * attempts)
            assert "Is TensorFlow Serving running there, and not overloaded?" in refused(predictor, IMAGE)
            assert model.requests == attempts
        for _ in range(8):
            assert predictor(IMAGE).ids.shape == (20, 24)
        model.faults.extend([UNAVAILABLE] * 3)
        assert predictor(IMAGE).ids.shape == (20, 24)


@pytest.mark.usefixtures("quick_retries")
@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_no_server(protocol):
    message = refused(predict, f"{protocol}://127.0.0.1:{free_ports(1)[0]}")
    assert "onnection refused" in message
    assert "Is TensorFlow Serving running there" in message
