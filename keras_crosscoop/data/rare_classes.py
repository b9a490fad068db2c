"""Rare-class sampling: images and crops are drawn so that they show classes of few pixels.

Reference: Hoyer, Dai and Van Gool, "DAFormer: Improving Network Architectures and Training Strategies for
Domain-Adaptive Semantic Segmentation", CVPR 2022, section 3.2.
"""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from keras_crosscoop.errors import InputError, describe
from keras_crosscoop.system.files import atomic_write

TEMPERATURE = 0.01  # of the softmax over the frequencies of classes, as in the paper
PIXELS = 16  # kept per class and image

LabelPositions = tuple[np.ndarray, np.ndarray]  # the classes of a label `(K,)`, and pixels of each `(K, PIXELS)`


def label_positions(ids: np.ndarray, counts: np.ndarray) -> LabelPositions:
    """Returns the classes of a label and, for each class, pixels that are spread evenly over it in reading order.

    Args:
        ids: The label `(H, W)`.
        counts: The number of its pixels of each class `(C,)`.
    """
    flat, classes = ids.ravel(), np.flatnonzero(counts)
    ranks = (2 * np.arange(PIXELS) + 1) * counts[classes, None] // (2 * PIXELS)  # a pixel repeats in small areas
    pixels = [np.flatnonzero(flat == number)[rank] for number, rank in zip(classes, ranks, strict=True)]
    return classes.astype(np.uint8), np.array(pixels, np.uint32).reshape(-1, PIXELS)


@dataclass(frozen=True, eq=False)
class ClassPositions:
    """Some pixels of each class in each image of a split.

    An entry is a class of an image. Entries are ordered by class, then by image.

    Attributes:
        split_size: The number of images in the split, including those without readable labels.
        pixel_counts: The number of pixels of each class in the split, int64 `(C,)`.
        classes: The class of each entry, uint8 `(N,)`.
        images: The index of each entry's image, int32 `(N,)`.
        pixels: Pixels of each entry as `row * width + column`, uint32 `(N, PIXELS)`.
    """

    split_size: int
    pixel_counts: np.ndarray
    classes: np.ndarray
    images: np.ndarray
    pixels: np.ndarray

    @classmethod
    def join(cls, pixel_counts: Sequence[int], labels: Sequence[LabelPositions | None]) -> "ClassPositions":
        """Joins the positions in each label of a split; None for an unreadable label."""
        readable = [label for label in labels if label]
        classes = np.concatenate([np.zeros(0, np.uint8), *(classes for classes, _ in readable)])
        pixels = np.concatenate([np.zeros((0, PIXELS), np.uint32), *(pixels for _, pixels in readable)])
        counts = [len(label[0]) if label else 0 for label in labels]
        images = np.repeat(np.arange(len(labels), dtype=np.int32), counts)
        order = np.argsort(classes, kind="stable")
        return cls(len(labels), np.array(pixel_counts, np.int64), classes[order], images[order], pixels[order])

    @property
    def probabilities(self) -> np.ndarray:
        """The probability that a rare-class sample is drawn for each class, float64 `(C,)`.

        For class c of frequency f_c among labelled pixels, it is `softmax((1 - f_c) / TEMPERATURE)`, over all classes
        that occur.
        """
        frequencies = self.pixel_counts / max(self.pixel_counts.sum(), 1)
        weights = (self.pixel_counts > 0) * np.exp(-frequencies / TEMPERATURE)
        return weights / (weights.sum() or 1.0)

    def candidates(self, draws: Sequence[float]) -> Iterator[tuple[int, int]]:
        """Yields the index of the drawn image and the drawn pixel; then those that replace it if it is unusable.

        All images show the drawn class. Nothing is yielded if the split has no classes.

        Args:
            draws: Three numbers in [0, 1): for the class, the image and the pixel.
        """
        if not len(self.classes):
            return
        number = np.searchsorted(self._cumulative, draws[0], side="right")
        first, last = self._bounds[number : number + 2]
        chosen, pixel = int(draws[1] * (last - first)), int(draws[2] * PIXELS)
        for entry in chain(range(first + chosen, last), range(first, first + chosen)):
            yield int(self.images[entry]), int(self.pixels[entry, pixel])

    @cached_property
    def _cumulative(self) -> np.ndarray:
        return np.cumsum(self.probabilities)

    @cached_property
    def _bounds(self) -> np.ndarray:
        """The first entry of each class, and the number of entries `(C + 1,)`."""
        return np.searchsorted(self.classes, np.arange(len(self.pixel_counts) + 1))

    def save(self, path: Path) -> None:
        """Writes an npz file."""
        with atomic_write(path) as partial:
            np.savez_compressed(partial, **asdict(self))

    @classmethod
    def load(cls, path: Path) -> "ClassPositions":
        """Reads what `save` wrote.

        Raises:
            InputError: The file cannot be read.
        """
        try:
            with path.open("rb") as file, np.load(file) as arrays:  # NumPy does not close a damaged file
                content = dict(arrays)
            return cls(split_size=int(content.pop("split_size")), **content)
        except (OSError, ValueError, TypeError, LookupError, EOFError, BadZipFile, zlib.error) as error:
            raise InputError(
                f"The positions of classes cannot be read ({describe(error)}). Remove the file, so that all training "
                f"labels are decoded again. Received: {path}"
            ) from error
