"""Class colours."""

from collections.abc import Sequence

import numpy as np

from keras_crosscoop.labels import IGNORE_LABEL

RGB = tuple[int, int, int]

VOID_COLOUR: RGB = (224, 224, 192)  # of pixels without a class, as PASCAL VOC draws them


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


def palette_table(palette: Sequence[RGB]) -> np.ndarray:
    """Returns the colour of each label value, uint8 `(256, 3)`: black for unused ids, `VOID_COLOUR` for 255."""
    table = np.zeros((256, 3), np.uint8)
    table[: len(palette)] = palette
    table[IGNORE_LABEL] = VOID_COLOUR
    return table
