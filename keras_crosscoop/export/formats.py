"""The formats that a network leaves in, and what each can be told."""

import importlib
from dataclasses import dataclass
from typing import get_args

from keras_crosscoop.errors import InputError, unknown_name
from keras_crosscoop.export.deployed import Size
from keras_crosscoop.export.litert import Quantize

DYNAMIC = "dynamic"  # of sizes: any

MIN_AGREEMENT: dict[Quantize, float] = {"none": 0.999, "float16": 0.99, "dynamic": 0.95, "int8": 0.95}


@dataclass(frozen=True)
class Format:
    """What there is to know of a format.

    Attributes:
        folder: below a run's, where its exports lie.
        file: what an export is called in its folder; none where it is the folder.
        quantizations: that it can be had in.
        any_size: whether one export can take images of any size.
        extra: of this package that brings what it needs, and the modules it needs.
        modules: see there.
    """

    folder: str
    file: str = ""
    quantizations: tuple[Quantize, ...] = ("none",)
    any_size: bool = True
    extra: str = ""
    modules: tuple[str, ...] = ()


FORMATS = {
    "savedmodel": Format("serving", extra="serving", modules=("tensorflow_serving",)),
    "tflite": Format("tflite", "model.tflite", get_args(Quantize), any_size=False),
    "onnx": Format("onnx", "model.onnx", extra="onnx", modules=("onnx", "onnxruntime", "tf2onnx")),
}


def check_options(name: str, quantize: Quantize = "none", size: Size | str | None = None) -> Format:
    """The format of that name, if it can be had so.

    Raises:
        InputError: there is no such format, it does not go with the other options, or what it needs is not installed.
    """
    if name not in FORMATS:
        raise unknown_name("format", name, FORMATS)
    form = FORMATS[name]
    if quantize not in get_args(Quantize):
        raise unknown_name("quantisation", quantize, get_args(Quantize))
    if quantize not in form.quantizations:
        raise InputError(
            f"Format {name} stores float32 alone. Leave --quantize out, or take --format tflite. Received: {quantize}"
        )
    if size == DYNAMIC and not form.any_size:
        raise InputError(
            f"Format {name} is for images of one size. Name it, as --size 360x480, or leave --size out to take that of "
            f"the run's data set. Received: --size {size}"
        )
    for module in form.modules:
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            raise InputError(
                f'Format {name} needs more than is installed: pip install "keras-crosscoop[{form.extra}]". '
                f"Received: no module {error.name}"
            ) from error
    return form
