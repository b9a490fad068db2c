"""Twelve small pictures with known labels, and the codings in which raw folders store such labels."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (40, 48)  # H and W
BACKGROUND, ROAD, CAR, TREE, VOID = 0, 1, 2, 3, 255
CLASSES = ("background", "road", "car", "tree")
COLOURS = ((0, 0, 0), (128, 64, 128), (0, 0, 142), (107, 142, 35))  # of the classes
VOID_COLOUR = (224, 224, 192)
SPLITS = {"train": range(7), "val": range(7, 10)}
TESTED = {**SPLITS, "test": range(10, 12)}
ALL = {"": range(12)}  # of a folder without splits

Encode = Callable[[np.ndarray], "np.ndarray | Image.Image"]


@dataclass(frozen=True)
class Truth:
    """What training must see.

    Attributes:
        classes: The names of the classes, in the order of their ids.
        labels: The class ids of each picture.
        splits: The pictures of each split; those of "" may be divided between "train" and "val".
    """

    classes: tuple[str, ...]
    labels: Mapping[int, np.ndarray]
    splits: Mapping[str, Sequence[int]]


@cache
def picture(index: int) -> tuple[np.ndarray, np.ndarray]:
    """An image, uint8 `(40, 48, 3)`, and its class ids, with void along the outlines of every other picture."""
    rng = np.random.default_rng(index)
    (height, width), ids = SIZE, np.full(SIZE, BACKGROUND, np.uint8)
    top, left = rng.integers(26, 30), rng.integers(10, 26)
    ids[top:-2, 3:-3] = ROAD
    ids[4 : 14 + index % 3, left // 2 : left // 2 + 8] = TREE
    ids[18:31, left : left + 12] = CAR
    light = np.kron(rng.uniform(-60, 60, (4, 4, 1)), np.ones((height // 4, width // 4, 1)))  # tells pictures apart
    image = np.array(((90, 120, 160), (70, 70, 75), (200, 40, 40), (40, 150, 50)))[ids] + light
    image = np.clip(image + rng.normal(0, 8, image.shape), 0, 255).astype(np.uint8)
    if index % 2:
        outline = np.zeros(SIZE, bool)
        outline[1:] |= ids[1:] != ids[:-1]
        outline[:, 1:] |= ids[:, 1:] != ids[:, :-1]
        ids[outline] = VOID
    image.flags.writeable = ids.flags.writeable = False
    return image, ids


def four_classes(index: int) -> np.ndarray:
    """The class ids of a picture, void included."""
    return picture(index)[1]


def without_void(index: int) -> np.ndarray:
    """The same; void is background."""
    ids = four_classes(index)
    return np.where(ids == VOID, np.uint8(BACKGROUND), ids)


def road_as_background(index: int) -> np.ndarray:
    """Without the class "background": the ids are 1 to 3, and void."""
    ids = four_classes(index)
    return np.where(ids == BACKGROUND, np.uint8(ROAD), ids)


def only_car(index: int) -> np.ndarray:
    """Two classes: the car is 1, all else is 0."""
    return (four_classes(index) == CAR).astype(np.uint8)


def truth(
    labels: Callable[[int], np.ndarray],
    classes: Sequence[str] = CLASSES,
    splits: Mapping[str, Sequence[int]] = SPLITS,
) -> Truth:
    """The truth of pictures with these labels."""
    return Truth(tuple(classes), {index: labels(index) for split in splits.values() for index in split}, splits)


def nearest_picture(image: np.ndarray) -> int:
    """The picture that an image shows, whatever its file is called and whatever its range of values."""
    return int(np.argmin([np.abs(_normal(image) - _normal(picture(index)[0])).mean() for index in range(12)]))


def _normal(image: np.ndarray) -> np.ndarray:
    grey = image.mean(-1)
    return (grey - grey.mean()) / max(grey.std(), 1e-6)


# Codings: from class ids to what a file stores


def grey(values: Mapping[int, int] | None = None, dtype: type = np.uint8) -> Encode:
    """Grey masks with these values instead of the ids."""

    def encode(ids: np.ndarray) -> np.ndarray:
        stored = ids.astype(dtype)
        for class_id, value in (values or {}).items():
            stored[ids == class_id] = value
        return stored

    return encode


def colours(table: Sequence[tuple[int, ...]] = COLOURS, void: tuple[int, ...] = VOID_COLOUR) -> Encode:
    """Masks of colours with as many channels as the table has."""

    def encode(ids: np.ndarray) -> np.ndarray:
        entries = np.zeros((256, len(table[0])), np.uint8)
        entries[: len(table)] = table
        entries[VOID] = (*void, 255)[: len(table[0])]
        return entries[ids]

    return encode


def palette(table: Sequence[tuple[int, int, int]] = COLOURS, order: Sequence[int] | None = None) -> Encode:
    """Palette masks. `order` gives the index of each class in the file; void is 255."""

    def encode(ids: np.ndarray) -> Image.Image:
        indices = grey(dict(enumerate(order or ())))(ids)
        entries = np.zeros((256, 3), np.uint8)
        entries[list(order or range(len(table)))] = table
        entries[VOID] = VOID_COLOUR
        image = Image.fromarray(indices)
        image.putpalette(entries.tobytes())
        return image

    return encode


def one_bit(ids: np.ndarray) -> Image.Image:
    """Masks of one bit."""
    return Image.fromarray(ids > 0)


def soft(ids: np.ndarray) -> np.ndarray:
    """Masks of 0 and 255 with softened outlines, whose nearest value is the right one."""
    values = np.where(ids > 0, np.uint8(255), np.uint8(0))
    outline = np.zeros(ids.shape, bool)
    outline[:, 1:] = ids[:, 1:] != ids[:, :-1]
    return np.where(outline, np.where(ids > 0, np.uint8(180), np.uint8(70)), values)


# Files


def save(path: Path, content: "np.ndarray | Image.Image", **options: object) -> None:
    """Writes an image, or an array if the suffix is `.npy`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, content)
        return
    image = content if isinstance(content, Image.Image) else Image.fromarray(content)
    if path.suffix.lower() in (".jpg", ".jfif", ".jpeg"):
        options = {"format": "JPEG", "quality": 95, "subsampling": 0, **options}
    if path.suffix == ".webp":
        options = {"lossless": True, "exact": True, **options}
    image.save(path, **options)


def write(
    folder: Path,
    images: str,
    masks: str,
    labels: Callable[[int], np.ndarray] = without_void,
    encode: Encode = grey(),  # noqa: B008 - has no state
    *,
    splits: Mapping[str, Sequence[int]] = SPLITS,
    unlabelled: Sequence[str] = (),
    name: Callable[[int], str] = "shot{:02}".format,
    spelling: Mapping[str, str] | None = None,
) -> None:
    """Writes the images and masks of all splits.

    Args:
        folder: The folder, which is made if necessary.
        images: The path of an image, with `{split}` and `{name}`.
        masks: The path of a mask.
        labels: The class ids of a picture.
        encode: The coding of the masks.
        splits: The pictures of each split.
        unlabelled: Splits without masks.
        name: The name of a picture.
        spelling: The folders of the splits, unless they are named like the splits.
    """
    for split, indices in splits.items():
        for index in indices:
            parts = {"split": (spelling or {}).get(split, split), "name": name(index)}
            save(folder / images.format(**parts), picture(index)[0])
            if split not in unlabelled:
                save(folder / masks.format(**parts), encode(labels(index)))


def text(folder: Path, name: str, content: str) -> None:
    """Writes a text file."""
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(content, encoding="utf-8")


def lines(*entries: object) -> str:
    """Joins entries, each in a line."""
    return "".join(f"{entry}\n" for entry in entries)


def table(separator: str = ",", names: Sequence[str] = CLASSES, entries: Sequence = COLOURS) -> list[str]:
    """The lines of a table of names and colours."""
    return [separator.join([name, *map(str, entry)]) for name, entry in zip(names, entries, strict=True)]
