"""More faults, see `faults`: of files, of `dataset.yaml`, and those that no file can tell."""

import json
import shutil

import numpy as np
from data.own.faults import IMAGES, MASKS, change, fault, good, masks
from data.own.pictures import (
    ALL,
    CLASSES,
    SPLITS,
    lines,
    picture,
    save,
    text,
    without_void,
    write,
)
from PIL import Image

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
