"""The export formats and their options."""

import importlib
from dataclasses import dataclass
from typing import get_args

from keras_crosscoop.errors import InputError, unknown_name
from keras_crosscoop.export.deployment import Size
from keras_crosscoop.export.litert import Quantize

DYNAMIC = "dynamic"  # any input size

MIN_AGREEMENT: dict[Quantize, float] = {"none": 0.999, "float16": 0.99, "dynamic": 0.95, "int8": 0.95}


@dataclass(frozen=True)
class Format:
    """An export format."""

    folder: str  # of its exports within a run
    file: str = ""  # name of the exported file; "" if the export is the folder itself
    quantizations: tuple[Quantize, ...] = ("none",)
    any_size: bool = True  # whether one export can take images of any size
    extra: str = ""  # of this package, which installs `modules`
    modules: tuple[str, ...] = ()


FORMATS = {
    "savedmodel": Format("serving", extra="serving", modules=("tensorflow_serving",)),
    "tflite": Format("tflite", "model.tflite", get_args(Quantize), any_size=False),
    "onnx": Format("onnx", "model.onnx", extra="onnx", modules=("onnx", "onnxruntime", "tf2onnx")),
}


def check_options(name: str, quantize: Quantize = "none", size: Size | str | None = None) -> Format:
    """Returns the format of that name, after a check that it supports the other options.

    Raises:
        InputError: There is no such format, it does not support an option, or a module is not installed.
    """
    if name not in FORMATS:
        raise unknown_name("format", name, FORMATS)
    export_format = FORMATS[name]
    if quantize not in get_args(Quantize):
        raise unknown_name("quantisation", quantize, get_args(Quantize))
    if quantize not in export_format.quantizations:
        raise InputError(
            f"Format {name} is float32 only. Leave out --quantize, or use --format tflite. Received: {quantize}"
        )
    if size == DYNAMIC and not export_format.any_size:
        raise InputError(
            f"Format {name} has a fixed input size. Give it, as in --size 360x480, or leave out --size for the size of "
            f"the data set's first image. Received: --size {size}"
        )
    for module in export_format.modules:
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            raise InputError(
                f'Format {name} needs more packages: pip install "keras-crosscoop[{export_format.extra}]". '
                f"Received: no module {error.name}"
            ) from error
    return export_format
