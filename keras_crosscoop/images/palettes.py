"""Class colours."""

from collections.abc import Sequence
from functools import cache

import numpy as np

from keras_crosscoop.labels import IGNORE_LABEL

RGB = tuple[int, int, int]

VOID_COLOUR: RGB = (224, 224, 192)  # of pixels without a class, as PASCAL VOC draws them
CLEAR: RGB = (0, 0, 0)  # a class of this colour, such as a background, is not drawn over images

# Colours in linear RGB as protanopes, deuteranopes and tritanopes see them (Machado et al., "A Physiologically-based
# Model for Simulation of Color Vision Deficiency", 2009, table 1, severity 1).
_VISIONS = np.array(
    [
        [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    ]
)
_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])  # of linear sRGB
_WHITE = np.array([0.95047, 1, 1.08883])
_LEVELS = np.linspace(0, 255, 8).round().astype(int)  # of red, green and blue in the colours to choose from
_LEAST_CHROMA, _LEAST_LIGHTNESS = 35, 25  # greyer and darker colours are hard to see on a photograph


def voc_palette(count: int) -> tuple[RGB, ...]:
    """Returns the first `count` colours of the PASCAL VOC colour map.

    Bits 0, 3 and 6 of an id become the highest bits of red, bits 1, 4 and 7 those of green, and bits 2 and 5 those of
    blue. Neighbouring ids therefore get very different colours.

    Example:
        >>> from keras_crosscoop.images.palettes import voc_palette
        >>> voc_palette(3)
        ((0, 0, 0), (128, 0, 0), (0, 128, 0))

    Reference: `VOCcode/VOClabelcolormap.m` of the VOC 2012 development kit.
    """

    def channel(index: int, first: int) -> int:
        return sum((index >> (first + 3 * step) & 1) << (7 - step) for step in range(3))

    return tuple((channel(index, 0), channel(index, 1), channel(index, 2)) for index in range(count))


@cache
def distinct_colours(count: int, taken: tuple[RGB, ...] = ()) -> tuple[RGB, ...]:
    """Returns `count` strong colours that everyone can tell apart, the colour-blind too.

    Each colour has the largest distance in CIE L*a*b*, in the vision that separates them least, to all colours before
    it, to `taken` and to the colour of void.

    Example:
        >>> from keras_crosscoop.images.palettes import distinct_colours
        >>> distinct_colours(2)
        ((255, 0, 255), (0, 255, 0))
    """
    candidates = np.stack(np.meshgrid(_LEVELS, _LEVELS, _LEVELS, indexing="ij"), -1).reshape(-1, 3)
    seen = visible_lab(candidates)
    lightness, a, b = seen[0].T
    strong = (np.hypot(a, b) > _LEAST_CHROMA) & (lightness > _LEAST_LIGHTNESS)
    candidates, seen = candidates[strong], seen[:, strong]
    chosen: list[RGB] = []
    used = visible_lab(np.array([VOID_COLOUR, CLEAR, *taken]))
    nearest = np.linalg.norm(seen[:, :, None] - used[:, None], axis=-1).min(axis=(0, 2))
    for _ in range(count):
        best = int(nearest.argmax())
        chosen.append(tuple(candidates[best].tolist()))
        nearest = np.minimum(nearest, np.linalg.norm(seen - seen[:, [best]], axis=-1).min(axis=0))
    return tuple(chosen)


def visible_lab(colours: np.ndarray) -> np.ndarray:
    """Returns colours `(n, 3)` in CIE L*a*b* in normal vision and three colour-blind ones, `(4, n, 3)`."""
    values = np.asarray(colours) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    xyz = (linear @ _VISIONS.transpose(0, 2, 1)).clip(0, 1) @ _XYZ.T / _WHITE
    x, y, z = np.moveaxis(np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116), -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def palette_table(palette: Sequence[RGB]) -> np.ndarray:
    """Returns the colour of each label value, uint8 `(256, 3)`: black for unused ids, `VOID_COLOUR` for 255."""
    table = np.zeros((256, 3), np.uint8)
    table[: len(palette)] = palette
    table[IGNORE_LABEL] = VOID_COLOUR
    return table
