"""Pictures of class ids: in class colours, blended over an image, and with a legend."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from keras_crosscoop.images.io import write_png
from keras_crosscoop.images.palettes import CLEAR, RGB, palette_table
from keras_crosscoop.labels import IGNORE_LABEL

OPACITY = 0.6  # of the class colours over the image


def draw_overlay(image: np.ndarray, ids: np.ndarray, classes: Sequence[str], palette: Sequence[RGB]) -> Image.Image:
    """Draws class colours over an image, and below it a legend of the classes that occur.

    Args:
        image: RGB, uint8 `(H, W, 3)`.
        ids: Class ids, 255 void, uint8 `(H, W)`.
        classes: The name of each class id.
        palette: The colour of each class id.

    Example:
        >>> import numpy as np
        >>> from keras_crosscoop.evaluation import draw_overlay
        >>> image, ids = np.zeros((48, 64, 3), "uint8"), np.zeros((48, 64), "uint8")
        >>> draw_overlay(image, ids, ["road"], [(128, 64, 128)]).size
        (64, 68)
    """
    return add_legend(blend(image, ids, palette), np.unique(ids), classes, palette, clear=True)


def blend(image: np.ndarray, ids: np.ndarray, palette: Sequence[RGB]) -> np.ndarray:
    """Blends class colours over an image, uint8 `(H, W, 3)`; classes in `CLEAR` show the image itself."""
    table = palette_table(palette)
    opacity = np.where((table == CLEAR).all(axis=1, keepdims=True), np.float32(0), np.float32(OPACITY))
    mixed = (opacity * table)[ids]  # in place and in float32, because images may be large
    mixed += (1 - opacity)[ids] * image
    return mixed.round(out=mixed).astype(np.uint8)


def colorize(ids: np.ndarray, palette: Sequence[RGB]) -> np.ndarray:
    """Converts class ids `(H, W)` to their colours, uint8 `(H, W, 3)`."""
    return palette_table(palette)[ids]


def add_legend(
    picture: np.ndarray, ids: Iterable[int], classes: Sequence[str], palette: Sequence[RGB], *, clear: bool = False
) -> Image.Image:
    """Adds a legend of the classes `ids` below a picture, uint8 `(H, W, 3)`; it wraps at the picture's width.

    Args:
        picture: The picture.
        ids: The class ids.
        classes: The name of each class id.
        palette: The colour of each class id.
        clear: Whether the picture shows no colour of classes in `CLEAR`, see `blend`. Their squares are chequered.
    """
    names, table = {**dict(enumerate(classes)), IGNORE_LABEL: "void"}, palette_table(palette)
    height, width, _ = picture.shape
    size = int(np.clip(height / 20, 10, 24))
    font = ImageFont.load_default(size)
    gap, line = size // 2, size + size // 2
    positions, x, y = [], gap, height + gap
    for index in (int(i) for i in ids if i in names):
        entry_width = size + gap + font.getlength(names[index]) + 2 * gap
        if x > gap and x + entry_width > width:
            x, y = gap, y + line
        positions.append((index, x, y))
        x += entry_width
    canvas = Image.new("RGB", (width, y + line), "white")
    canvas.paste(Image.fromarray(picture))
    draw = ImageDraw.Draw(canvas)
    for index, x, y in positions:
        colour = tuple(table[index].tolist())
        chequered = clear and colour == CLEAR
        draw.rectangle((x, y, x + size, y + size), fill="white" if chequered else colour)
        for shift in (0, size // 2) if chequered else ():
            draw.rectangle((x + shift, y + shift, x + shift + size // 2, y + shift + size // 2), fill="silver")
        draw.rectangle((x, y, x + size, y + size), outline="black")
        draw.text((x + size + gap, y + size / 2), names[index], fill="black", font=font, anchor="lm")
    return canvas


def save(picture: Image.Image, path: Path) -> None:
    """Writes a picture as PNG; after an error, there is no partial file.

    Raises:
        InputError: The file cannot be written.
    """
    write_png(picture, path, compress_level=1)  # a fifth of the default's time, 8 % more bytes
