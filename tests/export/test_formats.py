"""What does not go together, or is not installed, is said before anything is done."""

import sys

import pytest
from helpers import refused

from keras_crosscoop.export.formats import FORMATS, MIN_AGREEMENT, check_options
from keras_crosscoop.export.running import opened


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("tflight",), "There is no format of that name. Did you mean \"tflite\"? Received: 'tflight'."),
        (("tflite", "int4"), "There is no quantisation of that name. Did you mean \"int8\"? Received: 'int4'."),
        (
            ("savedmodel", "int8"),
            "Format savedmodel stores float32 alone. Leave --quantize out, or take --format tflite. Received: int8",
        ),
        (("onnx", "float16"), "Format onnx stores float32 alone."),
        (
            ("tflite", "none", "dynamic"),
            "Format tflite is for images of one size. Name it, as --size 360x480, or leave --size out to take that of "
            "the run's data set. Received: --size dynamic",
        ),
    ],
)
def test_what_does_not_go_together(options, message):
    assert refused(check_options, *options).startswith(message)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("savedmodel", {}),
        ("savedmodel", {"size": "dynamic"}),
        ("savedmodel", {"size": (40, 56)}),
        ("onnx", {"size": "dynamic"}),
        *(("tflite", {"quantize": quantize, "size": (40, 56)}) for quantize in MIN_AGREEMENT),
        ("tflite", {}),
    ],
)
def test_what_does(name, options):
    assert check_options(name, **options) is FORMATS[name]


@pytest.mark.parametrize(
    ("name", "module", "extra"),
    [
        ("savedmodel", "tensorflow_serving", "serving"),
        ("onnx", "onnx", "onnx"),
        ("onnx", "onnxruntime", "onnx"),
        ("onnx", "tf2onnx", "onnx"),
    ],
)
def test_what_is_not_installed(monkeypatch, name, module, extra):
    monkeypatch.setitem(sys.modules, module, None)
    assert refused(check_options, name) == (
        f'Format {name} needs more than is installed: pip install "keras-crosscoop[{extra}]". '
        f"Received: no module {module}"
    )
    assert check_options("tflite") is FORMATS["tflite"]


@pytest.mark.parametrize("name", ["folder", "file.txt", "none.tflite", "none"])
def test_what_is_no_exported_network(tmp_path, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file.txt").touch()
    assert refused(opened, tmp_path / name) == (
        f"An exported network is a SavedModel's folder, a .tflite or an .onnx file. Received: {tmp_path / name}"
    )
