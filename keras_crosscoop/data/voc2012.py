"""PASCAL VOC 2012: 20 classes and background, 1,464 training images; 10,582 with the labels of SBD.

Sources: Everingham et al., "The PASCAL Visual Object Classes Challenge 2012"; Hariharan et al., "Semantic Contours from
Inverse Detectors", ICCV 2011 (SBD).
"""

import struct
import zlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np

from keras_crosscoop.data.pairs import UnpairedError
from keras_crosscoop.data.spec import Dataset, Entry, Pair, Submission
from keras_crosscoop.errors import AbsentError, InputError, describe
from keras_crosscoop.images.decoding import RawFile
from keras_crosscoop.images.palettes import voc_palette
from keras_crosscoop.system.files import ReadableFile

CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip

SBD_URL = "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/benchmark.tgz"

_FOLDERS = ("VOCdevkit/VOC2012", "VOC2012", "")  # below `data_dir`
_SBD_FOLDERS = ("benchmark_RELEASE/dataset", "benchmark/benchmark_RELEASE/dataset")
_TRAINVAL, _SBD = "VOCtrainval_11-May-2012.tar", "benchmark.tgz"  # the archives
_MAT_VERSION, _MAT_COMPRESSED = b"\0\1IM", 15  # "MAT-File Format", The MathWorks


def open(data_dir: Path) -> Dataset:
    """Opens VOC 2012 in `data_dir`, with the layout of `ENTRY`; a missing part is an error only when it is used.

    Split "trainaug" is VOC's train split plus all images of SBD that are neither in train nor in val. If an image has
    labels from both, VOC's are used, because they are finer.

    Raises:
        InputError: The folder does not hold VOC 2012.
    """
    candidates = [data_dir.absolute() / folder for folder in _FOLDERS]
    voc = next((folder for folder in candidates if (folder / "ImageSets" / "Segmentation").is_dir()), None)
    if voc is None:
        raise InputError(
            f"The folder does not hold VOC 2012: expected {candidates[0]}/ImageSets/Segmentation. Extract {_TRAINVAL} "
            f"there. Received: {data_dir}"
        )
    return Dataset(
        name="voc2012",
        classes=CLASSES,
        palette=voc_palette(len(CLASSES)),
        splits=tuple(ENTRY.splits),
        find=lambda split: _pairs(voc, data_dir, split),
        unlabelled=("test",),
    )


@dataclass(frozen=True)
class MatLabel(RawFile):
    """A label of SBD, a MATLAB file."""

    path: Path

    @property
    def name(self) -> str:
        """The file name."""
        return self.path.name

    def pixels(self) -> np.ndarray:
        """Reads the ids.

        Raises:
            InputError: The file cannot be read or does not hold such a label.
        """
        from scipy.io import loadmat

        try:
            content = BytesIO(_unpacked(self.path.read_bytes()))
            ids = loadmat(content, variable_names=["GTcls"])["GTcls"]["Segmentation"][0, 0]
        except Exception as error:  # SciPy raises errors of any type for damaged files
            raise InputError(
                f"A label of SBD must hold GTcls.Segmentation, but this one cannot be read ({describe(error)}). "
                f"Extract {_SBD} again. Received: {self}"
            ) from error
        if ids.dtype != np.uint8 or ids.ndim != 2:
            raise InputError(
                f"A label of SBD must hold ids, uint8 (H, W). Extract {_SBD} again. Received: {ids.dtype} "
                f"{ids.shape} in {self}"
            )
        return ids

    def __str__(self) -> str:
        return str(self.path)


def _unpacked(mat: bytes) -> bytes:
    """Decompresses a MATLAB file. zlib compares checksums; SciPy does not, and may crash if a file is damaged."""
    if mat[124:128] != _MAT_VERSION:
        raise ValueError("not a MATLAB 5 file")
    elements, start = [mat[:128]], 128
    while start < len(mat):
        kind, size = struct.unpack_from("<II", mat, start)
        element = mat[start : start + 8 + size]
        elements.append(zlib.decompress(element[8:]) if kind == _MAT_COMPRESSED else element)
        start += 8 + size
    return b"".join(elements)


def _pairs(voc: Path, data_dir: Path, split: str) -> list[Pair]:
    """Returns the pairs of a split, in the order of VOC's list; those of "trainaug" in the order of their names."""
    images, labels = _files(voc / "JPEGImages", ".jpg"), _files(voc / "SegmentationClass", ".png")
    names = _names(voc, "train" if split == "trainaug" else split)
    if split == "trainaug":
        sbd_images, sbd_labels = _sbd(voc, data_dir)
        added = {name: sbd_labels[name] for name in sbd_labels.keys() - names.keys() - _names(voc, "val").keys()}
        images = {**sbd_images, **images}
        labels |= added
        names = dict(sorted({**names, **added}.items()))
    if split == "test":
        labels = dict.fromkeys(names)
    pairs, unpaired = [], {}
    for name, origin in names.items():
        if name in images and name in labels:
            pairs.append((images[name], labels[name]))
        for kind, files, path in (
            ("image", images, voc / "JPEGImages" / f"{name}.jpg"),
            ("label", labels, voc / "SegmentationClass" / f"{name}.png"),
        ):
            if name not in files:
                unpaired[str(path)] = (
                    f"A sample has no {kind}: expected {path}, which {_archive(split)} holds. Extract the whole "
                    f"archive, or remove the sample. Received: {origin}"
                )
    if unpaired:
        raise UnpairedError(unpaired, pairs)
    return pairs


def _sbd(voc: Path, data_dir: Path) -> tuple[dict[str, ReadableFile], dict[str, ReadableFile]]:
    """Returns the images and labels of SBD by name; there may be no images."""
    roots = [voc, voc.parent, data_dir, *([voc.parent.parent] if voc.parent.name == "VOCdevkit" else [])]
    for root in roots:  # PNGs are preferred: they are decoded faster, and their headers are checked
        if labels := _files(root / "SegmentationClassAug", ".png"):
            return {}, labels
    for folder in (root / subfolder for root in roots for subfolder in _SBD_FOLDERS):
        if labels := _files(folder / "cls", ".mat"):
            return _files(folder / "img", ".jpg"), {name: MatLabel(path) for name, path in labels.items()}
    raise AbsentError(
        f"Split trainaug needs SBD: expected {data_dir / _SBD_FOLDERS[0]}/cls, or its labels as PNGs in "
        f"{voc}/SegmentationClassAug. Extract {_SBD} from {SBD_URL} there, or train "
        f"without it: `--set data.train_split=train`. Received: 'trainaug'"
    )


def _names(voc: Path, split: str) -> dict[str, str]:
    """Returns the names in a list of VOC, in order, each with its place for errors."""
    path = voc / "ImageSets" / "Segmentation" / f"{split}.txt"
    try:
        return {name: f"{name} in {path}" for name in path.read_text("utf-8").split()}
    except (OSError, UnicodeDecodeError) as error:
        raise (AbsentError if split == "test" and not path.exists() else InputError)(
            f"The list of split {split} cannot be read. Extract the whole archive {_archive(split)}. Received: {path}"
        ) from error


def _archive(split: str) -> str:
    return "VOC2012test.tar" if split == "test" else _TRAINVAL


def _files(folder: Path, suffix: str) -> dict[str, Path]:
    """Returns the files of a folder with a suffix, by name without suffix; none if the folder does not exist.

    One listing replaces 17,125 look-ups, which would take seconds on a network disk.
    """
    try:
        return {path.stem: path for path in folder.iterdir() if path.suffix == suffix and path.name[0] != "."}
    except OSError:
        return {}


ENTRY = Entry(
    open,
    classes=len(CLASSES),
    splits={"train": 1464, "val": 1449, "trainval": 2913, "test": 1456, "trainaug": 10582},
    layout="VOCdevkit/VOC2012/, and for split trainaug SBD: benchmark_RELEASE/ or SegmentationClassAug/",
    source="host.robots.ox.ac.uk/pascal/VOC/voc2012",
    licence="Flickr's terms of use for the images; please cite VOC and SBD",
    # The layout for the evaluation server, for competition 5: training on VOC data only.
    submission=Submission(lambda split, stem: f"results/VOC2012/Segmentation/comp5_{split}_cls/{stem}.png"),
)
