"""What a data set is: its classes, its files, and how a label file's ids map to classes."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_crosscoop.errors import InputError, unknown_name
from keras_crosscoop.images.decoding import image_windows, label_windows
from keras_crosscoop.images.io import RGB, image_size, label_size
from keras_crosscoop.labels import IGNORE_LABEL, INVALID_LABEL
from keras_crosscoop.system.files import ReadableFile
from keras_crosscoop.system.resources import threads

Pair = tuple[ReadableFile, ReadableFile | None]  # an image file and its label file, if its split has labels


class OpenPair(NamedTuple):
    """A pair whose pixels are decoded when a window of them is asked for.

    Attributes:
        size: `(H, W)` of both.
        window: RGB, uint8 `(h, w, 3)`, and class ids with 255 for void, uint8 `(h, w)`, in these rows and columns.
    """

    size: tuple[int, int]
    window: Callable[[slice, slice], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Dataset:
    """A data set on disk.

    Attributes:
        name: as in the catalogue.
        classes: the name of each class id.
        palette: the colour of each class id.
        splits: the names that `pairs` takes.
        find: split -> its pairs, in a fixed order; knows the layout.
        label_ids: value in a label file -> class id or `IGNORE_LABEL`. By default the values are the class ids.
            Whatever stands here, value 255 is void.
        unlabelled: those of the splits whose labels their makers keep: every pixel is void there.
        check_headers: whether `pairs` looks into every file's header: records were looked at when they were written.
    """

    name: str
    classes: tuple[str, ...]
    palette: tuple[RGB, ...]
    splits: tuple[str, ...]
    find: Callable[[str], list[Pair]]
    label_ids: tuple[int, ...] = ()
    unlabelled: tuple[str, ...] = ()
    check_headers: bool = True

    def __post_init__(self) -> None:
        if not self.label_ids:
            object.__setattr__(self, "label_ids", tuple(range(len(self.classes))))

    def pairs(self, split: str, *, headers: bool = True) -> list[Pair]:
        """The `(image path, label path)` of each sample, checked as far as the files' headers tell.

        Files inside an archive or a record come as objects with a path's `name` and `read_bytes()`. In a split without
        labels, None stands for the label. Without `headers`, no file is looked into.

        Raises:
            InputError: there is no such split, or it is empty; a folder is missing; an image or a label has no partner,
                cannot be opened, or is of another size than its partner; a label holds colours instead of ids.
        """
        self.check_split(split)
        pairs = self.find(split)
        if not pairs:
            raise InputError(
                f'A split must hold images, but that of data set "{self.name}" is empty. Is it fully extracted? '
                f"Received: {split!r}."
            )
        if headers and self.check_headers:
            with ThreadPoolExecutor(threads()) as pool:
                for _ in pool.map(self._check, pairs):  # in order, so that the first bad file is the one named
                    pass
        return pairs

    def check_labelled(self, split: str) -> None:
        """Refuses a split to train or measure on whose labels are not public.

        Raises:
            InputError: it is `unlabelled`, or there is no such split.
        """
        self.check_split(split)
        if split in self.unlabelled:
            raise InputError(
                f'The labels of split "{split}" of data set "{self.name}" are kept by its makers, who measure '
                f"predictions on it themselves. Name another split. Received: {split!r}"
            )

    def read(self, image: ReadableFile, label: ReadableFile | None) -> tuple[np.ndarray, np.ndarray]:
        """A decoded pair: RGB, uint8 `(H, W, 3)`, and class ids with 255 for void, uint8 `(H, W)`.

        Raises:
            InputError: a file cannot be decoded, the sizes differ, or the label holds an id that the data set lacks.
        """
        (height, width), window = self.open(image, label)
        return window(slice(0, height), slice(0, width))

    def open(self, image: ReadableFile, label: ReadableFile | None) -> OpenPair:
        """A pair of which a part can be decoded.

        Raises:
            InputError: as of `read`; damage that the headers do not show is found when a window is decoded.
        """
        picture = image_windows(image)
        if label is None:
            return OpenPair(
                picture.size,
                lambda rows, columns: (
                    picture.window(rows, columns),
                    np.full((rows.stop - rows.start, columns.stop - columns.start), IGNORE_LABEL, np.uint8),
                ),
            )
        values = label_windows(label)
        if picture.size != values.size:
            raise _sizes_differ(image, picture.size, label, values.size)
        return OpenPair(
            picture.size,
            lambda rows, columns: (
                picture.window(rows, columns),
                self._class_ids(values.window(rows, columns), label),
            ),
        )

    def check_split(self, split: str) -> None:
        """Refuses what is no split.

        Raises:
            InputError: with the nearest name that is one.
        """
        if split not in self.splits:
            raise unknown_name(f'split of data set "{self.name}"', split, self.splits)

    def _class_ids(self, values: np.ndarray, file: ReadableFile) -> np.ndarray:
        outside = values[(values < 0) | (values > IGNORE_LABEL)] if values.dtype.itemsize > 1 else ()
        stored = values.astype(np.uint8, copy=False)
        # `bytes.translate` maps a pixel in a third of a nanosecond; NumPy's and TensorFlow's ways take 5.
        mapped = stored.tobytes().translate(self._table)
        classes = np.frombuffer(mapped, np.uint8).reshape(values.shape)
        if len(outside) or INVALID_LABEL in mapped:
            first = outside[0] if len(outside) else stored[classes == INVALID_LABEL][0]
            raise InputError(
                f'The label of {Path(file.name).stem} holds class id {first}, but data set "{self.name}" has '
                f"ids 0 to {len(self.label_ids) - 1}, and {IGNORE_LABEL} for void. Is it complete, and not re-saved by another "
                f"tool? Received: {file}"
            )
        return classes

    @cached_property
    def _table(self) -> bytes:
        """Value in a label file -> class id, `IGNORE_LABEL` or `INVALID_LABEL`, for all 256 values."""
        table = bytearray([INVALID_LABEL]) * (IGNORE_LABEL + 1)
        table[: len(self.label_ids)] = self.label_ids
        table[IGNORE_LABEL] = IGNORE_LABEL
        return bytes(table)

    def _check(self, pair: Pair) -> None:
        image, label = pair
        size = image_size(image)
        if label is not None and size != label_size(label):
            self.read(image, label)  # raises, unless a PNG is turned by what stands behind its pixels


@dataclass(frozen=True)
class Submission:
    """Predictions as the makers of a data set want to have them.

    Attributes:
        path: (split, image's name without its ending) -> the file of its prediction, a PNG.
        ids: class id -> value in the file; none for the class ids themselves, in the classes' colours.
    """

    path: Callable[[str, str], str] = lambda split, stem: f"{stem}.png"
    ids: tuple[int, ...] = ()


@dataclass(frozen=True)
class Entry:
    """What the catalogue says of a data set.

    Attributes:
        open: gives it, from the folder that holds it, or None where the user named none.
        classes: how many; None where the data decide.
        splits: how many images each has; None where the data decide.
        layout: what its folder must hold.
        source: where to get it.
        licence: its terms, in a phrase.
        needs_folder: whether there is no other place to find it.
        submission: how its makers take predictions.
    """

    open: Callable[[Path | None], Dataset]
    classes: int | None
    splits: Mapping[str, int | None]
    layout: str
    source: str
    licence: str
    needs_folder: bool = True
    submission: Submission = field(default_factory=Submission)


def _sizes_differ(
    image: ReadableFile, size: tuple[int, int], label: ReadableFile, label_size: tuple[int, int]
) -> InputError:
    (height, width), (label_height, label_width) = size, label_size
    return InputError(
        f"An image and its label must be of one size, but {image} is {width}x{height} and its label "
        f"{label_width}x{label_height}. Resize neither: find the label drawn for it. Received: {label}"
    )
