"""Pictures like the paper's figures 6 and 7: images on which networks differ, with frames around these regions."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from keras_crosscoop.data import Dataset
from keras_crosscoop.data.spec import Pair
from keras_crosscoop.errors import InputError
from keras_crosscoop.images.overlays import add_legend, colorize, save
from keras_crosscoop.labels import IGNORE_LABEL
from keras_crosscoop.models.inference import Inference

EXAMPLES = 4
FRAMES = 3  # maximum number per image
LEAST = 0.004  # the smallest framed region, as a share of the image's pixels
WIDTH = 256  # pixels of a panel
_EDGE = 2  # white pixels around a panel
_THIN = 2  # regions up to twice this width, such as inexact outlines, are not framed
_HEAD = 20  # pixels for names, above the first images

Predictions = dict[str, np.ndarray]  # name of the panel -> class ids (H, W)


def draw_examples(dataset: Dataset, split: str, networks: Mapping[str, tuple[Inference, str]], target: Path) -> None:
    """Draws the images on which correctness differs most between networks: image, label and each prediction.

    Args:
        dataset: The data set.
        split: One of its splits.
        networks: For each panel an inference and the output to draw.
        target: The PNG to write.

    Raises:
        InputError: The file cannot be written.
    """
    pairs = dataset.find(split)
    candidates = np.linspace(0, len(pairs) - 1, min(len(pairs), 6 * EXAMPLES)).astype(int)
    samples = []
    for image, label in readable(dataset, [pairs[index] for index in candidates]):
        classes = {network: network.classes(image) for network in {network for network, _ in networks.values()}}
        predictions = {name: classes[network][output] for name, (network, output) in networks.items()}
        samples.append((image, label, predictions))
    samples = sorted(samples, key=lambda sample: -differing(*sample[1:]).mean())[:EXAMPLES]
    rows = []
    for image, label, predictions in samples:
        pictures = [image, *(colorize(ids, dataset.palette) for ids in (label, *predictions.values()))]
        boxes = frames(differing(label, predictions))
        rows.append(np.concatenate([_panel(picture, boxes) for picture in pictures], axis=1))
    sheet = np.concatenate([_heading(["image", "label", *networks], rows[0].shape[1]), *rows])
    maps = [ids for _, label, predictions in samples for ids in (label, *predictions.values())]
    present = np.unique(np.concatenate([np.unique(ids) for ids in maps]))
    save(add_legend(sheet, present, dataset.classes, dataset.palette), target)


def readable(dataset: Dataset, pairs: Sequence[Pair]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields images and labels. Unreadable ones, which `evaluate` has reported, are left out."""
    for pair in pairs:
        with suppress(InputError):
            yield dataset.read(*pair)


def differing(label: np.ndarray, predictions: Predictions) -> np.ndarray:
    """Returns the pixels on which some networks are right and others are not, bool `(H, W)`."""
    right = np.stack([ids == label for ids in predictions.values()])
    return right.any(axis=0) & ~right.all(axis=0) & (label != IGNORE_LABEL)


def frames(mask: np.ndarray) -> list[tuple[int, int, int, int]]:
    """Returns the boxes around the largest regions of a mask `(H, W)`: left, top, right, bottom, in pixels."""
    regions, count = ndimage.label(ndimage.binary_opening(mask, iterations=_THIN))
    sizes = np.bincount(regions.ravel(), minlength=count + 1)[1:]
    largest = [index for index in np.argsort(-sizes)[:FRAMES] if sizes[index] >= LEAST * mask.size]
    slices = ndimage.find_objects(regions)
    return [(slices[i][1].start, slices[i][0].start, slices[i][1].stop, slices[i][0].stop) for i in largest]


def _panel(picture: np.ndarray, boxes: Sequence[tuple[int, int, int, int]]) -> np.ndarray:
    height, width, _ = picture.shape
    scale = WIDTH / width
    resized = Image.fromarray(picture).resize((WIDTH, round(scale * height)), Image.Resampling.NEAREST)
    draw = ImageDraw.Draw(resized)
    for box in boxes:
        left, top, right, bottom = (round(scale * edge) for edge in box)
        draw.rectangle([left - 3, top - 3, right + 3, bottom + 3], outline="black", width=4)
        draw.rectangle([left - 2, top - 2, right + 2, bottom + 2], outline="white", width=2)  # visible on any colour
    return np.pad(np.asarray(resized), ((_EDGE, _EDGE), (_EDGE, _EDGE), (0, 0)), constant_values=255)


def _heading(names: Sequence[str], width: int) -> np.ndarray:
    heading = Image.new("RGB", (width, _HEAD), "white")
    draw = ImageDraw.Draw(heading)
    for number, name in enumerate(names):
        middle = (number * (WIDTH + 2 * _EDGE) + WIDTH / 2, _HEAD / 2)
        draw.text(middle, name, "black", ImageFont.load_default(13), anchor="mm")
    return np.asarray(heading)
