"""The checkpoint files of a run: NumPy's `.npz` archives with a checksum for each array.

Files are written atomically, and damaged files are recognised.
"""

import json
import logging
import zipfile
from collections.abc import Mapping
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np

from keras_crosscoop.errors import InputError, describe, reason
from keras_crosscoop.system.files import atomic_write, remedy
from keras_crosscoop.training.state import TrainingState

_KEPT = 2  # files: the last one, and the one before it in case the last is damaged
_PROGRESS = "progress.json"  # the name of a JSON text among the arrays
_VARIABLE, _CALLBACK, _TUPLE = "variables/", "callbacks/", "tuple/"

# Errors of zipfile, NumPy and JSON about a damaged file.
_DAMAGE = (
    *(OSError, EOFError, ValueError, KeyError, TypeError, RuntimeError, MemoryError),
    *(SyntaxError, AttributeError, TokenError, zipfile.BadZipFile),
)

_log = logging.getLogger(__name__)


class CheckpointFiles:
    """The checkpoint files in a folder; their names are numbers of steps."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def files(self) -> list[Path]:
        """The checkpoint files, newest first. Other files and partial files of killed processes are left out."""
        files = (path for path in self.folder.glob("*.npz") if path.stem.isdecimal())
        return sorted(files, key=lambda path: int(path.stem), reverse=True)

    def save(self, state: TrainingState) -> Path:
        """Writes a state, and keeps only the last two files up to it. Files of later steps must have been damaged.

        Raises:
            InputError: The file cannot be written, for example on a full disk. Earlier files are unchanged.
        """
        arrays: dict[str, np.ndarray] = {f"{_VARIABLE}{name}": value for name, value in state.variables.items()}
        callbacks = _pack(state.callbacks, arrays)
        position = {"epoch": state.epoch, "step": state.step, "steps": state.steps}
        progress = json.dumps({**position, "callbacks": callbacks, "arrays": len(arrays)})
        arrays[_PROGRESS] = np.frombuffer(progress.encode(), np.uint8)
        path = self.folder / f"{state.steps:09}.npz"
        try:
            self.folder.mkdir(exist_ok=True)
            for partial in self.folder.glob(".*-*.npz"):  # of a killed process
                partial.unlink()
            with atomic_write(path, durable=True) as partial, partial.open("wb") as file:
                np.savez(file, **arrays)
        except OSError as error:
            start = f"step {int(self.files[0].stem)}" if self.files else "the start"
            raise InputError(
                f"The checkpoint of step {state.steps} cannot be written ({reason(error)}). {remedy(error)}, "
                f"then continue from {start} with `crosscoop-tf fit --resume {self.folder.parent}`. Received: {path}"
            ) from error
        kept = [file for file in self.files if int(file.stem) <= state.steps][:_KEPT]
        for file in set(self.files).difference(kept):
            file.unlink()
        return path

    def load(self, shapes: Mapping[str, tuple[tuple[int, ...], np.dtype]]) -> TrainingState | None:
        """Returns the state of the newest undamaged file; None if there are no files. Logs damaged files as warnings.

        Args:
            shapes: The shape and type of each variable.

        Raises:
            InputError: A checkpoint belongs to another network, or all of them are damaged.
        """
        for path in self.files:
            try:
                return _read(path, shapes)
            except InputError:
                raise
            except _DAMAGE as error:
                _log.warning("The checkpoint is damaged (%s) and skipped. Received: %s", describe(error), path)
        if self.files:
            raise InputError(
                "All checkpoints of the run are damaged. Remove them, and --resume begins anew; or begin another run "
                f"from this run's best weights with --init-from. Received: {self.folder}"
            )
        return None


def _read(path: Path, shapes: Mapping[str, tuple[tuple[int, ...], np.dtype]]) -> TrainingState:
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.compress_type != zipfile.ZIP_STORED or member.compress_size != member.file_size:
                raise ValueError(f"{member.filename} is compressed")
        if (name := archive.testzip()) is not None:
            raise ValueError(f"the checksum of {name} is wrong")
    with np.load(path, allow_pickle=False) as archive:
        progress = json.loads(archive[_PROGRESS].tobytes())
        if len(archive.files) != progress["arrays"] + 1:  # a damaged table of contents may lack arrays
            raise ValueError(f"it lists {len(archive.files)} arrays instead of {progress['arrays'] + 1}")
        names = {name.removeprefix(_VARIABLE) for name in archive.files if name.startswith(_VARIABLE)}
        if names != shapes.keys():
            difference = min(names ^ shapes.keys())
            raise InputError(f"The checkpoint belongs to another network (only one has {difference}). Received: {path}")
        variables = {}
        for name, (shape, dtype) in shapes.items():
            array = variables[name] = archive[f"{_VARIABLE}{name}"]
            if (array.shape, array.dtype) != (shape, dtype):
                raise InputError(
                    f"The checkpoint belongs to another network ({name} is {array.dtype} {array.shape} there, "
                    f"{dtype} {shape} here). Received: {path}"
                )
        position = (int(progress[name]) for name in ("epoch", "step", "steps"))
        return TrainingState(*position, variables, dict(_unpack(progress["callbacks"], archive)))


def _pack(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """Converts a value to JSON values, and moves its arrays to `arrays`."""
    if isinstance(value, Mapping):
        return {key: _pack(item, arrays) for key, item in value.items()}
    if isinstance(value, tuple):
        return {_TUPLE: _pack(list(value), arrays)}
    if isinstance(value, list):
        return [_pack(item, arrays) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        name = f"{_CALLBACK}{len(arrays)}"
        arrays[name] = np.asarray(value)
        return {_CALLBACK: name}
    return value


def _unpack(value: Any, archive: Mapping[str, np.ndarray]) -> Any:
    if isinstance(value, dict):
        if value.keys() == {_CALLBACK}:
            return archive[value[_CALLBACK]][()]  # a number instead of an array without axes
        if value.keys() == {_TUPLE}:
            return tuple(_unpack(value[_TUPLE], archive))
        return {key: _unpack(item, archive) for key, item in value.items()}
    return [_unpack(item, archive) for item in value] if isinstance(value, list) else value
