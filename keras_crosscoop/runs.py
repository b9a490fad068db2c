"""Run folders: everything that a training writes, and that later commands need."""

import json
import math
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from zipfile import BadZipFile

import keras
from pydantic import Field, RootModel, TypeAdapter

from keras_crosscoop import config
from keras_crosscoop.errors import InputError
from keras_crosscoop.images.palettes import RGB
from keras_crosscoop.images.reading import DEFAULT_READING, DESCRIPTION_FILE, ImageReading
from keras_crosscoop.models import CrossCoop, DeepLabV3Plus, Segmenter
from keras_crosscoop.models.archive import check_archive
from keras_crosscoop.models.naming import output_choices
from keras_crosscoop.models.weights import TransferReport, load_hdf5, open_hdf5
from keras_crosscoop.system import yaml_files
from keras_crosscoop.system.files import atomic_write, require_free_space
from keras_crosscoop.system.json_files import read_json

if TYPE_CHECKING:  # `data` needs TensorFlow, but a run's model does not
    from keras_crosscoop.data import Dataset

_HDF5_OVERHEAD = 4096  # bytes per array, about twice what Keras's names and groups take


@dataclass(frozen=True)
class Run:
    """An open run folder.

    Attributes:
        folder: Holds `config.yaml` (all settings), `classes.json` (class names and colours), `dataset.yaml` and lists
            of files (how the user's own images are read), `data_check.json` (class shares and findings),
            `class_positions.npz` (for rare-class sampling), `best.weights.h5` (the weights of the epoch with the best
            validation mean IoU of the default output), `history.csv` (the metrics of each epoch), `plan.json` (the
            choices of `train.time`), `timings.json` (where the time went), `metrics.json` (the metrics of the best
            weights), `report.html`, `pictures/` (example predictions), `tensorboard/`, `checkpoints/`, and, after a
            warm start, `init_from.csv` (the variables that the earlier run initialised).
        settings: The settings.
        classes: The class names, by id.
        palette: The class colours, by id.
        own_folder: Whether `create` made the folder; False if the user did.
        writes: Whether this process writes to the folder; of several machines, only one does.
    """

    folder: Path
    settings: config.Settings
    classes: tuple[str, ...]
    palette: tuple[RGB, ...]
    own_folder: bool = field(default=False, compare=False)
    writes: bool = field(default=True, compare=False)

    @property
    def weights(self) -> Path:
        """The file of the best weights, without the optimizer."""
        return self.folder / "best.weights.h5"

    @property
    def history(self) -> Path:
        """The file of each epoch's metrics."""
        return self.folder / "history.csv"

    @property
    def data_check(self) -> Path:
        """The file of class shares and findings about the labels, before training."""
        return self.folder / "data_check.json"

    @property
    def plan(self) -> Path:
        """The file of the planned settings with their reasons, if the run was given a time."""
        return self.folder / "plan.json"

    @property
    def timings(self) -> Path:
        """The file of the seconds that the parts of the training took."""
        return self.folder / "timings.json"

    @property
    def class_positions(self) -> Path:
        """The file of the positions of classes in training images, for rare-class sampling."""
        return self.folder / "class_positions.npz"

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the network's outputs, see `Segmenter.output_choices`."""
        return output_choices(self.settings.model.sides)

    @cached_property
    def reading(self) -> ImageReading:
        """How image files are read, as the run's `dataset.yaml` says, if there is one.

        Raises:
            InputError: The file cannot be read.
        """
        path = self.folder / DESCRIPTION_FILE
        if not path.is_file():
            return DEFAULT_READING
        try:
            content = yaml_files.read(path)
            entries = {name: value for name, value in content.items() if name in ImageReading.__dataclass_fields__}
            return TypeAdapter(ImageReading).validate_python(entries)
        except (OSError, ValueError, AttributeError) as error:
            raise InputError(f"The run's description of its images was edited. Restore it. Received: {path}") from error

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints, from which interrupted training continues."""
        return self.folder / "checkpoints"

    @classmethod
    def create(cls, folder: Path, settings: config.Settings, dataset: "Dataset") -> "Run":
        """Makes the folder of a new run.

        Raises:
            InputError: The folder is not empty, or cannot be made.
        """
        from keras_crosscoop.data.own import discovery
        from keras_crosscoop.data.tfds_source import PREFIX

        exists = folder.exists()
        run = cls(folder, settings, dataset.classes, dataset.palette, own_folder=not exists)
        in_use = InputError(f"A run needs a new or empty folder. Name another with --output. Received: {folder}")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if any(folder.iterdir()):
                raise in_use
            (folder / "config.yaml").touch(exist_ok=False)
        except FileExistsError as error:  # it is a file, or another process has just begun a run there
            raise in_use from error
        except OSError as error:
            raise _not_writable(folder, error) from error
        try:
            (folder / "config.yaml").write_text(config.dump(settings), encoding="utf-8")
            if dataset.description is not None:
                discovery.store(dataset.description, {split: dataset.find(split) for split in dataset.splits}, folder)
            elif dataset.reading != DEFAULT_READING or dataset.name.startswith(PREFIX):
                discovery.store_reading(dataset, folder)
            colours = {name: f"#{bytes(colour).hex()}" for name, colour in zip(run.classes, run.palette, strict=True)}
            # The last file: a run without it was interrupted when it began.
            (folder / "classes.json").write_text(json.dumps(colours, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            run.discard()
            raise _not_writable(folder, error) from error
        return run

    @classmethod
    def open(cls, folder: Path) -> "Run":
        """Opens the folder of a run.

        Raises:
            InputError: The folder is not a run, or one of its files is damaged.
        """
        if not folder.is_dir():
            raise InputError(f"This is not a run: there is no such folder. Is the path right? Received: {folder}")
        if not (folder / "config.yaml").is_file():
            raise InputError(
                f"This is not a run: it holds no config.yaml. Name a folder that `fit` wrote. Received: {folder}"
            )
        content = config.read(folder / "config.yaml")
        try:
            settings = config.settings(content)
        except InputError as error:
            raise InputError(
                f"The run's config.yaml was edited, or another version wrote it. {error} in {folder}"
            ) from error
        remedy = 'Correct the file: "name": "#rrggbb" for each class, in the order of ids.'
        colours = read_json(folder / "classes.json", _Classes, "The run's classes", remedy).root
        palette = tuple(tuple(bytes.fromhex(colour[1:])) for colour in colours.values())
        return cls(folder, settings, tuple(colours), palette)

    def with_settings(self, settings: config.Settings) -> "Run":
        """Returns the run with other settings, and writes them into its folder."""
        if self.writes:
            with atomic_write(self.folder / "config.yaml", durable=True) as partial:
                partial.write_text(config.dump(settings), encoding="utf-8")
        return replace(self, settings=settings)

    def open_dataset(self, name: str | None = None, data_dir: Path | None = None) -> "Dataset":
        """Opens the data set of the run, or another one with the same classes.

        The user's own images are read as they were when the run began, with the description in the run's folder. In
        another `data_dir`, the same values and colours stand for the same classes.

        Raises:
            InputError: The data set cannot be opened, or has other classes.
        """
        from keras_crosscoop.data import dataset
        from keras_crosscoop.data.own.description import read_description
        from keras_crosscoop.data.own.discovery import open_own, open_stored
        from keras_crosscoop.data.tfds_source import PREFIX, open_tfds

        path = self.folder / DESCRIPTION_FILE
        own = read_description(path) if path.is_file() else None
        # The description of records says only how images are read, and that of TFDS's also how labels are.
        if name in (None, self.settings.data.name) and own and own.is_complete:
            data = open_stored(self.folder) if data_dir is None else open_own(data_dir, own)
        elif name in (None, self.settings.data.name) and own and self.settings.data.name.startswith(PREFIX):
            data = open_tfds(self.settings.data.name, data_dir or self.settings.data.dir, own)
        elif name in (None, self.settings.data.name):
            data = dataset(self.settings.data.name, data_dir or self.settings.data.dir)
        else:
            data = dataset(name, data_dir)
        self.check_classes(data)
        return data if self.settings.data.check else replace(data, findings=())

    def check_classes(self, dataset: "Dataset") -> None:
        """Checks that a data set has the classes of the run.

        Raises:
            InputError: The class names differ.
        """
        if self.classes != tuple(dataset.classes):
            raise InputError(
                f'The run has {len(self.classes)} classes ({", ".join(self.classes)}), but data set "{dataset.name}" '
                f"has {len(dataset.classes)} ({', '.join(dataset.classes)}). Use a data set of the same classes. "
                f"Received: {dataset.name}"
            )

    def discard(self) -> None:
        """Removes all files of the run, and the folder unless the user made it."""
        for path in self.folder.iterdir() if self.folder.is_dir() else ():
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        if self.own_folder:
            with suppress(OSError):  # another process removed it, or wrote into it
                self.folder.rmdir()

    def save_weights(self, model: Segmenter) -> None:
        """Writes the model's weights atomically, without the optimizer.

        Raises:
            OSError: They cannot be written, for example on a full disk.
        """
        require_free_space(self.folder, sum(4 * math.prod(weight.shape) + _HDF5_OVERHEAD for weight in model.weights))
        uncompiled = keras.Model(model.inputs, model.outputs)
        with atomic_write(self.weights, durable=True) as partial:
            uncompiled.save_weights(partial)

    def load_weights(self, model: Segmenter, **options: Any) -> TransferReport:
        """Loads the weights that `save_weights` wrote, with the options of `load_hdf5`.

        Raises:
            InputError: There are no weights yet, they do not fit the model, or they cannot be read.
        """
        if self.weights.is_file():
            return load_hdf5(model, self.weights, **options)
        raise InputError(
            f"The run has no weights: no epoch was validated yet, or {self.weights.name} was removed. Continue with "
            f"`crosscoop-tf fit --resume {self.folder}`, or put the file back. Received: {self.folder}"
        )

    def load(self) -> Segmenter:
        """Returns the trained model.

        Raises:
            InputError: See `load_weights`.
        """
        model = build(self.settings.model, len(self.classes), pretrained=False)
        self.load_weights(model)
        model.reading = self.reading
        return model


class _Classes(RootModel):
    """The colour of each class by its name, in the order of ids."""

    root: Annotated[dict[str, Annotated[str, Field(pattern="^#[0-9a-fA-F]{6}$")]], Field(min_length=1)]


def _not_writable(folder: Path, error: OSError) -> InputError:
    return InputError(f"The run's folder cannot be written ({error.strerror}). Received: {folder}")


def build(
    model: config.Model,
    num_classes: int,
    *,
    pretrained: bool = True,
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
) -> Segmenter:
    """Builds and compiles the network that settings describe.

    Args:
        model: The settings.
        num_classes: The number of classes.
        pretrained: Whether to load the backbones' initial weights; otherwise all weights are random.
        input_shape: `(H, W, 3)` of images; None for any height or width.

    Raises:
        InputError: A backbone or option does not exist, or its weights are not available or do not fit.
    """
    arguments = {**model.model_dump(), "input_shape": input_shape}
    if not pretrained:
        arguments["weights"] = None
    if model.bottom is not None:
        network = CrossCoop(num_classes, **arguments)
    else:
        for name in ("bottom", "topology", "sites", "fusion", "channel_reduction"):
            del arguments[name]
        if isinstance(arguments["weights"], dict):
            arguments["weights"] = arguments["weights"].get("top")
        network = DeepLabV3Plus(num_classes, backbone=arguments.pop("top"), **arguments)
    network.compile()
    return network


def load(source: str | os.PathLike) -> Segmenter:
    """Loads a trained model, ready for `segment`, `predict` and `evaluate`.

    Args:
        source: A run folder, or a `.keras` file of a network of this package.

    Returns:
        The compiled model.

    Raises:
        InputError: There is no such run or file, or it cannot be read.

    Example:
        >>> from keras_crosscoop import DeepLabV3Plus, load
        >>> model = DeepLabV3Plus(3, backbone="tiny_resnet", decoder_channels=8, weights=None)
        >>> model.save("model.keras")
        >>> load("model.keras").num_classes
        3
    """
    source = Path(source)
    if source.is_dir():
        return Run.open(source).load()
    if not source.is_file():
        raise InputError(f"There is no such run folder or .keras file. Is the path right? Received: {source}")
    check_archive(source)
    with open_hdf5(source):  # checks all arrays, because Keras also reads an optimizer's arrays without checks
        pass
    try:
        model = keras.saving.load_model(source, safe_mode=True)
    except InputError:
        raise
    except (ValueError, OSError, TypeError, LookupError, AttributeError, RuntimeError, BadZipFile) as error:
        raise InputError(f"The file holds no Keras model that can be loaded. Received: {source}") from error
    load_hdf5(model, source)  # again, which checks that all variables are there and finite
    return model


def warm_start(model: Segmenter, source: str | os.PathLike, *, needs_backbone: bool = True) -> TransferReport:
    """Initialises a model with the weights of an earlier one, wherever names and shapes agree.

    The model may have other classes (all layers except the classifiers are loaded), another topology (except layers
    with a different number of input channels), or another partner (except the other backbone and the layers that read
    it). Variables that are not loaded keep their values.

    Args:
        model: The model to initialise.
        source: A run folder, or a `.keras`, `.weights.h5` or `.h5` file.
        needs_backbone: Whether to refuse a source that does not fill at least one backbone completely.

    Returns:
        A report of the variables that were `loaded` and `skipped`, with the reasons.

    Raises:
        InputError: There is no such run or file, it cannot be read, or too little fits. The model is unchanged.

    Example:
        >>> from keras_crosscoop import DeepLabV3Plus, warm_start
        >>> options = {"backbone": "tiny_resnet", "decoder_channels": 8, "weights": None}
        >>> DeepLabV3Plus(3, **options).save_weights("earlier.weights.h5")
        >>> report = warm_start(DeepLabV3Plus(5, **options), "earlier.weights.h5")
        >>> [entry.name for entry in report.skipped]
        ['single_classifier/kernel', 'single_classifier/bias']
    """
    source = Path(source)
    if not source.exists():
        raise InputError(f"There is no such run or file of weights. Is the path right? Received: {source}")
    backbones = [f"{side}_backbone" for side in model.sides] if needs_backbone else []
    if source.is_dir():
        return Run.open(source).load_weights(model, partial=True, one_of=backbones)
    return load_hdf5(model, source, partial=True, one_of=backbones)


def build_warm(
    model: config.Model, num_classes: int, source: Path, *, needs_backbone: bool = True
) -> tuple[Segmenter, TransferReport]:
    """Calls `build` and `warm_start`; loads pretrained weights only for backbones that the source does not fill."""
    network = build(model, num_classes, pretrained=False)
    report = warm_start(network, source, needs_backbone=needs_backbone)
    unfilled = {entry.name.split("/")[0] for entry in report.missing}
    needed = {
        side: weights if {f"{side}_backbone", "single_backbone"} & unfilled else None
        for side, weights in model.weights_of_sides.items()
    }
    if any(needed.values()):
        network = build(model.model_copy(update={"weights": needed}), num_classes)
        report = warm_start(network, source, needs_backbone=needs_backbone)
    return network, report
