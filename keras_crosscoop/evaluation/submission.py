"""Predictions as files that a benchmark's server takes."""

from pathlib import Path

import numpy as np

from keras_crosscoop.data import CATALOGUE, Dataset
from keras_crosscoop.data.spec import Submission
from keras_crosscoop.errors import InputError
from keras_crosscoop.images.io import write_grey, write_label
from keras_crosscoop.system.files import ReadableFile, make_folder


class Predictions:
    """A folder of predictions on a split: as its data set's makers want them, or palette PNGs of class ids.

    Args:
        folder: where to write; it is made.
        dataset: what is predicted.
        split: one of the data set's.
        force: whether files of earlier predictions may be written over.

    Raises:
        InputError: the folder holds a prediction already (without `force`), or two images would go to one file.
    """

    def __init__(self, folder: Path, dataset: Dataset, split: str, *, force: bool = False) -> None:
        self.folder = folder
        self.dataset = dataset
        self.split = split
        entry = CATALOGUE.get(dataset.name)
        self._submission = (entry and entry.submission) or Submission()
        first: dict[Path, ReadableFile] = {}
        for image, _ in dataset.pairs(split, headers=False):
            target = self.target(image)
            if first.setdefault(target, image) is not image:
                raise InputError(f"Two images would be written to {target}. Rename one. Received: {image}")
            if target.exists() and not force:
                raise InputError(f"The prediction is there already. Write over it with --force. Received: {target}")

    def target(self, image: ReadableFile) -> Path:
        """Where an image's prediction goes."""
        return self.folder / self._submission.path(self.split, Path(image.name).stem)

    def write(self, image: ReadableFile, classes: np.ndarray) -> None:
        """Writes class ids, uint8 `(H, W)`.

        Raises:
            InputError: the file cannot be written.
        """
        target = self.target(image)
        make_folder(target.parent)
        if ids := self._submission.ids:
            write_grey(target, np.array(ids, np.uint8)[classes])
        else:
            write_label(target, classes, self.dataset.palette)
