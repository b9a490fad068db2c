"""From the bytes of image and label files to the pixels of a window, by the fastest way that gives `images`' pixels.

Training looks at a crop. Of a JPEG only the blocks that it touches are decoded, of a PNG only the rows above its end;
Pillow decodes whatever is neither, or is turned, transparent or of more than 8 bits.
"""

import re
import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from PIL import ExifTags, Image, ImageOps

from keras_crosscoop.errors import InputError
from keras_crosscoop.files import Stored
from keras_crosscoop.images import check_ids, opened, to_rgb, upright_size

_PNM = re.compile(rb"P[56]\n(\d+) (\d+)\n255\n")  # as `images.pnm` writes it
_GREY, _COLOURED, _INDEXED = 0, 2, 3  # PNG's colour types


class Encoded(NamedTuple):
    """An opened file: its size is known, its pixels are decoded when a window of them is asked for.

    Attributes:
        size: `(H, W)`.
        window: the pixels in these rows and columns.
    """

    size: tuple[int, int]
    window: Callable[[slice, slice], np.ndarray]


def open_image(file: Stored) -> Encoded:
    """An image whose windows are RGB, uint8 `(h, w, 3)`, the same pixels as `images.read_image` gives.

    Raises:
        InputError: it cannot be read. Damage that the header does not show is found when a window is decoded.
    """
    data = content(file)
    if raw := _PNM.match(data):
        return _raw(data, raw, channels=(3,))

    def by_pillow() -> np.ndarray:
        with opened(file, BytesIO(data)) as image:
            return to_rgb(image)

    def window(rows: slice, columns: slice) -> np.ndarray:
        try:
            return decode(rows, columns)
        except tf.errors.InvalidArgumentError:  # which says less of what is wrong, and never of which file
            return by_pillow()[rows, columns]

    with opened(file, BytesIO(data)) as header:
        size = upright_size(header)
        if _is_plain_jpeg(header):
            decode = _jpeg_decoder(data, width=size[1])
        elif _is_plain_png(header, data, (_GREY, _COLOURED)):
            decode = _png_decoder(data)
        else:
            return _decoded(by_pillow())
    return Encoded(size, window)


def open_label(file: Stored) -> Encoded:
    """A label whose windows are the values as stored, integers `(h, w)`, the same as `images.read_label` gives.

    Raises:
        InputError: it cannot be read, or holds colours instead of ids. Damage that the header does not show is found
            when a window is decoded.
    """
    data = content(file)
    if raw := _PNM.match(data):
        return _raw(data, raw, channels=())

    def window(rows: slice, columns: slice) -> np.ndarray:
        with opened(file, BytesIO(_first_rows(data, rows.stop))) as image:
            return np.asarray(image.crop((columns.start, rows.start, columns.stop, rows.stop)))

    with opened(file, BytesIO(data)) as image:
        check_ids(image, file)
        if _is_plain_png(image, data, (_GREY, _INDEXED)):
            return Encoded(upright_size(image), window)
        return _decoded(np.asarray(ImageOps.exif_transpose(image)))


def content(file: Stored) -> bytes:
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


def _raw(data: bytes, header: re.Match, channels: tuple[int, ...]) -> Encoded:
    width, height = map(int, header.groups())
    return _decoded(np.frombuffer(data, np.uint8, offset=header.end()).reshape(height, width, *channels))


def _is_plain_jpeg(header: Image.Image) -> bool:
    return header.format == "JPEG" and header.mode in ("L", "RGB") and _is_upright(header)


def _is_plain_png(header: Image.Image, data: bytes, colour_types: tuple[int, ...]) -> bool:
    """Whether it is what libpng reads as Pillow does: one opaque picture of 8 bits, its rows in order, upright."""
    depth, colour_type, _, _, interlaced = data[24:29]
    return (
        header.format == "PNG"
        and (depth, interlaced) == (8, 0)
        and colour_type in colour_types
        and (colour_type == _INDEXED or not header.has_transparency_data)
        and not getattr(header, "is_animated", False)
        and b"eXIf" not in data  # which may also stand behind the pixels
    )


def _is_upright(header: Image.Image) -> bool:
    return header.getexif().get(ExifTags.Base.Orientation, 1) == 1


def _jpeg_decoder(data: bytes, width: int) -> Callable[[slice, slice], np.ndarray]:
    def decode(rows: slice, columns: slice) -> np.ndarray:
        # Colour is interpolated from both sides, in a crop's first and last column from one: these are cut off again.
        start, stop = max(columns.start - 2, 0), min(columns.stop + 2, width)
        box = [rows.start, start, rows.stop - rows.start, stop - start]
        pixels = tf.io.decode_and_crop_jpeg(data, box, channels=3, dct_method="INTEGER_ACCURATE").numpy()
        return pixels[:, columns.start - start : columns.stop - start]

    return decode


def _png_decoder(data: bytes) -> Callable[[slice, slice], np.ndarray]:
    def decode(rows: slice, columns: slice) -> np.ndarray:
        return tf.io.decode_png(_first_rows(data, rows.stop), channels=3).numpy()[rows, columns]

    return decode


def _first_rows(png: bytes, rows: int) -> bytes:
    """The same PNG, of that height by its header: decoders stop there."""
    header = png[12:20] + struct.pack(">I", rows) + png[24:29]  # IHDR: width, height, and what follows
    return png[:12] + header + struct.pack(">I", zlib.crc32(header)) + png[33:]
