"""Label files as NumPy arrays (`.npy`), and labels stored as floating-point numbers."""

import os
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np

from keras_crosscoop.errors import InputError, reason
from keras_crosscoop.system.files import ReadableFile

_MAGIC = b"\x93NUMPY"


def is_array(path: str | os.PathLike | ReadableFile, content: BinaryIO | None = None) -> bool:
    """Whether a file, or its `content`, is a NumPy array. A file that cannot be read is none."""
    if content is not None:
        position = content.tell()
        start = content.read(len(_MAGIC))
        content.seek(position)
        return start == _MAGIC
    return os.fspath(path).endswith(".npy") if isinstance(path, str | os.PathLike) else path.name.endswith(".npy")


def read_label(
    path: str | os.PathLike | ReadableFile, content: BinaryIO | None = None, *, colours: bool = False
) -> np.ndarray:
    """Reads integers, int32 `(H, W)`, or colours, uint8 `(H, W, 3)`, of a NumPy array.

    Raises:
        InputError: The array cannot be read, has another shape, or does not hold whole numbers.
    """
    pixels = read_stored(path, content)
    if colours and pixels.ndim == 2:
        if pixels.size and (pixels.min() < 0 or pixels.max() > 255):
            raise InputError(f"A label must hold colours, not integers outside 0 to 255. Received: {path}")
        return np.repeat(pixels.astype(np.uint8)[..., None], 3, axis=-1)
    if not colours and pixels.ndim == 3:
        if not (pixels[..., :1] == pixels[..., 1:]).all():
            raise InputError(f"A label must hold one class id per pixel, not colours. Received: {path}")
        return pixels[..., 0].astype(np.int32)
    return pixels


def read_stored(path: str | os.PathLike | ReadableFile, content: BinaryIO | None = None) -> np.ndarray:
    """Reads the integers, int32 `(H, W)`, or the colours, uint8 `(H, W, 3)`, that a NumPy array holds.

    Raises:
        InputError: As for `read_label`.
    """
    try:
        if content is None:
            content = BytesIO(Path(path).read_bytes() if isinstance(path, str | os.PathLike) else path.read_bytes())
        array = np.load(content, allow_pickle=False)
    except Exception as error:  # damaged files make NumPy raise errors of several types
        raise InputError(
            f"The array cannot be read ({reason(error)}). Replace or remove it. Received: {path}"
        ) from error
    if array.ndim == 3 and 1 in (array.shape[0], array.shape[-1]):
        array = array[0] if array.shape[0] == 1 else array[..., 0]
    if array.ndim == 3 and array.shape[-1] == 3 and array.dtype == np.uint8:
        return array
    if array.ndim != 2:
        raise InputError(
            f"A label must be an array (H, W) of one class id per pixel, not {array.dtype} {array.shape}. Convert "
            f"one-hot labels by `argmax`. Received: {path}"
        )
    return as_integers(array, path)


def label_size(path: str | os.PathLike | ReadableFile) -> tuple[int, int]:
    """Reads `(H, W)` of a NumPy array.

    Raises:
        InputError: As for `read_label`.
    """
    try:
        shape = np.load(path, mmap_mode="r", allow_pickle=False).shape
    except Exception:  # not a path, or damaged
        return read_stored(path).shape[:2]
    if len(shape) == 3 and 1 in (shape[0], shape[-1]):
        shape = shape[1:] if shape[0] == 1 else shape[:2]
    return shape[:2]


def as_integers(array: np.ndarray, path: object) -> np.ndarray:
    """Converts whole numbers of any type to int32; NaN becomes -1.

    Raises:
        InputError: A number is not whole, or does not fit into 32 bits.
    """
    if array.dtype.kind not in "buif":
        raise InputError(f"A label must hold whole numbers, not {array.dtype}. Received: {path}")
    if array.dtype.kind == "f":
        array = np.where(np.isnan(array), -1, array)
        if not (np.isfinite(array) & (array == np.round(array))).all():
            raise InputError(
                f"A label must hold whole numbers, one class id per pixel, but it holds {_first_fraction(array)}. "
                f"Received: {path}"
            )
    if array.dtype.itemsize > 2 and array.size:
        if array.dtype.kind in "uf" and array.max() == np.iinfo(np.uint32).max:  # -1 as an unsigned number
            array = np.where(array == np.iinfo(np.uint32).max, -1, array.astype(np.int64))
        if array.min() < np.iinfo(np.int32).min or array.max() > np.iinfo(np.int32).max:
            raise InputError(f"A label must hold class ids, but it holds {array.max()}. Received: {path}")
    return array.astype(np.int32)


def _first_fraction(array: np.ndarray) -> float:
    return float(array[~(np.isfinite(array) & (array == np.round(array)))][0])
