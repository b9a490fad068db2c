"""The facts that a plan rests on: the data, the machine, and the settings that are already chosen."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import sqrt
from statistics import median
from typing import Any

from keras_crosscoop.config import Settings
from keras_crosscoop.data import Dataset
from keras_crosscoop.data.checks import DatasetReport
from keras_crosscoop.models.weights.download import imagenet_is_available
from keras_crosscoop.system.devices import fastest_precision, gpu_memory
from keras_crosscoop.system.resources import cores, free_memory

LIGHT_FILES = (  # of the light pair's ImageNet weights
    "mobilenet_v2/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
    "mobilenet/mobilenet_7_5_224_tf_no_top.h5",
)


@dataclass(frozen=True)
class Data:
    """What the rules read of a data set.

    Attributes:
        train: The number of training images.
        val: The number of validation images.
        height: The median height of training images, in pixels.
        width: Their median width.
        frequencies: The share of each class among the labelled training pixels, by name.
        extents: The side of a square with the pixels of each class in an image that shows it, by name.
        text: Its name and folder, in lower case, with spaces between words.
    """

    train: int
    val: int
    height: int
    width: int
    frequencies: Mapping[str, float]
    extents: Mapping[str, float] = field(default_factory=dict)
    text: str = ""


@dataclass(frozen=True)
class Machine:
    """What the rules read of a machine.

    Attributes:
        cores: The number of CPU cores.
        memory: The free memory, in bytes.
        gpus: The memory of each GPU, in bytes.
        precision: The fastest Keras dtype policy.
        imagenet: Whether pretrained weights are given, in Keras's cache, or can be downloaded.
    """

    cores: int
    memory: int
    gpus: tuple[int, ...] = ()
    precision: str = "float32"
    imagenet: bool = True

    @property
    def device_memory(self) -> int:
        """The memory for one replica of the network, in bytes."""
        return min(self.gpus, default=self.memory)


@dataclass(frozen=True)
class Facts:
    """Everything that a rule may read.

    Attributes:
        data: The data set.
        machine: The machine.
        seconds: The time for the whole training; None for no limit.
        settings: The settings that the user gave or earlier rules chose, by dotted name.
    """

    data: Data
    machine: Machine
    seconds: float | None
    settings: Mapping[str, Any]

    def __getitem__(self, setting: str) -> Any:
        return self.settings[setting]


def describe_data(dataset: Dataset, report: DatasetReport, settings: Settings) -> Data:
    """Returns the facts about a data set whose labels were looked at (`survey`)."""
    split = settings.data.train_split
    statistics = next(part for part in report.splits if part.name == split)
    areas = (pixels / max(images, 1) for pixels, images in zip(statistics.pixels, statistics.images_with, strict=True))
    sizes = [size for size, images in statistics.sizes.items() for _ in range(images)]
    folder = dataset.description.path.parts[-2:] if dataset.description else ()
    return Data(
        train=len(dataset.find(split)),
        val=len(dataset.find(settings.data.val_split)),
        height=int(median(height for height, _ in sizes)),
        width=int(median(width for _, width in sizes)),
        frequencies=dict(zip(dataset.classes, statistics.frequencies, strict=True)),
        extents={name: sqrt(area) for name, area in zip(dataset.classes, areas, strict=True) if area},
        text=words(dataset.name, *folder),
    )


def words(*names: str) -> str:
    """Returns the words of names in lower case, with spaces between them.

    Example:
        >>> from keras_crosscoop.planning.facts import words
        >>> words("My_Cells-2", "nuclei")
        'my cells nuclei'
    """
    return re.sub(r"[\W_\d]+", " ", " ".join(names)).strip().lower()


def describe_machine(settings: Settings) -> Machine:
    """Returns the facts about this machine; ImageNet weights are not looked for if the user names files."""
    imagenet = "weights" in settings.model.model_fields_set or imagenet_is_available(*LIGHT_FILES)
    return Machine(cores(), free_memory(), gpu_memory(), fastest_precision(), imagenet)
