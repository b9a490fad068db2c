"""HDF5 files of weights: `.weights.h5` and `.keras` as Keras 3 writes them, `.h5` as Keras 2 did.

Keras's own loader matches layers by their order and stops at the first difference. This one matches them by name, so
that weights can also be moved between networks that share only some layers.
"""

import zipfile
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from keras_crosscoop.errors import InputError
from keras_crosscoop.models.naming import stable_names
from keras_crosscoop.models.weights.hdf5_checks import check_heaps, check_self_contained, string_attribute
from keras_crosscoop.models.weights.transfer import Source, TransferReport, transfer, unreadable

WEIGHTS, CONFIG = "model.weights.h5", "config.json"  # members of a `.keras` file

_NO_LAYERS = ("optimizer", "seed_generator")  # groups of a file that are not layers

# Errors of HDF5 and zip, and of this module when a file holds values of unexpected types.
_DAMAGED = (OSError, LookupError, RuntimeError, ValueError, zipfile.BadZipFile, AttributeError, TypeError)


def load_hdf5(model: keras.Model, path: Path, *, partial: bool = False, one_of: Collection[str] = ()) -> TransferReport:
    """Loads a `.h5` or `.keras` file into a model, and matches layers by name.

    Args:
        model: Any functional model.
        path: A file from `save_weights` or `save`, of this model or one that shares layers with it.
        partial: Whether variables that are not in the file keep their values; otherwise they are an error.
        one_of: Layers of which at least one must be complete in the file.

    Raises:
        InputError: There is no such file, it cannot be read, or its weights do not fit; see `transfer`.
    """
    with open_hdf5(path) as source:
        return transfer(source, saved_names(model), model=model.name, partial=partial, one_of=one_of)


def saved_names(model: keras.Model, prefix: str = "") -> dict[str, keras.Variable]:
    """Returns the model's variables by their names in files: the path of layers, and a number."""
    names = {}
    for layer, name in zip(model.layers, stable_names(layer.name for layer in model.layers), strict=True):
        path = f"{prefix}{name}"
        if isinstance(layer, keras.Model):
            names |= saved_names(layer, f"{path}/")
        else:
            names |= {f"{path}/{number}": variable for number, variable in enumerate(layer.weights)}
    return names


@contextmanager
def open_keras_file(path: Path) -> Iterator[zipfile.ZipFile]:
    """Opens a `.keras` file, whose members must be uncompressed, unique and undamaged, as Keras writes them.

    Uncompressed members cannot take more memory than the file is long.

    Raises:
        OSError, RuntimeError, zipfile.BadZipFile: It cannot be read, or is not such a file.
    """
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        stored = all(member.compress_type == zipfile.ZIP_STORED for member in members)
        larger = sum(member.file_size for member in members) > path.stat().st_size
        if not stored or larger or len(set(archive.namelist())) < len(members):
            raise zipfile.BadZipFile("its members are compressed or not unique, as Keras never writes them")
        if damaged := archive.testzip():
            raise zipfile.BadZipFile(f"{damaged} is damaged")
        yield archive


@contextmanager
def open_hdf5(path: Path) -> Iterator[Source]:
    """Opens a `.h5` or `.keras` file.

    Raises:
        InputError: There is no such file, it cannot be read, holds anything but plain arrays, or does not name its
            layers.
    """
    if not path.is_file():
        raise InputError(f'There is no such file of weights. Give a ".weights.h5" file. Received: {path}')
    with ExitStack() as stack:
        try:
            check_heaps(path)
            file: Any = path
            if path.suffix == ".keras":
                file = stack.enter_context(stack.enter_context(open_keras_file(path)).open(WEIGHTS))
            opened = stack.enter_context(h5py.File(file, "r"))
            check_self_contained(opened, path)
            legacy = "layer_names" in opened.attrs or "model_weights" in opened
            arrays = dict(_legacy_arrays(opened) if legacy else _arrays(opened))
            shapes = {name: tuple(array.shape) for name, array in arrays.items()}
        except InputError:
            raise
        except _DAMAGED as error:
            raise _damaged(path, error) from error

        def read(name: str) -> np.ndarray:
            try:
                array = arrays[name][()]
            except _DAMAGED as error:
                raise _damaged(path, error) from error
            return array.view("bfloat16") if array.dtype.kind == "V" else array

        yield Source(path, shapes, read)


def _arrays(group: h5py.Group, prefix: str = "") -> Iterator[tuple[str, h5py.Dataset]]:
    """Yields the arrays of a Keras 3 file: a layer's group has its name and arrays in `vars`, and inner layers."""
    for number in group.get("vars", ()):
        yield f"{prefix}{number}", group["vars"][number]  # unlike `items`, this raises if it is damaged
    inner = [group["layers"][key] for key in sorted(group.get("layers", ()), key=_position)]
    inner += [group[key] for key in group if key not in ("vars", "layers", *_NO_LAYERS)]
    names = [string_attribute(item["vars"], "name")[0] if "vars" in item else Path(item.name).name for item in inner]
    for item, name in zip(inner, stable_names(names), strict=True):
        yield from _arrays(item, f"{prefix}{name}/")


def _position(key: str) -> tuple[str, int]:
    """A sort key for layers of a kind by number: "conv2d_10" after "conv2d_9"."""
    kind, _, number = key.rpartition("_")
    return (kind, int(number)) if number.isdecimal() else (key, 0)


def _legacy_arrays(file: h5py.File) -> Iterator[tuple[str, h5py.Dataset]]:
    """Yields the arrays of a Keras 2 file: a layer's group lists its arrays in order."""
    group = file.get("model_weights", file)
    layers = string_attribute(group, "layer_names")
    for layer, stable in zip(layers, stable_names(layers), strict=True):
        for number, name in enumerate(string_attribute(group[layer], "weight_names")):
            yield f"{stable}/{number}", group[layer][name]


def _damaged(path: Path, error: Exception) -> InputError:
    subject = (
        'The file of weights cannot be read. It must be a complete ".weights.h5" or ".keras" file of Keras 3.6 or '
        'later, or a ".h5" file of Keras 2'
    )
    return unreadable(subject, path, error)
