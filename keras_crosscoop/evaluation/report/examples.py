"""Images of a split to look into, as they were measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from keras_crosscoop.data import Dataset
from keras_crosscoop.data.spec import Pair
from keras_crosscoop.data.transforms import CENTRE, place, render
from keras_crosscoop.errors import InputError
from keras_crosscoop.evaluation.evaluating import names_of
from keras_crosscoop.evaluation.report import panels
from keras_crosscoop.evaluation.report.panels import Panel
from keras_crosscoop.models.inference import Inference, with_ensemble

WIDTH, HEIGHT = 640, 480  # pixels; of larger images every so manieth is shown


class Choice(NamedTuple):
    """An image to show: why, its place in `per_image`, and mean IoU by the name of a panel."""

    title: str
    index: int
    scores: Mapping[str, float | None]


@dataclass(frozen=True)
class Example:
    """An image of a split.

    Attributes:
        title: why it is shown.
        name: of its file.
        scores: mean IoU by the name of a panel.
        image: uint8 `(H, W, 3)`.
        labels: class ids and 255 for void, uint8 `(H, W)`.
        panels: all that there is to see.
    """

    title: str
    name: str
    scores: Mapping[str, float | None]
    image: np.ndarray
    labels: np.ndarray
    panels: list[Panel]

    @property
    def size(self) -> tuple[int, int]:
        """Its own height and width."""
        return self.labels.shape

    @property
    def shown_size(self) -> tuple[int, int]:
        """The height and width of its panels."""
        height, width = self.size
        factor = min(1, HEIGHT / height, WIDTH / width)
        return max(1, round(factor * height)), max(1, round(factor * width))

    def sampled(self, array: np.ndarray) -> np.ndarray:
        """The pixels of an array `(H, W, ...)` that are the nearest to those shown, nothing mixed: `(h, w, ...)`."""
        return array[np.ix_(*self._places())]

    def probabilities(self, inference: Inference) -> dict[str, np.ndarray]:
        """What a model sees there, class probabilities of every output, `sampled`: `(h, w, C)`.

        Raises:
            InputError: the memory does not hold what is looked at at once.
        """
        rows, columns = self._places()
        kept, top = [], 0  # of an image that is large, no more is held than is shown
        for strip in inference.strips(self.image):
            bottom = top + strip.shape[1]
            inside = rows[(rows >= top) & (rows < bottom)] - top
            kept.append(strip.numpy()[:, inside][:, :, columns])
            top = bottom
        return dict(zip(inference.model.output_choices, with_ensemble(np.concatenate(kept, axis=1)), strict=True))

    def _places(self) -> tuple[np.ndarray, np.ndarray]:
        """The rows `(h,)` and columns `(w,)` that are shown."""
        rows, columns = (
            ((np.arange(count) + 0.5) * length / count).astype(int)
            for length, count in zip(self.size, self.shown_size, strict=True)
        )
        return rows, columns


def spread(scores: Sequence[float | None]) -> list[tuple[str, int]]:
    """A title and a place among the scores: the best, the worst, and up to four at even distances between."""
    ranked = sorted((index for index, score in enumerate(scores) if score is not None), key=lambda i: -scores[i])
    ranks = dict.fromkeys(np.linspace(0, len(ranked) - 1, min(6, len(ranked))).round().astype(int).tolist())
    titles = {rank: f"Ordinary: rank {rank + 1} of {len(ranked)}" for rank in ranks}
    if ranked:
        titles |= {len(ranked) - 1: "The worst", 0: "The best"}
    order = [rank for rank in (0, len(ranked) - 1) if rank in ranks]
    return [(titles[rank], ranked[rank]) for rank in dict.fromkeys([*order, *ranks])]


def opened(dataset: Dataset, figures: Mapping[str, Any], choices: Sequence[Choice]) -> list[Example]:
    """The images chosen, each with the panels image and truth.

    Raises:
        InputError: the data set no longer holds one of them, or it cannot be read.
    """
    pairs = _pairs(dataset, figures)
    examples = []
    for title, index, scores in choices:
        image, labels = _read(dataset, pairs[index], figures["crop"])
        example = Example(title, figures["per_image"][index]["image"], scores, image, labels, [])
        truth = panels.of_truth(example.sampled(labels), dataset.palette)
        example.panels.extend([panels.of_image(image, example.shown_size), truth])
        examples.append(example)
    return examples


def _pairs(dataset: Dataset, figures: Mapping[str, Any]) -> list[Pair]:
    """The files behind `per_image`."""
    pairs = dataset.find(figures["split"])
    by_name = dict(zip(names_of(pairs), pairs, strict=True))
    names = [of_image["image"] for of_image in figures["per_image"]]
    if gone := [name for name in names if name not in by_name]:
        raise InputError(
            f'The run was measured on an image that data set "{dataset.name}" no longer holds. Remove the run\'s '
            f"metrics.json, and it is measured anew. Received: {gone[0]}"
        )
    return [by_name[name] for name in names]


def _read(dataset: Dataset, pair: Pair, crop: int | None) -> tuple[np.ndarray, np.ndarray]:
    if crop is None:
        return dataset.read(*pair)
    file = dataset.open(*pair)
    rows, columns = place(file.size, CENTRE, crop_size=crop, scale=(1, 1))
    window = file.window(rows.source, columns.source)
    image, labels = render(*window, rows.target, columns.target, crop_size=crop)
    return image.numpy(), labels.numpy()
