"""Codings: which stored values or colours of a label file stand for which class."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from keras_crosscoop.errors import InputError, join_names
from keras_crosscoop.images.palettes import RGB
from keras_crosscoop.labels import IGNORE_LABEL, INVALID_LABEL
from keras_crosscoop.system.files import ReadableFile

Stored = int | RGB  # a value or a colour in a label file


@dataclass(frozen=True, eq=False)
class Coding:
    """The class of each stored value, or of each stored colour.

    Attributes:
        ids: The class id, or `IGNORE_LABEL`, of each stored value, an integer, or of each colour, `(r, g, b)`.
        nearest: Whether other values stand for the nearest listed one, as in JPEG files. Otherwise they are an error.

    Raises:
        ValueError: There are both values and colours.

    Example:
        >>> import numpy as np
        >>> binary = Coding({0: 0, 255: 1})
        >>> binary.classes(np.array([[0, 255]], np.uint8), "mask.png")
        array([[0, 1]], dtype=uint8)
    """

    ids: Mapping[Stored, int]
    nearest: bool = False

    def __post_init__(self) -> None:
        if len({isinstance(key, tuple) for key in self.ids}) > 1:
            raise ValueError("A coding lists values or colours, not both.")

    @classmethod
    def of_ids(cls, ids: Iterable[int]) -> "Coding":
        """Returns the coding of label files whose values are 0, 1, ... for these ids; 255 is void."""
        return cls({**dict(enumerate(ids)), IGNORE_LABEL: IGNORE_LABEL})

    @property
    def by_colour(self) -> bool:
        """Whether label files are read as colours, `(H, W, 3)`, instead of integers, `(H, W)`."""
        return isinstance(next(iter(self.ids)), tuple)

    def classes(self, stored: np.ndarray, file: ReadableFile | str) -> np.ndarray:
        """Converts stored values `(h, w)`, or colours, uint8 `(h, w, 3)`, to class ids, uint8 `(h, w)`.

        Args:
            stored: The pixels of the label file.
            file: The file, for errors.

        Raises:
            InputError: A value is not listed, and `nearest` is false.
        """
        ids = self._of_colours(stored) if self.by_colour else self._of_values(stored)
        if INVALID_LABEL in ids:  # compares a byte at a time
            place = np.unravel_index(int(np.argmax(ids == INVALID_LABEL)), ids.shape)
            raise self._unlisted(stored[place], file)
        return ids

    def inexact(self, stored: np.ndarray) -> int:
        """Counts the pixels whose value is not listed."""
        exact = Coding(self.ids) if self.nearest else self
        ids = exact._of_colours(stored) if exact.by_colour else exact._of_values(stored)
        return int(np.count_nonzero(ids == INVALID_LABEL))

    def _of_values(self, values: np.ndarray) -> np.ndarray:
        if values.dtype != np.uint8:
            if values.size and values.min() >= 0 and values.max() <= 255:
                values = values.astype(np.uint8)
            else:
                return self._of_wide_values(values)
        # `bytes.translate` takes a third of a nanosecond per pixel; NumPy and TensorFlow take 5.
        return np.frombuffer(values.tobytes().translate(self._byte_table), np.uint8).reshape(values.shape)

    def _of_wide_values(self, values: np.ndarray) -> np.ndarray:
        keys = np.array(sorted(self.ids))
        ids = np.array([self.ids[key] for key in keys.tolist()], np.uint8)
        after = np.searchsorted(keys, values).clip(0, len(keys) - 1)
        before = (after - 1).clip(0)
        is_before = np.abs(values - keys[before]) < np.abs(values - keys[after])
        index = np.where(is_before, before, after)
        return np.where(self.nearest | (keys[index] == values), ids[index], np.uint8(INVALID_LABEL))

    def _of_colours(self, colours: np.ndarray) -> np.ndarray:
        packed = _pack(colours)
        ids = self._colour_table.take(packed)
        if self.nearest and INVALID_LABEL in ids:
            new = np.unique(packed[ids == INVALID_LABEL])
            self._colour_table[new] = self._nearest_ids(_unpack(new))  # later pixels of these colours are in the table
            ids = self._colour_table.take(packed)
        return ids

    def _nearest_ids(self, colours: np.ndarray) -> np.ndarray:
        """Returns the ids of the nearest listed colours of uint8 `(n, 3)`."""
        listed, ids = np.array([*self.ids], np.float32), np.array([*self.ids.values()], np.uint8)
        nearest = np.empty(len(colours), np.uint8)
        for start in range(0, len(colours), 65536):  # bounds the memory
            block = colours[start : start + 65536].astype(np.float32)
            distances = ((block[:, None] - listed) ** 2).sum(-1)
            nearest[start : start + 65536] = ids[distances.argmin(1)]
        return nearest

    @cached_property
    def _byte_table(self) -> bytes:
        """The class id, `IGNORE_LABEL` or `INVALID_LABEL`, of each of the 256 values."""
        return self._of_wide_values(np.arange(256)).tobytes()

    @cached_property
    def _colour_table(self) -> np.ndarray:
        """The same for each of the 2^24 colours, uint8: one look-up per pixel. Processes share its untouched pages."""
        table = np.full(1 << 24, INVALID_LABEL, np.uint8)
        for colour, class_id in self.ids.items():
            table[_pack(np.array(colour, np.uint8))] = class_id
        return table

    def __getstate__(self) -> dict:
        return {"ids": self.ids, "nearest": self.nearest}  # without the tables

    def _unlisted(self, stored: np.ndarray, file: ReadableFile | str) -> InputError:
        kind, value = ("colour", text_of(tuple(stored.tolist()))) if self.by_colour else ("value", str(stored))
        listed = [key for key, class_id in self.ids.items() if class_id != IGNORE_LABEL]
        void = [key for key, class_id in self.ids.items() if class_id == IGNORE_LABEL]
        return InputError(
            f"A label holds {kind} {value}, but its classes are {kind}s {_enumerate(listed)}"
            f"{f', and void is {_enumerate(void)}' if void else ''}. Is it complete, and not re-saved by another tool? "
            f"Received: {file}"
        )


def text_of(stored: Stored) -> str:
    """Returns a stored value as text: "7", or "#804080" for a colour.

    Example:
        >>> text_of((128, 64, 128))
        '#804080'
    """
    return str(stored) if isinstance(stored, int) else f"#{bytes(stored).hex()}"


def _enumerate(stored: Sequence[Stored]) -> str:
    """Lists stored values; successive integers as a range."""
    if len(stored) > 2 and list(stored) == list(range(len(stored))):
        return f"0 to {stored[-1]}"
    return join_names([text_of(value) for value in stored])


def _pack(colours: np.ndarray) -> np.ndarray:
    """Packs colours, uint8 `(..., 3)`, into integers, int32 `(...)`, with red in the lowest byte.

    Four bytes from the start of each colour are read as one integer, in a fifth of the time of shifting three arrays.
    """
    padded = np.zeros(colours.size + 1, np.uint8)
    padded[:-1].reshape(colours.shape)[...] = colours
    overlapping = np.ndarray(colours.size // 3, "<i4", padded, strides=3)
    return (overlapping & 0xFFFFFF).reshape(colours.shape[:-1])


def _unpack(packed: np.ndarray) -> np.ndarray:
    return np.stack([packed & 255, packed >> 8 & 255, packed >> 16], axis=-1).astype(np.uint8)
