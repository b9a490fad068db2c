"""Faults of labels that people really have, each planted in a good folder, and what must come of it.

The outcome is one of:
    refused: `fit` ends before its first step, and the message names the subject and the fact.
    warned: training goes on after a warning.
    understood: the labels are read as they are meant, and a statement tells how.
    silent: nothing in the files can tell.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from data.own.pictures import (
    ALL,
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


# Files


@fault("refused", "24x20")
def masks_at_half_size(folder):
    good(folder)
    for file in masks(folder):
        change(file, lambda ids: ids[::2, ::2])


@fault("refused", "40x48")
def one_mask_on_its_side(folder):
    good(folder)
    change(masks(folder)[3], np.transpose)


@fault("refused", "shot03")
def one_mask_missing(folder):
    good(folder)
    (folder / "masks/train/shot03.png").unlink()


@fault("refused", "[45] (times|images|of)")
def half_of_the_masks_missing(folder):
    good(folder)
    for file in masks(folder)[::2]:
        file.unlink()


@fault("refused", "shot03")
def one_image_missing(folder):
    good(folder)
    (folder / "images/train/shot03.png").unlink()


@fault("refused", "shot03")
def one_mask_cut_off(folder):
    good(folder)
    file = folder / "masks/train/shot03.png"
    file.write_bytes(file.read_bytes()[:-40])


@fault("refused", "masks?|labels?")
def no_masks(folder):
    good(folder)
    shutil.rmtree(folder / "masks")


@fault("refused", "image")
def nothing(folder):
    folder.mkdir(exist_ok=True)
    text(folder, "readme.txt", "soon\n")


@fault("refused", "masks_v2")
def two_folders_of_masks(folder):
    good(folder)
    for file in masks(folder):
        with Image.open(file) as image:
            save(folder / "masks_v2" / file.relative_to(folder / "masks"), np.roll(np.array(image), 3, 1))


@fault("refused", "1stHO.*2ndHO")
def masks_of_two_annotators(folder):
    for index in range(12):
        save(folder / f"Image_{index:02}L.jpg", picture(index)[0])
        for shift, annotator in enumerate(("1stHO", "2ndHO")):
            mask = np.uint8(255) * (np.roll(without_void(index), shift, 1) > 0)
            save(folder / f"Image_{index:02}L_{annotator}.png", mask)


@fault("refused", "left.*right|right.*left")
def two_folders_of_photographs(folder):
    for index in range(12):
        save(folder / f"left/{index}.png", picture(index)[0])
        save(folder / f"right/{index}.png", np.roll(picture(index)[0], 3, 1))


@fault("refused", "swapped")
def folders_with_each_others_names(folder):
    write(folder, "masks/{split}/{name}.png", "images/{split}/{name}.png")
    text(folder, "classes.txt", lines(*CLASSES))


@fault("warned", "shot03")
def image_twice(folder):
    good(folder)
    save(folder / "images/train/shot03.jpg", picture(5)[0])


@fault("refused", "shot00")
def validation_is_a_part_of_training(folder):
    good(folder, splits={"train": range(10), "val": range(3)})


@fault("refused", "data import")
def polygons_of_yolo(folder):
    write(folder, IMAGES, MASKS)
    shutil.rmtree(folder / "masks")
    for file in (folder / "images").rglob("*.png"):
        label = file.relative_to(folder / "images").with_suffix(".txt")
        text(folder / "labels", str(label), "0 0.1 0.1 0.9 0.1 0.9 0.9\n")


@fault("refused", "data import")
def annotations_of_coco(folder):
    write(folder, "images/{name}.png", MASKS, splits=ALL)
    shutil.rmtree(folder / "masks")
    images = [{"id": index, "file_name": f"shot{index:02}.png", "height": 40, "width": 48} for index in range(12)]
    boxes = [
        {"id": i, "image_id": i, "category_id": 1, "segmentation": [[1, 1, 9, 1, 9, 9]], "iscrowd": 0}
        for i in range(12)
    ]
    content = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "car"}]}
    text(folder, "annotations/instances.json", json.dumps(content))


# dataset.yaml


@fault("refused", 'Did you mean "masks"')
def misspelt_entry(folder):
    good(folder)
    text(folder, "dataset.yaml", "mask: masks/{name}.png\n")


@fault("refused", "value 3|tree|3")
def too_few_names_in_yaml(folder):
    good(folder, names=None)
    text(folder, "dataset.yaml", lines("names: [background, road, car]"))


@fault("refused", "bus")
def value_in_yaml_that_never_occurs(folder):
    good(folder, names=None)
    entries = "values: {0: background, 1: road, 2: car, 3: tree, 4: bus}"
    text(folder, "dataset.yaml", lines("names: [background, road, car, tree, bus]", entries))


@fault("refused", "void|ignore")
def ignores_too_much_in_yaml(folder):
    good(folder, names=None)
    entries = "values: {1: road, 2: car, 3: tree}"
    text(folder, "dataset.yaml", lines("names: [road, car, tree]", entries, "ignore: [0]"))


@fault("refused", "validation")
def split_in_yaml_that_is_missing(folder):
    good(folder)
    text(folder, "dataset.yaml", lines("train: images/train", "val: images/validation"))


# What no file can tell


@fault("silent")
def masks_of_the_neighbour(folder):
    good(folder)
    for split, indices in SPLITS.items():
        for index, other in zip(indices, np.roll(indices, 1), strict=True):
            save(folder / MASKS.format(split=split, name=f"shot{index:02}"), without_void(int(other)))


@fault("silent")
def masks_mirrored(folder):
    good(folder)
    for file in masks(folder):
        change(file, lambda ids: ids[:, ::-1])
