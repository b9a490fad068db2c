"""`crosscoop-tf export`: what it writes and prints, and what it refuses in one line."""

import json
import shutil
import sys

import keras
import numpy as np
import pytest
from crosscoop_tf.main import main
from helpers import TINY_FIT

from keras_crosscoop import dataset, load
from keras_crosscoop.export import exporting, load_exported
from keras_crosscoop.runs import Run


@pytest.fixture
def run(run_folder, tmp_path):
    """A run of its own, trained on `halves`."""
    shutil.copytree(run_folder, tmp_path / "run")
    return tmp_path / "run"


def pictures(halves):
    data = dataset("folder", halves)
    return [data.read(*pair)[0] for pair in data.pairs("val")]


def test_a_saved_model_sees_what_the_run_sees(crosscoop, run, halves):
    code, out, err = crosscoop("export", run, "--format=savedmodel")
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == f"Exported: {run / 'serving' / '1'}"
    assert "Beside the live model" in out
    assert "100.00 %" in out
    model, exported = load(run), load_exported(run / "serving" / "1")
    for image in pictures(halves):
        classes = exported(image)["classes"]
        assert (classes == model.segment(image)).mean() > 0.999
        assert set(classes.ravel()) == {0, 1}


def test_one_json_object_is_printed(crosscoop, run):
    """And nothing else, though converters like to talk: they do to stderr."""
    code, out, err = crosscoop(
        *("export", run, "--format=tflite", "--quantize=int8", "--calibration=4", "--images=2", "--size=24x32"),
        *("--output-head=bottom", "--min-agreement=0.5", "--output=elsewhere", "--json"),
    )
    assert code == 0
    assert "Warning" not in err
    (line,) = out.splitlines()
    found = json.loads(line)
    assert found.pop("path") == "elsewhere/bottom-24x32-int8/model.tflite"
    assert found == json.loads((run.parent / "elsewhere/bottom-24x32-int8/parity.json").read_text())
    assert (found["output"], found["size"], found["quantize"], found["images"]) == ("bottom", [24, 32], "int8", 2)
    assert not (run / "tflite").exists()


@pytest.fixture
def wrong(monkeypatch):
    """A network that tells each class for the other is written."""
    graph = exporting.deployed

    def inverted(model, output, size=None):
        network = graph(model, output, size)
        turned = {side: keras.layers.Rescaling(-1.0)(logits) for side, logits in network.output.items()}
        return keras.Model(network.input, turned, name=output)

    monkeypatch.setattr(exporting, "deployed", inverted)


def test_disagreement_is_a_failure_and_leaves_nothing(crosscoop, run, wrong):
    before = sorted(run.rglob("*"))
    code, out, err = crosscoop("export", run, "--format=tflite", "--json")
    assert (code, out) == (1, "")
    assert err.startswith("crosscoop-tf: Of 3 images only ")
    assert "less than 99.90%; nothing was exported. Allow it with --min-agreement" in err
    assert len(err.splitlines()) == 1
    assert sorted(run.rglob("*")) == before


@pytest.fixture
def idle(monkeypatch):
    """No run may be loaded, and nothing converted."""
    monkeypatch.setattr(Run, "load", None)
    monkeypatch.setattr(exporting, "deployed", None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["nowhere", "--format=onnx"], "This is no run: there is no such folder."),
        (["nowhere", "--format=onnx", "--quantize=int8"], "Format onnx stores float32 alone."),
        (["nowhere", "--format=savedmodel", "--quantize=float16"], "Format savedmodel stores float32 alone."),
        (["nowhere", "--format=tflite", "--size=dynamic"], "Format tflite is for images of one size."),
        (["nowhere"], "Missing option '--format'."),
        (
            ["nowhere", "--format=tflite", "--size=0x40"],
            "A size is height x width, as 360x480, 1 to 99999 pixels each, or dynamic.",
        ),
        (
            ["nowhere", "--format=tflite", "--size=40"],
            "A size is height x width, as 360x480, 1 to 99999 pixels each, or dynamic.",
        ),
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
        f'crosscoop-tf: Format {name} needs more than is installed: pip install "keras-crosscoop[{extra}]". '
        f"Received: no module {missing}\n"
    )


def spoiled(run, halves, tmp_path, how):
    """Options of an export that cannot be, and what is said."""
    match how:
        case "no weights":
            (run / "best.weights.h5").unlink()
            (run / "history.csv").unlink()
            return [], "The run has no weights yet: no epoch was validated. Continue with `crosscoop-tf fit --resume "
        case "other classes":
            shutil.copytree(halves, tmp_path / "other")
            (tmp_path / "other" / "classes.txt").write_text("dark\nlight\n")
            return ["--data-dir", tmp_path / "other"], "The run knows 2 classes (dark, bright), but data set"
        case "no data":
            return ["--data-dir", tmp_path / "gone"], "Name it with --data-dir. Received:"
        case "no folder":
            (tmp_path / "file").touch()
            return ["--output", tmp_path / "file"], "The folder cannot be made ("
        case "no such output":
            return ["--output-head=single"], "There is no output of that name."


@pytest.mark.parametrize("how", ["no weights", "other classes", "no data", "no folder", "no such output"])
def test_what_cannot_be_exported_takes_one_line(crosscoop, run, halves, tmp_path, how):
    options, message = spoiled(run, halves, tmp_path, how)
    before = sorted(tmp_path.rglob("*"))
    code, out, err = crosscoop("export", run, "--format=savedmodel", *options)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_what_is_there_is_not_overwritten(crosscoop, run):
    options = ("export", run, "--format=tflite", "--images=1")
    assert crosscoop(*options).code == 0
    file = run / "tflite" / "ensemble-32x48-float32" / "model.tflite"
    content = file.read_bytes()
    code, out, err = crosscoop(*options)
    assert (code, out) == (2, "")
    assert err == (f"crosscoop-tf: The folder exists already. Remove it, or name another. Received: {file.parent}\n")
    assert file.read_bytes() == content


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


def test_calibration_without_int8_is_refused(crosscoop, run):
    code, _, err = crosscoop("export", run, "--format=tflite", "--calibration=4")
    assert code == 2
    assert "--calibration is for int8" in err
    assert err.count("\n") == 1
