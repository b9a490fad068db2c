"""What `--server` may be."""

import pytest
from helpers import refused

from keras_crosscoop.evaluation.server import parse_address


@pytest.mark.parametrize(
    ("url", "base", "model", "version"),
    [
        ("http://localhost:8501", "http://localhost:8501", "run-1", None),
        ("https://models.example/", "https://models.example", "run-1", None),
        ("http://h:1/a/v1/b/", "http://h:1/a/v1/b", "run-1", None),
        ("http://h:1/v1/models/cars", "http://h:1", "cars", None),
        ("http://h:1/v1/models/cars:predict", "http://h:1", "cars", None),
        ("http://h:1/v1/models/two%20cars/versions/12", "http://h:1", "two cars", 12),
        ("http://me:secret@h/tf/v1/models/cars/versions/3/", "http://me:secret@h/tf", "cars", 3),
        ("http://[::1]:8501", "http://[::1]:8501", "run-1", None),
        (" grpc://h:8500 ", "h:8500", "run-1", None),
        ("grpc://h", "h:8500", "run-1", None),
        ("grpc://[::1]/cars", "[::1]:8500", "cars", None),
        ("grpc://me:secret@h:1/two%20cars/7", "h:1", "two cars", 7),
    ],
)
def test_addresses(url, base, model, version):
    address = parse_address(url, "run-1")
    assert (address.base, address.model, address.version) == (base, model, version)
    assert address.is_grpc == url.strip().startswith("grpc")
    assert "secret" not in address.shown
    assert address.shown == url.strip().replace("me:secret@", "")


@pytest.mark.parametrize(
    "url",
    [
        *(
            "localhost:8501",
            "http://",
            "ftp://h",
            "",
            "http://h:port",
            "http://h:99999",
            "grpc://h/a/b",
            "grpc://h/a/1/2",
        ),
        *("http://h/v1", "http://h/v1/models", "http://h/v1/models/a/labels/stable", "http://h/v1/models/a/versions/x"),
        *("http://h?a=1", "http://h#a", "http://[::1", "http://me:secret@h/v1"),
    ],
)
def test_what_is_no_address(url):
    message = refused(parse_address, url, "run-1")
    assert message.startswith("A server's address is http://HOST:8501, or ")
    assert message.endswith(f"Received: {url.replace('me:secret@', '')}")
