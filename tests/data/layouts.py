"""Small copies of VOC 2012 with SBD, and of Cityscapes, in the official layouts.

The content of a file follows from its index in the split, so that tests know the expected values.
"""

import json
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat
from scipy.sparse import csc_matrix

from keras_crosscoop.images.palettes import voc_palette

SIZE = (30, 40)  # of every image and label here, H and W


def colour(split: str, index: int) -> tuple[int, int, int]:
    """The colour of all pixels of an image, different for each image of a data set; JPEG changes it by up to 2."""
    splits = ("train", "val", "test", "sbd", "train_extra")
    return 15 * (index % 16), 20 + 50 * splits.index(split), 15 * (index // 16 % 16)


# VOC 2012 and SBD


def voc_name(split: str, index: int) -> str:
    """`2007_000001` and so on for "train", 2008 for "val", 2009 for "test", 2010 for images of SBD only ("sbd")."""
    return f"{2007 + ('train', 'val', 'test', 'sbd').index(split)}_{index + 1:06}"


def voc_ids(index: int) -> np.ndarray:
    """A label of VOC: an object of class 1 + index % 20 with a border of void, on background."""
    ids = np.zeros(SIZE, np.uint8)
    ids[5:25, 10:30] = 255
    ids[6:24, 11:29] = 1 + index % 20
    return ids


def sbd_ids(index: int) -> np.ndarray:
    """A label of SBD: the object alone, coarser and without void."""
    ids = np.zeros(SIZE, np.uint8)
    ids[4:26, 9:31] = 1 + index % 20
    return ids


def write_voc(
    data_dir: Path, *, train: int = 3, val: int = 2, test: int = 2, extra: int = 4, sbd: str | None = None
) -> Path:
    """Writes `VOCdevkit/VOC2012` into `data_dir`.

    Args:
        data_dir: The folder, which is made if necessary.
        train: The number of images in this split.
        val: The number of images in this split.
        test: The number of images in this split.
        extra: The number of images that only SBD has labelled.
        sbd: "mat" for `benchmark_RELEASE` beside VOCdevkit, "aug" for `SegmentationClassAug` in VOC2012. Both hold
            labels of the extra images and of all of train and val.

    Returns:
        The folder VOC2012.
    """
    voc = data_dir / "VOCdevkit" / "VOC2012"
    counts = {"train": train, "val": val, "test": test, "sbd": extra}
    names = {split: [voc_name(split, index) for index in range(count)] for split, count in counts.items()}
    for folder in ("JPEGImages", "SegmentationClass", "SegmentationObject", "Annotations", "ImageSets/Segmentation"):
        (voc / folder).mkdir(parents=True, exist_ok=True)
    for split, names_of_split in names.items():
        for index, name in enumerate(names_of_split):
            _solid(split, index).save(voc / "JPEGImages" / f"{name}.jpg", quality=95)
            (voc / "Annotations" / f"{name}.xml").write_text("<annotation/>\n")
            if split in ("train", "val"):
                _save_voc_label(voc / "SegmentationClass" / f"{name}.png", voc_ids(index))
                _save_voc_label(voc / "SegmentationObject" / f"{name}.png", np.minimum(voc_ids(index), 1))
    for split in ("train", "val", "test"):
        _save_list(voc, split, names[split])
    _save_list(voc, "trainval", sorted(names["train"] + names["val"]))
    labelled = [(name, sbd_ids(index)) for split in ("train", "val", "sbd") for index, name in enumerate(names[split])]
    if sbd == "aug":
        (voc / "SegmentationClassAug").mkdir(exist_ok=True)
        for name, ids in labelled:
            Image.fromarray(ids).save(voc / "SegmentationClassAug" / f"{name}.png")
    elif sbd == "mat":
        write_sbd(data_dir / "benchmark_RELEASE", dict(labelled))
    return voc


def write_sbd(release: Path, labels: dict[str, np.ndarray]) -> None:
    """Writes `benchmark_RELEASE` with labels, and grey images, of these names."""
    for folder in ("cls", "img", "inst"):
        (release / "dataset" / folder).mkdir(parents=True, exist_ok=True)
    for name, ids in labels.items():
        save_mat(release / "dataset" / "cls" / f"{name}.mat", ids)
        Image.new("RGB", ids.shape[::-1], (128, 128, 128)).save(release / "dataset" / "img" / f"{name}.jpg")
    (release / "dataset" / "train.txt").write_text("".join(f"{name}\n" for name in labels))
    (release / "dataset" / "val.txt").write_text("")


def save_mat(path: Path, ids: np.ndarray) -> None:
    """Writes a label in the format of SBD's `cls/*.mat`: a 1x1 struct of boundaries, ids and occurring classes."""
    boundaries = np.empty((20, 1), object)  # of each class, sparse
    for index in range(20):
        inside = ids == index + 1
        boundaries[index, 0] = csc_matrix((inside & ~np.roll(inside, 1, 0)).astype(float))
    present = np.setdiff1d(np.unique(ids), [0]).astype(np.uint8)[:, None]
    label = {"Boundaries": boundaries, "Segmentation": ids, "CategoriesPresent": present}
    savemat(path, {"GTcls": label}, do_compression=True)


def _save_list(voc: Path, split: str, names: list[str]) -> None:
    (voc / "ImageSets" / "Segmentation" / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))


def _save_voc_label(path: Path, ids: np.ndarray) -> None:
    image = Image.fromarray(ids)
    image.putpalette(np.array(voc_palette(256), np.uint8).tobytes())
    image.save(path)


# Cityscapes

CITIES = {  # of each split; its images belong to them in turn
    "train": ("aachen", "zurich"),
    "val": ("frankfurt", "munster"),
    "test": ("berlin", "bonn"),
    "train_extra": ("augsburg", "wuerzburg"),
}
FILES = {  # what each archive holds, and for which splits
    "leftImg8bit_trainvaltest": ("leftImg8bit", ("train", "val", "test")),
    "leftImg8bit_trainextra": ("leftImg8bit", ("train_extra",)),
    "gtFine_trainvaltest": ("gtFine", ("train", "val", "test")),
    "gtCoarse": ("gtCoarse", ("train", "val", "train_extra")),
}


def cityscapes_key(split: str, index: int) -> str:
    """`aachen/aachen_000000_000019` and so on: what the names of an image and its labels begin with."""
    city = CITIES[split][index % 2]
    return f"{city}/{city}_{index // 2:06}_000019"


def cityscapes_ids(index: int, kind: str = "gtFine") -> np.ndarray:
    """The `labelIds` of a picture: all 34 of them, in columns; coarse ones with 0, unlabeled, in every other row."""
    ids = np.broadcast_to((np.arange(SIZE[1]) + index) % 34, SIZE).astype(np.uint8)
    if kind == "gtCoarse":
        ids[::2] = 0
    return ids


def write_cityscapes(
    data_dir: Path, *, train: int = 4, val: int = 2, test: int = 2, train_extra: int = 0, zipped: bool = False
) -> Path:
    """Writes `leftImg8bit`, `gtFine`, and, if there are images of "train_extra", `gtCoarse` into `data_dir`.

    Args:
        data_dir: The folder, which is made if necessary.
        train: The number of images in this split.
        val: The number of images in this split.
        test: The number of images in this split; its labels are dummies, like the official ones.
        train_extra: The number of images in this split.
        zipped: Whether to write the official archives instead of folders.

    Returns:
        `data_dir`.
    """
    counts = {"train": train, "val": val, "test": test, "train_extra": train_extra}
    for split, count in counts.items():
        for index in range(count):
            key = cityscapes_key(split, index)
            path = data_dir / "leftImg8bit" / split / f"{key}_leftImg8bit.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            _solid(split, index).save(path)
            for kind in ("gtFine", "gtCoarse") if train_extra else ("gtFine",):
                if split in FILES["gtCoarse" if kind == "gtCoarse" else "gtFine_trainvaltest"][1]:
                    ids = np.full(SIZE, 3, np.uint8) if split == "test" else cityscapes_ids(index, kind)
                    _save_cityscapes_label(data_dir / kind / split / f"{key}_{kind}", ids)
    for name in ("README", "license.txt"):
        (data_dir / name).write_text("The Cityscapes Dataset\n")
    if zipped:
        zip_cityscapes(data_dir)
    return data_dir


def zip_cityscapes(data_dir: Path, *archives: str) -> None:
    """Moves the folders of `data_dir` into the official archives.

    Args:
        data_dir: The folder of `write_cityscapes`.
        archives: Names in `FILES`; all by default.
    """
    for archive in archives or FILES:
        kind, splits = FILES[archive]
        files = [path for split in splits for path in sorted((data_dir / kind / split).rglob("*"))]
        if not files:
            continue
        with zipfile.ZipFile(data_dir / f"{archive}.zip", "w", zipfile.ZIP_DEFLATED) as target:
            for name in ("README", "license.txt"):
                target.writestr(name, "The Cityscapes Dataset\n")
            for path in files:
                target.write(path, path.relative_to(data_dir))
        for path in sorted({*files, *(data_dir / kind / split for split in splits)}, reverse=True):
            if path.is_dir():
                path.rmdir()
            else:
                path.unlink(missing_ok=True)
    for kind in ("leftImg8bit", "gtFine", "gtCoarse"):
        if (data_dir / kind).is_dir() and not any((data_dir / kind).iterdir()):
            (data_dir / kind).rmdir()


def _save_cityscapes_label(stem: Path, ids: np.ndarray) -> None:
    """Writes the four label files of an image."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(ids).save(f"{stem}_labelIds.png")
    Image.fromarray(ids.astype(np.uint16) * 1000).save(f"{stem}_instanceIds.png")
    Image.new("RGBA", ids.shape[::-1], (128, 64, 128, 255)).save(f"{stem}_color.png")
    Path(f"{stem}_polygons.json").write_text(json.dumps({"imgHeight": SIZE[0], "imgWidth": SIZE[1], "objects": []}))


def _solid(split: str, index: int) -> Image.Image:
    return Image.new("RGB", SIZE[::-1], colour(split, index))
