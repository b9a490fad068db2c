"""What is fetched is whole or absent: after any failure the cache holds nothing useless, and a second call recovers."""

import errno
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlretrieve

import numpy as np
import pytest
from helpers import refused

from keras_crosscoop import backbones
from keras_crosscoop.models.backbones import deeplab

NAME = "deeplabv3_xception_2018_01_04.tar.gz"

pytestmark = pytest.mark.usefixtures("unpacked_in")


@pytest.fixture(scope="module")
def xception():
    """A small Xception whose variables are named as those of Xception-65 are."""
    return backbones.build("tiny_xception", weights=None)


@pytest.fixture(scope="module")
def wanted(xception):
    """Values for its variables, by their names in a checkpoint."""
    rng = np.random.default_rng(0)
    names = deeplab.checkpoint_names(xception)
    return {name: rng.normal(size=variable.shape).astype("float32") for name, variable in names.items()}


def assert_loaded(model, arrays):
    for name, variable in deeplab.checkpoint_names(model).items():
        np.testing.assert_array_equal(variable.numpy(), arrays[name], err_msg=name)


@pytest.fixture
def forgotten(xception):
    """Other values, so that it shows whether any are loaded."""
    xception.set_weights([np.full(array.shape, 0.5) for array in xception.get_weights()])
    return xception


def test_a_damaged_checkpoint_changes_nothing(forgotten, wanted, save_checkpoint, tmp_path):
    """Though all but the last array can be read."""
    (data,) = [name for name in save_checkpoint(tmp_path / "model.ckpt", wanted) if ".data" in name]
    (tmp_path / data).write_bytes((tmp_path / data).read_bytes()[:-4])
    assert "is damaged" in refused(deeplab.load_checkpoint, forgotten, tmp_path / "model.ckpt")
    assert all((array == 0.5).all() for array in forgotten.get_weights())


class Server:
    """Serves `content` on this machine, whatever is asked for."""

    def __init__(self):
        self.content, self.withheld, self.status, self.requests = b"", 0, 200, []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(handler):  # noqa: N805
                self.requests.append(handler.path)
                handler.send_response(self.status)
                handler.send_header("Content-Length", str(len(self.content)))
                handler.end_headers()
                handler.wfile.write(self.content[: len(self.content) - self.withheld])

            def log_message(handler, *_):  # noqa: N805
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def close(self):
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


@pytest.fixture
def server(monkeypatch):
    server = Server()
    monkeypatch.setattr(deeplab, "URL", f"http://127.0.0.1:{server.http.server_port}/models/{NAME}")
    yield server
    server.close()


@pytest.fixture(scope="module")
def files(wanted, save_checkpoint, tmp_path_factory):
    """Of the checkpoint: their contents by name."""
    return save_checkpoint(tmp_path_factory.mktemp("released") / "model.ckpt", wanted)


@pytest.fixture(scope="module")
def released(files, packed):
    """The archive that should be served."""
    return packed({f"xception/{name}": content for name, content in files.items()})


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Keras's cache of models."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    return tmp_path / "keras" / "models"


def test_the_released_archive_is_fetched_once(forgotten, wanted, server, released, cache):
    server.content = released
    for _ in range(2):
        forgotten.set_weights([np.full(array.shape, 0.5) for array in forgotten.get_weights()])
        assert len(deeplab.load_imagenet(forgotten).loaded) == len(wanted)
        assert_loaded(forgotten, wanted)
    assert server.requests == [f"/models/{NAME}"]
    assert [file.name for file in cache.iterdir()] == [NAME]
    assert (cache / NAME).read_bytes() == released


def full_disk(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_an_archive_has_no_name_before_it_is_whole(forgotten, server, released, cache, monkeypatch):
    """Not even where the process is killed before it can clear up."""
    server.content, seen = released, []

    def retrieve(url, file, *arguments):
        result = urlretrieve(url, file, *arguments)
        seen.extend((cache / NAME).exists() for _ in cache.iterdir())
        return result

    monkeypatch.setattr("keras.src.utils.file_utils.urlretrieve", retrieve)
    deeplab.load_imagenet(forgotten)
    assert seen == [False]


def half_then(failure):
    def retrieve(url, file, *_):
        Path(file).write_bytes(b"half")
        raise failure

    return retrieve


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # Keras leaves a refused connection open
@pytest.mark.parametrize("failure", ["cut short", "not found", "no server", "full disk", "interrupted"])
def test_a_failed_download_leaves_nothing_and_a_second_call_recovers(
    forgotten, wanted, server, released, cache, monkeypatch, failure
):
    server.content = released
    with monkeypatch.context() as patch:
        match failure:
            case "cut short":
                patch.setattr(server, "withheld", 1000)
            case "not found":
                patch.setattr(server, "status", 404)
            case "no server":
                with socket.create_server(("127.0.0.1", 0)) as free:
                    patch.setattr(deeplab, "URL", f"http://127.0.0.1:{free.getsockname()[1]}/models/{NAME}")
            case "full disk":
                error = OSError(errno.ENOSPC, "No space left on device")
                patch.setattr("keras.src.utils.file_utils.urlretrieve", half_then(error))
            case "interrupted":
                patch.setattr("keras.src.utils.file_utils.urlretrieve", half_then(KeyboardInterrupt()))
        if failure == "interrupted":
            with pytest.raises(KeyboardInterrupt):
                deeplab.load_imagenet(forgotten)
        else:
            message = refused(deeplab.load_imagenet, forgotten)
            assert message.startswith(f"{NAME} cannot be fetched into {cache} (")
            assert message.endswith(f"Received: {deeplab.URL}")
            reason = {"cut short": "retrieval incomplete", "not found": "404", "no server": "refused"}
            assert reason.get(failure, "No space left on device") in message
            assert "(`--top-weights FILE` or `--bottom-weights FILE`, in Python weights=FILE)" in message
            assert "None --" not in message
    assert list(cache.iterdir()) == []
    assert all((array == 0.5).all() for array in forgotten.get_weights())
    deeplab.load_imagenet(forgotten)
    assert_loaded(forgotten, wanted)


def test_a_cache_that_cannot_be_is_named(forgotten, server, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("mine")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "file"))
    assert f"cannot be fetched into {tmp_path / 'file' / 'models'} (" in refused(deeplab.load_imagenet, forgotten)
    assert server.requests == []


@pytest.mark.parametrize(
    "fault", ["cut short", "a page", "without a checkpoint", "unsafe", "of another network", "without data"]
)
@pytest.mark.parametrize("fetched", [True, False])
def test_a_useless_archive_leaves_the_cache_and_a_second_call_recovers(
    forgotten, wanted, server, released, cache, files, packed, save_checkpoint, tmp_path, fault, fetched
):
    """Whether it was fetched just now, or lay there."""
    of_other_shapes = {name: np.ones(3, "float32") for name in wanted}
    useless = {
        "cut short": lambda: released[: len(released) // 2],
        "a page": lambda: b"<html>Please log in</html>",
        "without a checkpoint": lambda: packed({"graph.pb": b"graph"}),
        "unsafe": lambda: packed(files | {"../evil.index": b"evil"}),
        "of another network": lambda: packed(save_checkpoint(tmp_path / "model.ckpt", of_other_shapes)),
        "without data": lambda: packed({"model.ckpt.index": files["model.ckpt.index"]}),
    }[fault]()
    if fetched:
        server.content = useless
    else:
        cache.mkdir(parents=True)
        (cache / NAME).write_bytes(useless)
    message = refused(deeplab.load_imagenet, forgotten)
    assert message.startswith("The fetched archive cannot be used and was removed. Try again to fetch a new copy. ")
    assert message.endswith(f"Received: {cache / NAME}")
    if fault == "of another network":
        assert 'do not fit "tiny_xception": tiny_xception/entry_flow_conv1_1/kernel is (3,) in the file, ' in message
        assert "(3, 3, 3, 16) in the model" in message
    assert list(cache.iterdir()) == []
    assert all((array == 0.5).all() for array in forgotten.get_weights())
    server.content = released
    deeplab.load_imagenet(forgotten)
    assert_loaded(forgotten, wanted)
    assert len(server.requests) == 1 + fetched


def test_a_good_archive_stays_where_there_is_no_room_to_unpack_it(
    forgotten, wanted, server, released, cache, monkeypatch
):
    server.content = released
    with monkeypatch.context() as patch:
        patch.setattr("shutil.copyfileobj", full_disk)
        assert "No space left on device" in refused(deeplab.load_imagenet, forgotten)
    deeplab.load_imagenet(forgotten)
    assert_loaded(forgotten, wanted)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("name", "network", "reason"),
    [
        ("mobilenet", "MobileNet", "no route to host)"),
        ("efficientnet_b0", "EfficientNetB0", "Incomplete or corrupted file detected."),  # by its known checksum
    ],
)
def test_weights_of_keras_applications_that_cannot_be_fetched(cache, monkeypatch, name, network, reason):
    """No `None` of Keras's, and what to do, at the command line and in Python."""

    def retrieve(url, file, *_):
        if "route" in reason:
            raise URLError("no route to host")
        Path(file).write_bytes(b"of no use")

    monkeypatch.setattr("keras.src.utils.file_utils.urlretrieve", retrieve)
    message = refused(backbones.build, name, weights="imagenet")
    assert message.startswith(f"The file of {network}'s ImageNet weights cannot be fetched ({reason}")
    assert message.endswith(
        "Try again, or fetch it elsewhere and give its path (`--top-weights FILE` or `--bottom-weights FILE`, in "
        "Python weights=FILE), or start from random weights (`--weights none`, in Python weights=None). "
        "Received: weights='imagenet'"
    )
