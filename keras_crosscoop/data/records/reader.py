"""Opens records as data sets: the records of `data.prepare`, and Cityscapes records of the TFDS builder."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Annotated, BinaryIO, TypeVar

import numpy as np
from pydantic import BaseModel, Field

from keras_crosscoop.data.records.tfrecord import Record, decode_integers, list_records
from keras_crosscoop.data.spec import Dataset, Pair
from keras_crosscoop.errors import InputError
from keras_crosscoop.images.decoding import RawFile
from keras_crosscoop.images.reading import DEFAULT_READING, ImageReading
from keras_crosscoop.labels import INVALID_LABEL
from keras_crosscoop.system.json_files import read_json

_INFO, _METADATA = "dataset_info.json", "metadata.json"

# TFDS's builder of Cityscapes: its configuration, a folder between name and version, and its name of each split.
_TFDS_CONFIG = "semantic_segmentation"
_TFDS_SPLITS = {"train": "train", "val": "validation", "test": "test"}

_Byte = Annotated[int, Field(ge=0, le=255)]
_Description = TypeVar("_Description", bound=BaseModel)


class _Split(BaseModel):
    name: str
    shardLengths: list[int]  # noqa: N815 - TFDS's names


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
    unlabelled: list[str]
    reading: ImageReading = DEFAULT_READING  # of the image files that the records were made of


@dataclass(frozen=True)
class _File:
    """A file in a feature of a record, as a `ReadableFile`."""

    record: Record
    feature: str
    name_feature: str

    @property
    def name(self) -> str:
        return self.record.read(self.name_feature)[0].decode(errors="replace")

    def read_bytes(self) -> bytes:
        return self.record.read(self.feature)[0]

    def open(self, mode: str) -> BinaryIO:
        return BytesIO(self.read_bytes())

    def __str__(self) -> str:
        return f"{self.record}, {self.feature}"


@dataclass(frozen=True)
class _Pixels(RawFile, _File):
    """A tensor in a feature of a record."""

    channels: tuple[int, ...]  # the shape behind height and width

    def pixels(self) -> np.ndarray:
        value, encoded_shape = self.record.read(f"{self.feature}/value", f"{self.feature}/shape")
        try:
            height, width, *channels = shape = decode_integers(encoded_shape)
            if not (height and width and tuple(channels) == self.channels and math.prod(shape) == len(value)):
                raise ValueError(shape)
        except (IndexError, ValueError) as error:
            raise self.record.damaged(f"{self.feature} does not match its shape") from error
        return np.frombuffer(value, np.uint8).reshape(shape)


def find_records(name: str, data_dir: Path) -> Path | None:
    """Returns the folder of a data set's records: `data_dir` or the highest version below it, or None."""
    if (data_dir / _INFO).is_file():
        return data_dir
    config = _TFDS_CONFIG if name == "cityscapes" else ""
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
    """Opens the records of a data set in a folder that `find_records` returned.

    `open_files` opens the data set as files. Records of the TFDS builder take their classes from it.

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
    if name == "cityscapes" and info.configName == _TFDS_CONFIG:
        return _of_tfds(folder, info, open_files(folder))
    if not (folder / _METADATA).is_file():
        raise InputError(
            f"The folder holds records of another program. Write them with `crosscoop-tf data prepare {name}`. "
            f"Received: {folder}"
        )
    return _ours(folder, info, _read(folder / _METADATA, _Metadata))


def _ours(folder: Path, info: _Info, metadata: _Metadata) -> Dataset:
    def pair(record: Record, split: str) -> Pair:
        label = None if split in metadata.unlabelled else _Pixels(record, "label", "name", channels=())
        return _Pixels(record, "image", "name", channels=(3,)), label

    return Dataset(
        name=info.name,
        classes=tuple(metadata.classes),
        palette=tuple(metadata.palette),
        splits=tuple(split.name for split in info.splits),
        find=lambda split: [pair(record, split) for record in _records(folder, info, split)],
        reading=metadata.reading,
        unlabelled=tuple(metadata.unlabelled),
        check_headers=False,
    )


def _of_tfds(folder: Path, info: _Info, files: Dataset) -> Dataset:
    def pair(record: Record, split: str) -> Pair:
        label = None if split in files.unlabelled else _File(record, "segmentation_label", "image_id")
        return _File(record, "image_left", "image_id"), label

    names = {split.name for split in info.splits}
    return replace(
        files,
        splits=tuple(split for split, name in _TFDS_SPLITS.items() if name in names),
        find=lambda split: [pair(record, split) for record in _records(folder, info, _TFDS_SPLITS[split])],
        check_headers=False,
    )


def _records(folder: Path, info: _Info, name: str) -> list[Record]:
    counts = next(split.shardLengths for split in info.splits if split.name == name)
    records = []
    for number, count in enumerate(counts):
        records += list_records(folder / f"{info.name}-{name}.tfrecord-{number:05}-of-{len(counts):05}", count)
    return records


def _read(path: Path, structure: type[_Description]) -> _Description:
    return read_json(path, structure, "The description of the records", "Copy it, or prepare the data set again.")
