"""A run folder: all that a training leaves, and all that later commands need."""

import json
import math
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from zipfile import BadZipFile

import keras
from pydantic import Field, RootModel

from keras_crosscoop import config
from keras_crosscoop.errors import InputError
from keras_crosscoop.images.palettes import RGB
from keras_crosscoop.models import CrossCoop, DeepLabV3Plus, Segmenter
from keras_crosscoop.models.archive import check_archive
from keras_crosscoop.models.weights import Report, load_hdf5, opened_hdf5
from keras_crosscoop.system.files import atomic_write, require_free_space
from keras_crosscoop.system.json_files import read_json

if TYPE_CHECKING:  # it needs TensorFlow, which a run's model does not
    from keras_crosscoop.data import Dataset

_HDF5_OVERHEAD = 4096  # bytes an array, about twice what Keras's names and groups take


@dataclass(frozen=True)
class Run:
    """A run folder, opened.

    Attributes:
        folder: holds `config.yaml` (the resolved settings), `classes.json` (names and colours), `best.weights.h5` (of
            the epoch with the greatest mean IoU on the validation split, the default output's: `Segmenter.chosen`),
            `history.csv` (every epoch's figures), `metrics.json` (the best weights' figures), `report.html` (all of it
            to look at), `pictures/` (predictions), `tensorboard/`, `checkpoints/` and, of a run that started from an
            earlier one, `init_from.csv` (what became of every variable).
        settings: what the run was told.
        classes: the name of each class id.
        palette: the colour of each class id.
        own_folder: whether `create` made the folder, rather than found it empty.
        writes: whether this process writes it, which one of several does that train together.
    """

    folder: Path
    settings: config.Settings
    classes: tuple[str, ...]
    palette: tuple[RGB, ...]
    own_folder: bool = field(default=False, compare=False)
    writes: bool = field(default=True, compare=False)

    @property
    def weights(self) -> Path:
        """The best weights, without optimizer."""
        return self.folder / "best.weights.h5"

    @property
    def history(self) -> Path:
        """The figures of every epoch so far."""
        return self.folder / "history.csv"

    @property
    def outputs(self) -> tuple[str, ...]:
        """What its network gives, see `Segmenter.output_choices`."""
        return ("single",) if self.settings.model.bottom is None else ("top", "bottom", "ensemble")

    @property
    def checkpoints(self) -> Path:
        """The folder of what an interrupted training goes on from."""
        return self.folder / "checkpoints"

    @classmethod
    def create(cls, folder: Path, settings: config.Settings, dataset: "Dataset") -> "Run":
        """Makes the folder of a new run.

        Raises:
            InputError: the folder exists and is not empty, or cannot be made.
        """
        try:
            found = folder.exists()
            folder.mkdir(parents=True, exist_ok=True)
            if any(folder.iterdir()):
                raise _in_use(folder)
            run = cls(folder, settings, dataset.classes, dataset.palette, own_folder=not found)
            (folder / "config.yaml").touch(exist_ok=False)
        except FileExistsError as error:  # it is a file, or another process begins a run there at the same moment
            raise _in_use(folder) from error
        except OSError as error:
            raise _unwritten(folder, error) from error
        try:
            run._describe()
        except OSError as error:
            run.discard()
            raise _unwritten(folder, error) from error
        return run

    def _describe(self) -> None:
        """Writes settings and classes."""
        (self.folder / "config.yaml").write_text(config.dump(self.settings), encoding="utf-8")
        colours = {name: f"#{bytes(colour).hex()}" for name, colour in zip(self.classes, self.palette, strict=True)}
        (self.folder / "classes.json").write_text(json.dumps(colours, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def open(cls, folder: Path) -> "Run":
        """Opens what `create` made.

        Raises:
            InputError: this is no run folder, or one of its files was damaged.
        """
        if not folder.is_dir():
            raise InputError(f"This is no run: there is no such folder. Is the path right? Received: {folder}")
        if not (folder / "config.yaml").is_file():
            raise InputError(
                f"This is no run: it holds no config.yaml. Name a folder that fit wrote. Received: {folder}"
            )
        content = config.read(folder / "config.yaml")
        try:
            settings = config.settings(content)
        except InputError as error:
            raise InputError(
                f"The run's config.yaml was edited, or another version wrote it. {error} in {folder}"
            ) from error
        colours = read_json(
            folder / "classes.json", _Classes, "The run's classes", 'Mend the file: "name": "#rrggbb", in order of ids.'
        ).root
        palette = tuple(tuple(bytes.fromhex(colour[1:])) for colour in colours.values())
        return cls(folder, settings, tuple(colours), palette)

    def check_classes(self, dataset: "Dataset") -> None:
        """Refuses a data set of other classes than the run's network knows.

        Raises:
            InputError: the names differ.
        """
        if self.classes != tuple(dataset.classes):
            raise InputError(
                f'The run knows {len(self.classes)} classes ({", ".join(self.classes)}), but data set "{dataset.name}" '
                f"has {len(dataset.classes)} ({', '.join(dataset.classes)}). Use a data set of the same classes. "
                f"Received: {dataset.name}"
            )

    def discard(self) -> None:
        """Removes all that the run has written: the folder too, but not one that the user had made for it."""
        for path in self.folder.iterdir() if self.folder.is_dir() else ():
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        if self.own_folder:
            with suppress(OSError):  # somebody removed it, or put something into it
                self.folder.rmdir()

    def save_weights(self, model: Segmenter) -> None:
        """Writes the model's weights, without optimizer, whole or not at all.

        Raises:
            OSError: the disk is full, say.
        """
        require_free_space(self.folder, sum(4 * math.prod(weight.shape) + _HDF5_OVERHEAD for weight in model.weights))
        with atomic_write(self.weights, durable=True) as partial:
            _graph(model).save_weights(partial)

    def load_weights(self, model: Segmenter, **options: Any) -> Report:
        """Reads what `save_weights` wrote, with the options of `load_hdf5`.

        Raises:
            InputError: there are no weights yet, they do not fit the model, or cannot be read.
        """
        if not self.weights.is_file():
            raise InputError(self._without_weights())
        return load_hdf5(model, self.weights, **options)

    def _without_weights(self) -> str:
        try:
            with self.history.open(encoding="utf-8", errors="replace") as file:
                validated = "val_" in file.readline()
        except OSError:
            validated = False
        if validated:
            return f"The run's weights are gone. Put {self.weights.name} back, or train again. Received: {self.folder}"
        return (
            "The run has no weights yet: no epoch was validated. Go on by "
            f"`crosscoop-tf fit --resume {self.folder}`. Received: {self.folder}"
        )

    def load(self) -> Segmenter:
        """The trained model.

        Raises:
            InputError: the run has no weights yet, or they do not fit its config.
        """
        model = build(self.settings.model, len(self.classes), pretrained=False)
        self.load_weights(model)
        return model


class _Classes(RootModel):
    """The colour of each class, by its name, in the order of ids."""

    root: Annotated[dict[str, Annotated[str, Field(pattern="^#[0-9a-fA-F]{6}$")]], Field(min_length=1)]


def _unwritten(folder: Path, error: OSError) -> InputError:
    return InputError(f"The run's folder cannot be written ({error.strerror}). Received: {folder}")


def _in_use(folder: Path) -> InputError:
    return InputError(f"A run needs a new or empty folder. Name another with --output. Received: {folder}")


def _graph(model: Segmenter) -> keras.Model:
    """The same layers, but not compiled: an optimizer belongs to no weights file."""
    return keras.Model(model.inputs, model.outputs)


def build(
    model: config.Model,
    num_classes: int,
    *,
    pretrained: bool = True,
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
) -> Segmenter:
    """The compiled network that settings describe, with its backbones' pretrained weights or with random ones.

    Raises:
        InputError: a backbone or option does not exist, or weights cannot be had or do not fit.
    """
    arguments = {**model.model_dump(), "input_shape": input_shape}
    if not pretrained:
        arguments["weights"] = None
    if model.bottom is not None:
        network = CrossCoop(num_classes, **arguments)
    else:
        for of_pairs in ("bottom", "topology", "sites", "fusion", "channel_reduction"):
            del arguments[of_pairs]
        if isinstance(arguments["weights"], dict):
            arguments["weights"] = arguments["weights"].get("top")
        network = DeepLabV3Plus(num_classes, backbone=arguments.pop("top"), **arguments)
    network.compile()
    return network


def load(source: str | os.PathLike) -> Segmenter:
    """The trained model of a run folder or a `.keras` file, ready for `segment`, `predict` and `evaluate`.

    Raises:
        InputError: there is no such run or file, or it cannot be read.
    """
    source = Path(source)
    if source.is_dir():
        return Run.open(source).load()
    if not source.is_file():
        raise InputError(f"There is no such run folder or .keras file. Is the path right? Received: {source}")
    check_archive(source)
    with opened_hdf5(source):  # Keras reads the arrays of an optimizer too, without looking at them first
        pass
    try:
        model = keras.saving.load_model(source, safe_mode=True)
    except InputError:
        raise
    except (ValueError, OSError, TypeError, LookupError, AttributeError, RuntimeError, BadZipFile) as error:
        raise InputError(f"The file holds no Keras model that can be loaded. Received: {source}") from error
    load_hdf5(model, source)  # again, by names: every variable, and finite
    return model


def warm_start(model: Segmenter, source: str | os.PathLike, *, needs_backbone: bool = True) -> Report:
    """Gives a model the weights of an earlier one, as far as names and shapes agree; the others stay as they are.

    So that training can go on with other classes (all but the classifiers are loaded), another topology (all but the
    layers that read more or fewer channels) or another partner (all but its backbone and what reads that).

    Args:
        model: the new one.
        source: a run folder, or a `.keras`, `.weights.h5` or `.h5` file.
        needs_backbone: whether to refuse a source that fills no backbone of the model whole.

    Returns:
        What was `loaded`, and what was `skipped` and why.

    Raises:
        InputError: there is no such run or file, it cannot be read, or too little in it fits. The model is as before.
    """
    source = Path(source)
    if not source.exists():
        raise InputError(
            f"There is no such run or file of weights to start from. Is the path right? Received: {source}"
        )
    backbones = [f"{side}_backbone" for side in model.sides] if needs_backbone else []
    if source.is_dir():
        return Run.open(source).load_weights(model, partial=True, one_of=backbones)
    return load_hdf5(model, source, partial=True, one_of=backbones)


def build_warm(
    model: config.Model, num_classes: int, source: Path, *, needs_backbone: bool = True
) -> tuple[Segmenter, Report]:
    """As `build` and then `warm_start`; pretrained weights are had only for backbones that the source does not fill."""
    network = build(model, num_classes, pretrained=False)
    report = warm_start(network, source, needs_backbone=needs_backbone)
    unfilled = {entry.name.split("/")[0] for entry in report.missing}
    needed = {
        side: of_side if {f"{side}_backbone", "single_backbone"} & unfilled else None
        for side, of_side in model.weights_of_sides.items()
    }
    if any(needed.values()):
        network = build(model.model_copy(update={"weights": needed}), num_classes)
        report = warm_start(network, source, needs_backbone=needs_backbone)
    return network, report
