"""`.keras` files, looked at before Keras builds what they describe: they may come from anywhere.

Keras's safe mode runs no code out of a file, but takes what memory its description asks for.
"""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras

from keras_crosscoop.errors import InputError
from keras_crosscoop.models.segmenter import Segmenter
from keras_crosscoop.models.weights.hdf5 import declared_bytes, opened_hdf5

_LONGEST = 2**20  # bytes of a description; of the paper's pair it takes 2,000
_WIDEST = 16  # times the usual channels that an option of a backbone, such as `alpha`, may ask for


def check_archive(path: Path) -> None:
    """Refuses a file whose network would be larger than the arrays that it holds.

    Raises:
        InputError: it is no `.keras` file, or of another model than this package's, or takes more memory than it has
            numbers for.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo("config.json").file_size > _LONGEST:
                raise ValueError("its description is too long")
            described = json.loads(archive.read("config.json"))
            held = archive.getinfo("model.weights.h5").file_size
        name, config = described["registered_name"] or described["class_name"], described["config"]
        numbers = {key: config.get(key) for key in ("num_classes", "width")}
        backbones = [config.get(key) for key in ("top", "bottom", "backbone")]
    except (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError, zipfile.BadZipFile) as error:
        raise InputError(f"The file holds no Keras model that can be loaded ({error}). Received: {path}") from error
    kind = keras.saving.get_registered_object(name)
    if not (isinstance(kind, type) and issubclass(kind, Segmenter)):
        raise InputError(f"The file holds another model than this package's. Received: {path} ({name})")
    if held > path.stat().st_size or declared_bytes(path) > held:
        raise InputError(f"The file holds fewer numbers than it says, so it is not loaded. Received: {path}")
    with opened_hdf5(path) as source:
        sizes = {size for shape in source.shapes.values() for size in shape}
    for key, number in numbers.items():
        if number is not None and number not in sizes:
            raise InputError(
                f"The file describes a network that it has no weights of ({key}={number}). Received: {path}"
            )
    if strange := [number for number in _numbers(backbones) if not 0 <= number <= _WIDEST]:
        raise InputError(f"The file describes a backbone of impossible size ({strange[0]}). Received: {path}")


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _numbers(item)
    elif isinstance(value, int | float):
        yield value
