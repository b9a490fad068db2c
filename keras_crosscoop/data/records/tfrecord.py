"""Random access to TFRecord files: finds each record, and the value of each feature in it.

A file is a sequence of records: the length in 8 bytes, its checksum in 4, the data, the data's checksum in 4. The data
are a `tf.train.Example`. Parsing the whole message would copy its pixels several times, so only the few bytes between
the values are parsed here.

As in TensorFlow's reader, checksums are compared: the checksum of a length when the file is opened, the checksum of the
data when a process first reads the record.
"""

import errno
import os
import struct
from functools import cached_property
from pathlib import Path

import google_crc32c

from keras_crosscoop.errors import InputError, reason

_LENGTH, _CHECKSUM = 8, 4  # bytes
_BLOCK = 1 << 16  # bytes read at once for a checksum: small enough for the processor's cache
_HEAD = 128  # bytes at the start of a feature, enough for everything before its value
_REMEDY = "Copy it again, or prepare the data set again."


class Shard:
    """A TFRecord file, which stays open while something refers to it.

    Raises:
        InputError: The file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._descriptor = os.open(path, os.O_RDONLY)
        except (OSError, ValueError) as error:  # ValueError: a null byte in the path
            remedy = _REMEDY
            if getattr(error, "errno", None) == errno.EMFILE:
                remedy = "Allow more open files with `ulimit -n`: every shard stays open."
            raise InputError(
                f"A shard of the records cannot be opened ({reason(error)}). {remedy} Received: {path}"
            ) from error

    def __reduce__(self) -> tuple:
        return Shard, (self.path,)  # an unpickled copy opens the file itself

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)

    def read(self, start: int, length: int) -> bytes:
        """Reads `length` bytes, or fewer at the end of the file."""
        return os.pread(self._descriptor, length, start)

    def records(self, count: int) -> list["Record"]:
        """Returns all records.

        Args:
            count: The expected number of records.

        Raises:
            InputError: The file is truncated or damaged, or holds a different number of records.
        """
        size, start, records = os.fstat(self._descriptor).st_size, 0, []
        while start < size and len(records) <= count:
            head = self.read(start, _LENGTH + _CHECKSUM)
            length = int.from_bytes(head[:_LENGTH], "little")
            if len(head) == _LENGTH + _CHECKSUM and _masked(google_crc32c.value(head[:_LENGTH])) != head[_LENGTH:]:
                raise self._damaged(f"is damaged: the length of record {len(records)} does not match its checksum")
            data, start = start + _LENGTH + _CHECKSUM, start + _LENGTH + length + 2 * _CHECKSUM
            if len(head) < _LENGTH + _CHECKSUM or start > size:
                raise self._damaged(f"is truncated in record {len(records)}")
            records.append(Record(self, len(records), data, length))
        if len(records) != count:
            actual = len(records) if start >= size else "more"
            raise self._damaged(f"must hold {count} records, but holds {actual}")
        return records

    def _damaged(self, problem: str) -> InputError:
        return InputError(f"A shard {problem}. {_REMEDY} Received: {self.path}")


class Record:
    """One `tf.train.Example`, whose values are read one by one.

    Args:
        shard: The file.
        number: The number of the record in the file.
        start: The position of its data in the file.
        length: The length of its data in bytes.
    """

    def __init__(self, shard: Shard, number: int, start: int, length: int) -> None:
        self.shard = shard
        self.number = number
        self.start = start
        self.length = length

    def __str__(self) -> str:
        return f"{self.shard.path}, record {self.number}"

    def read(self, feature: str) -> bytes:
        """Reads the value of a feature that holds one string.

        Raises:
            InputError: There is no such feature, or the file was truncated meanwhile.
        """
        if feature not in self._values:
            raise self.damaged(f"{feature} is missing")
        start, length = self._values[feature]
        data = self.shard.read(start, length)
        if len(data) < length:
            raise self.damaged(f"{feature} is truncated")
        return data

    def integers(self, feature: str) -> tuple[int, ...]:
        """Reads the values of a feature that holds non-negative integers.

        Raises:
            InputError: There is no such feature, or it is damaged.
        """
        data, at, values = self.read(feature), 0, []
        try:
            while at < len(data):
                value, at = _varint(data, at)
                values.append(value)
        except IndexError as error:
            raise self.damaged(f"{feature} is truncated") from error
        return tuple(values)

    def damaged(self, reason: str) -> InputError:
        """Returns the error for a damaged record."""
        return InputError(
            f"A record is damaged ({reason}). Copy its shard again, or prepare the data set again. Received: {self}"
        )

    @cached_property
    def _values(self) -> dict[str, tuple[int, int]]:
        """The position in the file and the length of each feature's value. The checksum is verified first."""
        end, checksum = self.start + self.length, 0
        for start in range(self.start, end, _BLOCK):
            checksum = google_crc32c.extend(checksum, self.shard.read(start, min(_BLOCK, end - start)))
        if _masked(checksum) != self.shard.read(end, _CHECKSUM):
            raise self.damaged("its checksum is wrong")
        try:
            return self._locate()
        except (IndexError, ValueError, struct.error) as error:
            raise self.damaged("it is not a tf.train.Example") from error

    def _locate(self) -> dict[str, tuple[int, int]]:
        values, end = {}, self.start + self.length
        _, at = _field(self.shard.read(self.start, min(_HEAD, self.length)), 0, 1)  # the features of the example
        position = self.start + at
        while position < end:
            head = self.shard.read(position, min(_HEAD, end - position))
            size, at = _field(head, 0, 1)  # an entry of the map: name and feature
            next_position = position + at + size
            size, at = _field(head, at, 1)
            name, at = head[at : at + size].decode(), at + size
            _, at = _field(head, at, 2)
            _, at = _field(head, at, 1, 3)  # a list of strings or of integers
            size, at = _field(head, at, 1)
            values[name] = position + at, size
            if position + at + size != next_position:
                raise ValueError(name)  # several strings
            position = next_position
        return values


def _masked(checksum: int) -> bytes:
    """Masks a CRC-32C as TFRecord files store it: rotated and shifted, so that records may contain records."""
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8 & 0xFFFFFFFF).to_bytes(_CHECKSUM, "little")


def _field(data: bytes, at: int, *numbers: int) -> tuple[int, int]:
    """Returns the length and the start of the content of a protobuf field with one of these numbers."""
    if data[at] not in [number << 3 | 2 for number in numbers]:  # 2: a field with its length in front
        raise ValueError(data[at])
    return _varint(data, at + 1)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Returns a protobuf integer (7 bits per byte, the lowest first) and the position after it."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
