"""HDF5 files of weights: `.weights.h5` and `.keras` as Keras 3 writes them, `.h5` as its predecessors did.

Keras's own loader goes by the order of layers and gives up at the first that differs. This one goes by their names, so
that weights also move between networks that share only some layers.
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
from keras_crosscoop.models.naming import renumbered
from keras_crosscoop.models.weights.hdf5_checks import BFLOAT16, check_heaps, check_self_contained, number_kind, texts
from keras_crosscoop.models.weights.transfer import Report, Source, transfer, unreadable
from keras_crosscoop.models.weights.zipped import WEIGHTS, opened_keras_file

# What HDF5 and zip raise, and what follows where they give something of another kind than Keras wrote.
_DAMAGED = (OSError, LookupError, RuntimeError, ValueError, zipfile.BadZipFile, AttributeError, TypeError)

_NO_LAYERS = ("optimizer", "seed_generator")  # what else a model and its layers keep beside their weights


def load_hdf5(model: keras.Model, path: Path, *, partial: bool = False, one_of: Collection[str] = ()) -> Report:
    """Loads a `.h5` or `.keras` file into a model, layer by layer of the same name.

    Args:
        model: any functional model.
        path: a file that `save_weights` or `save` wrote, of this model or one that shares layers with it.
        partial: whether variables may keep the values they have; all of them must be in the file otherwise.
        one_of: layers of which at least one must be in the file whole.

    Raises:
        InputError: there is no such file, it cannot be read, nothing in it fits or none of `one_of` whole, or not
            `partial` and something does not.
    """
    with opened_hdf5(path) as source:
        return transfer(source, saved_names(model), model=model.name, partial=partial, one_of=one_of)


def saved_names(model: keras.Model, prefix: str = "") -> dict[str, keras.Variable]:
    """The model's variables by the names that files have for them: layer after layer, then the variable's number."""
    names = {}
    for layer, name in zip(model.layers, renumbered(layer.name for layer in model.layers), strict=True):
        path = f"{prefix}{name}"
        if isinstance(layer, keras.Model):
            names |= saved_names(layer, f"{path}/")
        else:
            names |= {f"{path}/{number}": variable for number, variable in enumerate(layer.weights)}
    return names


@contextmanager
def opened_hdf5(path: Path) -> Iterator[Source]:
    """Opens a `.h5` or `.keras` file.

    Raises:
        InputError: there is no such file, it cannot be read, holds or names anything beside arrays of its own, or does
            not name its layers.
    """
    if not path.is_file():
        raise InputError(f'There is no such file of weights. Give a ".weights.h5" file. Received: {path}')
    with ExitStack() as stack:
        try:
            check_heaps(path)
            file: Any = path
            if path.suffix == ".keras":
                file = stack.enter_context(stack.enter_context(opened_keras_file(path)).open(WEIGHTS))
            opened = stack.enter_context(h5py.File(file, "r"))
            check_self_contained(opened, path)
            legacy = "layer_names" in opened.attrs or "model_weights" in opened
            arrays = dict(_legacy_arrays(opened) if legacy else _arrays(opened))
            shapes = {name: tuple(array.shape) for name, array in arrays.items()}
            kinds = {name: number_kind(array) for name, array in arrays.items()}
        except InputError:
            raise
        except _DAMAGED as error:
            raise _damaged(path, error) from error

        def read(name: str) -> np.ndarray:
            try:
                array = arrays[name][()]
            except _DAMAGED as error:
                raise _damaged(path, error) from error
            return array.view("bfloat16") if kinds[name] == BFLOAT16 else array

        yield Source(path, shapes, kinds, read)


def _arrays(group: h5py.Group, prefix: str = "") -> Iterator[tuple[str, h5py.Dataset]]:
    """Keras 3: each layer has its own arrays under `vars`, where also its name stands, and beside them its layers'."""
    for number in group.get("vars", ()):
        yield f"{prefix}{number}", group["vars"][number]  # which raises where `items` would give None
    inner = [group["layers"][key] for key in sorted(group.get("layers", ()), key=_position)]
    inner += [group[key] for key in group if key not in ("vars", "layers", *_NO_LAYERS)]
    names = [texts(item["vars"], "name")[0] if "vars" in item else Path(item.name).name for item in inner]
    for item, name in zip(inner, renumbered(names), strict=True):
        yield from _arrays(item, f"{prefix}{name}/")


def _position(key: str) -> tuple[str, int]:
    """Where a layer stands among those of its kind: "conv2d_10" comes after "conv2d_9"."""
    kind, _, number = key.rpartition("_")
    return (kind, int(number)) if number.isdecimal() else (key, 0)


def _legacy_arrays(file: h5py.File) -> Iterator[tuple[str, h5py.Dataset]]:
    """Before Keras 3: a group a layer, which lists its arrays in order."""
    group = file.get("model_weights", file)
    layers = texts(group, "layer_names")
    for layer, stable in zip(layers, renumbered(layers), strict=True):
        for number, name in enumerate(texts(group[layer], "weight_names")):
            yield f"{stable}/{number}", group[layer][name]


def _damaged(path: Path, error: Exception) -> InputError:
    subject = (
        'The file of weights cannot be read. It must be a ".weights.h5" or ".keras" file of Keras 3.6 or later, or a '
        '".h5" file of Keras 2, and whole'
    )
    return unreadable(subject, path, error)
