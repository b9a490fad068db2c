"""Checkpoints: the last states of a training in a folder, each whole or not there, and told from damaged ones.

A checkpoint is a `.npz` file, which anything that knows NumPy can open, with a check sum for each of its arrays.
"""

import json
import logging
import zipfile
from collections.abc import Mapping
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.lib import format as npy
from pydantic import BaseModel, NonNegativeInt

from keras_crosscoop.errors import InputError
from keras_crosscoop.system.files import atomic_write, remedy
from keras_crosscoop.system.json_files import describe
from keras_crosscoop.training.state import State

_KEPT = 2  # the last one, and the one before should that be damaged
_PROGRESS = "progress.json"  # where the training stands and what callbacks remember, beside the arrays
_VARIABLE, _CALLBACK, _TUPLE = "variables/", "callbacks/", "tuple/"

# What zip, NumPy and JSON raise over a file that is not whole.
_DAMAGED = (OSError, EOFError, ValueError, KeyError, TypeError, RuntimeError, zipfile.BadZipFile)

_log = logging.getLogger(__name__)


class _Progress(BaseModel):
    """What `progress.json` holds."""

    epoch: NonNegativeInt
    step: NonNegativeInt
    steps: NonNegativeInt
    callbacks: dict[str, dict[str, Any]]
    arrays: NonNegativeInt


class Checkpoints:
    """Those of a folder, by the step that they were written after."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def files(self) -> list[Path]:
        """The newest first; neither what a killed process left half written, nor what others put there."""
        found = (path for path in self.folder.glob("*.npz") if path.stem.isdecimal())
        return sorted(found, key=lambda path: int(path.stem), reverse=True)

    def save(self, state: State) -> Path:
        """Writes a state, then removes all but the last ones; later ones too, as they were too damaged to go on from.

        Raises:
            InputError: the disk is full, or cannot be written. The earlier checkpoints are still there.
        """
        arrays: dict[str, np.ndarray] = {f"{_VARIABLE}{name}": value for name, value in state.variables.items()}
        progress = {
            "epoch": state.epoch,
            "step": state.step,
            "steps": state.steps,
            "callbacks": _packed(state.callbacks, arrays),
            "arrays": len(arrays),  # now that those of callbacks are among them
        }
        arrays[_PROGRESS] = np.frombuffer(json.dumps(progress).encode(), np.uint8)
        path = self.folder / f"{state.steps:09}.npz"
        try:
            self.folder.mkdir(exist_ok=True)
            for left in self.folder.glob(".*-*.npz"):  # by a process that was killed over it; it takes room
                left.unlink()
            with atomic_write(path, durable=True) as partial, partial.open("wb") as file:
                np.savez(file, **arrays)
        except OSError as error:
            last = next(iter(self.files), None)
            raise InputError(
                f"The checkpoint of step {state.steps} cannot be written ({error.strerror or error}). {remedy(error)}, "
                f"then go on by `crosscoop-tf fit --resume {self.folder.parent}`"
                f"{f', from step {int(last.stem)}' if last else ', from the start'}. Received: {path}"
            ) from error
        until_now = [file for file in self.files if int(file.stem) <= state.steps]
        for old in {*self.files}.difference(until_now[:_KEPT]):
            old.unlink()
        return path

    def load(self, shapes: Mapping[str, tuple[tuple[int, ...], np.dtype]]) -> State | None:
        """The newest state that is whole; None if there is none. A damaged one is reported, and passed over.

        Args:
            shapes: of the variables, and their types: nothing else takes memory.

        Raises:
            InputError: a checkpoint is of another network, or all of them are damaged.
        """
        for path in self.files:
            try:
                return _read(path, shapes)
            except InputError:
                raise
            except _DAMAGED as error:
                _log.warning("The checkpoint is damaged (%s) and passed over. Received: %s", describe(error), path)
        if self.files:
            raise InputError(
                "No checkpoint of the run is whole. Remove them for --resume to begin anew, or begin another run with "
                f"this one's best weights by --init-from. Received: {self.folder}"
            )
        return None


def _read(path: Path, shapes: Mapping[str, tuple[tuple[int, ...], np.dtype]]) -> State:
    with zipfile.ZipFile(path) as archive:
        _check(archive)  # first, or damage may look like another network
        names = {name.removesuffix(".npy") for name in archive.namelist()}
        progress = _Progress.model_validate_json(_array(archive, _PROGRESS).tobytes())
        if len(names) != progress.arrays + 1:  # a damaged list of contents may pass over some
            raise ValueError(f"it should hold {progress.arrays + 1} arrays and lists {len(names)}")
        stored = {name.removeprefix(_VARIABLE) for name in names if name.startswith(_VARIABLE)}
        if stored != shapes.keys():
            strange = min(stored ^ shapes.keys())
            raise InputError(f"The checkpoint is of another network ({strange} is only in one). Received: {path}")
        variables = {}
        for name, (shape, dtype) in shapes.items():
            with archive.open(f"{_VARIABLE}{name}.npy") as file:
                found_shape, _, found_dtype = _header(file)
            if (found_shape, found_dtype) != (shape, dtype):
                raise InputError(
                    f"The checkpoint is of another network ({name} is {found_dtype} {found_shape} there, "
                    f"{dtype} {shape} here). Received: {path}"
                )
            variables[name] = _array(archive, f"{_VARIABLE}{name}")
        callbacks = _unpacked(progress.callbacks, archive)
    return State(progress.epoch, progress.step, progress.steps, variables, callbacks)


def _check(archive: zipfile.ZipFile) -> None:
    """Compares all check sums, in the memory of a buffer."""
    for member in archive.infolist():
        if member.compress_type != zipfile.ZIP_STORED or member.compress_size != member.file_size:
            raise ValueError(f"{member.filename} is packed, as it never is")  # unpackers raise errors of their own
    if (name := archive.testzip()) is not None:
        raise ValueError(f"{name} is not as it was written")


def _header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
    read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    try:
        return read[npy.read_magic(file)](file)
    except TokenError as error:  # NumPy takes a header for Python source
        raise ValueError(str(error)) from error


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
    if isinstance(value, tuple):
        return {_TUPLE: _packed(list(value), arrays)}
    if isinstance(value, list):
        return [_packed(item, arrays) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        if value.dtype.hasobject:
            raise TypeError(f"Callbacks can remember numbers and texts, not Python objects. Received: {value!r}")
        name = f"{_CALLBACK}{len(arrays)}"
        arrays[name] = np.asarray(value)
        return {_CALLBACK: name}
    return value


def _unpacked(value: Any, archive: zipfile.ZipFile) -> Any:
    if isinstance(value, dict):
        if value.keys() == {_CALLBACK}:
            return _array(archive, value[_CALLBACK])[()]  # which makes a number of an array without axes
        if value.keys() == {_TUPLE}:
            return tuple(_unpacked(value[_TUPLE], archive))
        return {key: _unpacked(item, archive) for key, item in value.items()}
    return [_unpacked(item, archive) for item in value] if isinstance(value, list) else value
