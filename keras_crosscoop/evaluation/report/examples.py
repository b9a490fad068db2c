"""Example images for a report, with the inference options of the evaluation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from keras_crosscoop.data import Dataset, load_dataset, readable_errors
from keras_crosscoop.data.spec import Pair
from keras_crosscoop.errors import InputError
from keras_crosscoop.evaluation.evaluator import image_names
from keras_crosscoop.evaluation.report.panels import Panel, image_panel, label_panel
from keras_crosscoop.models.inference import Inference, with_ensemble

MAX_WIDTH, MAX_HEIGHT = 640, 480  # pixels; larger images are subsampled

Scores = Mapping[str, float | None]  # mean IoU by the name of a panel


class Choice(NamedTuple):
    """The title of an example, its index in `per_image`, and its scores."""

    title: str
    index: int
    scores: Scores


@dataclass
class Example:
    """An image of a split, uint8 `(H, W, 3)`, its labels, uint8 `(H, W)`, and the panels that show them."""

    title: str
    name: str
    scores: Scores
    image: np.ndarray
    labels: np.ndarray
    panels: list[Panel] = field(default_factory=list)

    def __post_init__(self) -> None:
        height, width = self.size = self.labels.shape
        factor = min(1, MAX_HEIGHT / height, MAX_WIDTH / width)
        panel_size = max(1, round(factor * height)), max(1, round(factor * width))
        self._rows, self._columns = (
            ((np.arange(count) + 0.5) * length / count).astype(int)
            for length, count in zip(self.size, panel_size, strict=True)
        )

    def subsample(self, array: np.ndarray) -> np.ndarray:
        """Samples an array at the panels' pixels by nearest neighbours: `(H, W, ...) -> (h, w, ...)`."""
        return array[np.ix_(self._rows, self._columns)]

    def probabilities(self, inference: Inference) -> dict[str, np.ndarray]:
        """Predicts the subsampled class probabilities of every output, `(h, w, C)`, strip by strip.

        Raises:
            InputError: The image or a window of it does not fit into memory.
        """
        strips, top = [], 0
        for strip in inference.strips(self.image):
            bottom = top + strip.shape[1]
            inside = self._rows[(self._rows >= top) & (self._rows < bottom)] - top
            strips.append(strip.numpy()[:, inside][:, :, self._columns])
            top = bottom
        return dict(zip(inference.model.output_choices, with_ensemble(np.concatenate(strips, axis=1)), strict=True))


def inference_options(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the options of `Inference` in the result of `evaluate`."""
    return {option: metrics[option] for option in ("window", "overlap", "scales", "flip")}


def representative_images(scores: Sequence[float | None]) -> list[tuple[str, int]]:
    """Selects the best image, the worst, and up to four evenly spaced ranks between them: (title, index) pairs."""
    ranked = sorted((index for index, score in enumerate(scores) if score is not None), key=lambda i: -scores[i])
    if not ranked:
        return []
    last = len(ranked) - 1
    titles = {0: "Best image", last: "Worst image"} if last else {0: "Best image"}
    for rank in np.linspace(0, last, min(6, len(ranked))).round().astype(int).tolist():
        titles.setdefault(rank, f"Rank {rank + 1} of {len(ranked)}")
    return [(title, ranked[rank]) for rank, title in titles.items()]


def load_examples(dataset: Dataset, metrics: Mapping[str, Any], choices: Sequence[Choice]) -> list[Example]:
    """Reads the chosen images, each with the panels of its image and its label.

    Raises:
        InputError: The data set no longer contains one of the images, or it cannot be read.
    """
    pairs = dataset.find(metrics["split"])
    pairs_by_name = dict(zip(image_names(pairs), pairs, strict=True))
    names = [image["image"] for image in metrics["per_image"]]
    if missing := [name for name in names if name not in pairs_by_name]:
        raise InputError(
            f'The run was evaluated on an image that data set "{dataset.name}" no longer contains. Remove the run\'s '
            f"metrics.json to evaluate it again. Received: {missing[0]}"
        )
    examples = []
    for title, index, scores in choices:
        image, labels = _read(dataset, pairs_by_name[names[index]], metrics)
        example = Example(title, names[index], scores, image, labels)
        labels = example.subsample(labels)
        example.panels += [image_panel(image, labels.shape), label_panel(labels, dataset.palette)]
        examples.append(example)
    return examples


def _read(dataset: Dataset, pair: Pair, metrics: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    if metrics["crop"] is None:
        return dataset.read(*pair)
    single = replace(dataset, find=lambda _: [pair])
    with readable_errors():
        return next(load_dataset(single, metrics["split"], center_crop=metrics["crop"]).as_numpy_iterator())
