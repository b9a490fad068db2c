"""Pictures in the shape of the paper's figures 6 and 7: where single networks and the cross network differ, framed."""

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
from keras_crosscoop.images.palettes import RGB
from keras_crosscoop.labels import IGNORE_LABEL
from keras_crosscoop.models.inference import Inference

EXAMPLES = 4
FRAMES = 3  # in an image, at most
LEAST = 0.004  # of an image's pixels, that a framed region has
WIDTH = 256  # pixels of a panel
_THIN = 2  # pixels from a region's edge to its middle, or less: outlines that are a little off are not framed
_HEAD = 20  # pixels above the first images, for names

Predictions = dict[str, np.ndarray]  # name of the panel -> class ids (H, W)


def draw_examples(dataset: Dataset, split: str, networks: Mapping[str, tuple[Inference, str]], target: Path) -> None:
    """A sheet: image, truth and what each network sees, for the images where these differ most about what is true.

    Args:
        dataset: whose images.
        split: of it.
        networks: of each panel how it looks, and which output.
        target: the PNG.

    Raises:
        InputError: the sheet cannot be written.
    """
    pairs = dataset.find(split)
    candidates = np.linspace(0, len(pairs) - 1, min(len(pairs), 6 * EXAMPLES)).astype(int)
    seen = []
    for image, truth in readable(dataset, [pairs[index] for index in candidates]):
        classes = {look: look.classes(image) for look in dict.fromkeys(look for look, _ in networks.values())}
        found = {name: classes[look][output] for name, (look, output) in networks.items()}
        seen.append((image, truth, found))
    chosen = sorted(seen, key=lambda each: -_differing(*each[1:]).mean())[:EXAMPLES]
    rows = [_row(image, truth, found, dataset.palette) for image, truth, found in chosen]
    sheet = np.concatenate([_names(["image", "truth", *networks], rows[0].shape[1]), *rows])
    maps = (ids for _, truth, found in chosen for ids in (truth, *found.values()))
    shown = np.unique(np.concatenate([np.unique(ids) for ids in maps]))
    save(add_legend(sheet, shown, dataset.classes, dataset.palette), target)


def readable(dataset: Dataset, pairs: Sequence[Pair]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Images and labels, but for those that cannot be read, of which `evaluate` has told."""
    for pair in pairs:
        with suppress(InputError):
            yield dataset.read(*pair)


def _differing(truth: np.ndarray, found: Predictions) -> np.ndarray:
    """Where some networks are right and others are not, bool `(H, W)`."""
    right = np.stack([ids == truth for ids in found.values()])
    return right.any(axis=0) & ~right.all(axis=0) & (truth != IGNORE_LABEL)


def frames(differing: np.ndarray) -> list[tuple[int, int, int, int]]:
    """The largest regions of a mask `(H, W)`: left, top, right, bottom, in pixels."""
    regions, count = ndimage.label(ndimage.binary_opening(differing, iterations=_THIN))
    sizes = np.bincount(regions.ravel(), minlength=count + 1)[1:]
    largest = [index for index in np.argsort(-sizes)[:FRAMES] if sizes[index] >= LEAST * differing.size]
    places = ndimage.find_objects(regions)
    return [(places[i][1].start, places[i][0].start, places[i][1].stop, places[i][0].stop) for i in largest]


def _row(image: np.ndarray, truth: np.ndarray, found: Predictions, palette: Sequence[RGB]) -> np.ndarray:
    """Panels side by side, uint8 `(h, w, 3)`."""
    boxes = frames(_differing(truth, found))
    pictures = [image, *(colorize(ids, palette) for ids in (truth, *found.values()))]
    return np.concatenate([_framed(picture, boxes) for picture in pictures], axis=1)


def _framed(picture: np.ndarray, boxes: Sequence[tuple[int, int, int, int]]) -> np.ndarray:
    height, width, _ = picture.shape
    scale = WIDTH / width
    panel = Image.fromarray(picture).resize((WIDTH, round(scale * height)), Image.Resampling.NEAREST)
    draw = ImageDraw.Draw(panel)
    for box in boxes:
        left, top, right, bottom = (round(scale * edge) for edge in box)
        draw.rectangle([left - 3, top - 3, right + 3, bottom + 3], outline="black", width=4)
        draw.rectangle([left - 2, top - 2, right + 2, bottom + 2], outline="white", width=2)  # seen on any colour
    edge = Image.new("RGB", (WIDTH + 4, panel.height + 4), "white")
    edge.paste(panel, (2, 2))
    return np.asarray(edge)


def _names(names: Sequence[str], width: int) -> np.ndarray:
    head = Image.new("RGB", (width, _HEAD), "white")
    draw = ImageDraw.Draw(head)
    for number, name in enumerate(names):
        draw.text((number * (WIDTH + 4) + WIDTH / 2, _HEAD / 2), name, "black", ImageFont.load_default(13), anchor="mm")
    return np.asarray(head)
