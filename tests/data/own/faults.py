"""Faults of labels that people really have, each planted in a good folder, and what must come of it.

The outcome is one of:
    refused: `fit` ends before its first step, and the message names the subject and the fact.
    warned: training goes on after a warning.
    understood: the labels are read as they are meant, and a statement tells how.
    silent: nothing in the files can tell.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from data.own.pictures import (
    BACKGROUND,
    CAR,
    CLASSES,
    COLOURS,
    ROAD,
    SPLITS,
    TREE,
    VOID,
    colours,
    four_classes,
    grey,
    lines,
    only_car,
    palette,
    picture,
    save,
    table,
    text,
    without_void,
    write,
)
from PIL import Image


class Fault(NamedTuple):
    """A planted fault.

    Attributes:
        plant: Writes the folder.
        outcome: What must come of it, see above.
        message: A pattern of the line that tells it.
    """

    plant: Callable[[Path], None]
    outcome: str
    message: str


FAULTS: dict[str, Fault] = {}
IMAGES, MASKS = "images/{split}/{name}.png", "masks/{split}/{name}.png"


def fault(outcome: str, message: str = "") -> Callable:
    def register(plant: Callable[[Path], None]) -> Callable[[Path], None]:
        FAULTS[plant.__name__] = Fault(plant, outcome, message)
        return plant

    return register


def good(folder, labels=without_void, encode=grey(), names=CLASSES, **options):  # noqa: B008 - has no state
    write(folder, IMAGES, MASKS, labels, encode, **options)
    if names:
        text(folder, "classes.txt", lines(*names))


def masks(folder, split="*"):
    return sorted((folder / "masks").glob(f"{split}/*"))


def change(file, function):
    with Image.open(file) as image:
        pixels = np.array(image)
    save(file, function(pixels))


def coloured(folder, rows, encode=colours(), **options):  # noqa: B008 - has no state
    good(folder, encode=encode, names=None, **options)
    text(folder, "class_dict.csv", lines("name,r,g,b", *rows))


# The table of classes


@fault("understood", "colour")
def palette_in_another_order(folder):
    coloured(folder, table(), palette(order=(2, 0, 3, 1)))


@fault("refused", "names 3 classes|3 names|background")
def table_without_the_background(folder):
    good(folder, names=CLASSES[1:])


@fault("understood", "classes.txt")
def table_with_a_heading(folder):
    good(folder, names=("name", *CLASSES))


@fault("refused", "Klassen|never occur")
def table_with_an_unknown_heading(folder):
    good(folder, names=("Klassen", *CLASSES))


@fault("understood", "labels.txt|classes.txt")
def table_of_labelme(folder):
    good(folder, names=("__ignore__", *CLASSES))


@fault("refused", "bus")
def class_that_never_occurs(folder):
    good(folder, names=(*CLASSES, "bus"))


@fault("refused", "car")
def class_in_validation_only(folder):
    good(folder)
    for file in masks(folder, "train"):
        change(file, lambda ids: np.where(ids == CAR, np.uint8(ROAD), ids))


@fault("refused", "same name|car")
def name_twice(folder):
    good(folder, names=("background", "car", "car", "tree"))


@fault("refused", "empty")
def empty_table(folder):
    good(folder, names=None)
    text(folder, "classes.txt", "\n")


@fault("refused", "classes.txt.*labels.txt|labels.txt.*classes.txt")
def tables_that_contradict(folder):
    good(folder)
    text(folder, "labels.txt", lines(*CLASSES[::-1]))


@fault("warned", "red and blue exchanged")
def table_of_bgr_colours(folder):
    coloured(folder, table(entries=[colour[::-1] for colour in COLOURS]))


@fault("refused", "#6b8e23")
def colour_outside_the_table(folder):
    coloured(folder, table()[:-1])


@fault("refused", "colour|#800000")
def two_classes_of_one_colour(folder):
    coloured(folder, [*table()[:-1], "tree,0,0,142"])


@fault("refused", "254")
def value_outside_the_table(folder):
    good(folder, four_classes, grey({VOID: 254}))


# Values of masks


@fault("refused", "background")
def inverted_two_values(folder):
    good(folder, only_car, grey({0: 255, 1: 0}), names=None)


@fault("warned", "")
def half_of_the_masks_inverted(folder):
    good(folder, only_car, grey({1: 255}), names=None)
    for file in masks(folder, "train")[::2]:
        change(file, lambda values: 255 - values)


@fault("warned", "very different shares")
def classes_swapped_in_one_split(folder):
    good(folder)
    for file in masks(folder, "val"):
        change(file, lambda ids: np.array([ROAD, BACKGROUND, CAR, TREE], np.uint8)[ids])


@fault("refused", "255|void|one class alone")
def other_values_in_one_split(folder):
    good(folder, only_car, names=None)
    for file in masks(folder, "val"):
        change(file, lambda ids: 255 * ids)


@fault("warned", "one class alone")
def half_of_the_masks_empty(folder):
    good(folder)
    for file in masks(folder)[::2]:
        change(file, np.zeros_like)


@fault("refused", "one (class|value)")
def all_masks_empty(folder):
    good(folder, lambda index: 0 * without_void(index), names=None)


@fault("refused", "void|class")
def all_masks_void(folder):
    good(folder, lambda index: np.full_like(without_void(index), VOID))


@fault("refused", "void")
def mostly_void(folder):
    good(folder, encode=grey({BACKGROUND: VOID}))


@fault("refused", "alpha|transparen|one (class|value|colour)")
def mask_in_the_alpha_channel(folder):
    def encode(ids):
        return np.concatenate([np.zeros((*ids.shape, 3), np.uint8), 60 * ids[..., None]], -1)

    good(folder, encode=encode, names=None)


@fault("refused", "value|exact")
def ids_as_jpeg(folder):
    good(folder, encode=grey({ROAD: 60, CAR: 120, TREE: 180}), names=None)
    for file in masks(folder):
        with Image.open(file) as image:
            image.save(file.with_suffix(".jpg"), quality=20)
        file.unlink()
    text(folder, "classes.txt", lines("0 background", "60 road", "120 car", "180 tree"))


@fault("refused", "colour|exact")
def colours_resized_smoothly(folder):
    def encode(ids):
        image = Image.fromarray(colours()(ids))
        return image.resize((8, 6), Image.Resampling.BILINEAR).resize(image.size, Image.Resampling.BICUBIC)

    coloured(folder, table(), encode)


@fault("refused", "value|exact|float|integer")
def probabilities(folder):
    rng = np.random.default_rng(0)
    good(folder, encode=lambda ids: rng.integers(0, 256, ids.shape, np.uint8), names=None)


@fault("refused", "value|instance|never|class")
def instances_instead_of_classes(folder):
    numbers = iter(range(2, 200, 9))
    good(folder, encode=lambda ids: np.where(ids == CAR, next(numbers), 0).astype(np.uint8))


@fault("refused", "colour|photograph|mask")
def visualisations(folder):
    good(folder, names=None)
    for split, indices in SPLITS.items():
        for index in indices:
            blend = picture(index)[0] // 2 + colours()(without_void(index)) // 2
            save(folder / MASKS.format(split=split, name=f"shot{index:02}"), blend)


@fault("refused", "colour|photograph|mask")
def photographs_as_masks(folder):
    good(folder, names=None)
    shutil.rmtree(folder / "masks")
    shutil.copytree(folder / "images", folder / "masks")


@fault("refused", "palette|grey|value|colour|kind")
def grey_masks_among_coloured_ones(folder):
    coloured(folder, table())
    for index in list(SPLITS["train"])[::2]:
        save(folder / MASKS.format(split="train", name=f"shot{index:02}"), without_void(index))
