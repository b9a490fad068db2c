"""Regions of annotated images, such as polygons and run-length codes, and how they are drawn as a mask."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from keras_crosscoop.errors import InputError

Size = tuple[int, int]  # (H, W)


class Patch(NamedTuple):
    """The pixels of a region.

    Attributes:
        mask: Whether a pixel belongs to the region, bool `(h, w)`.
        top: The image's row of the mask's first row.
        left: The image's column of the mask's first column.
    """

    mask: np.ndarray
    top: int = 0
    left: int = 0


Shape = Callable[[Size], Patch]  # the pixels of a region in an image of this size


@dataclass(frozen=True)
class Region:
    """A region of an image.

    Attributes:
        name: The name of its class; None for a region without a class (void).
        shape: Its pixels.
        layer: Regions of higher layers cover others.
    """

    name: str | None
    shape: Shape
    layer: int = 0


@dataclass(frozen=True)
class Polygons:
    """The shape of one object: the union of polygons, without holes.

    A pixel belongs to a polygon if its centre lies inside. The coordinates of the centre of the first pixel are
    (0.5, 0.5).

    Attributes:
        parts: The corners of each polygon, `(n, 2)`, as (x, y).
        holes: The corners of each hole.
    """

    parts: tuple[np.ndarray, ...]
    holes: tuple[np.ndarray, ...] = ()

    def __call__(self, size: Size) -> Patch:
        """Returns the pixels in an image of this size."""
        top, left, bottom, right = _bounds(self.parts, size)
        mask = np.zeros((bottom - top, right - left), bool)
        for part in self.parts:
            mask |= _inside(part - (left, top), mask.shape)
        for hole in self.holes:
            mask &= ~_inside(hole - (left, top), mask.shape)
        return Patch(mask, top, left)


@dataclass(frozen=True)
class PixelPolygons(Polygons):
    """The same, but corners are numbers of pixels, and the pixels of the outline belong to the polygon."""

    def __call__(self, size: Size) -> Patch:
        """Returns the pixels in an image of this size."""
        top, left, bottom, right = _bounds(self.parts, (size[0] - 1, size[1] - 1))
        image = Image.new("1", (max(0, right - left) + 1, max(0, bottom - top) + 1))
        draw = ImageDraw.Draw(image)
        for corners, fill in [*((part, 1) for part in self.parts), *((hole, 0) for hole in self.holes)]:
            if len(corners) > 2:
                draw.polygon([tuple(corner) for corner in (corners - (left, top)).tolist()], fill=fill, outline=fill)
        return Patch(np.array(image, bool), top, left)


@dataclass(frozen=True)
class RunLengths:
    """The shape that COCO's run-length code describes: alternating lengths of 0 and 1, down the columns.

    Attributes:
        counts: The lengths, or their compressed text.
        size: `(H, W)`.
    """

    counts: Sequence[int] | str | bytes
    size: Size

    def __call__(self, size: Size) -> Patch:
        """Returns the pixels in an image of this size."""
        counts = self.counts if isinstance(self.counts, list | tuple) else decompress(self.counts)
        return whole(expand(counts, self.size[::-1]).T, size)


def whole(mask: np.ndarray, size: Size) -> Patch:
    """Returns a mask of a whole image as a patch.

    Raises:
        InputError: The image has another size.
    """
    if mask.shape != size:
        (height, width), (image_height, image_width) = mask.shape, size
        raise InputError(f"A mask has {width}x{height} pixels, but its image {image_width}x{image_height}.")
    return Patch(mask)


def expand(counts: Sequence[int], size: Size) -> np.ndarray:
    """Expands alternating lengths of 0 and 1 to a mask, bool `(h, w)`, along the rows.

    Raises:
        InputError: The lengths do not add up to the size.
    """
    lengths = np.asarray(counts, np.int64)
    if lengths.sum() != size[0] * size[1] or (lengths < 0).any():
        raise InputError(
            f"The lengths of a run-length code must add up to the size of its mask. Received: {lengths.sum():,} pixels "
            f"for {size[0]} x {size[1]}"
        )
    return np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(size)


def decompress(text: str | bytes) -> list[int]:
    """Returns the lengths of a compressed run-length code of COCO.

    Each character holds five bits above 48 and a bit that says whether the number goes on; from the third number on,
    the text holds the difference to the number before the previous one.

    Raises:
        InputError: The text ends within a number.

    Reference: `rleFrString` in `maskApi.c` of the COCO API.
    """
    counts: list[int] = []
    number = shift = 0
    for code in text.encode("latin-1") if isinstance(text, str) else text:
        bits = code - 48
        number |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            number -= 1 << shift
        counts.append(number + (counts[-2] if len(counts) > 2 else 0))
        number = shift = 0
    if shift:
        raise InputError(f"A compressed run-length code ends within a number. Received: {str(text)[-20:]!r}")
    return counts


def reaches_outside(shape: Shape, size: Size) -> bool:
    """Returns whether a polygon has corners more than a pixel outside of the image."""
    if not isinstance(shape, Polygons) or not shape.parts:
        return False
    corners = np.concatenate(shape.parts)
    return bool((corners < -1).any() or (corners > (size[1] + 1, size[0] + 1)).any())


def draw(regions: Iterable[tuple[int, Patch, int]], size: Size, background: int) -> np.ndarray:
    """Draws regions as a mask: larger regions first, so that smaller ones cover them.

    Args:
        regions: The class id, or `IGNORE_LABEL`, the pixels and the layer of each region.
        size: The size of the mask.
        background: The class id of all other pixels.

    Returns:
        Class ids, uint8 `(H, W)`.
    """
    ids = np.full(size, background, np.uint8)
    for class_id, patch, _ in sorted(regions, key=lambda region: (region[2], -int(region[1].mask.sum()))):
        top, left = max(0, patch.top), max(0, patch.left)
        bottom, right = max(0, size[0] - patch.top), max(0, size[1] - patch.left)
        mask = patch.mask[top - patch.top : bottom, left - patch.left : right]
        ids[top : top + mask.shape[0], left : left + mask.shape[1]][mask] = class_id
    return ids


def dense_regions(stored: np.ndarray, names: Mapping[int, str | None]) -> list[Region]:
    """Returns one region for each value of a mask that has a value in every pixel.

    Args:
        stored: The values, integers `(H, W)`.
        names: The name of the class of each value; other values have no class.
    """
    return [
        Region(names.get(value), lambda size, value=value: whole(stored == value, size))
        for value in np.unique(stored).tolist()
    ]


def _bounds(parts: Sequence[np.ndarray], size: Size) -> tuple[int, int, int, int]:
    """Returns the first row and column, and those after the last, that the polygons touch."""
    if not (parts := [part for part in parts if len(part)]):
        return 0, 0, 0, 0
    corners = np.concatenate(parts)
    (left, top), (right, bottom) = np.floor(corners.min(0)), np.ceil(corners.max(0))
    top, bottom = np.clip((top, bottom), 0, size[0])
    left, right = np.clip((left, right), 0, size[1])
    return int(top), int(left), int(bottom), int(right)


def _inside(corners: np.ndarray, size: Size) -> np.ndarray:
    """Returns whether the centre of each pixel lies in a polygon, by the even-odd rule: bool `(h, w)`."""
    height, width = size
    if len(corners) < 3 or not height or not width:
        return np.zeros(size, bool)
    (x0, y0), (x1, y1) = corners.T, np.roll(corners, -1, axis=0).T
    # The rows whose centre line each edge crosses
    first = np.clip(np.ceil(np.minimum(y0, y1) - 0.5), 0, height).astype(int)
    stop = np.clip(np.ceil(np.maximum(y0, y1) - 0.5), 0, height).astype(int)
    counts = stop - first
    edge = np.repeat(np.arange(len(corners)), counts)
    rows = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + first[edge]
    x = x0[edge] + (rows + 0.5 - y0[edge]) * (x1 - x0)[edge] / (y1 - y0)[edge]
    columns = np.clip(np.ceil(x - 0.5), 0, width).astype(int)
    crossings = np.zeros((height, width + 1), np.int32)
    np.add.at(crossings, (rows, columns), 1)
    return crossings.cumsum(1)[:, :width] % 2 == 1
