"""Raw folders as people have them, written from one set of pictures: their layouts and codings, and the truth."""

import csv
import json
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
from data.own.pictures import (
    ALL,
    BACKGROUND,
    CAR,
    CLASSES,
    COLOURS,
    ROAD,
    SPLITS,
    TESTED,
    TREE,
    VOID,
    Truth,
    colours,
    four_classes,
    grey,
    lines,
    one_bit,
    only_car,
    palette,
    picture,
    road_as_background,
    save,
    table,
    text,
    truth,
    without_void,
    write,
)

RAW_FOLDERS: dict[str, Callable[[Path], Truth]] = {}
TWO_CLASSES = ("background", "object")  # if nothing names them


def raw_folder(write_folder: Callable[[Path], Truth]) -> Callable[[Path], Truth]:
    RAW_FOLDERS[write_folder.__name__] = write_folder
    return write_folder


# Folders of images and of masks


@raw_folder
def folders_of_splits(folder):
    """images/SPLIT, masks/SPLIT; ids, 255 void, classes.txt."""
    write(folder, "images/{split}/{name}.jpg", "masks/{split}/{name}.png", four_classes)
    text(folder, "classes.txt", lines(*CLASSES))
    return truth(four_classes)


@raw_folder
def splits_of_folders(folder):
    """SPLIT/images, SPLIT/masks, test without masks; palette, labels.txt."""
    write(
        folder,
        "{split}/images/{name}.jpg",
        "{split}/masks/{name}.png",
        encode=palette(),
        splits=TESTED,
        unlabelled=["test"],
    )
    text(folder, "labels.txt", lines(*CLASSES))
    return truth(without_void, splits=TESTED)


@raw_folder
def img_dir_ann_dir(folder):
    """MMSegmentation's img_dir and ann_dir; ids, 255 void, classes.txt with colours."""
    write(folder, "img_dir/{split}/{name}.jpg", "ann_dir/{split}/{name}.png", four_classes)
    text(folder, "classes.txt", lines(*(f"{n} #{bytes(c).hex()}" for n, c in zip(CLASSES, COLOURS, strict=True))))
    return truth(four_classes)


@raw_folder
def train_and_train_labels(folder):
    """Kaggle's CamVid: train, train_labels with _L; RGB, class_dict.csv."""
    write(folder, "{split}/{name}.png", "{split}_labels/{name}_L.png", encode=colours())
    text(folder, "class_dict.csv", lines("name,r,g,b", *table()))
    return truth(without_void)


@raw_folder
def segnet(folder):
    """SegNet's train, trainannot, as CamVid has them; ids, classes.txt."""
    write(folder, "{split}/{name}.png", "{split}annot/{name}.png")
    text(folder, "classes.txt", lines(*CLASSES))
    return truth(without_void)


@raw_folder
def cvat_voc(folder):
    """CVAT's export as VOC: ImageSets lists; RGB, labelmap.txt."""
    write(folder, "JPEGImages/{name}.jpg", "SegmentationClass/{name}.png", encode=colours(), name="frame_{:06}".format)
    for split, indices in SPLITS.items():
        names = lines(*(f"frame_{index:06}" for index in indices))
        text(folder, f"ImageSets/Segmentation/{split}.txt", names)
    rows = [f"{name}:{','.join(map(str, colour))}::" for name, colour in zip(CLASSES, COLOURS, strict=True)]
    text(folder, "labelmap.txt", lines("# label:color_rgb:parts:actions", *rows))
    return truth(without_void)


@raw_folder
def labelme_voc(folder):
    """labelme2voc: PNG, .npy and a visualisation of each mask; palette with void, class_names.txt."""
    write(folder, "JPEGImages/{name}.jpg", "SegmentationClass/{name}.png", four_classes, palette(), splits=ALL)
    for index in range(12):
        ids = four_classes(index)
        signed = np.where(ids == VOID, -1, ids.astype(np.int32))
        save(folder / f"SegmentationClassNpy/shot{index:02}.npy", signed)
        blend = picture(index)[0] // 2 + colours()(ids) // 2
        save(folder / f"SegmentationClassVisualization/shot{index:02}.jpg", blend)
    text(folder, "class_names.txt", lines("_background_", *CLASSES[1:]))
    return truth(four_classes, ("_background_", *CLASSES[1:]), ALL)


@raw_folder
def labelme_labels(folder):
    """images, masks without splits; palette with void, labelme's labels.txt with __ignore__."""
    write(folder, "images/{name}.jpg", "masks/{name}.png", four_classes, palette(), splits=ALL)
    text(folder, "labels.txt", lines("__ignore__", "_background_", *CLASSES[1:]))
    return truth(four_classes, ("_background_", *CLASSES[1:]), ALL)


@raw_folder
def roboflow(folder):
    """Roboflow's masks beside the images, train, valid and test; ids, _classes.csv in each folder."""
    write(
        folder,
        "{split}/{name}.jpg",
        "{split}/{name}_mask.png",
        splits=TESTED,
        name="shot{:02}_jpg.rf.5f3c9e".format,
        spelling={"val": "valid"},
    )
    rows = [f"{value}, {name}" for value, name in enumerate(CLASSES)]
    for split in ("train", "valid", "test"):
        text(folder, f"{split}/_classes.csv", lines("Pixel Value, Class", *rows))
    text(folder, "README.dataset.txt", "exported\n")
    return truth(without_void, splits=TESTED)


@raw_folder
def nnunet(folder):
    """nnU-Net: imagesTr with _0000, labelsTr, imagesTs; ids, dataset.json."""
    splits = {"": range(10), "test": range(10, 12)}
    for split, indices in splits.items():
        for index in indices:
            save(folder / f"images{'Ts' if split else 'Tr'}/case_{index:03}_0000.png", picture(index)[0])
            if not split:
                save(folder / f"labelsTr/case_{index:03}.png", without_void(index))
    labels = {name: value for value, name in enumerate(CLASSES)}
    content = {"channel_names": {"0": "rgb"}, "labels": labels, "numTraining": 10, "file_ending": ".png"}
    text(folder, "dataset.json", json.dumps(content))
    return truth(without_void, splits=splits)


@raw_folder
def mapillary(folder):
    """Mapillary: training/images, training/labels, validation; palette, config.json."""
    spelling = {"train": "training", "val": "validation"}
    write(folder, "{split}/images/{name}.jpg", "{split}/labels/{name}.png", encode=palette(), spelling=spelling)
    labels = [
        {"name": f"object--{name}", "readable": name.title(), "color": colour, "instances": False, "evaluate": True}
        for name, colour in zip(CLASSES, COLOURS, strict=True)
    ]
    text(folder, "config.json", json.dumps({"labels": labels, "version": "1.1", "mapping": "public"}))
    return truth(without_void, [name.title() for name in CLASSES])


@raw_folder
def paddleseg(folder):
    """PaddleSeg: train.txt and val.txt of two columns; palette, labels.txt."""
    write(folder, "images/{name}.jpg", "annotations/{name}.png", encode=palette(), splits=SPLITS)
    for split, indices in SPLITS.items():
        rows = (f"images/shot{index:02}.jpg annotations/shot{index:02}.png" for index in indices)
        text(folder, f"{split}.txt", lines(*rows))
    text(folder, "labels.txt", lines(*CLASSES))
    return truth(without_void)


@raw_folder
def ade20k(folder):
    """ADE20K: images/training, annotations/training; 0 void, classes from 1, objectInfo."""
    spelling = {"train": "training", "val": "validation"}
    names = ("images/{split}/ADE_{name}.jpg", "annotations/{split}/ADE_{name}.png")
    write(folder, *names, road_as_background, grey({VOID: 0}), spelling=spelling)
    rows = [f"{value}\t0.1\t100\t10\t1\t{name}" for value, name in enumerate(CLASSES[1:], 1)]
    text(folder, "objectInfo.txt", lines("Idx\tRatio\tTrain\tVal\tStuff\tName", *rows))
    shifted = lambda index: np.where(road_as_background(index) == VOID, np.uint8(VOID), road_as_background(index) - 1)  # noqa: E731
    return truth(shifted, CLASSES[1:])


@raw_folder
def coco_stuff(folder):
    """images/train2017, annotations/train2017; ids, 255 void, names in data.yaml as Ultralytics writes them."""
    spelling = {"train": "train2017", "val": "val2017"}
    write(folder, "images/{split}/{name}.jpg", "annotations/{split}/{name}.png", four_classes, spelling=spelling)
    rows = [f"  {value}: {name}" for value, name in enumerate(CLASSES)]
    text(folder, "data.yaml", lines("train: images/train2017", "val: images/val2017", "nc: 4", "names:", *rows))
    return truth(four_classes)


@raw_folder
def loveda(folder):
    """LoveDA: Train/Urban/images_png, Train/Rural/masks_png, equal names in each; 0 void, classes from 1."""
    spelling = {"train": "Train", "val": "Val"}
    for place, offset in (("Urban", 0), ("Rural", 1)):
        splits = {split: indices[offset::2] for split, indices in SPLITS.items()}
        write(
            folder,
            f"{{split}}/{place}/images_png/{{name}}.png",
            f"{{split}}/{place}/masks_png/{{name}}.png",
            four_classes,
            grey({BACKGROUND: 1, ROAD: 2, CAR: 3, TREE: 4, VOID: 0}),
            splits=splits,
            spelling=spelling,
            name=lambda index: str(index // 2),
        )
    rows = [f"  {value}: {name}" for value, name in enumerate(CLASSES, 1)]
    text(folder, "dataset.yaml", lines("names:", *rows, "ignore: 0"))
    return truth(four_classes)


# Side by side, and other relations of names


@raw_folder
def side_by_side(folder):
    """x.jpg and x_mask.png in one folder, no split; 0 and 255, no names."""
    write(folder, "{name}.jpg", "{name}_mask.png", only_car, grey({1: 255}), splits=ALL)
    return truth(only_car, TWO_CLASSES, ALL)


@raw_folder
def carvana(folder):
    """Carvana: train and train_masks with _mask.gif; two values in a GIF."""
    write(
        folder, "train/{name}.jpg", "train_masks/{name}_mask.gif", only_car, palette(((0, 0, 0), (255, 255, 255))),
        splits=ALL,
    )  # fmt: skip
    return truth(only_car, TWO_CLASSES, ALL)


@raw_folder
def prefixes(folder):
    """img_7.png and gt_7.png in one folder per split; ids, class table of ids and names."""
    write(folder, "{split}/img_{name}.png", "{split}/gt_{name}.png", name=str)
    rows = [f"{value},{name}" for value, name in enumerate(CLASSES)]
    text(folder, "classes.csv", lines("id,name", *rows))
    return truth(without_void)


@raw_folder
def long_suffixes(folder):
    """x_rgb.png and x_gt_labelTrainIds.png in parallel folders; ids, 255 void, classes.txt."""
    write(folder, "photos/{split}/{name}_rgb.png", "gt/{split}/{name}_gt_labelTrainIds.png", four_classes)
    text(folder, "classes.txt", lines(*CLASSES))
    return truth(four_classes)


@raw_folder
def folder_of_each_sample(folder):
    """SAMPLE/image.png, SAMPLE/mask.png; 0 and 128, no names."""
    write(folder, "{name}/image.png", "{name}/mask.png", only_car, grey({1: 128}), splits=ALL)
    return truth(only_car, TWO_CLASSES, ALL)


@raw_folder
def image_and_label(folder):
    """train/image, train/label, no other split; 1-bit, no names."""
    write(folder, "train/image/{name}.png", "train/label/{name}.png", only_car, one_bit, splits=ALL)
    return truth(only_car, TWO_CLASSES, ALL)


@raw_folder
def csv_of_pairs(folder):
    """pairs.csv files named by a dataset.yaml; ids."""
    for split, indices in SPLITS.items():
        rows = []
        for index in indices:
            rows.append((f"raw/{index * 7919 % 1000}.png", f"drawn/by hand, {index}.png"))
            save(folder / rows[-1][0], picture(index)[0])
            save(folder / rows[-1][1], without_void(index))
        with (folder / f"{split}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("image", "mask"), *rows])
    text(folder, "dataset.yaml", lines("train: train.csv", "val: val.csv", f"names: [{', '.join(CLASSES)}]"))
    return truth(without_void)


@raw_folder
def list_of_validation(folder):
    """images, masks, and train.txt and val.txt with names; ids."""
    write(folder, "images/{name}.jpg", "masks/{name}.png")
    for split, indices in SPLITS.items():
        text(folder, f"{split}.txt", lines(*(f"shot{index:02}" for index in indices)))
    text(folder, "classes.txt", lines(*CLASSES))
    return truth(without_void)


@raw_folder
def folder_of_each_class(folder):
    """images, masks/CLASS; one file of 0 and 255 for each class, which may lack."""
    for index in range(12):
        save(folder / f"images/{index:03}.jpg", picture(index)[0])
        for class_id, name in enumerate(CLASSES[1:], 1):
            save(folder / f"masks/{name}/{index:03}.png", np.uint8(255) * (without_void(index) == class_id))
    rows = ["masks: masks/{class}/{name}.png", "images: images/{name}.jpg", "train: images", "val: 0.25"]
    text(folder, "dataset.yaml", lines(*rows, f"names: [{', '.join(CLASSES)}]"))
    return truth(without_void, splits=ALL)


@raw_folder
def label_studio(folder):
    """Label Studio's brush export, renamed by image: images/7.jpg, masks/7-tag-car-0.png; one file for each class."""
    for index in range(12):
        save(folder / f"images/{index:03}.jpg", picture(index)[0])
        for class_id, name in enumerate(CLASSES[1:], 1):
            mask = np.uint8(255) * (without_void(index) == class_id)
            save(folder / f"masks/{index:03}-tag-{name}-0.png", mask)
    return truth(renumbered(0, 2, 1, 3), ("background", "car", "road", "tree"), ALL)


@raw_folder
def nested_classes(folder):
    """Kaggle's style, x.png, x_disc.png and x_cup.png: a class in the middle of another one is not covered by it."""
    for index in range(12):
        save(folder / f"eye{index:02}.png", picture(index)[0])
        road_and_car = np.isin(without_void(index), (ROAD, CAR))
        save(folder / f"eye{index:02}_road.png", np.uint8(255) * road_and_car)
        save(folder / f"eye{index:02}_car.png", np.uint8(255) * (without_void(index) == CAR))
    return truth(renumbered(0, 2, 1, 0), ("background", "car", "road"), ALL)


@raw_folder
def rugd(folder):
    """RUGD: *_frames-with-annotations/VIDEO, *_annotations/VIDEO; RGB by a colour map of lines with ids and colours."""
    for index in range(12):
        path = f"{'creek' if index < 7 else 'park-1'}/{index:05}.png"
        save(folder / "RUGD_frames-with-annotations" / path, picture(index)[0])
        save(folder / "RUGD_annotations" / path, colours()(without_void(index)))
    rows = [f"{place} {name} {' '.join(map(str, COLOURS[place]))}" for place, name in enumerate(CLASSES)]
    text(folder, "RUGD_annotation-colormap.txt", lines(*rows))
    return truth(without_void, splits=ALL)


def renumbered(*ids):
    """The labels without void, with other class ids."""
    return lambda index: np.uint8(ids)[without_void(index)]


# Names of files


@raw_folder
def decomposed_names(folder):
    """NFC names of images, NFD names of masks, as a Mac writes them; ids."""
    write(folder, "Bücher/{split}/größe {name}.jpg", "unused/{name}.png", unlabelled=list(SPLITS))
    for split, indices in SPLITS.items():
        for index in indices:
            name = unicodedata.normalize("NFD", f"masks/{split}/größe shot{index:02}.png")
            save(folder / name, without_void(index))
    text(folder, "classes.txt", lines(*CLASSES))
    return truth(without_void)


@raw_folder
def upper_case_suffixes(folder):
    """images/train/X.JPG, masks/train/X.PNG; ids, Classes.txt."""
    write(folder, "images/{split}/{name}.JPG", "masks/{split}/{name}.PNG")
    text(folder, "Classes.txt", lines(*CLASSES))
    return truth(without_void)


@raw_folder
def rare_suffixes(folder):
    """.jfif images, .bmp masks; RGB black and white, no split, no names."""
    write(folder, "images/{name}.jfif", "labels/{name}.bmp", only_car, colours(((0,) * 3, (255,) * 3)), splits=ALL)
    return truth(only_car, TWO_CLASSES, ALL)
