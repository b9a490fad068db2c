"""Prediction files in the format of a benchmark's evaluation server."""

from pathlib import Path

import numpy as np

from keras_crosscoop.data import CATALOGUE, Dataset
from keras_crosscoop.data.spec import Submission
from keras_crosscoop.errors import InputError
from keras_crosscoop.images.io import write_label
from keras_crosscoop.system.files import ReadableFile, make_folder


class SubmissionWriter:
    """Writes predictions in the format of the data set's evaluation server; without one, as palette PNGs of class ids.

    Args:
        folder: The folder to write to; it is made.
        dataset: The data set.
        split: One of its splits.
        force: Whether to overwrite earlier predictions.

    Raises:
        InputError: The folder already contains a prediction (without `force`), or two images have the same file.
    """

    def __init__(self, folder: Path, dataset: Dataset, split: str, *, force: bool = False) -> None:
        self.folder = folder
        self.dataset = dataset
        self.split = split
        entry = CATALOGUE.get(dataset.name)
        self._format = (entry and entry.submission) or Submission()
        targets: set[Path] = set()
        for image, _ in dataset.pairs(split, headers=False):
            target = self.target(image)
            if target in targets:
                raise InputError(f"Two images have the same prediction file, {target}. Rename one. Received: {image}")
            if target.exists() and not force:
                raise InputError(f"The prediction already exists. Overwrite it with --force. Received: {target}")
            targets.add(target)

    def target(self, image: ReadableFile) -> Path:
        """Returns the path of an image's prediction."""
        return self.folder / self._format.path(self.split, Path(image.name).stem)

    def write(self, image: ReadableFile, classes: np.ndarray) -> None:
        """Writes the class ids of an image, uint8 `(H, W)`.

        Raises:
            InputError: The file cannot be written.
        """
        target = self.target(image)
        make_folder(target.parent)
        if ids := self._format.ids:
            write_label(target, np.array(ids, np.uint8)[classes], None)
        else:
            write_label(target, classes, self.dataset.palette)
