"""Checkpoints: the last states of a training in a folder, each whole or not there, and told from damaged ones.

A checkpoint is a `.npz` file, which anything that knows NumPy can open, with a check sum for each of its arrays.
"""

import json
import logging
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from keras_crosscoop.errors import InputError
from keras_crosscoop.files import written
from keras_crosscoop.training.state import State

_KEPT = 2  # the last one, and the one before should that be damaged
_PROGRESS = "progress.json"  # where the training stands and what callbacks remember, beside the arrays
_VARIABLE, _CALLBACK = "variables/", "callbacks/"

# What zip, NumPy and JSON raise over a file that is not whole.
_DAMAGED = (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile, NotImplementedError)

_log = logging.getLogger(__name__)


class Checkpoints:
    """Those of a folder, by the step that they were written after."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def files(self) -> list[Path]:
        """The newest first."""
        return sorted(self.folder.glob("*.npz"), reverse=True)

    def save(self, step: int, state: State) -> Path:
        """Writes a state, then removes all but the last ones.

        Raises:
            InputError: the disk is full, or cannot be written. The earlier checkpoints are still there.
        """
        arrays: dict[str, np.ndarray] = {f"{_VARIABLE}{name}": value for name, value in state.variables.items()}
        progress = {"epoch": state.epoch, "step": state.step, "callbacks": _packed(state.callbacks, arrays)}
        arrays[_PROGRESS] = np.frombuffer(json.dumps(progress).encode(), np.uint8)
        path = self.folder / f"{step:09}.npz"
        try:
            self.folder.mkdir(exist_ok=True)
            with written(path) as partial, partial.open("wb") as file:
                np.savez(file, **arrays)
                file.flush()
                os.fsync(file.fileno())  # or a power cut could leave the name without the bytes
        except OSError as error:
            last = next(iter(self.files), None)
            raise InputError(
                f"The checkpoint of step {step} cannot be written ({error.strerror or error}). Make room, then go on by "
                f"`crosscoop-tf fit --resume {self.folder.parent}`"
                f"{f', from step {int(last.stem)}' if last else ', from the start'}. Received: {path}"
            ) from error
        for old in self.files[_KEPT:]:
            old.unlink()
        return path

    def load(self, shapes: Mapping[str, tuple[tuple[int, ...], np.dtype]]) -> State | None:
        """The newest state that is whole; None if there is none. A damaged one is reported, and passed over.

        Args:
            shapes: of the variables, and their types: nothing else is read.

        Raises:
            InputError: a checkpoint is of another network, or all of them are damaged.
        """
        for path in self.files:
            try:
                return _read(path, shapes)
            except _DAMAGED as error:
                if isinstance(error, InputError):
                    raise
                _log.warning("The checkpoint is damaged (%s); the one before it is used. Received: %s", error, path)
        if self.files:
            raise InputError(f"No checkpoint of the run is whole. Train again. Received: {self.folder}")
        return None


def _read(path: Path, shapes: Mapping[str, tuple[tuple[int, ...], np.dtype]]) -> State:
    with zipfile.ZipFile(path) as archive:
        names = {name.removesuffix(".npy") for name in archive.namelist()}
        stored = {name.removeprefix(_VARIABLE) for name in names if name.startswith(_VARIABLE)}
        if stored != shapes.keys():
            strange = min(stored ^ shapes.keys())
            raise InputError(f"The checkpoint is of another network ({strange} is only in one). Received: {path}")
        variables = {}
        for name, (shape, dtype) in shapes.items():
            with archive.open(f"{_VARIABLE}{name}.npy") as file:  # what it declares comes before what it holds
                found_shape, _, found_dtype = _header(file)
            if (found_shape, found_dtype) != (shape, dtype):
                raise InputError(
                    f"The checkpoint is of another network ({name} is {found_dtype} {found_shape} there, "
                    f"{dtype} {shape} here). Received: {path}"
                )
            variables[name] = _array(archive, f"{_VARIABLE}{name}")
        progress = json.loads(_array(archive, _PROGRESS).tobytes())
        callbacks = _unpacked(progress["callbacks"], archive)
    return State(progress["epoch"], progress["step"], variables, callbacks)


def _header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
    read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    return read[npy.read_magic(file)](file)


def _array(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """An array no larger than the file says the archive holds of it."""
    member = archive.getinfo(f"{name}.npy")
    with archive.open(member) as file:
        shape, _, dtype = _header(file)
        if dtype.hasobject or dtype.itemsize * int(np.prod(shape, dtype=object)) > member.file_size:
            raise ValueError(f"{name} is not as long as it says")
    with archive.open(member) as file:
        array = npy.read_array(file, allow_pickle=False)
        if file.read(1):  # to the end, where its check sum is compared
            raise ValueError(f"{name} is longer than it says")
    return array


def _packed(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """A value as JSON can hold it, its arrays moved to `arrays`."""
    if isinstance(value, Mapping):
        return {key: _packed(item, arrays) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_packed(item, arrays) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        name = f"{_CALLBACK}{len(arrays)}"
        arrays[name] = np.asarray(value)
        return {_CALLBACK: name}
    return value


def _unpacked(value: Any, archive: zipfile.ZipFile) -> Any:
    if isinstance(value, dict):
        if value.keys() == {_CALLBACK}:
            return _array(archive, value[_CALLBACK])[()]  # which makes a number of an array without axes
        return {key: _unpacked(item, archive) for key, item in value.items()}
    return [_unpacked(item, archive) for item in value] if isinstance(value, list) else value
