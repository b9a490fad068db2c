"""`crosscoop-tf predict --server` writes the files that `crosscoop-tf predict` does, without the run's weights."""

import os
import shutil
import subprocess
import sys
import time

import grpc
import numpy as np
import pytest
import tensorflow as tf
from helpers import photograph

from keras_crosscoop.images import video
from keras_crosscoop.images.io import read_image, read_label

pipes_are_left = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # by imageio-ffmpeg


def files(folder):
    return {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}


def both(predict, place, *arguments):
    """What is written here and by the server."""
    for output, *by_server in (("here",), ("there", "--server", place.url)):
        code, out, err = predict(place.folder, *arguments, "--output", output, *by_server)
        assert (code, out, err) == (0, f"Pictures: {output}\n", "")


@pytest.mark.parametrize("options", [[], ["--batch-size=3"], ["--no-overlay"]])
def test_a_server_writes_the_same_files(predict, place, photos, tmp_path, options):
    both(predict, place, photos, *options)
    here, there = files(tmp_path / "here"), files(tmp_path / "there")
    assert there.keys() == here.keys() >= {"a.png", "b.png", "x/a.png", "x/c.png"}
    assert ("a_overlay.png" in here) == (options != ["--no-overlay"])
    for name, path in here.items():
        assert there[name].read_bytes() == path.read_bytes(), name
    assert len(np.unique(read_label(here["x/a.png"]))) > 1


def test_a_server_writes_the_same_probabilities(predict, place, photos, tmp_path):
    both(predict, place, photos / "a.png", photos / "x/c.png", "--probabilities")
    here, there = files(tmp_path / "here"), files(tmp_path / "there")
    assert there.keys() == here.keys() >= {"a.npz", "a.png", "c.npz"}
    for name, path in here.items():
        if path.suffix == ".png":
            assert there[name].read_bytes() == path.read_bytes(), name
            continue
        with np.load(path) as expected, np.load(there[name]) as found:
            assert list(found["classes"]) == list(expected["classes"])
            assert found["probabilities"].dtype == np.float16
            assert np.ptp(expected["probabilities"]) > 0.1
            np.testing.assert_allclose(found["probabilities"], expected["probabilities"], atol=1e-3)


@pipes_are_left
def test_a_server_looks_at_videos(predict, place, tmp_path):
    with video.movie(tmp_path / "drive.mp4", fps=5) as append:
        for number in range(3):
            append(photograph(40, 48, seed=number)[0].astype(np.uint8))
    both(predict, place, "drive.mp4")
    here, there = files(tmp_path / "here"), files(tmp_path / "there")
    assert there.keys() == here.keys() == {"drive.mp4", *(f"drive/00000{number}.png" for number in (1, 2, 3))}
    for name in here.keys() - {"drive.mp4"}:
        assert there[name].read_bytes() == here[name].read_bytes()
    films = [list(video.read_frames(found["drive.mp4"])) for found in (here, there)]
    np.testing.assert_array_equal(*films)


@pytest.mark.slow
@pipes_are_left
def test_videos_leave_stderr_to_errors(server, run, tmp_path):
    """In a process of its own, where nothing has told gRPC beforehand to be silent about ffmpeg's.

    That of the result is started in a thread while the answer to the second frame is waited for.
    """
    with video.movie(tmp_path / "drive.mp4", fps=5) as append:
        for number in range(3):
            append(photograph(40, 48, seed=number)[0].astype(np.uint8))
    server.served.faults.extend([None, None, None, lambda context: time.sleep(1)])
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GRPC_")}
    command = [sys.executable, "-c", "from crosscoop_tf.main import main; main()", "predict", run.folder, "drive.mp4"]
    options = ["--output=out", f"--server={server.grpc}"]
    done = subprocess.run([*command, *options], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "Pictures: out\n", "")


@pytest.mark.parametrize(("options", "sizes"), [([], [1, 1, 1, 1]), (["--batch-size=2"], [2, 1, 1])])
def test_images_of_one_size_go_together(predict, server, url, run, photos, options, sizes):
    assert predict(run.folder, photos, "--output=out", "--server", url, *options)[0] == 0
    asked = ("serving_default", ("classes",)) if url == server.grpc else ("serve_bytes", ())
    assert [(signature, outputs) for signature, _, outputs in server.served.log] == [asked] * len(sizes)
    assert [shape[0] for _, shape, _ in server.served.log] == sizes


def test_no_weights_are_loaded(predict, url, run, photos, tmp_path):
    folder = tmp_path / run.folder.name
    shutil.copytree(run.folder, folder, ignore=shutil.ignore_patterns("*.h5", "serving"))
    assert predict(folder, photos / "a.png", "--output=out", "--server", url) == (0, "Pictures: out\n", "")
    assert predict(folder, photos / "a.png", "--output=other")[0] == 2


def test_the_model_goes_by_the_folder_wherever_one_stands(predict, url, run, photos, monkeypatch, tmp_path):
    monkeypatch.chdir(run.folder)
    assert predict(".", photos / "a.png", "--output", tmp_path / "out", "--server", url)[0] == 0


@pytest.mark.parametrize(
    "option", ["--window=32", "--overlap=0.3333333333333333", "--scales=1", "--flip", "--output-head=top"]
)
def test_options_of_models_here_are_refused(predict, server, run, photos, tmp_path, option):
    code, out, err = predict(run.folder, photos, "--output=out", "--server", server.rest, option)
    name = option.partition("=")[0]
    assert (code, out) == (2, "")
    assert err == (
        f"crosscoop-tf: The server looks at whole images, as its model was exported: leave out {name}, or --server. "
        "Try: crosscoop-tf predict --help\n"
    )
    assert server.served.requests == 0
    assert not (tmp_path / "out").exists()


def test_a_server_that_is_not_there_is_told_before_anything_is_written(predict, run, photos, tmp_path, impatient):
    code, out, err = predict(run.folder, photos, "--output=out", "--server=http://127.0.0.1:1")
    assert (code, out) == (2, "")
    assert err.startswith("crosscoop-tf: The server cannot be reached (")
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("options", [[], ["--batch-size=4"]])
def test_an_image_that_is_refused_is_named_and_the_others_go_on(predict, server, url, run, photos, tmp_path, options):
    """With batches too: then each of the batch goes alone."""
    refused = read_image(photos / "b.jpg")
    server.served.refuses = lambda signature, inputs: "not\nthis one" if holds(inputs, refused) else None
    code, _, err = predict(run.folder, photos, "--output=out", "--server", url, *options)
    lines = err.splitlines()
    assert code == 1
    assert len(lines) == 2
    assert "not this one" in lines[0]
    assert lines[0].endswith(f"Received: {url}, {photos / 'b.jpg'}")
    assert lines[1] == "crosscoop-tf: 1 of 4 could not be segmented, see above."
    written = {name for name in files(tmp_path / "out") if "overlay" not in name}
    assert written == {"a.png", "x/a.png", "x/c.png"}


def holds(inputs, pixels):
    """Whether a request holds an image."""
    (tensor,) = inputs.values()
    images = [tf.io.decode_image(each) for each in tensor] if tensor.dtype == tf.string else tensor
    return any(image.shape == pixels.shape and np.array_equal(image, pixels) for image in images)


def test_a_server_that_goes_away_does_not_hold_up_every_image(predict, server, url, run, photos, impatient):
    """The first image waits for it, the others do not, and all are told of."""

    def away(channel):
        if url.startswith("grpc"):
            channel.abort(grpc.StatusCode.UNAVAILABLE, "gone")
        channel.send(503, b"gone", "text/plain")

    server.served.faults.extend([None, None, *[away] * 100])
    code, _, err = predict(run.folder, photos, "--output=out", "--server", url)
    assert code == 1
    told, _ = err.splitlines()
    assert told.startswith("crosscoop-tf: 4 times: ")
    assert told.endswith(" and 1 more")
    assert [told.count(str(photos / name)) for name in ("a.png", "b.jpg", "x/a.png", "x/c.png")] == [1, 1, 1, 0]
    assert impatient == [0.25, 0.5, 1.0]
    assert server.served.requests == 2 + 4 + 3
