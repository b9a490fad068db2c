"""The transfer of arrays from a file to a model's variables, matched by name and shape, with a report on each."""

import csv
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from keras_crosscoop.errors import InputError

Shape = tuple[int, ...]

_LISTED = 20  # skipped variables in a printed report


@dataclass(frozen=True)
class Source:
    """An opened file of weights.

    Attributes:
        path: Path of the file.
        shapes: Shapes of all its arrays, by name.
        read: Returns an array by its name; raises an `InputError` if it cannot be read.
    """

    path: Path
    shapes: Mapping[str, Shape]
    read: Callable[[str], np.ndarray]


def unreadable(subject: str, path: Path, error: Exception) -> InputError:
    """Returns the error for a damaged file of weights: a sentence about it, and the reader's message in one line."""
    return InputError(f"{subject} ({' '.join(str(error).split())[:200]}). Received: {path}")


class TransferredArray(NamedTuple):
    """The outcome for one variable of the model, or for an array that only the file has; missing shapes are None."""

    name: str  # the variable's path in the model, or the array's name in the file
    in_file: Shape | None
    in_model: Shape | None

    @property
    def outcome(self) -> str:
        """One of "loaded", "of another shape", "not in the file", "not in the model"."""
        if self.in_file is None:
            return "not in the file"
        if self.in_model is None:
            return "not in the model"
        return "loaded" if self.in_file == self.in_model else "of another shape"

    @property
    def reason(self) -> str:
        """Why it was skipped, with its shapes."""
        if self.in_model is None:
            return f"{self.in_file} in the file, not in the model"
        return f"{'not' if self.in_file is None else self.in_file} in the file, {self.in_model} in the model"


@dataclass(frozen=True)
class TransferReport:
    """The outcome for every variable of the model, then for the other arrays of the file."""

    source: Path
    entries: tuple[TransferredArray, ...]

    @property
    def loaded(self) -> list[TransferredArray]:
        """Variables that have the file's values now."""
        return [entry for entry in self.entries if entry.outcome == "loaded"]

    @property
    def skipped(self) -> list[TransferredArray]:
        """All others: `missing` and `unused`."""
        return [entry for entry in self.entries if entry.outcome != "loaded"]

    @property
    def missing(self) -> list[TransferredArray]:
        """Variables of the model for which the file has no array, or one of another shape."""
        return [entry for entry in self.skipped if entry.in_model is not None]

    @property
    def unused(self) -> list[TransferredArray]:
        """Arrays of the file for which the model has no variable."""
        return [entry for entry in self.skipped if entry.in_model is None]

    def write(self, path: Path) -> None:
        """Writes all entries as CSV."""
        with path.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(("variable", "outcome", "in_file", "in_model"))
            table.writerows((entry.name, entry.outcome, entry.in_file, entry.in_model) for entry in self.entries)

    def __str__(self) -> str:
        """Returns the numbers of loaded and skipped arrays, then up to 20 skipped ones, one a line."""
        outcomes = [entry.outcome for entry in self.skipped]
        counts = [f"{outcomes.count(outcome)} {outcome}" for outcome in dict.fromkeys(outcomes)]
        summary = f"{len(self.loaded)} variables loaded from {self.source.name}"
        lines = [f"  {entry.name}: {entry.reason}" for entry in self.skipped[:_LISTED]]
        more = [f"  ... and {len(outcomes) - _LISTED} more"] if len(outcomes) > _LISTED else []
        return "\n".join([f"{summary}; skipped: {', '.join(counts)}" if counts else summary, *lines, *more])


def transfer(
    source: Source,
    variables: Mapping[str, keras.Variable],
    *,
    model: str = "model",
    partial: bool = False,
    one_of: Collection[str] = (),
) -> TransferReport:
    """Assigns to every variable the array of its name if the shapes are equal.

    Args:
        source: The opened file.
        variables: The model's variables by the names of their arrays in the file.
        model: Name of the model, for errors.
        partial: Whether variables that are not in the file keep their values; otherwise they are an error.
        one_of: Parts of the model, such as its backbones; all variables of at least one of them must be in the file.

    Raises:
        InputError: Nothing fits, none of `one_of` is complete, or, if not `partial`, a variable is missing; or an array
            cannot be read, has numbers of another kind than its variable, or NaN or infinite numbers. All variables are
            unchanged.
    """
    in_model = [
        TransferredArray(variable.path, source.shapes.get(name), tuple(variable.shape))
        for name, variable in variables.items()
    ]
    in_file = [TransferredArray(name, shape, None) for name, shape in source.shapes.items() if name not in variables]
    report = TransferReport(source.path, (*in_model, *in_file))
    if not report.loaded or (report.missing and not partial):
        raise _misfit(report, model)
    if one_of and {entry.name.partition("/")[0] for entry in report.missing}.issuperset(one_of):
        raise InputError(
            f'The weights fill no backbone of "{model}" completely ({", ".join(one_of)}), only {len(report.loaded)} of '
            f"its {len(variables)} variables. Start from weights of a network that shares a backbone with it, or set "
            f"train.init_from_needs_backbone=false, in Python needs_backbone=False. Received: {source.path}"
        )
    names = [name for name, entry in zip(variables, in_model, strict=True) if entry.outcome == "loaded"]
    arrays = [_checked(source, name, variables[name]) for name in names]  # all of them, before one variable changes
    for name, array in zip(names, arrays, strict=True):
        variables[name].assign(array)
    return report


def _checked(source: Source, name: str, variable: keras.Variable) -> np.ndarray:
    """Reads an array, which must have the variable's kind of numbers, and be finite in the variable's precision."""
    array = source.read(name)
    floating = keras.backend.is_float_dtype(variable.dtype)
    if (array.dtype.kind == "f" or array.dtype.name == "bfloat16") != floating:
        raise InputError(
            f"The weights of {variable.path} must be {variable.dtype}, but the file has {array.dtype}. Give weights of "
            f"the same network. Received: {source.path}"
        )
    if floating:
        with np.errstate(over="ignore"):  # a float64 may be infinite as a float32: that is checked here
            finite = np.isfinite(array.astype("float64" if variable.dtype == "float64" else "float32"))
        if not finite.all():
            raise InputError(
                f"The weights of {variable.path} are not finite ({finite.size - np.count_nonzero(finite)} of "
                f"{finite.size} are NaN, infinite or too large): the training that wrote them diverged, or the file is "
                f"damaged. Give weights of an earlier epoch, or train again with a lower learning rate. "
                f"Received: {source.path}"
            )
    return array


def _misfit(report: TransferReport, model: str) -> InputError:
    # Of a variable whose shape differs, both shapes are known.
    first = next((entry for entry in report.missing if entry.in_file is not None), report.missing[0])
    others = f" ({len(report.missing) - 1} more do not fit)" if len(report.missing) > 1 else ""
    unused = f" The first unused array of the file is {report.unused[0].name}." if report.unused else ""
    return InputError(
        f'The weights do not fit "{model}": {first.name} is {first.reason}{others}.{unused} Give weights of the same '
        "network, built with the same options, or, for a warm start, of one that shares layers with it. "
        f"Received: {report.source}"
    )
