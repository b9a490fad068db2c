"""The colours of classes that have none of their own."""

from keras_crosscoop.images.io import RGB


def voc_palette(count: int) -> tuple[RGB, ...]:
    """The first `count` colours of PASCAL VOC's colour map, which keeps neighbouring ids far apart.

    Bits 0, 3 and 6 of an id become the highest bits of red, bits 1, 4 and 7 those of green, and bits 2 and 5 those of
    blue. Source: `VOCcode/VOClabelcolormap.m` of the VOC 2012 development kit.
    """

    def channel(index: int, first: int) -> int:
        return sum((index >> (first + 3 * step) & 1) << (7 - step) for step in range(3))

    return tuple((channel(index, 0), channel(index, 1), channel(index, 2)) for index in range(count))
