"""`crosscoop-tf export`: its options, what it prints, and what it refuses in one line."""

import json
import shutil
import sys

import keras
import numpy as np
import pytest
from crosscoop_tf.main import main
from helpers import TINY_FIT

from keras_crosscoop import config, dataset, export, load
from keras_crosscoop.export import DisagreementError, load_exported, run_export
from keras_crosscoop.runs import Run

PARITY = {
    **{"format": "tflite", "output": "ensemble", "size": None, "quantize": "none"},
    **{"images": 3, "agreement": 0.9987, "largest_probability_difference": 0.01, "bytes": 123456},
    **{"mean_iou": {"live": 0.5, "exported": 0.4}, "latency": {"median": 0.01, "p90": 0.02}},
}


@pytest.fixture
def run(halves, tmp_path):
    """A run without weights, of a data set on the disk."""
    keras.ops.zeros(1)  # at its first operation TensorFlow reports that there is no GPU
    model = {"top": "tiny_resnet", "bottom": None, "weights": None}
    settings = config.settings({"model": model, "data": {"name": "folder", "dir": str(halves)}})
    return Run.create(tmp_path / "run", settings, dataset("folder", halves)).folder


@pytest.fixture
def library(monkeypatch):
    """Records the arguments of `keras_crosscoop.export.export`, which exports nothing."""
    calls = []

    def record(*arguments, **options):
        calls.append((arguments, options))
        options["progress"]("Comparing", 1, 3)
        return "run/a file", PARITY

    monkeypatch.setattr(export, "export", record)
    return calls


def test_options_reach_the_library(crosscoop, run, library):
    options = ("--format=tflite", "--quantize=int8", "--calibration=4", "--images=2", "--size=24x32")
    more = ("--output-head=bottom", "--min-agreement=0.5", "--output=elsewhere", "--json")
    code, out, err = crosscoop("export", run, *options, *more)
    assert (code, err) == (0, "")
    assert json.loads(out) == {"path": "run/a file", **PARITY}
    (opened, data, name), given = library[0]
    assert (opened.folder, data.name, name) == (run, "folder", "tflite")
    del given["progress"]
    assert {**given, "folder": str(given["folder"])} == {
        **{"output": "bottom", "size": (24, 32), "quantize": "int8", "folder": "elsewhere"},
        **{"calibration": 4, "images": 2, "min_agreement": 0.5},
    }


def test_without_options_the_library_has_its_defaults(crosscoop, run, library):
    code, out, err = crosscoop("export", run, "--format=savedmodel")
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == "Exported: run/a file"
    assert "99.87 %" in out
    _, given = library[0]
    del given["progress"]
    assert given == {
        **{"output": None, "size": None, "quantize": "none", "folder": None},
        **{"calibration": 100, "images": 20, "min_agreement": None},
    }


def test_disagreement_is_a_failure(crosscoop, run, monkeypatch):
    def disagree(*arguments, **options):
        raise DisagreementError("On 3 images only 50% ...")

    monkeypatch.setattr(export, "export", disagree)
    assert crosscoop("export", run, "--format=tflite", "--json") == (1, "", "crosscoop-tf: On 3 images only 50% ...\n")


@pytest.fixture
def idle(monkeypatch):
    """No run may be loaded, and nothing converted."""
    monkeypatch.setattr(Run, "load", None)
    monkeypatch.setattr(run_export, "deployment_graph", None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["nowhere", "--format=onnx"], "This is not a run: there is no such folder."),
        (["nowhere", "--format=onnx", "--quantize=int8"], "Format onnx is float32 only."),
        (["nowhere", "--format=savedmodel", "--quantize=float16"], "Format savedmodel is float32 only."),
        (["nowhere", "--format=tflite", "--size=dynamic"], "Format tflite has a fixed input size."),
        (["nowhere"], "Missing option '--format'."),
        (["nowhere", "--format=tflite", "--size=0x40"], "A size must be HEIGHTxWIDTH, such as 360x480, or one number"),
        (["nowhere", "--format=coreml"], "Invalid value for '--format': 'coreml' is not one of"),
        (["nowhere", "--format=tflite", "--min-agreement=95"], "Invalid value for '--min-agreement': 95"),
    ],
)
def test_bad_usage_takes_one_line_and_no_work(crosscoop, idle, tmp_path, options, message):
    code, out, err = crosscoop("export", *options)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("missing", ["onnx", "tf2onnx", "tensorflow_serving"])
def test_missing_extras_take_one_line(crosscoop, idle, run, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    name, extra = ("savedmodel", "serving") if missing == "tensorflow_serving" else ("onnx", "onnx")
    code, out, err = crosscoop("export", run, "--format", name)
    assert (code, out) == (2, "")
    assert err == (
        f'crosscoop-tf: Format {name} needs more packages: pip install "keras-crosscoop[{extra}]". '
        f"Received: no module {missing}\n"
    )


@pytest.mark.parametrize("how", ["no weights", "other classes", "no data", "calibration"])
def test_what_cannot_be_exported_takes_one_line(crosscoop, run, halves, tmp_path, how):
    shutil.copytree(halves, tmp_path / "other")
    (tmp_path / "other" / "classes.txt").write_text("dark\nlight\n")
    options, message = {
        "no weights": ([], "The run has no weights: no epoch was validated yet"),
        "other classes": (["--data-dir", tmp_path / "other"], "The run has 2 classes (dark, bright), but data set"),
        "no data": (["--data-dir", tmp_path / "gone"], f"{tmp_path / 'gone'}"),
        "calibration": (["--calibration=4"], "--calibration is for int8"),
    }[how]
    before = sorted(tmp_path.rglob("*"))
    code, out, err = crosscoop("export", run, "--format=savedmodel", *options)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before


def pictures(halves):
    data = dataset("folder", halves)
    return [data.read(*pair)[0] for pair in data.pairs("val")]


@pytest.mark.slow
def test_a_saved_model_predicts_what_the_run_predicts(crosscoop, run_folder, tmp_path, halves):
    run = shutil.copytree(run_folder, tmp_path / "a run")
    code, out, err = crosscoop("export", run, "--format=savedmodel")
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == f"Exported: {run / 'serving' / '1'}"
    assert "100.00 %" in out
    model, exported = load(run), load_exported(run / "serving" / "1")
    for image in pictures(halves):
        classes = exported(image)["classes"]
        assert (classes == model.segment(image)).mean() > 0.999
        assert set(classes.ravel()) == {0, 1}


@pytest.mark.slow
def test_converters_print_nothing(crosscoop, run_folder, tmp_path):
    """They like to talk: they do to stderr."""
    run = shutil.copytree(run_folder, tmp_path / "a run")
    options = ("--format=tflite", "--quantize=int8", "--calibration=4", "--min-agreement=0.5", "--json")
    code, out, err = crosscoop("export", run, *options)
    assert code == 0
    assert "Warning" not in err
    figures = json.loads(out)
    path = figures.pop("path")
    assert figures == json.loads((run / "tflite/ensemble-32x48-int8/parity.json").read_text())
    content = (run / "tflite/ensemble-32x48-int8/model.tflite").read_bytes()
    code, out, err = crosscoop("export", run, *options)
    assert (code, out) == (2, "")
    assert "The folder already exists. Remove it, or name another." in err
    assert (run / "tflite/ensemble-32x48-int8/model.tflite").read_bytes() == content
    assert path.endswith("model.tflite")


def trained(folder, halves, *options):
    with pytest.MonkeyPatch.context() as patch:
        arguments = ["fit", *TINY_FIT, f"--data-dir={halves}", "--epochs=1", f"--output={folder}", *options]
        patch.setattr(sys, "argv", ["crosscoop-tf", *arguments, "--batch-size=4", "--set=model.decoder_channels=8"])
        main()
    return load(folder)


@pytest.mark.slow
def test_averaged_weights_are_exported(crosscoop, halves, tmp_path):
    """Of runs that are otherwise the same, one keeps the weights as they are and one their averages."""
    own = trained(tmp_path / "own", halves)
    averaged = trained(tmp_path / "averaged", halves, "--set=train.ema_decay=0.9")
    assert crosscoop("export", tmp_path / "averaged", "--format=tflite", "--min-agreement=0").code == 0
    exported = load_exported(tmp_path / "averaged/tflite/ensemble-32x48-float32/model.tflite")
    for image in pictures(halves):
        confidence = exported(image)["confidence"]
        likeliest = [model.segment(image, probabilities=True)[1].max(-1) for model in (own, averaged)]
        assert np.abs(confidence - likeliest[0]).max() > 0.01
        np.testing.assert_allclose(confidence, likeliest[1], atol=1e-4)
