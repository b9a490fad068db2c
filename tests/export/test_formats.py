"""Formats, the options that they support, and the packages that they need."""

import sys

import pytest
from helpers import refused

from keras_crosscoop.export.formats import FORMATS, MIN_AGREEMENT, check_options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("tflight",), "There is no format of that name. Did you mean \"tflite\"? Received: 'tflight'."),
        (("tflite", "int4"), "There is no quantisation of that name. Did you mean \"int8\"? Received: 'int4'."),
        (
            ("savedmodel", "int8"),
            "Format savedmodel is float32 only. Leave out --quantize, or use --format tflite. Received: int8",
        ),
        (("onnx", "float16"), "Format onnx is float32 only."),
        (
            ("tflite", "none", "dynamic"),
            "Format tflite has a fixed input size. Give it, as in --size 360x480, or leave out --size for the size of "
            "the data set's first image. Received: --size dynamic",
        ),
    ],
)
def test_unsupported_options_are_refused(options, message):
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
def test_supported_options_give_the_format(name, options):
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
def test_missing_packages_are_named(monkeypatch, name, module, extra):
    monkeypatch.setitem(sys.modules, module, None)
    assert refused(check_options, name) == (
        f'Format {name} needs more packages: pip install "keras-crosscoop[{extra}]". Received: no module {module}'
    )
    assert check_options("tflite") is FORMATS["tflite"]
