"""PASCAL VOC 2012 in 20 classes and background, and what SBD adds to it: 10,582 images to train on instead of 1,464.

Sources: Everingham et al., "The PASCAL Visual Object Classes Challenge 2012"; Hariharan et al., "Semantic Contours from
Inverse Detectors", ICCV 2011 (SBD).
"""

import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from itertools import product
from pathlib import Path
from types import MappingProxyType

import numpy as np

from keras_crosscoop.data.pairing import UnpairedError, pair_files
from keras_crosscoop.data.spec import Dataset, Entry, Pair, Submission
from keras_crosscoop.errors import AbsentError, InputError
from keras_crosscoop.images.io import encode_pnm
from keras_crosscoop.images.palettes import voc_palette
from keras_crosscoop.system.files import ReadableFile

CLASSES = (
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)

_PLACES = ("VOCdevkit/VOC2012", "VOC2012", "")  # below the folder that the user names
_SBD_PLACES = ("benchmark_RELEASE/dataset", "benchmark/benchmark_RELEASE/dataset")
_TRAINVAL, _SBD = "VOCtrainval_11-May-2012.tar", "benchmark.tgz"  # what one downloads
_MAT_VERSION, _MAT_COMPRESSED = b"\0\1IM", 15  # of "MAT-File Format", The MathWorks: little-endian, and miCOMPRESSED


def open(data_dir: Path) -> Dataset:
    """VOC 2012 in `data_dir`, laid out as `ENTRY` says; parts may be missing until they are asked for.

    Split "trainaug" is VOC's own train split, and all of SBD that is in neither it nor val. Of an image that both have
    labelled, VOC's label is taken: it is the finer one.

    Raises:
        InputError: no VOC 2012 is there.
    """
    places = [data_dir.absolute() / place for place in _PLACES]
    there = [place for place in places if (place / "ImageSets" / "Segmentation").is_dir()]
    if not there:
        raise InputError(
            f"The folder holds no VOC 2012: expected {places[0]}/ImageSets/Segmentation. Extract {_TRAINVAL} there. "
            f"Received: {data_dir}"
        )
    voc = there[0]
    return _Voc2012(
        name="voc2012",
        classes=CLASSES,
        palette=voc_palette(len(CLASSES)),
        splits=tuple(ENTRY.splits),
        find=lambda split: _augmented(voc, data_dir) if split == "trainaug" else _listed(voc, split),
        unlabelled=("test",),
    )


class _Voc2012(Dataset):
    def _check(self, pair: Pair) -> None:
        # A .mat file has no header that tells the size: unpacking 9,118 of them would take 10 s at every start.
        image, label = pair
        super()._check((image, None) if isinstance(label, MatLabel) else pair)


@dataclass(frozen=True)
class MatLabel:
    """A label of SBD as distributed, a MATLAB file, read as a PGM image: a `keras_crosscoop.system.files.Stored`."""

    path: Path

    @property
    def name(self) -> str:
        """The file's name."""
        return self.path.name

    def open(self, mode: str = "rb") -> BytesIO:
        """The ids as a PGM image: see `read_bytes`."""
        return BytesIO(self.read_bytes())

    def read_bytes(self) -> bytes:
        """The ids as a PGM image.

        Raises:
            InputError: the file cannot be read, or holds no such label.
        """
        from scipy.io import loadmat

        try:
            content = BytesIO(_unpacked(self.path.read_bytes()))
            ids = loadmat(content, variable_names=["GTcls"])["GTcls"]["Segmentation"][0, 0]
        except Exception as error:  # SciPy has no error of its own for a file that is damaged or of another kind
            reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}".split("\n")[0]
            raise InputError(
                f"A label of SBD holds GTcls.Segmentation, but this one cannot be read ({reason}). Extract "
                f"{_SBD} again. Received: {self}"
            ) from error
        if ids.dtype != np.uint8 or ids.ndim != 2:
            raise InputError(
                f"A label of SBD holds ids, uint8 (H, W). Extract {_SBD} again. Received: {ids.dtype} "
                f"{ids.shape} in {self}"
            )
        return encode_pnm(ids)

    def __str__(self) -> str:
        return str(self.path)


def _unpacked(mat: bytes) -> bytes:
    """A MATLAB file without its compression. zlib compares checksums; SciPy does not, and damage may crash it."""
    if mat[124:128] != _MAT_VERSION:
        raise ValueError("it is no MATLAB 5 file")
    elements, start = [mat[:128]], 128
    while start < len(mat):
        kind, size = struct.unpack_from("<II", mat, start)
        element = mat[start : start + 8 + size]
        elements.append(zlib.decompress(element[8:]) if kind == _MAT_COMPRESSED else element)
        start += 8 + size
    return b"".join(elements)


def _listed(voc: Path, split: str, more_images: Mapping[str, ReadableFile] = MappingProxyType({})) -> list[Pair]:
    """The pairs that a list of VOC names, in its order; `more_images` hold what VOC's own folder lacks."""
    needed = {"image": ("JPEGImages", ".jpg", more_images), "label": ("SegmentationClass", ".png", {})}
    if split == "test":
        del needed["label"]
    names, alone = _names(voc, split), {}
    files = {kind: {**more, **_files(voc / folder, suffix)} for kind, (folder, suffix, more) in needed.items()}
    for name, (kind, (folder, suffix, _)) in product(names, needed.items()):
        if name not in files[kind]:
            path = voc / folder / f"{name}{suffix}"
            alone[str(path)] = (
                f"A name in a list has no {kind}: expected {path}, which {_archive(split)} holds. Extract that whole, "
                f"or take the name out. Received: {name} in {_list(voc, split)}"
            )
    whole = [name for name in names if all(name in of_kind for of_kind in files.values())]
    pairs = [(files["image"][name], files["label"][name] if "label" in files else None) for name in whole]
    if alone:
        raise UnpairedError(alone, pairs)
    return pairs


def _augmented(voc: Path, data_dir: Path) -> list[Pair]:
    """The pairs of split "trainaug", in the order of their names."""
    sbd_images, sbd_labels = _sbd(voc, data_dir)
    listed, alone = _pairs_and_unpaired(lambda: _listed(voc, "train", sbd_images))
    images = {**sbd_images, **_files(voc / "JPEGImages", ".jpg")}
    names = sbd_labels.keys() - _names(voc, "train").keys() - _names(voc, "val").keys()
    labels = {name: sbd_labels[name] for name in names}
    added, more_alone = _pairs_and_unpaired(
        lambda: pair_files(
            {name: images[name] for name in labels if name in images},
            labels,
            image_at=lambda name: f"{voc}/JPEGImages/{name}.jpg, which {_TRAINVAL} holds",
            label_at=str,
        )
    )
    pairs = sorted(listed + added, key=lambda pair: pair[0].name)
    if alone or more_alone:
        raise UnpairedError({**alone, **more_alone}, pairs)
    return pairs


def _pairs_and_unpaired(find: Callable[[], list[Pair]]) -> tuple[list[Pair], Mapping[str, str]]:
    try:
        return find(), {}
    except UnpairedError as error:
        return error.pairs, error.alone


def _sbd(voc: Path, data_dir: Path) -> tuple[dict[str, ReadableFile], dict[str, ReadableFile]]:
    """SBD's images, where they come with it, and its labels, by name."""
    roots = [voc, voc.parent, data_dir, *([voc.parent.parent] if voc.parent.name == "VOCdevkit" else [])]
    for root in roots:  # before the .mat files: a PNG is decoded faster, and has a header to check
        if labels := _files(root / "SegmentationClassAug", ".png"):
            return {}, labels
    for folder in (root / place for root in roots for place in _SBD_PLACES):
        if labels := _files(folder / "cls", ".mat"):
            return _files(folder / "img", ".jpg"), {name: MatLabel(path) for name, path in labels.items()}
    raise AbsentError(
        f"Split trainaug needs SBD: expected {data_dir / _SBD_PLACES[0]}/cls, or its labels as PNGs in "
        f"{voc}/SegmentationClassAug. Extract {_SBD} from {_SBD_SOURCE} there, or do without by "
        f"`--set data.train_split=train`. Received: 'trainaug'"
    )


def _names(voc: Path, split: str) -> dict[str, None]:
    """The names in a list of VOC, in their order."""
    path = _list(voc, split)
    try:
        return dict.fromkeys(path.read_text("utf-8").split())
    except (OSError, UnicodeDecodeError) as error:
        raise (AbsentError if split == "test" and not path.exists() else InputError)(
            f"The list of split {split} cannot be read. Extract {_archive(split)}, which holds it, whole. "
            f"Received: {path}"
        ) from error


def _list(voc: Path, split: str) -> Path:
    return voc / "ImageSets" / "Segmentation" / f"{split}.txt"


def _archive(split: str) -> str:
    return "VOC2012test.tar" if split == "test" else _TRAINVAL


def _files(folder: Path, suffix: str) -> dict[str, Path]:
    """Name without suffix -> file, for those of a folder; none where there is no folder.

    It is listed once, as asking for each of 17,125 images would take seconds on a network's disk.
    """
    try:
        return {path.stem: path for path in folder.iterdir() if path.suffix == suffix and path.name[0] != "."}
    except OSError:
        return {}


_SBD_SOURCE = "www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/benchmark.tgz"
ENTRY = Entry(
    open,
    classes=len(CLASSES),
    splits={"train": 1464, "val": 1449, "trainval": 2913, "test": 1456, "trainaug": 10582},
    layout="VOCdevkit/VOC2012/, and for split trainaug SBD: benchmark_RELEASE/ or SegmentationClassAug/",
    source="host.robots.ox.ac.uk/pascal/VOC/voc2012",
    licence="Flickr's terms of use for the images; its makers ask to be cited, those of SBD too",
    # What its server unpacks, of competition 5: trained on VOC's data alone.
    submission=Submission(lambda split, stem: f"results/VOC2012/Segmentation/comp5_{split}_cls/{stem}.png"),
)
