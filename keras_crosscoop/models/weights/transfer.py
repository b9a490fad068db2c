"""From a file's arrays to a model's variables, by name and shape, with an account of every single one."""

import csv
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from keras_crosscoop.errors import InputError

Shape = tuple[int, ...]

_LISTED = 20  # skipped variables that a printed report names


@dataclass(frozen=True)
class Source:
    """An opened file of weights.

    Attributes:
        path: of the file.
        shapes: of every array in it, by its name there.
        kinds: of numbers, as NumPy's `dtype.kind` has it: "f" for floating point, "V" for bfloat16, "i", "u", "b".
        read: gives an array by its name; raises an `InputError` where it cannot be read.
    """

    path: Path
    shapes: Mapping[str, Shape]
    kinds: Mapping[str, str]
    read: Callable[[str], np.ndarray]


def unreadable(subject: str, path: Path, error: Exception) -> InputError:
    """The error for a file of weights that is damaged: what to say of it, and what its reader said, in a line."""
    return InputError(f"{subject} ({' '.join(str(error).split())[:200]}). Received: {path}")


class Entry(NamedTuple):
    """What became of one array of the file, or of one variable of the model; a shape is None where there is none."""

    name: str  # the variable's path in the model; of arrays that the model has no place for, the name in the file
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
class Report:
    """What a file gave to a model: an entry for every variable of the model, then for whatever else the file holds."""

    source: Path
    entries: tuple[Entry, ...]

    @property
    def loaded(self) -> list[Entry]:
        """What the model now has from the file."""
        return [entry for entry in self.entries if entry.outcome == "loaded"]

    @property
    def skipped(self) -> list[Entry]:
        """Everything else."""
        return [entry for entry in self.entries if entry.outcome != "loaded"]

    @property
    def missing(self) -> list[Entry]:
        """Variables of the model that the file has nothing for, or nothing that fits."""
        return [entry for entry in self.skipped if entry.in_model is not None]

    @property
    def unused(self) -> list[Entry]:
        """Arrays of the file that the model has no place for."""
        return [entry for entry in self.skipped if entry.in_model is None]

    def write(self, path: Path) -> None:
        """Writes all of it as CSV."""
        with path.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(("variable", "outcome", "in_file", "in_model"))
            table.writerows((entry.name, entry.outcome, entry.in_file, entry.in_model) for entry in self.entries)

    def __str__(self) -> str:
        """How much was loaded and how much skipped, then what was skipped, a line each as far as 20 go."""
        reasons = [entry.outcome for entry in self.skipped]
        counts = [f"{reasons.count(reason)} {reason}" for reason in dict.fromkeys(reasons)]
        summary = f"{len(self.loaded)} variables loaded from {self.source.name}"
        lines = [f"  {entry.name}: {entry.reason}" for entry in self.skipped[:_LISTED]]
        more = [f"  ... and {len(reasons) - _LISTED} more"] if len(reasons) > _LISTED else []
        return "\n".join([f"{summary}; skipped: {', '.join(counts)}" if counts else summary, *lines, *more])


def transfer(
    source: Source,
    variables: Mapping[str, keras.Variable],
    *,
    model: str = "model",
    partial: bool = False,
    one_of: Collection[str] = (),
) -> Report:
    """Gives every variable the array of its name, where the shapes are the same, and tells what it did.

    Args:
        source: the file.
        variables: of the model, each by the name that its array has in the file.
        model: what errors call it.
        partial: whether variables may keep the values they have; all of them must be found otherwise.
        one_of: parts of the model, such as its backbones, of which at least one must be found whole.

    Raises:
        InputError: nothing fits, or none of `one_of` whole, or not `partial` and something does not, or an array cannot
            be read, holds numbers of another kind than its variable, or NaN or infinite ones. No variable has changed
            then.
    """
    of_model = [
        Entry(variable.path, source.shapes.get(name), tuple(variable.shape)) for name, variable in variables.items()
    ]
    of_file = [Entry(name, shape, None) for name, shape in source.shapes.items() if name not in variables]
    report = Report(source.path, (*of_model, *of_file))
    if report.missing and not partial:
        raise _misfit(report, model)
    if not report.loaded:
        raise _nothing_fits(report, model)
    if one_of and {entry.name.partition("/")[0] for entry in report.missing}.issuperset(one_of):
        raise _none_whole(report, model, one_of)
    fits = [name for name, entry in zip(variables, of_model, strict=True) if entry.outcome == "loaded"]
    arrays = [_checked(source, name, variables[name]) for name in fits]  # all of them, before one variable changes
    for name, array in zip(fits, arrays, strict=True):
        variables[name].assign(array)
    return report


def _checked(source: Source, name: str, variable: keras.Variable) -> np.ndarray:
    """The array of that name, of the variable's kind of numbers, and finite as the variable will hold it."""
    floating = keras.backend.is_float_dtype(variable.dtype)
    if (source.kinds[name] in "fV") != floating:
        wanted, found = ("floating-point numbers", "integers") if floating else ("integers", "others")
        raise InputError(
            f"The weights of {variable.path} must be {wanted}, but the file has {found}. Give weights of the same "
            f"network. Received: {source.path}"
        )
    array = source.read(name)
    if floating:
        with np.errstate(over="ignore"):  # a float64 may be too large for the variable: that is what is looked for
            finite = np.isfinite(array.astype("float64" if variable.dtype == "float64" else "float32"))
        if not finite.all():
            raise InputError(
                f"The weights of {variable.path} are not finite ({finite.size - np.count_nonzero(finite)} of "
                f"{finite.size} are NaN, infinite or too large): the training that wrote them diverged, or the file is "
                f"damaged. Give weights of an earlier epoch, or train again with a lower learning rate. "
                f"Received: {source.path}"
            )
    return array


def _misfit(report: Report, model: str) -> InputError:
    first = _telling(report.missing)
    others = f" ({len(report.missing) - 1} more do not fit)" if len(report.missing) > 1 else ""
    return InputError(
        f'The weights do not fit "{model}": {first.name} is {first.reason}{others}. Give weights of the same network, '
        f"built with the same options. Received: {report.source}"
    )


def _nothing_fits(report: Report, model: str) -> InputError:
    entry = _telling(report.missing)
    if entry.in_file is None:
        theirs = report.unused[0].name if report.unused else "nothing"
        why = f"it names none of the model's variables (it has {theirs}, the model {entry.name})"
    else:
        why = f"{entry.name} is {entry.reason}, and so on"
    return InputError(
        f'Nothing in the file fits "{model}": {why}. Give weights of a network that shares layers with it. '
        f"Received: {report.source}"
    )


def _none_whole(report: Report, model: str, one_of: Collection[str]) -> InputError:
    variables = len(report.loaded) + len(report.missing)
    return InputError(
        f'The weights fill no backbone of "{model}" whole ({", ".join(one_of)}), only {len(report.loaded)} of its '
        f"{variables} variables. Start from weights of a network that shares a backbone with it, or go on by "
        f"train.init_from_needs_backbone=false, in Python needs_backbone=False. Received: {report.source}"
    )


def _telling(missing: list[Entry]) -> Entry:
    """The entry that an error names: one of another shape tells more than one that is nowhere."""
    return next((entry for entry in missing if entry.in_file is not None), missing[0])
