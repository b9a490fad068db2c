"""Checks of HDF5 files of weights: they may only contain plain arrays of numbers, stored in the file itself.

HDF5 can also refer to arrays in other files of the machine (external storage, virtual data sets, external links; Keras
refuses them since CVE-2026-1669), link in circles, and compress arrays a thousandfold. Keras uses none of these
features, so files that do are refused before any array is read.
"""

import math
import mmap
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from keras_crosscoop.errors import InputError

_MAX_OBJECTS = 200_000  # groups and arrays; the paper's pair with its optimizer has about 5,000
_MAX_DEPTH = 64  # groups within groups
_MAX_STRINGS = 100_000  # in an attribute

_HEAP = b"GCOL\x01"  # the first bytes of a heap
_ENTRY = 16  # bytes before the content of a heap, and of each of its entries


def check_self_contained(file: h5py.File, path: Path) -> None:
    """Refuses a file with anything but groups and plain arrays of its own, together no larger than the file.

    Raises:
        InputError: It has anything else. The error names it.
    """
    pending: list[tuple[h5py.Group, int]] = [(file, 0)]
    seen, size = {_address(file)}, 0
    while pending:
        group, depth = pending.pop()
        for key in group:
            link = group.id.links.get_info(key.encode("utf-8", "surrogateescape"))
            item = group[key] if link.type == h5py.h5l.TYPE_HARD else None
            plain = isinstance(item, h5py.Group) or (isinstance(item, h5py.Dataset) and _is_plain(item))
            if not plain or _address(item) in seen or len(seen) > _MAX_OBJECTS or depth > _MAX_DEPTH:
                raise _refusal(f"{group.name.rstrip('/')}/{key}", path)
            seen.add(_address(item))
            if isinstance(item, h5py.Group):
                pending.append((item, depth + 1))
            else:
                size += item.nbytes
    if size > file.id.get_filesize():
        raise _refusal(f"arrays of {size:,} bytes", path)


def check_heaps(path: Path) -> None:
    """Refuses a file whose string heaps have an entry of length 0, at which HDF5 would loop forever.

    Raises:
        InputError: There is such an entry.
        OSError, ValueError: The file cannot be read, or is empty.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        heap = content.find(_HEAP)
        most = len(content) // _ENTRY  # more entries need overlapping heaps, made to keep this loop busy
        while heap >= 0:
            length = int.from_bytes(content[heap + 8 : heap + 16], "little")
            entry, end = heap + _ENTRY, min(heap + length, len(content))
            while entry + _ENTRY <= end:
                number = int.from_bytes(content[entry : entry + 2], "little")
                size = int.from_bytes(content[entry + 8 : entry + 16], "little")
                step = (_ENTRY + -(-size // 8) * 8 if number else size) % 2**64  # as HDF5 computes it
                most -= 1
                if not step or most < 0:
                    raise _refusal("a damaged string heap", path)
                entry += step
            heap = content.find(_HEAP, heap + 1)


def _address(item: h5py.HLObject) -> tuple[int, int]:
    info = h5py.h5o.get_info(item.id)
    return info.fileno, info.addr


def _is_plain(array: h5py.Dataset) -> bool:
    """Whether an array holds numbers, all of them in the file itself and uncompressed."""
    layout = array.id.get_create_plist()
    if layout.get_layout() == h5py.h5d.VIRTUAL or layout.get_external_count() or layout.get_nfilters():
        return False
    complete = array.shape is not None and array.id.get_storage_size() >= math.prod(array.shape) * array.dtype.itemsize
    return complete and _holds_numbers(array)


def _holds_numbers(array: h5py.Dataset) -> bool:
    if array.dtype == np.dtype("V2"):  # two raw bytes
        return string_attribute(array, "dtype") == ["bfloat16"]
    return array.dtype.kind in "fiub" and array.dtype.itemsize <= 8


def string_attribute(item: h5py.HLObject, name: str) -> list[str]:
    """Returns the strings in an attribute; an empty list if it is absent.

    Raises:
        ValueError: It holds anything else.
    """
    if name not in item.attrs:
        return []
    attribute = item.attrs.get_id(name)
    if attribute.shape and 0 in attribute.shape:
        return []  # Keras 2 stored empty lists as numbers
    if h5py.check_string_dtype(attribute.dtype) is None or math.prod(attribute.shape or ()) > _MAX_STRINGS:
        raise ValueError(f"attribute {name} of {item.name} is not a list of strings")
    values: Any = np.ravel(item.attrs[name])
    return [value.decode() if isinstance(value, bytes) else str(value) for value in values]


def _refusal(part: str, path: Path) -> InputError:
    return InputError(
        "A file of weights may hold only complete and uncompressed arrays of numbers, each once and in the file "
        "itself. Fetch it from where it was published, or write it again: a compressed one with `h5repack -f NONE`. "
        f"Received: {part} in {path}"
    )
