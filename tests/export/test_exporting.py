"""An export is complete and equal to the live network, or it is not there."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import refused

from keras_crosscoop import dataset
from keras_crosscoop.export import DisagreementError, export, exporting, opened
from keras_crosscoop.export.running import Exported
from keras_crosscoop.runs import Run

FILES = {  # of a version
    "saved_model.pb",
    "fingerprint.pb",
    "variables/variables.index",
    "variables/variables.data-00000-of-00001",
    "assets.extra/metadata.json",
    "assets.extra/tf_serving_warmup_requests",
    "parity.json",
}


@pytest.fixture
def run(trained, tmp_path):
    """A run of its own, of the model `network`."""
    shutil.copytree(trained.folder, tmp_path / "street-1", ignore=shutil.ignore_patterns("serving", "tflite", "onnx"))
    return Run.open(tmp_path / "street-1")


@pytest.fixture
def data(data_dir):
    return dataset("folder", data_dir)


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def everything(folder):
    """All that is in a folder, files with their bytes."""
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def assert_told(exported, network, data, output="ensemble"):
    """On images of the validation split."""
    for pair in data.pairs("val"):
        image, _ = data.read(*pair)
        found = exported(image)
        classes, probabilities = network.segment(image, output, probabilities=True)
        assert (found["classes"] == classes).mean() > 0.999
        np.testing.assert_allclose(found["confidence"], probabilities.max(-1), atol=1e-4)


def mean_iou(network, data):
    """Over the validation split, by sets of pixels."""
    pairs = [data.read(*pair) for pair in data.pairs("val")]
    labels = np.stack([label for _, label in pairs])
    classes = np.stack([network.segment(image) for image, _ in pairs])
    valid = labels != 255
    return np.mean(
        [
            (valid & (labels == c) & (classes == c)).sum() / (valid & ((labels == c) | (classes == c))).sum()
            for c in range(3)
        ]
    )


def test_versions_count_on_and_are_complete(run, data, network):
    path, found = export(run, data, "savedmodel")
    assert path == run.folder / "serving" / "1"
    assert {file.name for file in path.parent.iterdir()} == {"1", "models.config", "batching_parameters.txt"}
    assert files(path) == FILES
    described = json.loads((path / "assets.extra" / "metadata.json").read_text())
    assert described["classes"] == ["road", "sky", "car"]
    assert described["palette"] == ["#102030", "#0000fa", "#c80000"]
    assert described["config"]["model"]["top"] == "tiny_xception"
    assert described["output"] == "ensemble"
    assert_told(opened(path), network, data)
    assert json.loads((path / "parity.json").read_text()) == json.loads(json.dumps(found))
    facts = {key: found[key] for key in ("format", "output", "size", "quantize", "images", "agreement")}
    assert facts == {
        **{"format": "savedmodel", "output": "ensemble", "size": None, "quantize": "none"},
        **{"images": 3, "agreement": 1.0},
    }
    assert found["bytes"] == sum((path / file).stat().st_size for file in FILES - {"parity.json"})
    assert found["largest_probability_difference"] < 1e-5
    assert found["mean_iou"] == pytest.approx(dict.fromkeys(("live", "exported"), mean_iou(network, data)))

    before = everything(path.parent)
    (path.parent / "models.config").write_text("mine")
    (path.parent / "10").mkdir()
    (path.parent / "12.old").mkdir()
    second, _ = export(run, data, "savedmodel", output="top", size=(24, 32), model=network)
    assert second.name == "11"
    assert files(second) == FILES
    assert (path.parent / "models.config").read_text() == "mine"
    after = everything(path.parent)
    assert {path: content for path, content in after.items() if path in before} == before | {
        path.parent / "models.config": b"mine"
    }


@pytest.mark.parametrize(
    ("name", "options", "folder"),
    [
        ("tflite", {}, "tflite/ensemble-40x56-float32"),
        pytest.param(
            "tflite",
            {"output": "top", "size": (24, 33), "quantize": "float16"},
            "tflite/top-24x33-float16",
            marks=pytest.mark.slow,
        ),
        pytest.param("onnx", {}, "onnx/ensemble-dynamic-float32", marks=pytest.mark.slow),
        ("onnx", {"size": (24, 33), "output": "bottom"}, "onnx/bottom-24x33-float32"),
    ],
)
def test_files_lie_where_their_names_say(run, data, network, name, options, folder):
    path, found = export(run, data, name, model=network, **options)
    assert path == run.folder / folder / f"model.{name}"
    assert files(path.parent) == {f"model.{name}", "parity.json"}
    assert found["bytes"] == path.stat().st_size
    if not options:
        assert_told(opened(path), network, data)
    assert found["agreement"] > 0.99

    before = everything(run.folder)
    seen = []
    message = refused(export, run, data, name, watch=lambda *progress: seen.append(progress), **options)
    assert message == f"The folder exists already. Remove it, or name another. Received: {path.parent}"
    assert seen == [], "nothing is converted first"
    assert everything(run.folder) == before


def test_training_images_calibrate(run, data, network, monkeypatch):
    """As many as are asked for, evenly spread, at the network's size; those of validation are left to compare."""
    seen = []
    write = exporting.write_litert

    def watched(network, path, size, quantize, samples, described):
        seen.extend(samples())
        write(network, path, size, quantize, samples, described)

    monkeypatch.setattr(exporting, "write_litert", watched)
    _, found = export(run, data, "tflite", quantize="int8", calibration=3, images=2, min_agreement=0, model=network)
    training = [data.read(*pair)[0] for pair in data.find("train")]
    assert [next(n for n, image in enumerate(training) if np.array_equal(image, sample)) for sample in seen] == [
        0,
        2,
        5,
    ]
    assert found["images"] == 2
    assert 0.5 < found["agreement"] < 1
    seen.clear()
    export(run, data, "tflite", quantize="int8", size=(20, 24), min_agreement=0, model=network)
    assert [sample.shape for sample in seen] == [(20, 24, 3)] * 6


@pytest.fixture
def wrong(monkeypatch):
    """Another network than the one that is asked for is written."""
    graph = exporting.deployed
    monkeypatch.setattr(exporting, "deployed", lambda model, output, size=None: graph(model, "top", size))


@pytest.mark.parametrize("name", ["savedmodel", "tflite"])
def test_another_network_is_not_exported(run, data, network, wrong, name):
    before = everything(run.folder)
    with pytest.raises(DisagreementError, match=r"only \d\d\.\d\d% of the pixels .* less than 99.90%; nothing was "):
        export(run, data, name, model=network)
    assert everything(run.folder) == before


def test_disagreement_can_be_allowed(run, data, network, wrong):
    path, found = export(run, data, "tflite", min_agreement=0.1, model=network)
    assert 0.1 < found["agreement"] < 0.999
    assert found["mean_iou"]["live"] != found["mean_iou"]["exported"]
    assert files(path.parent) == {"model.tflite", "parity.json"}


@pytest.mark.parametrize("failure", [KeyboardInterrupt, pytest.param(RuntimeError, marks=pytest.mark.slow)])
def test_what_ends_it_leaves_nothing(run, data, network, failure):
    def interrupt(what, done, total):
        if (what, done) == ("Comparing", 1):
            raise failure

    before = everything(run.folder)
    with pytest.raises(failure):
        export(run, data, "tflite", watch=interrupt, model=network)
    assert everything(run.folder) == before


KILLED = """\
import os, signal, sys
from pathlib import Path
from keras_crosscoop import dataset
from keras_crosscoop.export import export
from keras_crosscoop.runs import Run

def watch(what, done, total):
    if what == "Comparing":
        os.kill(os.getpid(), signal.SIGKILL)

export(Run.open(Path(sys.argv[1])), dataset("folder", sys.argv[2]), "savedmodel", watch=watch)
"""


@pytest.mark.slow
def test_killed_it_leaves_no_version_and_the_next_is_right(run, data, data_dir, network):
    """A process of the same number, as in containers, writes beside what the killed one left."""
    arguments = [sys.executable, "-c", KILLED, str(run.folder), str(data_dir)]
    done = subprocess.run(arguments, capture_output=True)
    assert done.returncode == -signal.SIGKILL
    (left,) = (run.folder / "serving").iterdir()
    assert left.name.startswith(".")  # which TensorFlow Serving does not look at
    assert (left / "saved_model.pb").is_file()
    left.rename(left.with_name(f".{os.getpid()}-0-1"))
    path, _ = export(run, data, "savedmodel")
    assert path.name == "1"
    assert files(path) == FILES
    assert_told(opened(path), network, data)


def test_a_version_that_appears_meanwhile_stays(run, data, network):
    """Two exports at once: the later one is told."""

    def watch(what, done, total):
        (run.folder / "serving" / "1").mkdir(exist_ok=True)

    assert "exists already" in refused(export, run, data, "savedmodel", watch=watch, model=network)
    assert [path.name for path in (run.folder / "serving").iterdir()] == ["1"]
    assert list((run.folder / "serving" / "1").iterdir()) == []


def no_space(*args, **options):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def torn(*args, **options):
    raise tf.errors.ResourceExhaustedError(None, None, "No space left on device\nand more")


@pytest.mark.parametrize("failing", [no_space, torn])
def test_a_full_disk_is_told_and_leaves_nothing(run, data, network, failing, monkeypatch):
    monkeypatch.setattr(tf.saved_model, "save", failing)
    before = everything(run.folder)
    message = refused(export, run, data, "savedmodel")
    assert message == (f"The network cannot be written (No space left on device). Received: {run.folder / 'serving'}")
    assert everything(run.folder) == before


@pytest.fixture
def idle(monkeypatch):
    """Nothing may be loaded or converted."""
    monkeypatch.setattr(exporting, "deployed", None)
    monkeypatch.setattr(Run, "load", None)


def test_a_target_that_cannot_be_written_is_told_first(run, data, monkeypatch, tmp_path):
    monkeypatch.setattr(exporting, "deployed", None)
    (tmp_path / "file").touch()
    before = everything(run.folder)
    message = refused(export, run, data, "savedmodel", folder=tmp_path / "file" / "serving")
    assert message.startswith("The folder cannot be made (Not a directory).")

    def read_only(*args, **options):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("pathlib.Path.mkdir", read_only)
    for name in ("savedmodel", "tflite", "onnx"):
        message = refused(export, run, data, name)
        assert message.startswith("The folder cannot be made (Read-only file system). Name another. Received:")
    assert everything(run.folder) == before


def test_a_name_that_no_server_takes_is_told_first(make_run, data, tmp_path, idle):
    run = make_run(tmp_path / "a:b")
    before = everything(run.folder)
    assert "no colon or slash. Rename the run's folder. Received: 'a:b'" in refused(export, run, data, "savedmodel")
    assert everything(run.folder) == before


def test_options_and_classes_are_compared_first(run, data, idle, tmp_path):
    assert "stores float32 alone" in refused(export, run, data, "onnx", quantize="int8")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "classes.txt").write_text("road\nsea\ncar\n")
    (tmp_path / "other" / "images" / "val").mkdir(parents=True)
    message = refused(export, run, dataset("folder", tmp_path / "other"), "onnx")
    assert message.startswith("The run knows 3 classes (road, sky, car)")
    assert not {"onnx", "serving"} & {path.name for path in run.folder.iterdir()}


def test_a_run_without_weights(run, data):
    run.weights.unlink()
    message = refused(export, run, data, "savedmodel")
    assert message == (
        "The run has no weights yet: no epoch was validated. Continue with "
        f"`crosscoop-tf fit --resume {run.folder}`. Received: {run.folder}"
    )
    assert not (run.folder / "serving").exists()


def test_an_output_that_the_run_has_not(run, data):
    message = refused(export, run, data, "tflite", output="single")
    assert "There is no output of that name." in message
    assert not (run.folder / "tflite").exists()


def test_what_cannot_be_converted_leaves_nothing(run, data, network, monkeypatch):
    graph = exporting.deployed

    class Strange(keras.layers.Layer):
        def call(self, features):
            return tf.math.digamma(1 + tf.nn.relu(features))

    def strange(model, output, size=None):
        folded = graph(model, output, size)
        return keras.Model(folded.input, {output: Strange(name="odd")(folded.output[output])}, name=output)

    monkeypatch.setattr(exporting, "deployed", strange)
    before = everything(run.folder)
    message = refused(export, run, data, "tflite", output="top", model=network)
    assert message.startswith("TensorFlow Lite has no operation for Digamma of layer odd. ")
    assert everything(run.folder) == before


@pytest.mark.slow
def test_a_single_network(make_run, data, tmp_path):
    run = make_run(tmp_path / "single", top="tiny_resnet", bottom=None)
    for name in ("savedmodel", "onnx"):
        path, found = export(run, data, name)
        assert found["output"] == "single"
        assert_told(opened(path), run.load(), data, "single")


def test_another_folder_and_a_model_that_is_loaded(run, data, network, tmp_path, monkeypatch):
    monkeypatch.setattr(Run, "load", None)
    path, _ = export(run, data, "tflite", folder=tmp_path / "a" / "b", model=network)
    assert path == tmp_path / "a" / "b" / "ensemble-40x56-float32" / "model.tflite"
    assert not (run.folder / "tflite").exists()


def test_images_of_other_sizes_are_brought_to_that_of_a_file():
    """And what is told back to theirs: of each pixel the nearest."""
    seen = []

    def run(images):
        seen.append(images)
        return {"classes": np.array([[[0, 1]]], np.uint8), "confidence": np.array([[[0.5, 0.75]]], np.float32)}

    image = np.array([[10, 20, 30, 40], [10, 20, 30, 40]], np.uint8)[..., None].repeat(3, -1)
    found = Exported(run, (1, 2))(image)
    np.testing.assert_array_equal(seen[0][0, :, :, 0], [[15, 35]])
    assert seen[0].dtype == np.uint8
    np.testing.assert_array_equal(found["classes"], [[0, 0, 1, 1]] * 2)
    np.testing.assert_array_equal(found["confidence"], [[0.5, 0.5, 0.75, 0.75]] * 2)
