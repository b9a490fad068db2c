"""Fast decoding of windows of image and label files, with the same pixels as `images.io`.

TensorFlow decodes common JPEG and PNG files faster than Pillow, and of a JPEG only the blocks that a window touches.
Pillow decodes all other files: rotated, transparent, 16-bit and unusual ones.
"""

from collections.abc import Callable
from io import BytesIO
from typing import BinaryIO, NamedTuple

import numpy as np
import tensorflow as tf
from PIL import ExifTags

from keras_crosscoop.errors import InputError, reason
from keras_crosscoop.images import headers
from keras_crosscoop.images.headers import check_size
from keras_crosscoop.images.io import encode_pnm, open_image, read_image, read_label
from keras_crosscoop.images.reading import DEFAULT_READING, ImageReading
from keras_crosscoop.system.files import ReadableFile

_ReadWindow = Callable[[slice, slice], np.ndarray]


class WindowReader(NamedTuple):
    """An open file whose windows are decoded on demand.

    Attributes:
        size: `(H, W)`.
        read: Decodes the pixels in the given rows and columns.
    """

    size: tuple[int, int]
    read: _ReadWindow


class RawFile:
    """A `ReadableFile` of raw pixels, which need no decoder. Its bytes are a PPM or PGM file."""

    def pixels(self) -> np.ndarray:
        """Returns RGB, uint8 `(H, W, 3)`, or ids, uint8 `(H, W)`.

        Raises:
            InputError: The file is damaged.
        """
        raise NotImplementedError

    def read_bytes(self) -> bytes:
        """Encodes the pixels as a PPM or PGM file."""
        return encode_pnm(self.pixels())

    def open(self, mode: str = "rb") -> BinaryIO:
        """Opens the PPM or PGM file."""
        return BytesIO(self.read_bytes())


def image_reader(file: ReadableFile, reading: ImageReading = DEFAULT_READING) -> WindowReader:
    """Opens an image; its windows are RGB, uint8 `(h, w, 3)`, with the pixels of `read_image`.

    Args:
        file: The image file.
        reading: The range of values, the channels and the orientation.

    Raises:
        InputError: The file cannot be read or is too large (`check_size`). Damage below the header raises an error only
            when a window is decoded.
    """
    if isinstance(file, RawFile):
        return _of_array(file.pixels())
    data = _content(file)

    def by_pillow() -> np.ndarray:
        return read_image(file, BytesIO(data), reading)

    if reading.channels is not None:
        return _of_array(by_pillow())
    if (png := headers.png(data)) and png.plain and png.colour_type in (headers.GREY, headers.COLOURED):
        return _by_tensorflow(file, png.size, _png_decoder(data, channels=3), by_pillow)
    if (
        (jpeg := headers.jpeg(data))
        and jpeg.channels in (1, 3)
        and not (jpeg.has_exif and reading.orientation != "stored" and _is_turned(file, data))
    ):
        return _by_tensorflow(file, jpeg.size, _jpeg_decoder(data, width=jpeg.size[1]), by_pillow)
    return _of_array(by_pillow())


def label_reader(file: ReadableFile, *, colours: bool = False) -> WindowReader:
    """Opens a label; its windows are the stored integers `(h, w)`, or its colours, uint8 `(h, w, 3)`, as `read_label`.

    Raises:
        InputError: The file cannot be read, is too large (`check_size`), or holds colours where integers are expected.
            Damage below the header raises an error only when a window is decoded.
    """
    if isinstance(file, RawFile):
        return _of_array(file.pixels())
    data = _content(file)

    def by_pillow() -> np.ndarray:
        return read_label(file, BytesIO(data), colours=colours)

    png = headers.png(data)
    if colours and png and png.plain and png.colour_type in (headers.GREY, headers.COLOURED, headers.INDEXED):
        return _by_tensorflow(file, png.size, _png_decoder(data, channels=3), by_pillow)
    if not colours and png and png.plain and png.colour_type in (headers.GREY, headers.INDEXED):
        return _by_tensorflow(file, png.size, _png_decoder(headers.as_grey(data, png), channels=1), by_pillow)
    return _of_array(by_pillow())


def _content(file: ReadableFile) -> bytes:
    try:
        return file.read_bytes()
    except InputError:
        raise
    except Exception as error:  # damaged archives raise errors of several types
        raise InputError(
            f"The file cannot be read ({reason(error)}). Is it complete, and may you read it? Received: {file}"
        ) from error


def _of_array(pixels: np.ndarray) -> WindowReader:
    return WindowReader(pixels.shape[:2], lambda rows, columns: pixels[rows, columns])


def _is_turned(file: ReadableFile, data: bytes) -> bool:
    with open_image(file, BytesIO(data)) as image:
        return image.getexif().get(ExifTags.Base.Orientation, 1) != 1


def _by_tensorflow(
    file: ReadableFile, size: tuple[int, int], decode: _ReadWindow, by_pillow: Callable[[], np.ndarray]
) -> WindowReader:
    """Decodes with TensorFlow. If that fails, decodes with Pillow, whose errors are clearer."""
    check_size(size, file)

    def read(rows: slice, columns: slice) -> np.ndarray:
        try:
            return decode(rows, columns)
        except Exception as error:  # damaged files make TensorFlow raise errors of any type
            pixels = by_pillow()
            if pixels.shape[:2] != size:
                raise InputError(
                    f"The image contradicts its header, which says {size[1]}x{size[0]} pixels. Replace or remove it. "
                    f"Received: {file}"
                ) from error
            return pixels[rows, columns]

    return WindowReader(size, read)


def _jpeg_decoder(data: bytes, width: int) -> _ReadWindow:
    def decode(rows: slice, columns: slice) -> np.ndarray:
        # Chroma is interpolated from both neighbours, but at the edges of a crop from one: decode two more columns.
        start, stop = max(columns.start - 2, 0), min(columns.stop + 2, width)
        box = [rows.start, start, rows.stop - rows.start, stop - start]
        pixels = tf.io.decode_and_crop_jpeg(data, box, channels=3, dct_method="INTEGER_ACCURATE").numpy()
        return pixels[:, columns.start - start : columns.stop - start]

    return decode


def _png_decoder(data: bytes, channels: int) -> _ReadWindow:
    # To stop decoding below the window would save a tenth of the time, but libpng would print a warning for each file.
    def decode(rows: slice, columns: slice) -> np.ndarray:
        pixels = tf.io.decode_png(data, channels=channels).numpy()[rows, columns]
        return pixels if channels == 3 else pixels[..., 0]

    return decode
