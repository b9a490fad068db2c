"""Pictures of data: training samples as the network gets them, and how often each class occurs."""

from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from keras_crosscoop.data import Dataset, load_dataset, readable_errors
from keras_crosscoop.data.checking import Report
from keras_crosscoop.images.overlays import add_legend, blend, save

COLUMNS = 3  # pairs side by side
SIDE = 320  # pixels; larger samples are shrunk, so that a sheet fits a screen
GAP = 8  # pixels between pairs


def draw_samples(dataset: Dataset, split: str, target: Path, *, count: int = 12, **options: Any) -> None:
    """A contact sheet of the first samples that a network is trained on, each beside its classes' colours.

    Args:
        dataset: what to draw from.
        split: the split to draw from.
        target: the PNG to write.
        count: how many samples.
        options: of `load_dataset`, as for training: the same ones give the same samples.

    Raises:
        InputError: of `load_dataset`, a file that cannot be used, or the sheet cannot be written.
    """
    stream = load_dataset(dataset, split, training=True, repeat=True, **options)
    tiles, shown = [], np.zeros(0, np.uint8)
    with readable_errors():
        for image, ids in islice(stream.as_numpy_iterator(), count):  # one at a time: they may be large
            coloured = blend(image, ids, dataset.palette)
            tiles.append(np.concatenate([_shrunk(image), _shrunk(coloured)], axis=1))
            shown = np.union1d(shown, ids)
    height, width, _ = np.add(tiles[0].shape, (GAP, GAP, 0))
    columns = min(COLUMNS, count)
    rows = -(-count // columns)
    sheet = np.full((rows * height - GAP, columns * width - GAP, 3), 255, np.uint8)
    for number, tile in enumerate(tiles):
        y, x = number // columns * height, number % columns * width
        sheet[y : y + height - GAP, x : x + width - GAP] = tile
    save(add_legend(sheet, shown, dataset.classes, dataset.palette), target)


def _shrunk(picture: np.ndarray) -> np.ndarray:
    image = Image.fromarray(picture)
    image.thumbnail((SIDE, SIDE))
    return np.asarray(image)


def draw_frequencies(report: Report, target: Path) -> None:
    """A bar chart of the share of each class in the pixels of each split, in the classes' colours.

    Raises:
        InputError: the chart cannot be written.
    """
    splits = [split for split in report.splits if any(split.pixels)]
    figure = Figure(figsize=(1.5 + 4 * max(len(splits), 1), 1.2 + 0.28 * len(report.classes)), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    figure.suptitle(f"{report.dataset}: share of each class in all pixels that have one")
    names, places = list(report.classes), range(len(report.classes))
    panels = figure.subplots(1, max(len(splits), 1), sharey=True, squeeze=False)[0]
    for axes, split in zip(panels, splits, strict=False):
        shares = [100 * share for share in split.frequencies]
        bars = axes.barh(
            places, shares, color=np.divide(report.palette, 255), edgecolor="black", linewidth=0.5, tick_label=names
        )
        axes.bar_label(bars, [f"{share:.2f} %" if share else "never" for share in shares], padding=3, fontsize=8)
        axes.set_title(f"{split.name}, {split.images} images", fontsize=10)
        axes.set_xlim(0, 1.25 * max(shares))
        axes.set_xlabel("%")
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].invert_yaxis()  # the first class on top; the other axes share it
    canvas.draw()
    save(Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB"), target)
