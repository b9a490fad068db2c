"""Masks of one set of known labels, coded in many ways."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from keras_crosscoop.data.own.class_tables import find_tables
from keras_crosscoop.data.own.coding_discovery import find_coding
from keras_crosscoop.data.own.description import Description
from keras_crosscoop.data.own.discovery import coding
from keras_crosscoop.data.own.file_index import FileIndex
from keras_crosscoop.data.own.mask_content import sample_masks
from keras_crosscoop.data.own.reading import Reading
from keras_crosscoop.images.io import read_label

SIZE = 40
COLOURS = ((0, 0, 0), (128, 64, 128), (244, 35, 232), (70, 70, 70))


def label(number: int, classes: int = 3) -> np.ndarray:
    """A background, 0, with an area of each other class; no two areas touch."""
    ids = np.zeros((SIZE, SIZE), np.uint8)
    ids[3 + number % 3 : 15, 4:16] = 1
    if classes > 2:
        ids[22:35, 8 : 30 - number % 4] = 2
    if classes > 3:
        ids[5:15, 24:36] = 3
    return ids


def write_masks(
    root: Path, encode: Callable[[np.ndarray], Image.Image | np.ndarray], *, classes: int = 3, suffix: str = ".png",
    train: int = 6, val: int = 3, **options: object,
) -> dict[str, list[tuple[None, Path]]]:  # fmt: skip
    """Writes masks of `label` into `masks/train` and `masks/val`; returns the pairs without images."""
    pairs: dict[str, list[tuple[None, Path]]] = {}
    for split, count in (("train", train), ("val", val)):
        folder = root / "masks" / split
        folder.mkdir(parents=True, exist_ok=True)
        pairs[split] = []
        for number in range(count):
            path = folder / f"{number}{suffix}"
            mask = encode(label(number, classes))
            if suffix == ".npy":
                np.save(path, mask)
            else:
                (mask if isinstance(mask, Image.Image) else Image.fromarray(mask)).save(path, **options)
            pairs[split].append((None, path))
    return pairs


def discover(
    root: Path, pairs: Mapping[str, Sequence], texts: Mapping[str, str] | None = None, **described: object
) -> Reading:
    """Finds the coding of masks beside tables of classes."""
    for name, text in (texts or {}).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    description = Description.model_validate({"path": root, **described})
    found = find_coding(
        sample_masks(pairs), find_tables(FileIndex(root), strict=not description.class_names), description
    )
    assert all(re.fullmatch(r"[A-Z0-9].*\.", line) for line in found.statements)  # sentences
    return found


def ids_of(found: Reading, path: Path) -> np.ndarray:
    """The class ids that training sees."""
    description = Description(names=found.names, values=found.values, ignore=found.ignore, nearest=found.nearest)
    read = coding(description)
    return read.classes(read_label(path, colours=read.by_colour), path)


def in_colours(ids: np.ndarray, colours: Sequence = COLOURS) -> np.ndarray:
    return np.array(colours, np.uint8)[ids]


def in_palette(ids: np.ndarray, colours: Sequence = COLOURS) -> Image.Image:
    image = Image.fromarray(ids)
    image.putpalette(np.array(colours, np.uint8).tobytes())
    return image


def in_values(*values: int, dtype: type = np.uint8) -> Callable[[np.ndarray], np.ndarray]:
    return lambda ids: np.array(values, dtype)[ids]
