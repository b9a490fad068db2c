"""Whether ImageNet weights can be had: from Keras's cache, or from the server."""

from contextlib import nullcontext
from urllib.error import HTTPError, URLError

import pytest

from keras_crosscoop.models.weights import download

PATHS = ("a/one.h5", "b/two.h5")


@pytest.mark.parametrize(
    ("answer", "available"),
    [
        (nullcontext(), True),
        (HTTPError("url", 403, "forbidden", {}, None), True),  # a server that refuses HEAD is reached all the same
        (URLError("unknown host"), False),
        (TimeoutError(), False),
    ],
)
@pytest.mark.parametrize("cached", [(), ("one.h5",), ("one.h5", "two.h5")])
def test_weights_are_cached_or_their_server_answers(tmp_path, monkeypatch, answer, available, cached):
    asked = []

    def urlopen(request, timeout):
        asked.append((request.method, request.full_url, timeout))
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(download, "keras_home", lambda: tmp_path)
    monkeypatch.setattr(download, "urlopen", urlopen)
    (tmp_path / "models").mkdir()
    for name in cached:
        (tmp_path / "models" / name).touch()
    complete = len(cached) == 2
    assert download.imagenet_is_available(*PATHS) == (available or complete)
    assert len(asked) == (not complete)
    assert all(method == "HEAD" and url.endswith("/keras-applications/a/one.h5") for method, url, _ in asked)
