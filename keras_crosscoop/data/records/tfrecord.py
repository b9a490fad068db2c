"""Random access to TFRecord files: finds each record, and the value of each feature in it.

A file is a sequence of records: the length in 8 bytes, its checksum in 4, the data, the data's checksum in 4. The data
are a `tf.train.Example`. Parsing the whole message for every value would copy its pixels several times, so only the few
bytes between the values are parsed, once.

As in TensorFlow's reader, checksums are compared: the checksum of a length when the file is opened, the checksum of the
data when a process first reads the record.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import google_crc32c

from keras_crosscoop.errors import InputError, reason

_LENGTH, _CHECKSUM = 8, 4  # bytes
_REMEDY = "Copy it again, or prepare the data set again."


def list_records(path: Path, count: int) -> list["Record"]:
    """Lists the records in a TFRecord file, which must hold `count` of them.

    Raises:
        InputError: The file cannot be read, is truncated or damaged, or holds a different number of records.
    """
    start, records = 0, []
    with _open(path) as file:
        size = path.stat().st_size
        while start < size:
            file.seek(start)
            length, checksum = file.read(_LENGTH), file.read(_CHECKSUM)
            record = Record(path, len(records), start + _LENGTH + _CHECKSUM, int.from_bytes(length, "little"))
            start = record.start + record.length + _CHECKSUM
            if checksum != _masked_checksum(length) or start > size:
                raise InputError(f"A shard is damaged in record {record.number}. {_REMEDY} Received: {path}")
            records.append(record)
    if len(records) != count:
        raise InputError(f"A shard must hold {count} records, but holds {len(records)}. {_REMEDY} Received: {path}")
    return records


@dataclass(frozen=True)
class Record:
    """One `tf.train.Example` in a file, whose values are read one by one."""

    path: Path
    number: int  # its place among the records of the file
    start: int  # the position of its data in the file
    length: int  # of its data, in bytes

    def __str__(self) -> str:
        return f"{self.path}, record {self.number}"

    def read(self, *features: str) -> list[bytes]:
        """Reads the values of features: the string, or the integers as protobuf encodes them.

        Raises:
            InputError: There is no such feature, the record is damaged, or the file cannot be read.
        """
        values = []
        with _open(self.path) as file:
            for feature in features:
                if feature not in self._positions:
                    raise self.damaged(f"{feature} is missing")
                start, length = self._positions[feature]
                file.seek(start)
                values.append(file.read(length))
        return values

    def data(self) -> bytes:
        """Reads the whole `tf.train.Example`.

        Raises:
            InputError: The record is damaged, or the file cannot be read.
        """
        with _open(self.path) as file:
            file.seek(self.start)
            data, checksum = file.read(self.length), file.read(_CHECKSUM)
        if checksum != _masked_checksum(data):
            raise self.damaged("its checksum is wrong")
        return data

    def damaged(self, problem: str) -> InputError:
        """Returns the error for a damaged record."""
        return InputError(f"A record is damaged ({problem}). {_REMEDY} Received: {self}")

    @cached_property
    def _positions(self) -> dict[str, tuple[int, int]]:
        """The position in the file and the length of each feature's value. The checksum is verified first."""
        data = self.data()
        try:
            return {name: (self.start + at, length) for name, at, length in _values(data)}
        except (IndexError, ValueError) as error:
            raise self.damaged("it is not a tf.train.Example") from error


@contextmanager
def _open(path: Path) -> Iterator[BinaryIO]:
    try:
        with path.open("rb") as file:
            yield file
    except InputError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise InputError(
            f"A shard of the records cannot be read ({reason(error)}). {_REMEDY} Received: {path}"
        ) from error


def _masked_checksum(data: bytes) -> bytes:
    """Returns the CRC-32C of data as TFRecord files store it: rotated and shifted, so that records may hold records."""
    checksum = google_crc32c.value(data)
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8 & 0xFFFFFFFF).to_bytes(_CHECKSUM, "little")


def _values(example: bytes) -> Iterator[tuple[str, int, int]]:
    """Yields the name of each feature, and the start and length of its value."""
    _, at = _field(example, 0, 1)
    while at < len(example):
        size, at = _field(example, at, 1)  # an entry of the map: name and feature
        end = at + size
        size, at = _field(example, at, 1)
        name, at = example[at : at + size].decode(), at + size
        _, at = _field(example, at, 2)
        _, at = _field(example, at, 1, 3)  # a list of strings or of integers
        size, at = _field(example, at, 1)
        if at + size != end or end > len(example):
            raise ValueError(name)  # several strings, or a wrong length
        yield name, at, size
        at = end


def _field(data: bytes, at: int, *numbers: int) -> tuple[int, int]:
    """Returns the length and the start of the content of a protobuf field with one of these numbers."""
    if data[at] not in [number << 3 | 2 for number in numbers]:  # 2: a field with its length in front
        raise ValueError(data[at])
    return _varint(data, at + 1)


def decode_integers(data: bytes) -> tuple[int, ...]:
    """Decodes the value of a feature that holds non-negative integers.

    Raises:
        IndexError: The value is truncated.
    """
    at, values = 0, []
    while at < len(data):
        value, at = _varint(data, at)
        values.append(value)
    return tuple(values)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Returns a protobuf integer (7 bits per byte, the lowest first) and the position after it."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
