"""The description of a data set: its classes, its files, and how the values in label files map to classes."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_crosscoop.data.coding import Coding
from keras_crosscoop.data.findings import Finding
from keras_crosscoop.data.own.description import Description
from keras_crosscoop.errors import InputError, summarize, unknown_name
from keras_crosscoop.images.decoding import RawFile, image_reader, label_reader
from keras_crosscoop.images.io import image_size, label_size
from keras_crosscoop.images.palettes import RGB
from keras_crosscoop.images.reading import DEFAULT_READING, ImageReading
from keras_crosscoop.labels import IGNORE_LABEL
from keras_crosscoop.system.files import ReadableFile
from keras_crosscoop.system.resources import threads

Pair = tuple[ReadableFile, ReadableFile | None]  # an image file and its label file, if its split has labels


def evenly_spread(items: Sequence, count: int) -> list:
    """Returns at most `count` items, evenly spread over all.

    Example:
        >>> evenly_spread("abcdefg", 3)
        ['a', 'd', 'g']
    """
    return [items[index] for index in np.linspace(0, len(items) - 1, min(count, len(items))).astype(int)]


class PairReader(NamedTuple):
    """An open image and its label, whose windows are decoded on demand.

    Attributes:
        size: `(H, W)` of both.
        read: Decodes the given rows and columns as RGB, uint8 `(h, w, 3)`, and class ids, 255 void, uint8 `(h, w)`.
    """

    size: tuple[int, int]
    read: Callable[[slice, slice], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Dataset:
    """A data set on disk; `keras_crosscoop.dataset` opens one.

    Attributes:
        name: The name in the catalogue.
        classes: The name of each class id.
        palette: The colour of each class id.
        splits: The names of the splits.
        find: Returns the pairs of a split in a fixed order, according to the layout of the folder.
        coding: The class of each value or colour in a label file. By default, the values are class ids, and 255 is
            void.
        reading: How the values and channels of image files become RGB.
        unlabelled: The splits whose labels are not public. All their pixels are void.
        check_headers: Whether `pairs` compares the headers of all files. Records were checked when they were written.
        description: The description of somebody's own data set.
        statements: What was found out about it, in plain sentences.
        findings: Problems, warnings and notes about it. `pairs` raises the problems.
    """

    name: str
    classes: tuple[str, ...]
    palette: tuple[RGB, ...]
    splits: tuple[str, ...]
    find: Callable[[str], list[Pair]]
    coding: Coding | None = None
    reading: ImageReading = DEFAULT_READING
    unlabelled: tuple[str, ...] = ()
    check_headers: bool = True
    description: Description | None = None
    statements: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()

    def __post_init__(self) -> None:
        if self.coding is None:
            object.__setattr__(self, "coding", Coding.of_ids(range(len(self.classes))))

    def pairs(self, split: str, *, headers: bool = True) -> list[Pair]:
        """Lists the `(image path, label path)` of each sample of a split.

        Args:
            split: One of `splits`.
            headers: Whether to check the headers of all files.

        Returns:
            The pairs in a fixed order. Files in archives and records have the `name` and `read_bytes()` of a path. The
            label is None in a split without labels.

        Raises:
            InputError: The split is unknown or empty; a folder is missing; a file has no partner, cannot be opened, or
                differs from its partner in size; a label holds colours instead of ids.

        Example:
            >>> from keras_crosscoop import dataset
            >>> image, label = dataset("folder", data_dir="MY_DATA").pairs("train")[0]
            >>> image.parts[-3:], label.parts[-3:]
            (('images', 'train', '000.png'), ('masks', 'train', '000.png'))
        """
        self.check_split(split)
        pairs = self.find(split)
        problems = [found.message for found in self.findings if found.severity == "problem" and found.split == split]
        if problems:
            raise InputError(" ".join(summarize(problems)))
        if not pairs:
            raise InputError(
                f'A split must hold images, but split "{split}" of data set "{self.name}" is empty. Is it fully '
                f"extracted? Received: {split!r}"
            )
        if headers and self.check_headers:
            with ThreadPoolExecutor(threads()) as pool:
                for _ in pool.map(self._check, pairs):  # in order, so that the error names the first bad file
                    pass
        return pairs

    def sample(self, split: str, count: int | None) -> "Dataset":
        """Returns the data set with at most `count` pairs of a split, spread evenly over it; None for all."""
        pairs = self.find(split)
        if count is None or count >= len(pairs):
            return self
        sample = evenly_spread(pairs, count)
        return replace(self, find=lambda name: sample if name == split else self.find(name))

    def check_split(self, split: str) -> None:
        """Checks the name of a split.

        Raises:
            InputError: There is no such split; the error gives the nearest name.
        """
        if split not in self.splits:
            raise unknown_name(f'split of data set "{self.name}"', split, self.splits)

    def check_labelled(self, split: str) -> None:
        """Checks that a split can be used for training or evaluation.

        Raises:
            InputError: There is no such split, or its labels are not public.
        """
        self.check_split(split)
        if split in self.unlabelled:
            raise InputError(
                f'The labels of split "{split}" of data set "{self.name}" are kept by its makers, who evaluate '
                f"predictions on it themselves. Name another split. Received: {split!r}"
            )

    def read(self, image: ReadableFile, label: ReadableFile | None) -> tuple[np.ndarray, np.ndarray]:
        """Decodes a pair.

        Args:
            image: The image file.
            label: The label file, or None for a label that is entirely void.

        Returns:
            RGB, uint8 `(H, W, 3)`, and class ids, 255 void, uint8 `(H, W)`.

        Raises:
            InputError: A file cannot be decoded, the sizes differ, or the label holds an id outside the data set.

        Example:
            >>> from keras_crosscoop import dataset
            >>> data = dataset("folder", data_dir="MY_DATA")
            >>> image, label = data.read(*data.pairs("train")[0])
            >>> image.shape, label.shape
            ((24, 32, 3), (24, 32))
        """
        (height, width), read = self.open(image, label)
        return read(slice(0, height), slice(0, width))

    def read_label(self, label: ReadableFile) -> np.ndarray:
        """Decodes a label file: class ids, 255 void, uint8 `(H, W)`.

        Raises:
            InputError: It cannot be decoded, or holds an unlisted value.
        """
        (height, width), read_stored = label_reader(label, colours=self.coding.by_colour)
        return self.coding.classes(read_stored(slice(0, height), slice(0, width)), label)

    def open(self, image: ReadableFile, label: ReadableFile | None) -> PairReader:
        """Opens a pair to decode windows of it.

        Raises:
            InputError: As for `read`. Damage below the headers raises an error only when a window is decoded.
        """
        size, read_image = image_reader(image, self.reading)
        if label is None:

            def read_ids(rows: slice, columns: slice) -> np.ndarray:
                return np.full((rows.stop - rows.start, columns.stop - columns.start), IGNORE_LABEL, np.uint8)

        else:
            label_size, read_stored = label_reader(label, colours=self.coding.by_colour)
            if size != label_size and self.reading.orientation is None:
                stored = image_reader(image, self._as_stored)
                size, read_image = stored if stored.size == label_size else (size, read_image)
            if size != label_size:
                (height, width), (label_height, label_width) = size, label_size
                raise InputError(
                    f"An image and its label must have the same size, but {image} is {width}x{height} and its label "
                    f"{label_width}x{label_height}. Use the label that was drawn for the image. Received: {label}"
                )

            def read_ids(rows: slice, columns: slice) -> np.ndarray:
                return self.coding.classes(read_stored(rows, columns), label)

        return PairReader(size, lambda rows, columns: (read_image(rows, columns), read_ids(rows, columns)))

    def size(self, image: ReadableFile, label: ReadableFile | None) -> tuple[int, int]:
        """Reads `(H, W)` of an image from its header; the label's size settles whether EXIF metadata turn it.

        Raises:
            InputError: A file is missing or not an image.
        """
        size = image_size(image, self.reading)
        if label is None or isinstance(label, RawFile) or self.reading.orientation is not None:
            return size
        if size == size[::-1] or label_size(label, colours=self.coding.by_colour) == size:
            return size
        return image_size(image, self._as_stored)

    @property
    def _as_stored(self) -> ImageReading:
        return replace(self.reading, orientation="stored")

    def _check(self, pair: Pair) -> None:
        image, label = pair
        size = image_size(image, self.reading)
        # Raw files have no header: unpacking the 9,118 labels of SBD would take 10 s at every start.
        if label is None or isinstance(label, RawFile):
            return
        if size != label_size(label, colours=self.coding.by_colour):
            self.read(image, label)  # raises an error, unless metadata after the pixels of a PNG rotate it


@dataclass(frozen=True)
class Submission:
    """The format of predictions for a data set's evaluation server.

    Attributes:
        path: (split, image name without suffix) -> path of the PNG with the prediction.
        ids: The value in the file of each class id; empty for palette PNGs of the class ids.
    """

    path: Callable[[str, str], str] = lambda split, stem: f"{stem}.png"
    ids: tuple[int, ...] = ()


@dataclass(frozen=True)
class Entry:
    """An entry of the catalogue.

    Attributes:
        open: Opens the data set in a folder, or without a folder (None).
        classes: The number of classes; None where it depends on the folder.
        splits: The number of images in each split; None where it depends on the folder.
        layout: The required contents of the folder.
        source: The address of the data set.
        licence: Its terms, in a phrase.
        needs_folder: Whether the user must name a folder.
        submission: The format of predictions.
    """

    open: Callable[[Path | None], Dataset]
    classes: int | None
    splits: Mapping[str, int | None]
    layout: str
    source: str
    licence: str
    needs_folder: bool = True
    submission: Submission = field(default_factory=Submission)
