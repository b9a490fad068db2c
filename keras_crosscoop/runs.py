"""A run folder: all that a training leaves, and all that later commands need."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import keras

from keras_crosscoop import config
from keras_crosscoop.data import Dataset
from keras_crosscoop.errors import InputError
from keras_crosscoop.files import written
from keras_crosscoop.images import RGB
from keras_crosscoop.models import CrossCoop, DeepLabV3Plus, Segmenter
from keras_crosscoop.models.backbones import load_weights


@dataclass(frozen=True)
class Run:
    """A run folder, opened.

    Attributes:
        folder: holds `config.yaml` (the resolved settings), `classes.json` (names and colours), `best.weights.h5` (of
            the epoch whose better output was best on the validation split), `history.csv` (every epoch's figures),
            `metrics.json` (the best weights' figures), `pictures/` (predictions) and `tensorboard/`.
        settings: what the run was told.
        classes: the name of each class id.
        palette: the colour of each class id.
    """

    folder: Path
    settings: config.Settings
    classes: tuple[str, ...]
    palette: tuple[RGB, ...]

    @property
    def weights(self) -> Path:
        """The best weights, without optimizer."""
        return self.folder / "best.weights.h5"

    @classmethod
    def create(cls, folder: Path, settings: config.Settings, dataset: Dataset) -> "Run":
        """Makes the folder of a new run.

        Raises:
            InputError: the folder exists and is not empty, or cannot be made.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if any(folder.iterdir()):
                raise InputError(f"A run needs a new or empty folder. Name another with --output. Received: {folder}")
            (folder / "config.yaml").write_text(config.dump(settings), encoding="utf-8")
            colours = {
                name: f"#{bytes(colour).hex()}" for name, colour in zip(dataset.classes, dataset.palette, strict=True)
            }
            (folder / "classes.json").write_text(json.dumps(colours, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise InputError(f"The run's folder cannot be written ({error.strerror}). Received: {folder}") from error
        return cls(folder, settings, dataset.classes, dataset.palette)

    @classmethod
    def open(cls, folder: Path) -> "Run":
        """Opens what `create` made.

        Raises:
            InputError: this is no run folder, or one of its files was damaged.
        """
        if not (folder / "config.yaml").is_file():
            raise InputError(
                f"This is no run: it holds no config.yaml. Name a folder that fit wrote. Received: {folder}"
            )
        settings = config.settings(config.read(folder / "config.yaml"))
        try:
            colours = json.loads((folder / "classes.json").read_text(encoding="utf-8"))
            palette = tuple(tuple(bytes.fromhex(colour[1:])) for colour in colours.values())
        except (OSError, ValueError, AttributeError, TypeError) as error:
            raise InputError(
                f"The run's classes cannot be read ({error}). Received: {folder / 'classes.json'}"
            ) from error
        return cls(folder, settings, tuple(colours), palette)

    def save_weights(self, model: Segmenter) -> None:
        """Writes the model's weights, without optimizer, whole or not at all."""
        with written(self.weights) as partial:
            _graph(model).save_weights(partial)

    def load_weights(self, model: Segmenter) -> None:
        """Reads what `save_weights` wrote.

        Raises:
            InputError: there are no weights yet, or they do not fit the model.
        """
        if not self.weights.is_file():
            raise InputError(f"The run has no weights: no epoch was validated. Train again. Received: {self.folder}")
        try:
            load_weights(_graph(model), self.weights)
        except InputError as error:
            raise InputError(f"The run's weights do not fit its config.yaml. Received: {self.weights}") from error

    def load(self) -> Segmenter:
        """The trained model.

        Raises:
            InputError: the run has no weights yet, or they do not fit its config.
        """
        model = build(self.settings.model, len(self.classes), pretrained=False)
        self.load_weights(model)
        return model


def _graph(model: Segmenter) -> keras.Model:
    """The same layers, but not compiled: an optimizer belongs to no weights file."""
    return keras.Model(model.inputs, model.outputs)


def build(model: config.Model, num_classes: int, *, pretrained: bool = True) -> Segmenter:
    """The compiled network that settings describe, with its backbones' pretrained weights or with random ones.

    Raises:
        InputError: a backbone or option does not exist, or weights cannot be had or do not fit.
    """
    arguments = model.model_dump()
    if not pretrained:
        arguments["weights"] = None
    if model.bottom is not None:
        network = CrossCoop(num_classes, **arguments)
    else:
        for of_pairs in ("bottom", "topology", "sites", "fusion"):
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
    try:
        model = keras.saving.load_model(source)
    except (ValueError, OSError, TypeError, KeyError, BadZipFile) as error:
        raise InputError(f"The file holds no Keras model that can be loaded. Received: {source}") from error
    if not isinstance(model, Segmenter):
        raise InputError(
            f"The file holds another model than this package's. Received: {source} ({type(model).__name__})"
        )
    return model
