"""Class ids drawn in colour: alone, blended over the image, with a legend."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from keras_crosscoop.errors import InputError
from keras_crosscoop.images.io import RGB, palette_table
from keras_crosscoop.labels import IGNORE_LABEL
from keras_crosscoop.system.files import atomic_write

OPACITY = 0.6  # of the classes' colours over the image


def draw_overlay(image: np.ndarray, ids: np.ndarray, classes: Sequence[str], palette: Sequence[RGB]) -> Image.Image:
    """The image, uint8 `(H, W, 3)`, under the colours of its class ids `(H, W)`, with a legend of those that occur."""
    return add_legend(blend(image, ids, palette), np.unique(ids), classes, palette)


def blend(image: np.ndarray, ids: np.ndarray, palette: Sequence[RGB]) -> np.ndarray:
    """The image under the colours of its class ids, uint8 `(H, W, 3)`."""
    mixed = (np.float32(OPACITY) * palette_table(palette))[ids]  # in place and in 32 bits: images may be large
    mixed += np.float32(1 - OPACITY) * image
    return mixed.round(out=mixed).astype(np.uint8)


def colorize(ids: np.ndarray, palette: Sequence[RGB]) -> np.ndarray:
    """Class ids `(H, W)` as RGB, uint8 `(H, W, 3)`."""
    return palette_table(palette)[ids]


def add_legend(picture: np.ndarray, ids: Iterable[int], classes: Sequence[str], palette: Sequence[RGB]) -> Image.Image:
    """The picture, uint8 `(H, W, 3)`, above a row of colours and names that wraps at its width."""
    names, table = {**dict(enumerate(classes)), IGNORE_LABEL: "void"}, palette_table(palette)
    height, width, _ = picture.shape
    size = int(np.clip(height / 20, 10, 24))
    font = ImageFont.load_default(size)
    gap, line = size // 2, size + size // 2
    places, x, y = [], gap, height + gap
    for index in (int(i) for i in ids if i in names):
        wide = size + gap + font.getlength(names[index]) + 2 * gap
        if x > gap and x + wide > width:
            x, y = gap, y + line
        places.append((index, x, y))
        x += wide
    canvas = Image.new("RGB", (width, y + line), "white")
    canvas.paste(Image.fromarray(picture))
    draw = ImageDraw.Draw(canvas)
    for index, x, y in places:
        draw.rectangle((x, y, x + size, y + size), fill=tuple(table[index].tolist()), outline="black")
        draw.text((x + size + gap, y + size / 2), names[index], fill="black", font=font, anchor="lm")
    return canvas


def check_new(path: Path, *, force: bool = False) -> None:
    """Refuses, before anything is drawn, a path that `save` should not write to.

    Raises:
        InputError: it is no PNG's, its folder is missing, or something is there already (without `force`).
    """
    if path.suffix.lower() != ".png":
        raise InputError(f"A picture is written as PNG. End its name in .png. Received: {path}")
    if not path.absolute().parent.is_dir():
        raise InputError(f"The picture's folder is not there. Make it, or name another. Received: {path}")
    if path.exists() and not force:
        raise InputError(f"The picture is there already. Write over it with --force. Received: {path}")


def save(picture: Image.Image, path: Path) -> None:
    """Writes a picture, whole or not at all.

    Raises:
        InputError: it cannot be written.
    """
    try:
        with atomic_write(path) as partial:
            picture.save(partial, compress_level=1)  # a fifth of the time that the default takes, 8 % more bytes
    except OSError as error:
        raise InputError(f"The picture cannot be written ({error.strerror or error}). Received: {path}") from error
