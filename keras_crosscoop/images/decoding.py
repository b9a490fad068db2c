"""From the bytes of image and label files to the pixels of a window, by the fastest way that gives `images`' pixels.

Training looks at a crop: of a JPEG only the blocks that it touches are decoded. Usual JPEGs and PNGs are decoded by
TensorFlow, which takes less time than Pillow; whatever is turned, transparent, of more than 8 bits or anything else, by
Pillow.
"""

import math
import re
from collections.abc import Callable
from io import BytesIO
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from PIL import ExifTags

from keras_crosscoop.errors import InputError
from keras_crosscoop.images import headers
from keras_crosscoop.images.io import check_size, open_image, read_image, read_label
from keras_crosscoop.system.files import ReadableFile

_PNM = re.compile(rb"(P[56])\n(\d{1,9}) (\d{1,9})\n255\n")  # as `images.pnm` writes it

Window = Callable[[slice, slice], np.ndarray]


class Encoded(NamedTuple):
    """An opened file: its size is known, its pixels are decoded when a window of them is asked for.

    Attributes:
        size: `(H, W)`.
        window: the pixels in these rows and columns.
    """

    size: tuple[int, int]
    window: Window


def image_windows(file: ReadableFile) -> Encoded:
    """An image whose windows are RGB, uint8 `(h, w, 3)`, the same pixels as `images.read_image` gives.

    Raises:
        InputError: it cannot be read, or is too large (`check_size`). Damage that the header does not show is found
            when a window is decoded.
    """
    data = content(file)

    def by_pillow() -> np.ndarray:
        return read_image(file, BytesIO(data))

    if raw := _raw(data, b"P6", channels=(3,)):
        return raw
    if (png := headers.png(data)) and png.plain and png.colour_type in (headers.GREY, headers.COLOURED):
        check_size(png.size, file)
        return _windowed(file, png.size, _png_decoder(data, channels=3), by_pillow)
    if (jpeg := headers.jpeg(data)) and jpeg.channels in (1, 3) and not (jpeg.has_exif and _is_turned(file, data)):
        check_size(jpeg.size, file)
        return _windowed(file, jpeg.size, _jpeg_decoder(data, width=jpeg.size[1]), by_pillow)
    return _decoded(by_pillow())


def label_windows(file: ReadableFile) -> Encoded:
    """A label whose windows are the values as stored, integers `(h, w)`, the same as `images.read_label` gives.

    Raises:
        InputError: it cannot be read, is too large (`check_size`), or holds colours instead of ids. Damage that the
            header does not show is found when a window is decoded.
    """
    data = content(file)

    def by_pillow() -> np.ndarray:
        return read_label(file, BytesIO(data))

    if raw := _raw(data, b"P5", channels=()):
        return raw
    if (png := headers.png(data)) and png.plain and png.colour_type in (headers.GREY, headers.INDEXED):
        check_size(png.size, file)
        return _windowed(file, png.size, _png_decoder(headers.as_grey(data, png), channels=1), by_pillow)
    return _decoded(by_pillow())


def content(file: ReadableFile) -> bytes:
    """All bytes of a file.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return file.read_bytes()
    except OSError as error:
        raise InputError(
            f"The file cannot be read ({error.strerror or error}). Is it there, and yours to read? Received: {file}"
        ) from error


def _decoded(pixels: np.ndarray) -> Encoded:
    return Encoded(pixels.shape[:2], lambda rows, columns: pixels[rows, columns])


def _raw(data: bytes, kind: bytes, channels: tuple[int, ...]) -> Encoded | None:
    """A file of `images.pnm` as it is; None of any other, and of one that is damaged, of which Pillow tells."""
    header = _PNM.match(data)
    if header is None or header[1] != kind:
        return None
    shape = int(header[3]), int(header[2]), *channels
    if not math.prod(shape) or len(data) != header.end() + math.prod(shape):
        return None
    return _decoded(np.frombuffer(data, np.uint8, offset=header.end()).reshape(shape))


def _is_turned(file: ReadableFile, data: bytes) -> bool:
    with open_image(file, BytesIO(data)) as image:
        return image.getexif().get(ExifTags.Base.Orientation, 1) != 1


def _windowed(
    file: ReadableFile, size: tuple[int, int], decode: Window, by_pillow: Callable[[], np.ndarray]
) -> Encoded:
    """Decodes by TensorFlow, and where that fails by Pillow, which says more of what is wrong, and of which file."""

    def window(rows: slice, columns: slice) -> np.ndarray:
        try:
            return decode(rows, columns)
        except Exception as error:  # of any kind: the file may be anything
            pixels = by_pillow()
            if pixels.shape[:2] != size:
                raise InputError(
                    f"The image contradicts its header, which says {size[1]}x{size[0]} pixels. Replace or remove it. "
                    f"Received: {file}"
                ) from error
            return pixels[rows, columns]

    return Encoded(size, window)


def _jpeg_decoder(data: bytes, width: int) -> Window:
    def decode(rows: slice, columns: slice) -> np.ndarray:
        # Colour is interpolated from both sides, in a crop's first and last column from one: these are cut off again.
        start, stop = max(columns.start - 2, 0), min(columns.stop + 2, width)
        box = [rows.start, start, rows.stop - rows.start, stop - start]
        pixels = tf.io.decode_and_crop_jpeg(data, box, channels=3, dct_method="INTEGER_ACCURATE").numpy()
        return pixels[:, columns.start - start : columns.stop - start]

    return decode


def _png_decoder(data: bytes, channels: int) -> Window:
    # To stop below the window would save a tenth of the time, but libpng tells of each file where it was stopped.
    def decode(rows: slice, columns: slice) -> np.ndarray:
        pixels = tf.io.decode_png(data, channels=channels).numpy()[rows, columns]
        return pixels if channels == 3 else pixels[..., 0]

    return decode
