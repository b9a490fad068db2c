"""Previews of a data set: augmented training samples, and the frequency of each class."""

import math
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from keras_crosscoop.data import Dataset, indices, load_dataset, readable_errors
from keras_crosscoop.data.checks import DatasetReport
from keras_crosscoop.errors import InputError
from keras_crosscoop.images.overlays import add_legend, blend, save

COLUMNS = 3  # samples side by side
MAX_SIDE = 320  # pixels; larger samples are shrunk, so that a sheet fits a screen
GAP = 8  # pixels between samples


def draw_samples(
    dataset: Dataset,
    split: str,
    target: Path,
    *,
    crop_size: int,
    scale: tuple[float, float],
    seed: int = 0,
    count: int = 12,
    **options: Any,
) -> None:
    """Draws a contact sheet of the first training samples, each beside its class colours.

    `options` are those of `load_dataset`; training with the same options gets the same samples. If all of their images
    are smaller than the crop, less padding is drawn, unless samples are rotated, mixed or drawn for rare classes.

    Raises:
        InputError: As for `load_dataset`; a file cannot be used; or the sheet cannot be written.
    """
    options |= {"crop_size": crop_size, "scale": scale, "seed": seed}
    # Rotated and mixed samples depend on the size of the crop, and rare classes on the labels of all images.
    if not (options.get("rotation") or options.get("rare_classes") or options.get("mix", "none") != "none"):
        pairs, sizes = dataset.pairs(split, headers=False), []
        for index in indices(range(count), len(pairs), seed):
            with suppress(InputError):  # `load_dataset` names files that cannot be used
                sizes += dataset.size(*pairs[index])
        options["crop_size"] = min(crop_size, math.ceil(scale[1] * max(sizes, default=crop_size)))
    stream = load_dataset(dataset, split, training=True, repeat=True, **options)
    tiles, occurring = [], np.zeros(0, np.uint8)
    with readable_errors():
        for image, ids in islice(stream.as_numpy_iterator(), count):  # one at a time: they may be large
            tile = np.concatenate([_shrink(image), _shrink(blend(image, ids, dataset.palette))], axis=1)
            tiles.append(np.pad(tile, ((0, GAP), (0, GAP), (0, 0)), constant_values=255))
            occurring = np.union1d(occurring, ids)
    columns = min(COLUMNS, count)
    tiles += [np.full_like(tiles[0], 255)] * (-count % columns)
    rows = [np.concatenate(tiles[start : start + columns], axis=1) for start in range(0, count, columns)]
    sheet = np.concatenate(rows)[:-GAP, :-GAP]
    save(add_legend(sheet, occurring, dataset.classes, dataset.palette, clear=True), target)


def _shrink(picture: np.ndarray) -> np.ndarray:
    image = Image.fromarray(picture)
    image.thumbnail((MAX_SIDE, MAX_SIDE))
    return np.asarray(image)


def draw_frequencies(report: DatasetReport, target: Path) -> None:
    """Draws a bar chart of the share of each class in the pixels of each split, in the class colours.

    Raises:
        InputError: The chart cannot be written.
    """
    splits = [split for split in report.splits if any(split.pixels)]
    figure = Figure(figsize=(1.5 + 4 * max(len(splits), 1), 1.2 + 0.28 * len(report.classes)), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    figure.suptitle(f"{report.dataset}: share of each class in the labelled pixels")
    panels = figure.subplots(1, max(len(splits), 1), sharey=True, squeeze=False)[0]
    style = {"color": np.divide(report.palette, 255), "edgecolor": "black", "linewidth": 0.5}
    for axes, split in zip(panels, splits, strict=False):
        shares = [100 * share for share in split.frequencies]
        bars = axes.barh(range(len(shares)), shares, tick_label=list(report.classes), **style)
        axes.bar_label(bars, [f"{share:.2f} %" if share else "never" for share in shares], padding=3, fontsize=8)
        axes.set_title(f"{split.name}, {split.images} images", fontsize=10)
        axes.set_xlim(0, 1.25 * max(shares))
        axes.set_xlabel("%")
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].invert_yaxis()  # the first class on top; the other axes share the y axis
    canvas.draw()
    save(Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB"), target)
