"""`crosscoop-tf predict --server` writes the same files as `crosscoop-tf predict`, without the run's weights."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest
from helpers import free_ports, photograph
from serving.model_server import Refusal

from keras_crosscoop.images import io, video
from keras_crosscoop.runs import Run

unclosed_pipes = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # of imageio-ffmpeg


def files(folder):
    return {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}


def assert_same_files(crosscoop, folder, photos, url, tmp_path, monkeypatch, *options):
    assert crosscoop("predict", folder, photos, "--output=local", *options).code == 0
    monkeypatch.setattr(Run, "load", None)
    result = crosscoop("predict", folder, photos, "--output=out", "--server", url, *options)
    assert result == (0, "Pictures: out\n", "")
    local_files, server_files = files(tmp_path / "local"), files(tmp_path / "out")
    assert server_files.keys() == local_files.keys() >= {"a.png", "b.png", "x/a.png", "x/c.png", "a_overlay.png"}
    assert ("a.npz" in server_files) == ("--probabilities" in options)
    for name, path in local_files.items():
        if path.suffix == ".png":
            assert server_files[name].read_bytes() == path.read_bytes(), name
            continue
        with np.load(server_files[name]) as server, np.load(path) as local:
            assert list(server["classes"]) == list(local["classes"])
            assert server["probabilities"].dtype == np.float16
            np.testing.assert_allclose(server["probabilities"], local["probabilities"], atol=1e-3)


@pytest.mark.parametrize(
    ("options", "batches"),
    [([], [1, 1, 1, 1]), (["--batch-size=2", "--probabilities"], [2, 1, 1])],
)
def test_same_files(crosscoop, run, photos, url, model, tmp_path, monkeypatch, options, batches):
    assert_same_files(crosscoop, run.folder, photos, url, tmp_path, monkeypatch, *options)
    assert len(np.unique(io.read_label(tmp_path / "out/x/a.png"))) > 1
    output, signature = "classes", "serve_bytes" if url.startswith("http") else "serving_default"
    if "--probabilities" in options:
        output = signature = "probabilities"
    selected = () if url.startswith("http") else (output,)  # REST cannot select outputs
    check, *requests = model.requests
    assert check[0] == "probabilities"
    assert {(name, outputs) for name, _, outputs in requests} == {(signature, selected)}
    assert [shape[0] for _, shape, _ in requests] == batches


@pytest.mark.serving
def test_same_files_by_tensorflow_serving(crosscoop, photos, tmp_path, monkeypatch):
    if not {"CROSSCOOP_SERVER", "CROSSCOOP_RUN"} <= os.environ.keys():
        pytest.skip("no CROSSCOOP_SERVER, an address with /v1/models/NAME, that serves the run CROSSCOOP_RUN")
    folder, url = os.environ["CROSSCOOP_RUN"], os.environ["CROSSCOOP_SERVER"]
    assert_same_files(crosscoop, folder, photos, url, tmp_path, monkeypatch, "--batch-size=2", "--probabilities")


def write_video(path):
    with video.open_writer(path, fps=5) as append:
        for seed in range(3):
            append(photograph(40, 48, seed=seed)[0].astype(np.uint8))


@pytest.mark.slow
@unclosed_pipes
def test_videos_leave_stderr_to_errors(grpc, model, run, network, tmp_path, monkeypatch):
    """By default gRPC warns if a process starts during a request, such as ffmpeg for the result."""
    write_video(tmp_path / "drive.mp4")
    answer = model.answer
    monkeypatch.setattr(model, "answer", lambda *arguments: time.sleep(1) or answer(*arguments))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GRPC_")}
    program = [sys.executable, "-c", "from crosscoop_tf.main import main; main()", "predict", run.folder, "drive.mp4"]
    options = ["--output=out", f"--server={grpc}"]
    result = subprocess.run([*program, *options], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert (result.returncode, result.stdout, result.stderr) == (0, "Pictures: out\n", "")
    assert files(tmp_path / "out").keys() == {"drive.mp4", *(f"drive/00000{number}.png" for number in (1, 2, 3))}
    for number, frame in enumerate(video.read_frames(tmp_path / "drive.mp4"), 1):
        np.testing.assert_array_equal(io.read_label(tmp_path / f"out/drive/00000{number}.png"), network.segment(frame))


def test_the_model_has_the_name_of_the_folder(crosscoop, rest, run, photos, monkeypatch, tmp_path):
    monkeypatch.chdir(run.folder)
    assert crosscoop("predict", ".", photos / "a.png", "--output", tmp_path / "out", "--server", rest).code == 0


@pytest.mark.parametrize(
    "option", ["--window=32", "--overlap=0.3333333333333333", "--scales=1", "--flip", "--output-head=top"]
)
def test_options_of_local_models_are_refused(crosscoop, option):
    code, out, err = crosscoop("predict", "run", "photos", "--output=out", "--server=http://h", option)
    assert (code, out) == (2, "")
    name = option.partition("=")[0]
    assert err.startswith(f"crosscoop-tf: An exported model has fixed settings: omit {name}, or --server. ")


@pytest.mark.usefixtures("quick_retries")
@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_without_a_server_nothing_is_written(crosscoop, run, photos, tmp_path, protocol):
    url = f"{protocol}://127.0.0.1:{free_ports(1)[0]}"
    code, out, err = crosscoop("predict", run.folder, photos, "--output=out", "--server", url)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "onnection refused" in err
    assert err.endswith(f"Received: {url}\n")
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("quick_retries")
def test_a_lost_server_is_listed_in_one_line(crosscoop, model, url, run, photos):
    model.faults.extend([None, *[Refusal("UNAVAILABLE", "gone")] * 100])
    code, _, err = crosscoop("predict", run.folder, photos, "--output=out", "--server", url)
    error, _ = err.splitlines()
    assert code == 1
    assert error.startswith("crosscoop-tf: 4 times: The prediction by the server failed (")
    assert error.endswith(" and 1 more")
    assert len(model.requests) == 1 + 4 + 3
