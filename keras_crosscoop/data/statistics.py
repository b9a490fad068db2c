"""Statistics of the labels of a split."""

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import NamedTuple

import numpy as np

from keras_crosscoop.data.rare_classes import ClassPositions, LabelPositions, label_positions
from keras_crosscoop.data.spec import Dataset, evenly_spread
from keras_crosscoop.errors import InputError
from keras_crosscoop.labels import IGNORE_LABEL
from keras_crosscoop.system.files import ReadableFile
from keras_crosscoop.system.resources import threads


@dataclass(frozen=True)
class SplitStatistics:
    """Statistics of the readable pairs of a split.

    Attributes:
        name: The name of the split.
        images: The number of readable pairs.
        labelled: Whether the labels are public. Without labels, all statistics below except `sizes` are 0.
        sizes: The number of images of each (height, width), the most frequent first.
        pixels: The number of pixels of each class.
        void: The number of void pixels.
        images_with: The number of images that contain each class.
        pixels_around: The number of pixels, including void, in the images that contain each class.
        images_with_one: The number of images with one class alone.
        pairs: The number of all pairs of the split.
    """

    name: str
    images: int
    labelled: bool
    sizes: Mapping[tuple[int, int], int]
    pixels: tuple[int, ...]
    void: int
    images_with: tuple[int, ...]
    pixels_around: tuple[int, ...]
    images_with_one: int
    pairs: int

    @property
    def complete(self) -> bool:
        """Whether all labels of the split were counted."""
        return self.images == self.pairs

    @property
    def frequencies(self) -> tuple[float, ...]:
        """The share of each class among all labelled pixels."""
        return tuple(pixels / max(sum(self.pixels), 1) for pixels in self.pixels)

    @property
    def void_share(self) -> float:
        """The share of void among all pixels."""
        return self.void / max(sum(self.pixels) + self.void, 1)

    @property
    def class_weights(self) -> tuple[float | None, ...]:
        """Median-frequency weights, `median(f) / f_c`; None for classes that never occur.

        The frequency f_c is the share of class c in the pixels of the images that contain it.

        Reference: Eigen and Fergus, "Predicting Depth, Surface Normals and Semantic Labels with a Common Multi-Scale
        Convolutional Architecture", ICCV 2015, section 6.3.2.
        """
        shares = [own / around if own else None for own, around in zip(self.pixels, self.pixels_around, strict=True)]
        middle = median([share for share in shares if share] or [0])
        return tuple(middle / share if share else None for share in shares)


def count_split(
    dataset: Dataset, split: str, labels: Sequence[tuple[tuple[int, int], np.ndarray]], *, pairs: int
) -> SplitStatistics:
    """Sums up the labels of a split.

    Args:
        dataset: The data set.
        split: One of its splits.
        labels: For each label its size, and the number of pixels of each value from 0 to `IGNORE_LABEL`.
        pairs: The number of all pairs of the split.
    """
    labelled = split not in dataset.unlabelled
    pixels = np.array([counts for _, counts in labels], np.int64).reshape(-1, IGNORE_LABEL + 1)  # image, value
    pixels *= labelled
    class_pixels = pixels[:, : len(dataset.classes)]
    return SplitStatistics(
        name=split,
        images=len(labels),
        labelled=labelled,
        sizes=dict(Counter(size for size, _ in labels).most_common()),
        pixels=tuple(class_pixels.sum(0).tolist()),
        void=int(pixels[:, IGNORE_LABEL].sum()),
        images_with=tuple((class_pixels > 0).sum(0).tolist()),
        pixels_around=tuple((pixels.sum(1) @ (class_pixels > 0)).tolist()),
        images_with_one=int(((class_pixels > 0).sum(1) == 1).sum()),
        pairs=pairs,
    )


class LabelSample(NamedTuple):
    """The content of some or all labels of a split.

    Attributes:
        statistics: The statistics.
        errors: The error of each label that cannot be read.
        positions: Where the classes are, if all labels were decoded.
    """

    statistics: SplitStatistics
    errors: dict[str, InputError]
    positions: ClassPositions | None


def sample_labels(dataset: Dataset, split: str, limit: int | None) -> LabelSample:
    """Decodes up to `limit` labels, spread evenly over a split, and counts their pixels; None for all labels.

    Raises:
        InputError: The split cannot be used.
    """
    pairs = dataset.find(split)
    files = [label for _, label in evenly_spread(pairs, limit or len(pairs))]
    with ThreadPoolExecutor(threads()) as pool:
        results = list(pool.map(partial(_look, dataset, positions=limit is None), files))
    labels = [result if isinstance(result, _Label) else None for result in results]
    counts = [(label.size, label.pixels) for label in labels if label]
    errors = {str(file): error for file, error in zip(files, results, strict=True) if isinstance(error, InputError)}
    statistics = count_split(dataset, split, counts, pairs=len(pairs))
    positions = None
    if limit is None:
        positions = ClassPositions.join(statistics.pixels, [label and label.positions for label in labels])
    return LabelSample(statistics, errors, positions)


class _Label(NamedTuple):
    size: tuple[int, int]
    pixels: np.ndarray  # the number of pixels of each value from 0 to `IGNORE_LABEL`
    positions: LabelPositions | None


def _look(dataset: Dataset, file: ReadableFile | None, *, positions: bool) -> _Label | InputError | None:
    if file is None:
        return None
    try:
        ids = dataset.read_label(file)
    except InputError as error:
        return error
    pixels = np.bincount(ids.ravel(), minlength=IGNORE_LABEL + 1)
    return _Label(ids.shape, pixels, label_positions(ids, pixels[: len(dataset.classes)]) if positions else None)
