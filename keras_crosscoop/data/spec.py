"""What a data set is: its classes, its files, and how a label file's ids map to classes."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_crosscoop.errors import InputError, unknown
from keras_crosscoop.images import RGB, image_size, label_size, read_image, read_label
from keras_crosscoop.labels import VOID

Pair = tuple[Path, Path]  # an image file and its label file


@dataclass(frozen=True)
class Dataset:
    """A data set on disk.

    Attributes:
        name: as in the catalogue.
        classes: the name of each class id.
        palette: the colour of each class id.
        splits: the names that `pairs` takes.
        find: split -> its pairs, in a fixed order; knows the folder layout.
        label_ids: value in a label file -> class id or `VOID`. By default the values are the class ids.
            Whatever stands here, value 255 is void.
    """

    name: str
    classes: tuple[str, ...]
    palette: tuple[RGB, ...]
    splits: tuple[str, ...]
    find: Callable[[str], list[Pair]]
    label_ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.label_ids:
            object.__setattr__(self, "label_ids", tuple(range(len(self.classes))))

    def pairs(self, split: str) -> list[Pair]:
        """The `(image path, label path)` of each sample, checked as far as the files' headers tell.

        Raises:
            InputError: there is no such split, or it is empty; a folder is missing; an image or a label has no partner,
                cannot be opened, or is of another size than its partner; a label holds colours instead of ids.
        """
        if split not in self.splits:
            raise unknown(f'split of data set "{self.name}"', split, self.splits)
        pairs = self.find(split)
        if not pairs:
            raise InputError(
                f'A split must hold images, but that of data set "{self.name}" is empty. Is it fully extracted? '
                f"Received: {split!r}."
            )
        with ThreadPoolExecutor() as pool:
            for _ in pool.map(self._check, pairs):  # in order, so that the first bad file is the one named
                pass
        return pairs

    def read(self, image_path: Path, label_path: Path) -> tuple[np.ndarray, np.ndarray]:
        """A decoded pair: RGB, uint8 `(H, W, 3)`, and class ids with 255 for void, uint8 `(H, W)`.

        Raises:
            InputError: a file cannot be decoded, the sizes differ, or the label holds an id that the data set lacks.
        """
        image, values = read_image(image_path), read_label(label_path)
        (height, width), (label_height, label_width) = image.shape[:2], values.shape
        if (height, width) != (label_height, label_width):
            raise InputError(
                f"An image and its label must be of one size, but {image_path} is {width}x{height} and its label "
                f"{label_width}x{label_height}. Resize neither: find the label drawn for it. Received: {label_path}"
            )
        return image, self._class_ids(values, label_path)

    def _class_ids(self, values: np.ndarray, path: Path) -> np.ndarray:
        known = len(self.label_ids)
        outside = values[((values >= known) & (values != VOID)) | (values < 0)]
        if outside.size:
            raise InputError(
                f'The label of {path.stem} holds class id {outside[0]}, but data set "{self.name}" has ids 0 to '
                f"{known - 1}, and {VOID} for void. Is it complete, and not re-saved by another tool? Received: {path}"
            )
        table = np.full(VOID + 1, VOID, np.uint8)
        table[:known] = self.label_ids
        table[VOID] = VOID
        return table[values]

    def _check(self, pair: Pair) -> None:
        image_path, label_path = pair
        if image_size(image_path) != label_size(label_path):
            self.read(image_path, label_path)  # raises, unless a PNG is turned by what stands behind its pixels
