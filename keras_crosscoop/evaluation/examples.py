"""Example predictions of a split as pictures."""

from pathlib import Path

import numpy as np

from keras_crosscoop.data import Dataset
from keras_crosscoop.data.spec import evenly_spread
from keras_crosscoop.errors import InputError
from keras_crosscoop.images.overlays import add_legend, colorize, save
from keras_crosscoop.models.inference import Inference

NAME_LENGTH = 50  # characters of the image's name in the picture's name; file systems allow 255 bytes


def draw_examples(inference: Inference, dataset: Dataset, split: str, folder: Path, count: int = 4) -> None:
    """Draws images spread evenly over a split: image, label and prediction side by side, with a legend.

    Unreadable images are left out; `evaluate` reports them.

    Args:
        inference: Runs the model; its last output is drawn.
        dataset: The data set.
        split: One of its splits.
        folder: The folder for the PNGs; it is made.
        count: The number of pictures.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pairs = dataset.find(split)
    for index in evenly_spread(range(len(pairs)), count):
        try:
            image, labels = dataset.read(*pairs[index])
        except InputError:
            continue
        *_, prediction = inference.classes(image).values()
        panels = [image, colorize(labels, dataset.palette), colorize(prediction, dataset.palette)]
        ids = np.union1d(labels, prediction)
        picture = add_legend(np.concatenate(panels, axis=1), ids, dataset.classes, dataset.palette)
        save(picture, folder / f"{index:04d}_{Path(pairs[index][0].name).stem[:NAME_LENGTH]}.png")
