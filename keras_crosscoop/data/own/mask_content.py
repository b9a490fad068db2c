"""Counts the stored values and colours of somebody's masks."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from typing import NamedTuple

import numpy as np
from PIL import Image

from keras_crosscoop.data.coding import Stored
from keras_crosscoop.data.own.file_index import spread
from keras_crosscoop.data.spec import Pair
from keras_crosscoop.errors import InputError, reason
from keras_crosscoop.images import arrays
from keras_crosscoop.images.decoding import RawFile
from keras_crosscoop.images.io import ID_MODES, label_colours, label_size, open_image, read_label
from keras_crosscoop.images.palettes import RGB
from keras_crosscoop.system.files import ReadableFile
from keras_crosscoop.system.resources import threads

_MAX_PIXELS = 150_000_000  # of all sampled masks
_MIN_MASKS = 40  # of each split, however large they are
_MAX_KEYS = 2048  # values or colours of one mask that are counted; photographs have more


class Area(NamedTuple):
    """The pixels with one stored value or colour.

    Attributes:
        pixels: Their number.
        edges: The number of those with a neighbour of another value. Values that arise by interpolation lie at edges.
        border: The number of those at the border of a mask.
        masks: The number of masks with this value.
        surrounds: The number of masks whose border has mostly this value.
    """

    pixels: int = 0
    edges: int = 0
    border: int = 0
    masks: int = 0
    surrounds: int = 0

    def add(self, other: "Area") -> "Area":
        """Returns the sum of both."""
        return Area(*map(sum, zip(self, other, strict=True)))

    @property
    def is_solid(self) -> bool:
        """Whether the value forms areas instead of edges."""
        return self.edges < 0.9 * self.pixels


@dataclass(frozen=True)
class Mask:
    """The content of one mask.

    Attributes:
        file: The file.
        kind: "grey", "palette", "colour", "array", or "files" for one file per class.
        areas: The areas of its integers, or of its colours if the kind is "colour".
        pixels: The number of all pixels; more than those of `areas` if there are too many colours.
        palette: The colour of each palette index.
        file_format: The file format, as Pillow names it.
        lossy: Whether the file format changes values.
        transparent: The number of transparent pixels.
    """

    file: str
    kind: str
    areas: Mapping[Stored, Area]
    pixels: int
    palette: tuple[RGB, ...] = ()
    file_format: str = ""
    lossy: bool = False
    transparent: int = 0

    @property
    def is_grey(self) -> bool:
        """Whether the mask can be read as integers."""
        return self.kind != "colour" or all(red == green == blue for red, green, blue in self.areas)

    @cached_property
    def values(self) -> Mapping[int, Area]:
        """The areas of the integers."""
        return {key[0]: area for key, area in self.areas.items()} if self.kind == "colour" else self.areas

    @cached_property
    def colours(self) -> Mapping[RGB, Area]:
        """The areas of the colours."""
        if self.kind == "colour":
            return self.areas
        if not self.palette:
            return {(value, value, value): area for value, area in self.areas.items()}
        areas: dict[RGB, Area] = {}
        for value, area in self.areas.items():
            areas[self.palette[value]] = areas.get(self.palette[value], Area()).add(area)
        return areas


@dataclass(frozen=True)
class MaskContent:
    """The content of the masks of each split, or of a sample of them.

    Attributes:
        masks: The content of each mask that was read.
        total: The number of masks of each split.
        unreadable: The file and the error of each mask that cannot be read.
    """

    masks: Mapping[str, Sequence[Mask]]
    total: Mapping[str, int]
    unreadable: Sequence[tuple[str, InputError]] = ()

    @property
    def every(self) -> list[Mask]:
        """The masks of all splits."""
        return [mask for masks in self.masks.values() for mask in masks]

    @property
    def is_complete(self) -> bool:
        """Whether every mask was read."""
        return sum(self.total.values()) == len(self.every) + len(self.unreadable)

    def received(self, source: str) -> str:
        """Names the first and the last mask for errors, after the file that names the classes, if there is one."""
        files = dict.fromkeys((self.every[0].file, self.every[-1].file))
        return ", ".join(filter(None, (source, *files)))

    def areas(self, split: str | None = None, *, colours: bool = False) -> dict[Stored, Area]:
        """Adds up the areas of a split, or of all splits, by value or by colour; the largest first."""
        total: dict[Stored, Area] = {}
        for mask in self.every if split is None else self.masks[split]:
            for key, area in (mask.colours if colours else mask.values).items():
                total[key] = total.get(key, Area()).add(area)
        return dict(sorted(total.items(), key=lambda entry: -entry[1].pixels))

    def value_sets(self) -> Counter[frozenset[int]]:
        """Counts the masks with each set of integers."""
        return Counter(frozenset(mask.values) for mask in self.every)


def sample_masks(pairs_by_split: Mapping[str, Sequence[Pair]], *, limit: int = 400) -> MaskContent:
    """Reads all masks of each split, or a sample at even intervals.

    Args:
        pairs_by_split: The images and masks; those without masks are left out.
        limit: The largest number of masks to read; fewer where masks are large.
    """
    files = {split: [mask for _, mask in pairs if mask is not None] for split, pairs in pairs_by_split.items()}
    files = {split: masks for split, masks in files.items() if masks}
    total = sum(map(len, files.values()))
    chosen = {
        split: spread(masks, max(_MIN_MASKS, round(_limit(masks, limit) * len(masks) / total)))
        for split, masks in files.items()
    }
    masks: dict[str, list[Mask]] = {split: [] for split in chosen}
    unreadable = []
    with ThreadPoolExecutor(threads()) as pool:
        for split, split_files in chosen.items():
            for file, mask in zip(split_files, pool.map(_read_or_error, split_files), strict=True):
                if isinstance(mask, Mask):
                    masks[split].append(mask)
                else:
                    unreadable.append((str(file), mask))
    return MaskContent(masks, {split: len(split_files) for split, split_files in files.items()}, unreadable)


def _limit(masks: Sequence[ReadableFile], limit: int) -> int:
    """Returns the number of masks of the first one's size that may be read."""
    if isinstance(masks[0], RawFile):
        return limit
    try:
        height, width = label_size(masks[0], colours=True)
    except InputError:
        return limit
    return min(limit, _MAX_PIXELS // max(height * width, 1))


def _read_or_error(file: ReadableFile) -> Mask | InputError:
    try:
        return read_mask(file)
    except InputError as error:
        return error


def read_mask(file: ReadableFile) -> Mask:
    """Reads the content of a mask.

    Raises:
        InputError: The file cannot be read, or holds numbers that are not whole.
    """
    if isinstance(file, RawFile):
        pixels = file.pixels()
        return Mask(str(file), "files", _areas(pixels), pixels.size)
    try:
        data = file.read_bytes()
    except OSError as error:
        raise InputError(f"The mask cannot be read ({reason(error)}). Received: {file}") from error
    if arrays.is_array(file, BytesIO(data)):
        pixels = arrays.read_stored(file, BytesIO(data))
        kind = "array" if pixels.ndim == 2 else "colour"
        return Mask(str(file), kind, _areas(pixels), pixels.shape[0] * pixels.shape[1], file_format="NPY")
    with open_image(file, BytesIO(data)) as image:
        mode, file_format = image.mode, image.format
        palette = _palette(image) if mode == "P" else ()
        transparent = _transparent(image)
    coloured = mode not in ID_MODES
    pixels = read_label(file, BytesIO(data), colours=coloured)
    return Mask(
        str(file),
        "colour" if coloured else "palette" if palette else "grey",
        _areas(pixels),
        pixels.shape[0] * pixels.shape[1],
        palette,
        file_format,
        file_format == "JPEG" or (file_format == "WEBP" and b"VP8L" not in data[:4096]),
        transparent,
    )


def _palette(image: Image.Image) -> tuple[RGB, ...]:
    """Returns the colour of each of the 256 palette indices, as `read_label` reads it."""
    swatch = Image.frombytes("P", (256, 1), bytes(range(256)))
    colours = image.getpalette("RGB") or []
    swatch.putpalette([*colours, *[0] * (768 - len(colours))])
    if "transparency" in image.info:
        swatch.info["transparency"] = image.info["transparency"]
    return tuple(map(tuple, label_colours(swatch)[0].tolist()))


def _transparent(image: Image.Image) -> int:
    if image.mode not in ("LA", "RGBA", "PA"):
        return 0
    return int(np.count_nonzero(np.asarray(image.getchannel("A")) == 0))


def _areas(pixels: np.ndarray) -> dict[Stored, Area]:
    """Counts the pixels of each integer of `(H, W)`, or of each colour of `(H, W, 3)`."""
    coloured = pixels.ndim == 3
    if coloured:
        wide = pixels.astype(np.int32)
        pixels = wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]
    if not pixels.size:
        return {}
    same_row, same_column = pixels[:, 1:] == pixels[:, :-1], pixels[1:] == pixels[:-1]
    inner = np.ones(pixels.shape, bool)
    inner[:, 1:] &= same_row
    inner[:, :-1] &= same_row
    inner[1:] &= same_column
    inner[:-1] &= same_column
    border = np.concatenate([pixels[0], pixels[-1], pixels[1:-1, 0], pixels[1:-1, -1]])
    keys, counts = _count(pixels.ravel())
    order = np.argsort(-counts, kind="stable")[:_MAX_KEYS]
    edges = dict(zip(*map(np.ndarray.tolist, _count(pixels[~inner])), strict=True))
    borders = dict(zip(*map(np.ndarray.tolist, _count(border)), strict=True))
    areas = {}
    for key, count in zip(keys[order].tolist(), counts[order].tolist(), strict=True):
        stored = (key >> 16, key >> 8 & 255, key & 255) if coloured else key
        own = borders.get(key, 0)
        areas[stored] = Area(count, edges.get(key, 0), own, 1, int(own > border.size / 2))
    return areas


def _count(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the distinct values and their numbers. Runs of equal values are counted at once."""
    if not values.size:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    starts = np.concatenate([[0], np.flatnonzero(values[1:] != values[:-1]) + 1])
    lengths = np.diff(starts, append=values.size)
    keys, inverse = np.unique(values[starts], return_inverse=True)
    return keys, np.bincount(inverse.ravel(), weights=lengths).astype(np.int64)


def pixels(areas: Iterable[Area]) -> int:
    """Returns the number of pixels of all areas."""
    return sum(area.pixels for area in areas)
