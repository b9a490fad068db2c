"""`crosscoop-tf predict --server` writes the same files as `crosscoop-tf predict`, without the run's weights."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from crosscoop_tf.predict import predict as command
from helpers import free_ports, photograph
from serving.model_server import Refusal

from keras_crosscoop.evaluation.server import connect
from keras_crosscoop.images import io, video

unclosed_pipes = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # of imageio-ffmpeg


def files(folder):
    return {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def local_files(run, photos, tmp_path_factory):
    """The files that `predict` writes without a server."""
    folder = tmp_path_factory.mktemp("local")
    command.main([str(run.folder), str(photos), f"--output={folder}", "--probabilities"], standalone_mode=False)
    return files(folder)


def assert_same(predict, folder, url, photos, output, local_files, *options):
    result = predict(folder, photos, "--output", output, "--server", url, *options)
    assert result == (0, f"Pictures: {output}\n", "")
    server_files = files(output)
    expected = {name for name in local_files if "--probabilities" in options or not name.endswith(".npz")}
    assert server_files.keys() == expected
    assert expected >= {"a.png", "b.png", "x/a.png", "x/c.png", "a_overlay.png"}
    for name in expected:
        if not name.endswith(".npz"):
            assert server_files[name].read_bytes() == local_files[name].read_bytes(), name
            continue
        with np.load(server_files[name]) as server, np.load(local_files[name]) as local:
            assert list(server["classes"]) == list(local["classes"])
            assert server["probabilities"].dtype == np.float16
            np.testing.assert_allclose(server["probabilities"], local["probabilities"], atol=1e-3)


@pytest.mark.parametrize(
    ("options", "batches"),
    [([], [1, 1, 1, 1]), (["--batch-size=2"], [2, 1, 1]), (["--batch-size=2", "--probabilities"], [2, 1, 1])],
)
def test_same_files(predict, model, url, folder_without_weights, photos, tmp_path, local_files, options, batches):
    assert_same(predict, folder_without_weights, url, photos, tmp_path / "out", local_files, *options)
    is_rest = url.startswith("http")  # REST cannot select outputs
    output = "probabilities" if "--probabilities" in options else "classes"
    signature = output if output == "probabilities" else "serve_bytes" if is_rest else "serving_default"
    requests = {(name, outputs) for name, _, outputs in model.predictions}
    assert requests == {(signature, () if is_rest else (output,))}
    assert [shape[0] for _, shape, _ in model.predictions] == batches
    assert len(np.unique(io.read_label(tmp_path / "out/x/a.png"))) > 1


@pytest.mark.serving
def test_same_files_by_tensorflow_serving(predict, photos, tmp_path):
    if not {"CROSSCOOP_SERVER", "CROSSCOOP_RUN"} <= os.environ.keys():
        pytest.skip("no CROSSCOOP_SERVER, an address with /v1/models/NAME, that serves the run CROSSCOOP_RUN")
    folder, options = os.environ["CROSSCOOP_RUN"], ["--batch-size=2", "--probabilities"]
    assert predict(folder, photos, "--output=local", *options)[0] == 0
    url = os.environ["CROSSCOOP_SERVER"]
    assert_same(predict, folder, url, photos, tmp_path / "out", files(Path("local")), *options)


def test_large_images_are_sent_alone(url):
    with connect(url, "a street-1", 3, batched=True) as predictor:
        assert predictor.can_batch(1024, 1024)
        assert not predictor.can_batch(10_000, 10_000)


@unclosed_pipes
def test_videos(predict, grpc, folder_without_weights, network, tmp_path):
    write_video(tmp_path / "drive.mp4")
    assert predict(folder_without_weights, "drive.mp4", "--output=out", "--server", grpc)[0] == 0
    assert files(tmp_path / "out").keys() == {"drive.mp4", *(f"drive/00000{number}.png" for number in (1, 2, 3))}
    for number, frame in enumerate(video.read_frames(tmp_path / "drive.mp4"), 1):
        np.testing.assert_array_equal(io.read_label(tmp_path / f"out/drive/00000{number}.png"), network.segment(frame))


def write_video(path):
    with video.open_writer(path, fps=5) as append:
        for seed in range(3):
            append(photograph(40, 48, seed=seed)[0].astype(np.uint8))


@pytest.mark.slow
@unclosed_pipes
def test_videos_leave_stderr_to_errors(grpc, model, run, tmp_path, monkeypatch):
    """By default gRPC warns if a process starts during a request, such as ffmpeg for the result."""
    write_video(tmp_path / "drive.mp4")
    answer = model.predict
    monkeypatch.setattr(model, "predict", lambda *arguments: time.sleep(1) or answer(*arguments))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GRPC_")}
    program = [sys.executable, "-c", "from crosscoop_tf.main import main; main()", "predict", run.folder, "drive.mp4"]
    options = ["--output=out", f"--server={grpc}"]
    result = subprocess.run([*program, *options], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert (result.returncode, result.stdout, result.stderr) == (0, "Pictures: out\n", "")


def test_the_model_has_the_name_of_the_folder(predict, rest, folder_without_weights, photos, monkeypatch, tmp_path):
    monkeypatch.chdir(folder_without_weights)
    assert predict(".", photos / "a.png", "--output", tmp_path / "out", "--server", rest)[0] == 0


@pytest.mark.parametrize(
    "option", ["--window=32", "--overlap=0.3333333333333333", "--scales=1", "--flip", "--output-head=top"]
)
def test_options_of_local_models_are_refused(predict, model, rest, run, photos, tmp_path, option):
    assert predict(run.folder, photos, "--output=out", "--server", rest, option) == (
        2,
        "",
        f"crosscoop-tf: An exported model has fixed settings: omit {option.partition('=')[0]}, or --server. "
        "Try: crosscoop-tf predict --help\n",
    )
    assert model.requests == 0
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("quick_retries")
def test_without_a_server_nothing_is_written(predict, run, photos, tmp_path):
    url = f"http://127.0.0.1:{free_ports(1)[0]}"
    code, out, err = predict(run.folder, photos, "--output=out", "--server", url)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "Connection refused" in err
    assert err.endswith(f"Received: {url}/v1/models/a%20street-1\n")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("options", [[], ["--batch-size=4"]])
def test_refused_images_are_listed(predict, model, url, run, photos, tmp_path, monkeypatch, options):
    """In a batch, too: then each of its images is sent again, alone."""
    pixels = io.read_image(photos / "b.jpg")
    answer = model.predict

    def refuse_one(signature, inputs, outputs=()):
        (images,) = inputs.values()
        if images.dtype == tf.string:
            images = [tf.io.decode_image(file) for file in images]
        if any(np.array_equal(image, pixels) for image in images):
            raise Refusal("INVALID_ARGUMENT", "not this one")
        return answer(signature, inputs, outputs)

    monkeypatch.setattr(model, "predict", refuse_one)
    code, _, err = predict(run.folder, photos, "--output=out", "--server", url, *options)
    error, summary = err.splitlines()
    assert code == 1
    assert "not this one" in error
    assert error.endswith(f"a%20street-1, {photos / 'b.jpg'}")
    assert summary == "crosscoop-tf: 1 of 4 could not be segmented, see above."
    assert {name for name in files(tmp_path / "out") if "overlay" not in name} == {"a.png", "x/a.png", "x/c.png"}


@pytest.mark.usefixtures("quick_retries")
def test_a_lost_server_is_listed_in_one_line(predict, model, url, run, photos):
    model.faults.extend([None, *[Refusal("UNAVAILABLE", "gone")] * 100])
    code, _, err = predict(run.folder, photos, "--output=out", "--server", url)
    error, _ = err.splitlines()
    assert code == 1
    assert error.startswith("crosscoop-tf: 4 times: The prediction by the server failed (")
    assert error.endswith(" and 1 more")
    assert [str(photos / name) in error for name in ("a.png", "b.jpg", "x/a.png", "x/c.png")] == [True] * 3 + [False]
    assert model.requests == 1 + 4 + 3
