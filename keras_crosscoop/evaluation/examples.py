"""Example predictions of a split as pictures."""

from pathlib import Path

import numpy as np

from keras_crosscoop.data import Dataset
from keras_crosscoop.errors import InputError
from keras_crosscoop.images.overlays import add_legend, colorize, save
from keras_crosscoop.models.inference import Inference

NAME = 50  # characters of an image's name that its picture's name begins with: file systems allow 255 bytes in all


def draw_examples(inference: Inference, dataset: Dataset, split: str, folder: Path, count: int = 4) -> None:
    """Pictures of a few images spread over a split: image, truth and prediction, side by side, with a legend.

    Those that cannot be read are left out: this follows `evaluate`, which has told of them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pairs = dataset.find(split)
    for index in np.linspace(0, len(pairs) - 1, min(count, len(pairs))).astype(int):
        try:
            image, truth = dataset.read(*pairs[index])
        except InputError:
            continue
        *_, prediction = inference.classes(image).values()
        panels = [image, *(colorize(ids, dataset.palette) for ids in (truth, prediction))]
        shown = np.union1d(truth, prediction)
        picture = add_legend(np.concatenate(panels, axis=1), shown, dataset.classes, dataset.palette)
        save(picture, folder / f"{index:04d}_{Path(pairs[index][0].name).stem[:NAME]}.png")
