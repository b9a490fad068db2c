"""Opens records as data sets: the records of `data.prepare`, and Cityscapes records of the TFDS builder."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Annotated, BinaryIO, NamedTuple, TypeVar

import numpy as np
from pydantic import BaseModel, Field

from keras_crosscoop.data.records.tfrecord import Record, Shard
from keras_crosscoop.data.spec import Dataset, Pair
from keras_crosscoop.errors import InputError
from keras_crosscoop.images.decoding import RawFile
from keras_crosscoop.labels import INVALID_LABEL
from keras_crosscoop.system.json_files import read_json

METADATA_FORMAT = "keras-crosscoop records"  # the entry "format" in metadata.json
_INFO, _METADATA = "dataset_info.json", "metadata.json"

_Byte = Annotated[int, Field(ge=0, le=255)]
_Description = TypeVar("_Description", bound=BaseModel)


class _TfdsFeatures(NamedTuple):
    """The records of a TFDS builder, with PNG files as features.

    Attributes:
        config: The builder's configuration, a folder between name and version.
        image: The name of the feature; also `label` and `name`.
        splits: TFDS's name of each of our splits.
    """

    config: str
    image: str
    label: str
    name: str
    splits: Mapping[str, str]


_TFDS = {
    "cityscapes": _TfdsFeatures(
        config="semantic_segmentation",
        image="image_left",
        label="segmentation_label",
        name="image_id",
        splits={"train": "train", "val": "validation", "test": "test"},
    )
}


class _Split(BaseModel):
    name: str
    shardLengths: Annotated[list[Annotated[int, Field(ge=0)]], Field(max_length=100_000)]  # noqa: N815 - TFDS's names
    filepathTemplate: str = ""  # noqa: N815


class _Info(BaseModel):
    """The entries of TFDS's `dataset_info.json` that are needed here."""

    name: str
    fileFormat: str = "tfrecord"  # noqa: N815
    configName: str = ""  # noqa: N815
    splits: list[_Split] = []


class _Metadata(BaseModel):
    """Our `metadata.json`."""

    classes: Annotated[list[str], Field(min_length=1, max_length=INVALID_LABEL)]
    palette: list[tuple[_Byte, _Byte, _Byte]]
    splits: list[str]
    unlabelled: list[str]


@dataclass(frozen=True)
class _File:
    """A file in a feature of a record, as a `ReadableFile`."""

    record: Record
    feature: str
    name_feature: str

    @property
    def name(self) -> str:
        return self.record.read(self.name_feature).decode(errors="replace")

    def read_bytes(self) -> bytes:
        return self.record.read(self.feature)

    def open(self, mode: str) -> BinaryIO:
        return BytesIO(self.read_bytes())

    def __str__(self) -> str:
        return f"{self.record}, {self.feature}"


@dataclass(frozen=True)
class _Pixels(RawFile, _File):
    """A tensor in a feature of a record."""

    channels: tuple[int, ...]  # the shape behind height and width

    def pixels(self) -> np.ndarray:
        shape = self.record.integers(f"{self.feature}/shape")
        known = len(shape) == 2 + len(self.channels) and shape[2:] == self.channels and 0 not in shape
        value = self.record.read(f"{self.feature}/value")
        if not known or len(value) != math.prod(shape):
            raise self.record.damaged(f"{self.feature} does not match its shape")
        return np.frombuffer(value, np.uint8).reshape(shape)


def find_records(name: str, data_dir: Path) -> Path | None:
    """Returns the folder of a data set's records: `data_dir` or the highest version below it, or None."""
    if (data_dir / _INFO).is_file():
        return data_dir
    config = _TFDS[name].config if name in _TFDS else ""
    for folder in (data_dir, data_dir / config, data_dir / name, data_dir / name / config):
        versions = {
            tuple(map(int, path.name.split("."))): path
            for path in (folder.iterdir() if folder.is_dir() else ())
            if re.fullmatch(r"\d+\.\d+\.\d+", path.name) and (path / _INFO).is_file()
        }
        if versions:
            return versions[max(versions)]
    return None


def open_records(name: str, folder: Path, open_files: Callable[[Path], Dataset]) -> Dataset:
    """Opens the records in a folder that `find_records` returned.

    Args:
        name: The name of the data set.
        folder: The folder of its records.
        open_files: Opens the data set as files. Records of the TFDS builder take their classes from it.

    Raises:
        InputError: The records are damaged, or another data set or program wrote them.
    """
    info = _read(folder / _INFO, _Info)
    if info.fileFormat != "tfrecord":
        raise InputError(
            f"Records must be TFRecord files, not {info.fileFormat}. Prepare the data set again. Received: {folder}"
        )
    if info.name != name:
        raise InputError(
            f'The folder holds records of data set "{info.name}", not of "{name}". Name the other data set or '
            f"another folder. Received: {folder}"
        )
    if (folder / _METADATA).is_file() and METADATA_FORMAT in (folder / _METADATA).read_text(errors="replace"):
        return _ours(folder, info, _read(folder / _METADATA, _Metadata))
    if name in _TFDS and info.configName == _TFDS[name].config:
        return _of_tfds(folder, info, _TFDS[name], open_files(folder))
    raise InputError(
        f"The folder holds records of another program. Write them with `crosscoop-tf data prepare {name}`. "
        f"Received: {folder}"
    )


def _ours(folder: Path, info: _Info, metadata: _Metadata) -> Dataset:
    def pair(record: Record, split: str) -> Pair:
        label = None if split in metadata.unlabelled else _Pixels(record, "label", "name", channels=())
        return _Pixels(record, "image", "name", channels=(3,)), label

    return Dataset(
        name=info.name,
        classes=tuple(metadata.classes),
        palette=tuple(metadata.palette),
        splits=tuple(metadata.splits),
        find=lambda split: [pair(record, split) for record in _records(folder, info, split)],
        unlabelled=tuple(metadata.unlabelled),
        check_headers=False,
    )


def _of_tfds(folder: Path, info: _Info, features: _TfdsFeatures, files: Dataset) -> Dataset:
    def pair(record: Record, split: str) -> Pair:
        label = None if split in files.unlabelled else _File(record, features.label, features.name)
        return _File(record, features.image, features.name), label

    recorded = {split.name for split in info.splits}
    return replace(
        files,
        splits=tuple(split for split in files.splits if features.splits.get(split) in recorded),
        find=lambda split: [pair(record, split) for record in _records(folder, info, features.splits[split])],
        check_headers=False,
    )


def _records(folder: Path, info: _Info, name: str) -> list[Record]:
    splits = [split for split in info.splits if split.name == name]
    if len(splits) != 1:
        raise InputError(
            f'The description of the records must list split "{name}" once, but lists it {len(splits)} times. Copy it '
            f"again, or prepare the data set again. Received: {folder / _INFO}"
        )
    counts = splits[0].shardLengths
    paths = (folder / _shard_name(info, splits[0], number) for number in range(len(counts)))
    return [record for path, count in zip(paths, counts, strict=True) for record in Shard(path).records(count)]


def _shard_name(info: _Info, split: _Split, number: int) -> str:
    name = split.filepathTemplate or "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
    values = {
        "DATASET": info.name,
        "SPLIT": split.name,
        "FILEFORMAT": info.fileFormat,
        "SHARD_X_OF_Y": f"{number:05}-of-{len(split.shardLengths):05}",
    }
    for key, value in values.items():  # not `format`, which accepts fields of any width
        name = name.replace(f"{{{key}}}", value)
    return Path(name).name  # never outside of the folder


def _read(path: Path, structure: type[_Description]) -> _Description:
    return read_json(path, structure, "The description of the records", "Copy it, or prepare the data set again.")
