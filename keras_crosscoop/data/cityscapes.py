"""Cityscapes: street scenes of 50 cities, 2048x1024, 19 classes, in folders or in the official zip files.

Source: Cordts et al., "The Cityscapes Dataset for Semantic Urban Scene Understanding", CVPR 2016. Labels and
layout are those of `cityscapesscripts` (`helpers/labels.py` and README).
"""

import weakref
import zipfile
from functools import cache
from pathlib import Path
from typing import NamedTuple

from keras_crosscoop.data.coding import Coding
from keras_crosscoop.data.pairs import pair_files
from keras_crosscoop.data.spec import Dataset, Entry, Pair, Submission
from keras_crosscoop.errors import AbsentError, InputError, reason
from keras_crosscoop.images.palettes import RGB
from keras_crosscoop.labels import IGNORE_LABEL
from keras_crosscoop.system.files import ReadableFile


class Label(NamedTuple):
    """One row of the official table of labels."""

    id: int  # the value in a `*_labelIds.png`
    name: str
    train_id: int  # the class id, which is the value in a `*_labelTrainIds.png`, or `IGNORE_LABEL`
    colour: RGB  # the value in a `*_color.png`


LABELS = (
    Label(0, "unlabeled", IGNORE_LABEL, (0, 0, 0)),
    Label(1, "ego vehicle", IGNORE_LABEL, (0, 0, 0)),
    Label(2, "rectification border", IGNORE_LABEL, (0, 0, 0)),
    Label(3, "out of roi", IGNORE_LABEL, (0, 0, 0)),
    Label(4, "static", IGNORE_LABEL, (0, 0, 0)),
    Label(5, "dynamic", IGNORE_LABEL, (111, 74, 0)),
    Label(6, "ground", IGNORE_LABEL, (81, 0, 81)),
    Label(7, "road", 0, (128, 64, 128)),
    Label(8, "sidewalk", 1, (244, 35, 232)),
    Label(9, "parking", IGNORE_LABEL, (250, 170, 160)),
    Label(10, "rail track", IGNORE_LABEL, (230, 150, 140)),
    Label(11, "building", 2, (70, 70, 70)),
    Label(12, "wall", 3, (102, 102, 156)),
    Label(13, "fence", 4, (190, 153, 153)),
    Label(14, "guard rail", IGNORE_LABEL, (180, 165, 180)),
    Label(15, "bridge", IGNORE_LABEL, (150, 100, 100)),
    Label(16, "tunnel", IGNORE_LABEL, (150, 120, 90)),
    Label(17, "pole", 5, (153, 153, 153)),
    Label(18, "polegroup", IGNORE_LABEL, (153, 153, 153)),
    Label(19, "traffic light", 6, (250, 170, 30)),
    Label(20, "traffic sign", 7, (220, 220, 0)),
    Label(21, "vegetation", 8, (107, 142, 35)),
    Label(22, "terrain", 9, (152, 251, 152)),
    Label(23, "sky", 10, (70, 130, 180)),
    Label(24, "person", 11, (220, 20, 60)),
    Label(25, "rider", 12, (255, 0, 0)),
    Label(26, "car", 13, (0, 0, 142)),
    Label(27, "truck", 14, (0, 0, 70)),
    Label(28, "bus", 15, (0, 60, 100)),
    Label(29, "caravan", IGNORE_LABEL, (0, 0, 90)),
    Label(30, "trailer", IGNORE_LABEL, (0, 0, 110)),
    Label(31, "train", 16, (0, 80, 100)),
    Label(32, "motorcycle", 17, (0, 0, 230)),
    Label(33, "bicycle", 18, (119, 11, 32)),
)
CLASSES = {label.name: label.colour for label in LABELS if label.train_id != IGNORE_LABEL}

_SPLITS = {  # the split of the images, and the kind of their labels
    "train": ("train", "gtFine"),
    "val": ("val", "gtFine"),
    "test": ("test", None),  # the labels in gtFine/test are dummies
    "train_extra": ("train_extra", "gtCoarse"),
    "train_coarse": ("train", "gtCoarse"),
}


def open(data_dir: Path) -> Dataset:
    """Opens Cityscapes in `data_dir`, with the layout of `ENTRY`; a missing part is an error only when it is used.

    Labels are the official `*_labelIds.png`; if there are none, `*_labelTrainIds.png`.
    """
    files = _Files(data_dir)
    if files.only_training_ids():
        ids, coding = "labelTrainIds", Coding.of_ids(range(len(CLASSES)))
    else:
        ids, coding = "labelIds", Coding.of_ids(label.train_id for label in LABELS)
    return Dataset(
        name="cityscapes",
        classes=tuple(CLASSES),
        palette=tuple(CLASSES.values()),
        splits=tuple(_SPLITS),
        find=lambda split: files.pairs(*_SPLITS[split], ids),
        coding=coding,
        unlabelled=("test",),
    )


class _Files:
    """The files in a folder, extracted or in archives."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._archive = cache(open_archive)  # opens each archive once, when a split needs it

    def pairs(self, split: str, kind: str | None, ids: str) -> list[Pair]:
        folders = {name: self._find(name, split) for name in ("leftImg8bit", kind) if name}
        missing = [name for name in folders if folders[name] is None]
        if missing:
            absent = len(missing) == len(folders) or kind == "gtCoarse"  # coarse labels are optional
            package = _package(missing[0], split)
            raise (AbsentError if absent else InputError)(
                f"A part of the data set is missing: expected {self._data_dir / missing[0] / split} or "
                f"{self._data_dir / package}. Get {package} from {ENTRY.source}; it need not be extracted. "
                f"Received: {self._data_dir}"
            )
        images = list_files(folders["leftImg8bit"], "_leftImg8bit.png")
        if kind is None:
            return [(images[key], None) for key in sorted(images)]
        suffix = f"_{kind}_{ids}.png"
        # Labels with training ids are made by `cityscapesscripts`; no archive holds them.
        label_source = f", which {_package(kind, split)} holds" if ids == "labelIds" else ""
        return pair_files(
            images,
            list_files(folders[kind], suffix),
            image_at=lambda key: (
                f"{folders['leftImg8bit'] / key}_leftImg8bit.png, which {_package('leftImg8bit', split)} holds"
            ),
            label_at=lambda key: f"{folders[kind] / key}{suffix}{label_source}",
        )

    def only_training_ids(self) -> bool:
        """Returns whether the fine labels exist only as training ids."""
        try:
            folders = [folder for split in ("train", "val") if (folder := self._find("gtFine", split))]
            return not any(list_files(folder, "_gtFine_labelIds.png") for folder in folders) and any(
                list_files(folder, "_gtFine_labelTrainIds.png") for folder in folders
            )
        except InputError:  # a damaged archive: the splits that need it report the error
            return False

    def _find(self, kind: str, split: str) -> Path | zipfile.Path | None:
        """Returns the folder of a kind of files, on the disk or in an archive."""
        archive = self._data_dir / _package(kind, split)
        for root in (self._data_dir, archive.with_suffix("")):
            if (root / kind / split).is_dir():
                return root / kind / split
        return zipfile.Path(self._archive(archive), f"{kind}/{split}/") if archive.is_file() else None


def open_archive(path: Path) -> zipfile.ZipFile:
    """Opens a zip file, which any number of threads can read. It is closed once nothing refers to it.

    Raises:
        InputError: The file cannot be opened, or its list of members, at the end of the file, is missing.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, ValueError, RuntimeError, zipfile.BadZipFile) as error:
        raise InputError(
            f"The archive cannot be opened ({reason(error)}). Is it complete? Download it again. Received: {path}"
        ) from error
    weakref.finalize(archive, archive.fp.close)  # `ZipFile.__del__` may run after a warning about the open file
    return archive


def list_files(folder: Path | zipfile.Path, suffix: str) -> dict[str, ReadableFile]:
    """Maps `CITY/CITY_SEQUENCE_FRAME` to the file with this suffix, in a folder on the disk or in an archive."""
    if isinstance(folder, Path):
        files = {path.relative_to(folder).as_posix(): path for path in folder.glob(f"*/[!.]*{suffix}")}
    else:  # `zipfile.Path.iterdir` would search the whole archive for every city
        names = (name.removeprefix(folder.at) for name in folder.root.namelist() if name.startswith(folder.at))
        files = {name: folder / name for name in names if name.endswith(suffix)}
    return {name.removesuffix(suffix): file for name, file in files.items()}


def _package(kind: str, split: str) -> str:
    """Returns the name of the official archive."""
    if kind == "gtCoarse":
        return "gtCoarse.zip"
    return f"{kind}_{'trainextra' if split == 'train_extra' else 'trainvaltest'}.zip"


ENTRY = Entry(
    open,
    classes=len(CLASSES),
    splits={"train": 2975, "val": 500, "test": 1525, "train_extra": 19998, "train_coarse": 2975},
    layout="leftImg8bit/ and gtFine/ (for coarse labels gtCoarse/), or the zip files that hold them",
    source="www.cityscapes-dataset.com/downloads",
    licence="free for non-commercial use after registration; no redistribution",
    # The official evaluation finds files by city, sequence and frame, and expects ids, not training ids.
    submission=Submission(
        lambda split, stem: f"{stem.removesuffix('_leftImg8bit')}_pred_labelIds.png",
        tuple(label.id for label in LABELS if label.train_id != IGNORE_LABEL),
    ),
)
