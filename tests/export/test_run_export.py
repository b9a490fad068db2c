"""An export is complete and agrees with the live network, or it is not there."""

import errno
import functools
import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from export.networks import METADATA, SIZE, LiteRTFiles, assert_predicts, probabilities_of
from helpers import refused, write_folder

from keras_crosscoop import dataset
from keras_crosscoop.errors import InputError
from keras_crosscoop.export import DisagreementError, export, load_exported, run_export
from keras_crosscoop.export.deployment import deployment_graph
from keras_crosscoop.export.onnx import write_onnx
from keras_crosscoop.export.parity import live
from keras_crosscoop.export.saved_model import write_saved_model
from keras_crosscoop.images.reading import ImageReading
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


@pytest.fixture(scope="module")
def network(small_network):
    return small_network


@pytest.fixture
def run(network, make_run, tmp_path):
    """A run with the weights of `network`."""
    return make_run(tmp_path / "street-1", lambda settings: network)


@pytest.fixture(scope="module")
def converted(network, made_once):
    """An export of `network` in each format: functions that return its path."""
    graph = functools.cache(functools.partial(deployment_graph, network))
    litert_files = LiteRTFiles(made_once, "small", lambda: graph("ensemble", SIZE))
    return {
        "savedmodel": lambda: made_once("small", lambda path: write_saved_model(graph("ensemble"), path)),
        "tflite": litert_files.__getitem__,
        "onnx": lambda: made_once("small.onnx", lambda path: write_onnx(graph("ensemble"), path, None, METADATA)),
    }


@pytest.fixture
def data(data_dir):
    return dataset("folder", data_dir)


@pytest.fixture
def written(monkeypatch, network, converted):
    """`network` is not loaded or converted: its exports are copied. Returns the arguments of the converters."""
    calls = []

    def save(network, folder, size, reading):
        calls.append({"network": network, "size": size, "reading": reading})
        shutil.copytree(converted["savedmodel"](), folder, dirs_exist_ok=True)

    def litert(network, path, size, quantize, samples, metadata):
        calls.append({"network": network, "size": size, "samples": list(samples()), "metadata": metadata})
        shutil.copy(converted["tflite"](quantize), path)

    def onnx(network, path, size, metadata):
        calls.append({"network": network, "size": size, "metadata": metadata})
        shutil.copy(converted["onnx"](), path)

    monkeypatch.setattr(Run, "load", lambda run: network)
    monkeypatch.setattr(run_export, "live", cached_live)
    for name, write in {"saved_model": save, "litert": litert, "onnx": onnx}.items():
        monkeypatch.setattr(run_export, f"write_{name}", write)
    return calls


@functools.cache  # which is traced once
def cached_live(model, output, size=None):
    return live(model, output, size)


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def everything(folder):
    """All that is in a folder, files with their bytes."""
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def assert_agrees(exported, network, data, output="ensemble"):
    """On images of the validation split."""
    for pair in data.pairs("val"):
        image, _ = data.read(*pair)
        assert_predicts(exported(image), probabilities_of(network, image[None], output)[0])


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


def test_versions_count_on_and_are_complete(run, data, network, written):
    path, figures = export(run, data, "savedmodel")
    assert path == run.folder / "serving" / "1"
    assert {file.name for file in path.parent.iterdir()} == {"1", "models.config", "batching_parameters.txt"}
    assert files(path) == FILES
    metadata = json.loads((path / "assets.extra" / "metadata.json").read_text())
    assert metadata["classes"] == ["road", "sky", "car"]
    assert metadata["palette"] == ["#102030", "#0000fa", "#c80000"]
    assert metadata["config"]["model"]["top"] == "micro"
    assert metadata["output"] == "ensemble"
    assert_agrees(load_exported(path), network, data)
    assert json.loads((path / "parity.json").read_text()) == json.loads(json.dumps(figures))
    options = {key: figures[key] for key in ("format", "output", "size", "quantize", "images", "agreement")}
    assert options == {
        **{"format": "savedmodel", "output": "ensemble", "size": None, "quantize": "none"},
        **{"images": 3, "agreement": 1.0},
    }
    assert figures["bytes"] == sum((path / file).stat().st_size for file in FILES - {"parity.json"})
    assert figures["largest_probability_difference"] < 1e-5
    assert figures["mean_iou"] == pytest.approx(dict.fromkeys(("live", "exported"), mean_iou(network, data)))

    before = everything(path.parent)
    (path.parent / "models.config").write_text("mine")
    (path.parent / "10").mkdir()
    (path.parent / "12.old").mkdir()
    second, figures = export(run, data, "savedmodel", output="top", size=(24, 32), min_agreement=0.1, model=network)
    assert (written[-1]["network"].name, written[-1]["size"]) == ("top", (24, 32))
    assert written[-1]["network"].input_shape == (None, None, None, 3)
    assert second.name == "11"
    assert files(second) == FILES
    assert (path.parent / "models.config").read_text() == "mine"
    after = everything(path.parent)
    assert {path: content for path, content in after.items() if path in before} == before | {
        path.parent / "models.config": b"mine"
    }


def test_an_export_reads_files_as_the_run_does(run, data, network, written):
    export(run, data, "savedmodel", model=network)
    assert written[-1]["reading"] == ImageReading()
    (run.folder / "dataset.yaml").write_text("range: [0, 4095]\nchannels: [3, 2, 1]\n")
    path, _ = export(Run.open(run.folder), data, "savedmodel", model=network)
    assert written[-1]["reading"] == ImageReading(range=(0, 4095), channels=(3, 2, 1))
    metadata = json.loads((path / "assets.extra/metadata.json").read_text())
    assert metadata["reading"] == {"range": [0, 4095], "channels": [3, 2, 1]}


@pytest.mark.parametrize(
    ("name", "options", "folder"),
    [
        ("tflite", {"quantize": "float16", "min_agreement": 0.9}, "tflite/ensemble-40x56-float16"),
        ("onnx", {}, "onnx/ensemble-dynamic-float32"),
        ("onnx", {"size": (24, 33), "output": "bottom", "min_agreement": 0}, "onnx/bottom-24x33-float32"),
    ],
)
def test_files_lie_where_their_names_say(run, data, network, written, name, options, folder):
    path, figures = export(run, data, name, model=network, **options)
    assert path == run.folder / folder / f"model.{name}"
    assert files(path.parent) == {f"model.{name}", "parity.json"}
    assert figures["bytes"] == path.stat().st_size
    assert written[-1]["network"].name == options.get("output", "ensemble")
    assert written[-1]["size"] == options.get("size", SIZE if name == "tflite" else None)
    assert written[-1]["metadata"]["classes"] == ["road", "sky", "car"]

    before = everything(run.folder)
    message = refused(export, run, data, name, model=network, **options)
    assert message == f"The folder already exists. Remove it, or name another. Received: {path.parent}"
    assert len(written) == 1, "nothing is converted first"
    assert everything(run.folder) == before


def test_training_images_calibrate(run, data, network, written):
    """As many as are asked for, evenly spread, at the network's size; those of validation are left to compare."""
    options = {"quantize": "int8", "min_agreement": 0, "model": network, "images": 2}
    _, figures = export(run, data, "tflite", calibration=3, **options)
    training = [data.read(*pair)[0] for pair in data.find("train")]
    numbers = [
        next(number for number, image in enumerate(training) if np.array_equal(image, sample))
        for sample in written[-1]["samples"]
    ]
    assert numbers == [0, 2, 5]
    assert figures["images"] == 2
    assert 0.5 < figures["agreement"] < 1
    export(run, data, "tflite", size=(20, 24), **options)
    assert [(sample.shape, sample.dtype) for sample in written[-1]["samples"]] == [((20, 24, 3), np.uint8)] * 6


@pytest.fixture
def other(monkeypatch):
    """The export is compared with another network than the one that is written."""
    monkeypatch.setattr(run_export, "live", lambda model, output, size=None: cached_live(model, "top", size))


@pytest.mark.parametrize("name", ["savedmodel", "tflite"])
def test_another_network_is_not_exported(run, data, network, written, other, name):
    before = everything(run.folder)
    with pytest.raises(
        DisagreementError, match=r"On 3 images only \d\d\.\d\d% of the pixels .* than 99.90%, so nothing"
    ):
        export(run, data, name, model=network)
    assert everything(run.folder) == before


def test_disagreement_can_be_allowed(run, data, network, written, other):
    path, figures = export(run, data, "tflite", min_agreement=0.1, model=network)
    assert 0.1 < figures["agreement"] < 0.999
    assert figures["mean_iou"]["live"] != figures["mean_iou"]["exported"]
    assert files(path.parent) == {"model.tflite", "parity.json"}


def test_an_interrupted_export_leaves_nothing(run, data, network, written):
    def interrupt(stage, done, total):
        if (stage, done) == ("Comparing", 1):
            raise KeyboardInterrupt

    before = everything(run.folder)
    with pytest.raises(KeyboardInterrupt):
        export(run, data, "tflite", progress=interrupt, model=network)
    assert everything(run.folder) == before


KILLED = """\
import os, signal, sys
from pathlib import Path
from keras_crosscoop import dataset
from keras_crosscoop.export import export
from keras_crosscoop.runs import Run

def progress(stage, done, total):
    if stage == "Comparing":
        os.kill(os.getpid(), signal.SIGKILL)

export(Run.open(Path(sys.argv[1])), dataset("folder", sys.argv[2]), "savedmodel", progress=progress)
"""


@pytest.mark.slow
def test_a_killed_export_leaves_no_version_and_the_next_is_right(make_run, data, data_dir, tmp_path):
    """A process of the same number, as in containers, writes beside what the killed one left."""
    run = make_run(tmp_path / "run", top="tiny_xception", bottom="tiny_resnet")
    arguments = [sys.executable, "-c", KILLED, str(run.folder), str(data_dir)]
    assert subprocess.run(arguments, capture_output=True).returncode == -signal.SIGKILL
    (left,) = (run.folder / "serving").iterdir()
    assert left.name.startswith(".")  # which TensorFlow Serving does not look at
    assert (left / "saved_model.pb").is_file()
    left.rename(left.with_name(f".{os.getpid()}-0-1"))
    path, _ = export(run, data, "savedmodel")
    assert path.name == "1"
    assert files(path) == FILES
    assert_agrees(load_exported(path), run.load(), data)


def test_a_version_that_appears_meanwhile_stays(run, data, network, written):
    """Of two simultaneous exports the later one is refused."""

    def progress(stage, done, total):
        (run.folder / "serving" / "1").mkdir(exist_ok=True)

    assert "already exists" in refused(export, run, data, "savedmodel", progress=progress, model=network)
    assert [path.name for path in (run.folder / "serving").iterdir()] == ["1"]
    assert list((run.folder / "serving" / "1").iterdir()) == []


def no_space(*args, **options):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def torn(*args, **options):
    raise tf.errors.ResourceExhaustedError(None, None, "No space left on device\nand more")


@pytest.mark.parametrize("failing", [no_space, torn])
def test_a_full_disk_leaves_nothing(run, data, network, failing, monkeypatch):
    monkeypatch.setattr(run_export, "write_saved_model", failing)
    before = everything(run.folder)
    message = refused(export, run, data, "savedmodel", model=network)
    assert message == f"The network cannot be written (No space left on device). Received: {run.folder / 'serving'}"
    assert everything(run.folder) == before


def test_failed_conversions_leave_nothing(run, data, network, monkeypatch):
    def refuse(*arguments):
        raise InputError("TensorFlow Lite does not support Digamma. Received: output top")

    monkeypatch.setattr(run_export, "write_litert", refuse)
    before = everything(run.folder)
    assert "does not support Digamma" in refused(export, run, data, "tflite", output="top", model=network)
    assert everything(run.folder) == before


@pytest.fixture
def idle(monkeypatch):
    """Nothing may be loaded or converted."""
    monkeypatch.setattr(run_export, "deployment_graph", None)
    monkeypatch.setattr(Run, "load", None)


def test_a_folder_that_cannot_be_written_is_reported_first(run, data, network, monkeypatch, tmp_path):
    monkeypatch.setattr(run_export, "deployment_graph", None)
    (tmp_path / "file").touch()
    before = everything(run.folder)
    message = refused(export, run, data, "savedmodel", folder=tmp_path / "file" / "serving", model=network)
    assert message.startswith("The folder cannot be made (Not a directory).")

    def read_only(*args, **options):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("pathlib.Path.mkdir", read_only)
    for name in ("savedmodel", "tflite", "onnx"):
        message = refused(export, run, data, name, model=network)
        assert message.startswith("The folder cannot be made (Read-only file system). Name another. Received:")
    assert everything(run.folder) == before


def test_a_name_that_no_server_takes_is_refused_first(run, data, idle):
    folder = run.folder.rename(run.folder.with_name("a:b"))
    before = everything(folder)
    message = refused(export, Run.open(folder), data, "savedmodel")
    assert message == (
        "A model's name on a server cannot contain a colon or slash. Rename the run's folder. Received: 'a:b'"
    )
    assert everything(folder) == before


def test_options_and_classes_are_checked_first(run, data, idle, tmp_path):
    assert "is float32 only" in refused(export, run, data, "onnx", quantize="int8")
    other = write_folder(tmp_path / "other", {"train": 1, "val": 1})
    (other / "classes.txt").write_text("road\nsea\ncar\n")
    message = refused(export, run, dataset("folder", other), "onnx")
    assert message.startswith("The run has 3 classes (road, sky, car)")
    assert not {"onnx", "serving"} & {path.name for path in run.folder.iterdir()}


def test_a_run_without_weights(run, data):
    run.weights.unlink()
    message = refused(export, run, data, "savedmodel")
    assert message.startswith("The run has no weights:")
    assert not (run.folder / "serving").exists()


def test_an_output_that_the_run_has_not(run, data, network):
    assert "There is no output of that name." in refused(export, run, data, "tflite", output="single", model=network)
    assert not (run.folder / "tflite").exists()


@pytest.mark.slow
def test_a_single_network(make_run, data, tmp_path):
    run = make_run(tmp_path / "single", bottom=None)
    for name in ("savedmodel", "onnx"):
        path, figures = export(run, data, name)
        assert figures["output"] == "single"
        assert_agrees(load_exported(path), run.load(), data, "single")


def test_another_folder_and_a_model_that_is_loaded(run, data, network, written, tmp_path, monkeypatch):
    monkeypatch.setattr(Run, "load", None)
    path, _ = export(run, data, "tflite", folder=tmp_path / "a" / "b", model=network)
    assert path == tmp_path / "a" / "b" / "ensemble-40x56-float32" / "model.tflite"
    assert not (run.folder / "tflite").exists()
