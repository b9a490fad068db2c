"""Records as a data set: ours, and those that TFDS's own builder makes of Cityscapes."""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any, BinaryIO, NamedTuple, TypeVar

import numpy as np
from pydantic import BaseModel, Field

from keras_crosscoop.data.records.tfrecord import Record, Shard
from keras_crosscoop.data.spec import Dataset, Pair
from keras_crosscoop.errors import InputError
from keras_crosscoop.images.io import encode_pnm
from keras_crosscoop.labels import INVALID_LABEL
from keras_crosscoop.system.json_files import read_json

FORMAT = "keras-crosscoop records"  # what our metadata say they are
_INFO, _METADATA = "dataset_info.json", "metadata.json"

_Byte = Annotated[int, Field(ge=0, le=255)]


class _Layout(NamedTuple):
    """Records that somebody else's builder makes: PNG files, and label ids that the data set's own table maps.

    Attributes:
        config: the folder between name and version.
        image: the feature that holds it, as `label` and `name`.
        splits: ours -> theirs.
    """

    config: str
    image: str
    label: str
    name: str
    splits: Mapping[str, str]


_TFDS = {
    "cityscapes": _Layout(
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
    """What is read of TFDS's `dataset_info.json`."""

    name: str
    fileFormat: str = "tfrecord"  # noqa: N815
    configName: str = ""  # noqa: N815
    splits: list[_Split] = []


class _Format(BaseModel):
    """Of `metadata.json`, which anybody may write."""

    format: Any = None


class _Metadata(BaseModel):
    """Our own `metadata.json`."""

    classes: Annotated[list[str], Field(min_length=1, max_length=INVALID_LABEL)]
    palette: list[tuple[_Byte, _Byte, _Byte]]
    splits: list[str]
    unlabelled: list[str]


_Described = TypeVar("_Described", bound=BaseModel)


@dataclass(frozen=True)
class _File:
    """A file stored as a feature of a record: a `files.ReadableFile`."""

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
class _Pixels(_File):
    """A tensor stored as a feature of a record, as the PPM or PGM file of the same pixels."""

    channels: tuple[int, ...]  # what its shape ends with

    def read_bytes(self) -> bytes:
        shape = self.record.integers(f"{self.feature}/shape")
        known = len(shape) == 2 + len(self.channels) and shape[2:] == self.channels and 0 not in shape
        if not (known and self.record.size(f"{self.feature}/value") == math.prod(shape)):
            raise self.record.damaged(f"{self.feature} is not of its shape")
        return self.record.read(f"{self.feature}/value", header=_pnm_header(shape))


@lru_cache(maxsize=1024)
def _pnm_header(shape: tuple[int, ...]) -> bytes:
    return encode_pnm(np.zeros(shape, np.uint8))[: -math.prod(shape)]


def find_records(name: str, data_dir: Path) -> Path | None:
    """The folder of a data set's records: `data_dir` itself, or the highest version in it, under its name or not."""
    config = _TFDS[name].config if name in _TFDS else ""
    if (data_dir / _INFO).is_file():
        return data_dir
    for folder in (data_dir, data_dir / config, data_dir / name, data_dir / name / config):
        if versions := list(_versions(folder)):
            return max(versions)[1]
    return None


def _versions(folder: Path) -> Iterator[tuple[list[int], Path]]:
    for path in folder.iterdir() if folder.is_dir() else ():
        if re.fullmatch(r"\d+\.\d+\.\d+", path.name) and (path / _INFO).is_file():
            yield list(map(int, path.name.split("."))), path


def open_records(name: str, folder: Path, open_files: Callable[[Path], Dataset]) -> Dataset:
    """The data set in a folder that `find_records` gave.

    Args:
        name: the data set's.
        folder: its records.
        open_files: gives the data set as files; asked for the facts of one that somebody else recorded.

    Raises:
        InputError: the folder holds records of another data set, or none that can be read.
    """
    info = _load(folder / _INFO, _Info)
    if info.fileFormat != "tfrecord":
        raise InputError(
            f"Records must be TFRecord files, not {info.fileFormat}. Prepare the data set again. Received: {folder}"
        )
    if info.name != name:
        raise InputError(
            f'The folder holds records of data set "{info.name}", not of "{name}". Name the other data set or '
            f"another folder. Received: {folder}"
        )
    if (folder / _METADATA).is_file() and _load(folder / _METADATA, _Format).format == FORMAT:
        return _ours(folder, info, _load(folder / _METADATA, _Metadata))
    if name in _TFDS and info.configName == _TFDS[name].config:
        return _theirs(folder, info, _TFDS[name], open_files(folder))
    raise InputError(
        f"The folder holds records of another program. Write them with `crosscoop-tf data prepare {name}`. "
        f"Received: {folder}"
    )


def _ours(folder: Path, info: _Info, metadata: _Metadata) -> Dataset:
    unlabelled = tuple(metadata.unlabelled)

    def find(split: str) -> list[Pair]:
        return [
            (
                _Pixels(record, "image", "name", channels=(3,)),
                None if split in unlabelled else _Pixels(record, "label", "name", channels=()),
            )
            for record in _records(folder, info, split)
        ]

    return Dataset(
        name=info.name,
        classes=tuple(metadata.classes),
        palette=tuple(metadata.palette),
        splits=tuple(metadata.splits),
        find=find,
        unlabelled=unlabelled,
        check_headers=False,
    )


def _theirs(folder: Path, info: _Info, layout: _Layout, facts: Dataset) -> Dataset:
    there = {split.name for split in info.splits}

    def find(split: str) -> list[Pair]:
        return [
            (
                _File(record, layout.image, layout.name),
                None if split in facts.unlabelled else _File(record, layout.label, layout.name),
            )
            for record in _records(folder, info, layout.splits[split])
        ]

    splits = tuple(split for split in facts.splits if layout.splits.get(split) in there)
    return replace(facts, splits=splits, find=find, check_headers=False)


def _records(folder: Path, info: _Info, split: str) -> list[Record]:
    found = [facts for facts in info.splits if facts.name == split]
    if len(found) != 1:
        raise InputError(
            f'What describes the records must list split "{split}" once, and lists it {len(found)} times. Copy it, or '
            f"prepare the data set again. Received: {folder / _INFO}"
        )
    counts = found[0].shardLengths
    paths = (folder / _shard(info, found[0], number, len(counts)) for number in range(len(counts)))
    return [record for path, count in zip(paths, counts, strict=True) for record in Shard(path).records(count)]


def _shard(info: _Info, split: _Split, number: int, count: int) -> str:
    name = split.filepathTemplate or "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
    values = {
        "DATASET": info.name,
        "SPLIT": split.name,
        "FILEFORMAT": info.fileFormat,
        "SHARD_X_OF_Y": f"{number:05}-of-{count:05}",
    }
    for key, value in values.items():  # not `format`, which takes widths of any size
        name = name.replace(f"{{{key}}}", value)
    return Path(name).name  # in the folder, whatever it says


def _load(path: Path, structure: type[_Described]) -> _Described:
    return read_json(path, structure, "What describes the records", "Copy it, or prepare the data set again.")
