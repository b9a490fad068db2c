"""Whatever is wrong with a server is told in one line that says what to do."""

import socket
import struct
import sys
import time

import grpc
import numpy as np
import pytest
from helpers import free_ports, refused
from serving.model_server import running

from keras_crosscoop.evaluation.server import connected, trouble

IMAGE = np.random.default_rng(0).integers(0, 256, (20, 24, 3), np.uint8)


def use(url, model="a street-1", classes=3, **options):
    """Connects and predicts."""
    with connected(url, model, classes, **options) as predictor:
        return predictor(IMAGE)


def sends(status=200, body=b"", kind="application/json", **headers):
    return lambda handler: handler.send(status, body, kind, **headers)


def aborts(code, details):
    return lambda context: context.abort(code, details)


def resets(handler):
    """Breaks the connection off, as a machine does that restarts."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()
    handler.close_connection = True


@pytest.mark.parametrize("kind", ["http", "grpc"])
def test_no_server(kind, impatient):
    url = f"{kind}://127.0.0.1:{free_ports(1)[0]}"
    message = refused(use, url)
    assert message.startswith("The server cannot be reached (")
    assert "onnection refused" in message
    assert message.endswith(f"). Is TensorFlow Serving running there? Received: {url}")
    assert impatient == [0.25, 0.5, 1.0]


def test_no_such_host(impatient):
    assert "The server cannot be reached (" in refused(use, "http://nowhere.invalid")


def test_another_model(server, url):
    message = refused(use, url, "other")
    assert message.startswith('The server has no model "other" (')
    assert "Could not find any versions of model other). Say what it is called there: " in message
    assert message.endswith(f"Received: {url}")


def test_another_version(server):
    for url in (f"{server.rest}/v1/models/a%20street-1/versions/", f"{server.grpc}/a%20street-1/"):
        assert use(f"{url}1", "other").ids.shape == (20, 24)
        message = refused(use, f"{url}7", "other")
        assert 'no model "a street-1" in version 7 (' in message
        assert "Could not find version 7 of model a street-1" in message


def test_a_model_that_is_not_loaded(server, url):
    server.served.states = {1: ("END", "out of\n memory"), 2: ("LOADING", "")}
    assert refused(use, url) == (
        'The server\'s model "a street-1" is not available (version 2 is LOADING; version 1 is END out of memory). '
        f"Wait until it is loaded, or look into the server's log. Received: {url}"
    )
    server.served.states = {1: ("AVAILABLE", ""), 2: ("LOADING", "")}
    assert use(url).ids.shape == (20, 24)


@pytest.mark.parametrize("missing", ["serve_bytes", "serving_default", "probabilities"])
def test_a_signature_is_missing(server, url, monkeypatch, missing):
    monkeypatch.delitem(server.served.definitions[1], missing)
    of_classes = "serving_default" if url == server.grpc else "serve_bytes"
    for probabilities in (False, True):
        if missing == ("probabilities" if probabilities else of_classes):
            message = refused(use, url, probabilities=probabilities)
            assert f'model "a street-1" has no signature "{missing}", but ' in message
            assert "Serve what crosscoop-tf export writes." in message
        else:
            assert use(url, probabilities=probabilities).ids.shape == (20, 24)
    if missing == "probabilities":  # and so its metadata tell no count
        assert "model has at least 3 classes, and the run 2." in refused(use, url, classes=2)


@pytest.mark.parametrize("probabilities", [False, True])
def test_a_run_of_other_classes(server, url, probabilities):
    message = refused(use, url, classes=4, probabilities=probabilities)
    assert message.startswith("The server's model has 3 classes, and the run 4. Serve this run, ")
    assert server.served.log == []


def test_the_extra_is_missing(server, monkeypatch):
    monkeypatch.delitem(sys.modules, "keras_crosscoop.evaluation.server.over_grpc", raising=False)
    monkeypatch.setitem(sys.modules, "tensorflow_serving.apis", None)
    message = refused(use, server.grpc)
    assert 'pip install "keras-crosscoop[serving]"' in message
    assert use(server.rest).ids.shape == (20, 24)


def test_time_is_limited(server, url, monkeypatch):
    monkeypatch.setattr(trouble, "ANSWER_TIMEOUT", 0.3)
    server.served.faults.append(lambda channel: time.sleep(1))
    message = refused(use, url)
    assert message.startswith("The server did not answer within 0.3 seconds. Is it overloaded, ")
    assert server.served.requests == 1


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (sends(500, b'{ "error": "it broke" }'), "error (500 Internal Server Error: it broke). Its log may tell more."),
        (
            sends(400, b'{"error": "too \\n large"}'),
            "(400 Bad Request: too large). Does its model take images of this ",
        ),
        (sends(400, rb"""{ "error": "node \'x\'\n at \"y\"" }"""), """(400 Bad Request: node 'x' at "y"). Does"""),
        (sends(504, b'{"error": "Timed out"}'), "(504 Gateway Timeout: Timed out). Start it with a larger --rest_api_"),
        (sends(502, b"<html>nginx</html>", "text/html"), "answers with an error (502 Bad Gateway). Its log"),
        (sends(401, b"[]"), "answers with an error (401 Unauthorized). Its log"),
        (sends(301, Location="https://h/"), "(301 Moved Permanently to https://h/). Give the address that it names."),
        (sends(400, b'{"error": "' + 2000 * b"x" + b'"}'), f"{'x' * 200}..."),
        (sends(200, b"hello"), "(it is no JSON). Is TensorFlow Serving there"),
        (sends(200, b"[]"), "crosscoop-tf exports (no model_version_status)."),
        (sends(200, b'{"model_version_status": [{"version": 1}]}'), "(no model_version_status)."),
    ],
)
def test_answers_over_rest(server, answer, told):
    server.served.faults.append(answer)
    message = refused(use, server.rest)
    assert told in message
    assert message.endswith(f"Received: {server.rest}")
    assert len(message) < 600
    assert server.served.requests == 1


@pytest.mark.parametrize("body", [b"{}", b'{"metadata": {"signature_def": {"signature_def": {"a": 1}}}}', b"null"])
def test_metadata_over_rest(server, body):
    server.served.faults.extend([None, sends(200, body)])
    assert "crosscoop-tf exports (no signature_def)." in refused(use, server.rest)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"null", "no classes among its predictions"),
        (b'{"predictions": [{"confidence": 1}]}', "no classes among its predictions"),
        (b'{"predictions": [{"classes": [[1, 2], [3]]}]}', "no classes among its predictions"),
        (b'{"predictions": []}', "classes are float64 of shape (0,)"),
        (b'{"predictions": [{"classes": [[0, 1]]}]}', "classes are int64 of shape (1, 1, 2)"),
        (b'{"predictions": [[[0.5]]]}', "classes are float64 of shape (1, 1, 1)"),
        (b'{"predictions": [["a"]]}', "classes are <U1 of shape (1, 1)"),
    ],
)
def test_predictions_over_rest(server, body, told):
    server.served.faults.extend([None, None, sends(200, body)])
    assert f"crosscoop-tf exports ({told})." in refused(use, server.rest)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (3, "The server's model has at least 4 classes, and the run 3."),
        (-1, "The server's model has at least 0 classes, and the run 3."),
        (0.5, "crosscoop-tf exports (classes are float64 of shape (1, 20, 24))."),
    ],
)
def test_values_that_are_no_ids(server, value, told):
    ids = np.full((1, 20, 24), value).tolist()
    server.served.faults.extend([None, None, sends(200, b'{"predictions": %s}' % str(ids).encode())])
    assert told in refused(use, server.rest)


@pytest.mark.parametrize("size", [(1200, 1200), (640, 640)])
def test_messages_may_be_large(server, size):
    """Over 4 MiB, the limit of gRPC itself: the larger image, and the smaller one's probabilities."""
    image = np.zeros((*size, 3), np.uint8)
    with connected(server.grpc, "a street-1", 3, probabilities=size == (640, 640)) as predictor:
        assert predictor(image).ids.shape == size


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("INVALID_ARGUMENT", "(INVALID_ARGUMENT: it broke). Does its model take images of this size?"),
        ("INTERNAL", "answers with an error (INTERNAL: it broke). Its log may tell more."),
        ("UNIMPLEMENTED", "(it broke). Is TensorFlow Serving there, and such a model?"),
        ("DEADLINE_EXCEEDED", "did not answer within 600 seconds."),
    ],
)
def test_answers_over_grpc(server, code, told):
    server.served.faults.append(aborts(grpc.StatusCode[code], "it\nbroke"))
    assert told in refused(use, server.grpc)
    assert server.served.requests == 1


def test_malformed_answers_over_grpc(server, monkeypatch):
    from serving.speaking_grpc import Predictions, get_model_metadata_pb2, predict_pb2

    monkeypatch.setattr(Predictions, "Predict", lambda *_: predict_pb2.PredictResponse())
    with running(server.served.base, "m") as other:
        assert "(no classes among its outputs)." in refused(use, other.grpc, "m")
    monkeypatch.setattr(Predictions, "GetModelMetadata", lambda *_: get_model_metadata_pb2.GetModelMetadataResponse())
    with running(server.served.base, "m") as other:
        assert "(no signature_def)." in refused(use, other.grpc, "m")


UNAVAILABLE = aborts(grpc.StatusCode.UNAVAILABLE, "busy")


@pytest.mark.parametrize(("kind", "fault"), [("rest", sends(503)), ("rest", resets), ("grpc", UNAVAILABLE)])
def test_what_passes_is_tried_again(server, impatient, kind, fault):
    expected = use(getattr(server, kind)).ids
    server.served.requests = 0
    server.served.faults.extend([None, fault, None, fault, fault])
    np.testing.assert_array_equal(use(getattr(server, kind)).ids, expected)
    assert impatient == [0.25, 0.25, 0.5]
    assert server.served.requests == 3 + 3


@pytest.mark.parametrize(
    ("kind", "fault", "told"),
    [
        ("rest", sends(503, b'{"error": "queue is full"}'), "(503 Service Unavailable: queue is full). Is it starting"),
        ("rest", resets, "cannot be reached (Connection reset by peer)."),
        ("grpc", UNAVAILABLE, "cannot be reached (busy)."),
    ],
)
def test_what_does_not_pass_is_told(server, impatient, kind, fault, told):
    server.served.faults.extend([fault] * 9)
    assert told in refused(use, getattr(server, kind))
    assert server.served.requests == 4


def test_a_path_in_front_is_kept(exported):
    with running(exported, "m", prefix="/tf/serving") as server:
        assert use(server.rest, "m").ids.shape == (20, 24)
        assert use(f"{server.rest}/v1/models/m/versions/1").ids.shape == (20, 24)
        assert 'no model "m" (404 Not Found). Say' in refused(use, server.rest.removesuffix("/serving"), "m")


def test_patience_comes_back():
    pauses, outcomes = [], iter([trouble.PassingError] * 5 + [1] + [trouble.PassingError, 2])

    def call():
        outcome = next(outcomes)
        if outcome is trouble.PassingError:
            raise outcome("busy")
        return outcome

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trouble.time, "sleep", pauses.append)
        patiently = trouble.Patience()
        for expected in (None, None, 1, 2):  # four times in vain, once in vain, at once, the second time
            if expected is None:
                with pytest.raises(trouble.PassingError):
                    patiently(call)
            else:
                assert patiently(call) == expected
    assert pauses == [0.25, 0.5, 1.0, 0.25]
