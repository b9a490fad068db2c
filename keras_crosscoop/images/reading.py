"""How the stored values of image files become RGB: the range of values, the channels and the orientation."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from keras_crosscoop.errors import InputError

# Turns an image upright, by its EXIF orientation.
_UPRIGHT: Mapping[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
    8: lambda x: np.rot90(x),
}
_INVERSE = {6: 8, 8: 6}  # the others are their own


@dataclass(frozen=True)
class ImageReading:
    """How image files are read. It is the same for all images of a data set, and for those that its model sees later.

    Attributes:
        range: The values that become 0 and 255, of images with more than 8 bits. By default, integers of 16 bits have
            the range 0 to 65535, and floating-point values are refused.
        channels: The numbers of the channels that are red, green and blue, from 1 on. By default the first three; a
            fourth channel is transparency if the file says so and it looks like it. Images with one channel stay grey.
        orientation: "exif" turns images as their EXIF orientation says; "stored" leaves them as they are. By default
            "exif", unless only the size as stored agrees with the mask.
        slice: The number of the slice to read from each stack of slices, from 1 on.

    Raises:
        InputError: The range is empty, or a number is below 1.

    Example:
        >>> ImageReading(range=(0, 4095)).scale(np.array([0, 2048, 4095], np.uint16))
        array([  0, 128, 255], dtype=uint8)
    """

    range: tuple[float, float] | None = None
    channels: tuple[int, int, int] | None = None
    orientation: Literal["exif", "stored"] | None = None
    slice: int | None = None

    def __post_init__(self) -> None:
        for name in ("range", "channels"):  # JSON knows no tuples
            if isinstance(getattr(self, name), list):
                object.__setattr__(self, name, tuple(getattr(self, name)))
        if self.range is not None and not self.range[0] < self.range[1]:
            raise InputError(f"The range of image values must rise, as [0, 4095] does. Received: {[*self.range]}")
        if self.channels is not None and min(self.channels) < 1:
            raise InputError(f"Channels are numbered from 1 on. Received: channels: {[*self.channels]}")
        if self.slice is not None and self.slice < 1:
            raise InputError(f"Slices are numbered from 1 on. Received: slice: {self.slice}")

    def scale(self, values: np.ndarray) -> np.ndarray:
        """Scales values from the range to 0 to 255 and rounds them, uint8; 8-bit values stay as they are.

        Values outside of the range become 0 or 255; values that are not numbers become 0.
        """
        if values.dtype == np.uint8:
            return values
        low, high = self.range
        if values.dtype == np.uint16:
            return _table_16_bit(low, high)[values]
        return _scale(values, low, high)


DEFAULT_READING = ImageReading()
DESCRIPTION_FILE = "dataset.yaml"  # says how images, and perhaps labels, are read: in a run's folder or a data set's


def turn_upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turns an image `(H, W, ...)` as an EXIF orientation says."""
    return _UPRIGHT[orientation](pixels) if orientation in _UPRIGHT else pixels


def turn_back(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Undoes `turn_upright`."""
    return turn_upright(pixels, _INVERSE.get(orientation, orientation))


def _scale(values: np.ndarray, low: float, high: float) -> np.ndarray:
    scaled = (values.astype(np.float64 if values.dtype.itemsize > 4 else np.float32) - low) * (255 / (high - low))
    return np.rint(np.nan_to_num(scaled, nan=0.0).clip(0, 255)).astype(np.uint8)


@lru_cache(maxsize=4)
def _table_16_bit(low: float, high: float) -> np.ndarray:
    return _scale(np.arange(65536, dtype=np.float64), low, high)
