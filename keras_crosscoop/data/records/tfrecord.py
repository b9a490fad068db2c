"""TFRecord files with random access: where each record lies, and where in it each feature's value.

A file is a sequence of records: the length in 8 bytes, its checksum in 4, the data, their checksum in 4. The data are a
`tf.train.Example`. Parsing one copies its pixels several times, so only the few bytes between its values are looked at.

Checksums are compared as TensorFlow's own reader does: those of the lengths when a file is opened, that of a record's
data when it is first read, once a process.
"""

import errno
import os
import struct
from functools import cached_property
from pathlib import Path

import google_crc32c

from keras_crosscoop.errors import InputError

_LENGTH, _CHECKSUM = 8, 4  # bytes
_BLOCK = 1 << 16  # bytes that are read at once for a checksum: they stay in the processor's cache
_HEAD = 128  # bytes of an entry of the example that hold all but its value


class Shard:
    """A TFRecord file, kept open as long as something refers to it.

    Raises:
        InputError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._descriptor = os.open(path, os.O_RDONLY)
        except (OSError, ValueError) as error:  # a null in its name
            remedy = "Copy it, or prepare the data set again"
            if getattr(error, "errno", None) == errno.EMFILE:
                remedy = "Allow more open files by `ulimit -n`: each shard is one"
            raise InputError(
                f"A shard of the records cannot be opened ({getattr(error, 'strerror', error)}). {remedy}. "
                f"Received: {path}"
            ) from error

    def __reduce__(self) -> tuple:
        return Shard, (self.path,)  # a copy opens the file for itself

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)

    def read(self, start: int, length: int) -> bytes:
        """These bytes of the file, fewer at its end."""
        return os.pread(self._descriptor, length, start)

    def read_into(self, buffer: memoryview, start: int) -> int:
        """Fills the buffer from the file and returns how many bytes there were."""
        return os.preadv(self._descriptor, [buffer], start)

    def records(self, count: int) -> list["Record"]:
        """All records, of which there must be as many.

        Raises:
            InputError: the file breaks off, or holds another number of records.
        """
        size, start, records = os.fstat(self._descriptor).st_size, 0, []
        while start < size and len(records) <= count:
            head = self.read(start, _LENGTH + _CHECKSUM)
            length = int.from_bytes(head[:_LENGTH], "little")
            if len(head) == _LENGTH + _CHECKSUM and _masked(google_crc32c.value(head[:_LENGTH])) != head[_LENGTH:]:
                raise InputError(
                    f"A shard is damaged: the length of its record {len(records)} is not as it was written. Copy it "
                    f"again, or prepare the data set again. Received: {self.path}"
                )
            data, start = start + _LENGTH + _CHECKSUM, start + _LENGTH + length + 2 * _CHECKSUM
            if len(head) < _LENGTH + _CHECKSUM or start > size:
                raise InputError(
                    f"A shard breaks off in its record {len(records)}. Copy it again, or prepare the data set again. "
                    f"Received: {self.path}"
                )
            records.append(Record(self, len(records), data, length))
        if len(records) != count:
            raise InputError(
                f"A shard must hold {count} records, and this one holds {len(records) if start >= size else 'more'}. "
                f"Copy it again, or prepare the data set again. Received: {self.path}"
            )
        return records


class Record:
    """One `tf.train.Example`, read value by value.

    Args:
        shard: the file that holds it.
        number: its place in there.
        start: the first of its bytes in there.
        length: how many they are.
    """

    def __init__(self, shard: Shard, number: int, start: int, length: int) -> None:
        self.shard = shard
        self.number = number
        self.start = start
        self.length = length

    def __str__(self) -> str:
        return f"{self.shard.path}, record {self.number}"

    def size(self, feature: str) -> int:
        """How many bytes `read` gives."""
        return self._value(feature)[1]

    def read(self, feature: str, header: bytes = b"") -> bytes:
        """The value of a feature of one string, behind a header.

        Raises:
            InputError: there is none, or the file is shorter than it was.
        """
        start, length = self._value(feature)
        if not header:
            data = self.shard.read(start, length)
            count = len(data)
        else:  # one copy less than `header + data`, which takes 30 times as long for 6 MB
            data = bytearray(len(header) + length)
            data[: len(header)] = header
            count = self.shard.read_into(memoryview(data)[len(header) :], start)
        if count < length:
            raise self.damaged(f"{feature} breaks off")
        return data

    def integers(self, feature: str) -> tuple[int, ...]:
        """The values of a feature of integers, none of them negative.

        Raises:
            InputError: there is none.
        """
        data, at, found = self.read(feature), 0, []
        try:
            while at < len(data):
                number, at = _varint(data, at)
                found.append(number)
        except IndexError as error:
            raise self.damaged(f"{feature} breaks off") from error
        return tuple(found)

    def damaged(self, reason: str) -> InputError:
        """The error of a record that cannot be understood."""
        return InputError(
            f"A record is damaged ({reason}). Copy its shard again, or prepare the data set again. Received: {self}"
        )

    def _value(self, feature: str) -> tuple[int, int]:
        if feature not in self._values:
            raise self.damaged(f"{feature} is missing")
        return self._values[feature]

    @cached_property
    def _values(self) -> dict[str, tuple[int, int]]:
        """Feature -> the first byte of its value in the file, and its length.

        They are found once, and what they lie in is compared with its checksum by then.
        """
        self._verify()
        try:
            return self._locate()
        except (IndexError, ValueError, struct.error) as error:
            raise self.damaged("it is no tf.train.Example") from error

    def _verify(self) -> None:
        end, checksum = self.start + self.length, 0
        for start in range(self.start, end, _BLOCK):
            checksum = google_crc32c.extend(checksum, self.shard.read(start, min(_BLOCK, end - start)))
        if _masked(checksum) != self.shard.read(end, _CHECKSUM):
            raise self.damaged("it is not as it was written: its checksum is another")

    def _locate(self) -> dict[str, tuple[int, int]]:
        found, end = {}, self.start + self.length
        _, at = _field(self.shard.read(self.start, min(_HEAD, self.length)), 0, 1)  # its features
        position = self.start + at
        while position < end:
            head = self.shard.read(position, min(_HEAD, end - position))
            size, at = _field(head, 0, 1)  # an entry of the map: name and feature
            after = position + at + size
            size, at = _field(head, at, 1)
            name, at = head[at : at + size].decode(), at + size
            _, at = _field(head, at, 2)
            _, at = _field(head, at, 1, 3)  # a list of strings, or of integers
            size, at = _field(head, at, 1)
            found[name] = position + at, size
            if position + at + size != after:
                raise ValueError(name)  # more than one string
            position = after
        return found


def _masked(checksum: int) -> bytes:
    """A CRC-32C as TFRecord files hold it: turned and shifted, so that records may hold records."""
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8 & 0xFFFFFFFF).to_bytes(_CHECKSUM, "little")


def _field(data: bytes, at: int, *numbers: int) -> tuple[int, int]:
    """The length of a field of one of these numbers that starts here, and where its content starts."""
    if data[at] not in [number << 3 | 2 for number in numbers]:  # 2: its length stands in front
        raise ValueError(data[at])
    return _varint(data, at + 1)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The integer that starts here, and where the next thing does: 7 bits a byte, lowest first."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
