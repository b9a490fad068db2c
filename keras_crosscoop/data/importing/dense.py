"""Public data sets whose masks name the class of every pixel: ADE20K, KITTI and Mapillary Vistas.

Datumaro shifts the objects of ADE20K 2017 by one in every image without an unlabelled pixel, calls all stuff of KITTI a
crowd and needs its instances, and does not know the folders of Mapillary Vistas 1.2.
"""

import re
from functools import partial
from pathlib import Path

import numpy as np

from keras_crosscoop.data.cityscapes import LABELS
from keras_crosscoop.data.importing.exports import Export, Sample, Source, split_of
from keras_crosscoop.data.importing.regions import Region, dense_regions
from keras_crosscoop.images.io import read_label
from keras_crosscoop.labels import IGNORE_LABEL

ADE20K_NOTE = "the full ADE20K, 2017 and 2021: *_seg.png with *_atr.txt or *.json"
KITTI_NOTE = "semantic/ beside image_2/, with the 19 classes of Cityscapes"
MAPILLARY_NOTE = "labels/ beside images/, versions 1.2 and 2.0"


def detect_kitti(source: Source) -> bool:
    """Returns whether there are folders `semantic` and `image_2`."""
    return bool(_kitti_masks(source))


def read_kitti(source: Source) -> Export:
    """Reads KITTI's masks, whose values are the label ids of Cityscapes."""
    classes = sorted((label for label in LABELS if label.train_id != IGNORE_LABEL), key=lambda label: label.train_id)
    export = Export(names=[label.name for label in classes], dense=True)
    export.colours = {label.name: label.colour for label in classes}
    names = {label.id: label.name for label in classes}
    for mask in _kitti_masks(source):
        if image := source.image_at(mask.parent.parent / "image_2", mask.stem):
            export.samples.append(Sample(image, split_of(source.relative(mask)), partial(_read_ids, mask, names)))
    return export


def _kitti_masks(source: Source) -> list[Path]:
    files = source.files(".png")
    return [path for path in files if path.parent.name == "semantic" and (path.parent.parent / "image_2").is_dir()]


def detect_mapillary(source: Source) -> bool:
    """Returns whether there is a configuration of Mapillary Vistas."""
    return bool(_mapillary_configurations(source))


def read_mapillary(source: Source) -> Export:
    """Reads the palette files of Mapillary Vistas.

    Raises:
        InputError: The configuration cannot be read.
    """
    export = Export(dense=True)
    configuration = sorted(_mapillary_configurations(source))[-1]  # of two versions, the newer one
    labels = source.json(configuration)["labels"]
    names = {number: str(label["name"]) for number, label in enumerate(labels)}
    export.names = list(names.values())
    export.colours = {str(label["name"]): tuple(label["color"][:3]) for label in labels}
    version = configuration.stem.partition("_")[2]
    for mask in source.files(".png"):
        folder = mask.parent.parent
        if mask.parent.name != "labels" or (re.fullmatch(r"v\d+\.\d+", folder.name) and folder.name != version):
            continue
        root = folder.parent if folder.name == version else folder
        if image := source.image_at(root / "images", mask.stem):
            export.samples.append(Sample(image, split_of(source.relative(mask)), partial(_read_ids, mask, names)))
    return export


def _mapillary_configurations(source: Source) -> list[Path]:
    files = source.files(".json")
    return [path for path in files if path.name.startswith("config") and '"labels"' in source.head(path)]


def detect_ade20k(source: Source) -> bool:
    """Returns whether there are masks of ADE20K."""
    return bool(_ade20k_masks(source))


def read_ade20k(source: Source) -> Export:
    """Reads ADE20K's whole objects, without their parts.

    Raises:
        InputError: A file cannot be read.
    """
    export, names = Export(dense=True), {}
    for mask, table in _ade20k_masks(source).items():
        if image := source.image_at(mask.parent, mask.stem.removesuffix("_seg")):
            split = split_of(source.relative(mask))
            export.samples.append(Sample(image, split, partial(_read_ade20k, mask, names)))
            for number, name in _ade20k_names(source, mask, table):
                names.setdefault(number, name)
    first_words = [name.split(",")[0].strip() for name in names.values()]
    for number, name in names.items():
        word = name.split(",")[0].strip()
        names[number] = word if first_words.count(word) == 1 else name
    export.names = [names[number] for number in sorted(names)]
    return export


def _ade20k_masks(source: Source) -> dict[Path, Path]:
    """Returns the table of objects of each mask."""
    masks = {}
    for mask in source.files(".png"):
        stem = mask.stem.removesuffix("_seg")
        if stem != mask.stem:
            for table in (mask.with_name(f"{stem}_atr.txt"), mask.with_name(f"{stem}.json")):
                if table.is_file():
                    masks[mask] = table
    return masks


def _ade20k_names(source: Source, mask: Path, table: Path) -> list[tuple[int, str]]:
    """Returns class numbers of an image and their names."""
    if table.suffix == ".json":
        objects = source.json(table)["annotation"]["object"]
        return [(int(item["name_ndx"]), str(item["name"])) for item in objects if not item["parts"]["part_level"]]
    rows = [line.split("#") for line in table.read_text("utf-8", errors="replace").splitlines() if line.count("#") > 4]
    whole = {int(row[0]): row[3].strip() for row in rows if not int(row[1])}
    colours = read_label(mask, colours=True)
    # Object k has the k-th value of blue above 0.
    values, first = np.unique(colours[..., 2], return_index=True)
    pixels = colours.reshape(-1, 3)[first[values > 0]]
    if len(pixels) != len(whole):
        source.remarks.add("Masks and tables of objects disagree; names come from other images", mask.name)
        return []
    return list(zip(_ade20k_numbers(pixels).tolist(), [whole[key] for key in sorted(whole)], strict=True))


def _ade20k_numbers(colours: np.ndarray) -> np.ndarray:
    return colours[..., 0].astype(np.int32) // 10 * 256 + colours[..., 1]


def _read_ade20k(mask: Path, names: dict[int, str]) -> list[Region]:
    return dense_regions(_ade20k_numbers(read_label(mask, colours=True)), names)


def _read_ids(mask: Path, names: dict[int, str]) -> list[Region]:
    return dense_regions(read_label(mask), names)
