"""Image files as they are stored: their header and the values of their channels."""

from dataclasses import replace
from typing import BinaryIO, NamedTuple

from PIL import Image

from keras_crosscoop.images import channels
from keras_crosscoop.images.channels import Channels
from keras_crosscoop.images.io import ImageFile, open_file, stored_size, try_pillow
from keras_crosscoop.images.reading import DEFAULT_READING, ImageReading
from keras_crosscoop.images.tiff import open_tiff

_SAMPLE_FORMAT, _EXTRA_SAMPLES = 339, 338  # TIFF tags
_FLOAT = 3


class ImageHeader(NamedTuple):
    """What the header of an image file says.

    Attributes:
        size: `(H, W)` as stored.
        orientation: The EXIF orientation.
        channels: The number of channels, 3 for palettes and other colour spaces.
        kind: The values, such as "8 bits" or "32-bit floating point".
        is_deep: Whether the values have more than 8 bits.
        is_rgb: Whether the first three channels are red, green and blue.
        has_alpha: Whether the last channel is called transparency.
        is_multiband: Whether the format may hold other channels than colours and transparency.
    """

    size: tuple[int, int]
    orientation: int
    channels: int
    kind: str
    is_deep: bool
    is_rgb: bool
    has_alpha: bool
    is_multiband: bool


def read_header(path: ImageFile, reading: ImageReading = DEFAULT_READING) -> ImageHeader:
    """Reads the header of an image file.

    Raises:
        InputError: The file is missing, not an image, or a stack from which the reading chooses no slice.
    """
    with open_file(path) as file, try_pillow(file) as image:
        if image is None or (image.format == "TIFF" and image.is_animated):
            return _of_tiff(file, reading, str(path))
        size, orientation = stored_size(image)
        bits, number, floating = _format(image)
        is_multiband = image.format == "JPEG2000" or (
            image.format == "TIFF" and image.tag_v2.get(channels.PHOTOMETRIC) in channels.MULTIBAND
        )
        if image.format == "TIFF":
            has_alpha = image.tag_v2.get(_EXTRA_SAMPLES) in ((1,), (2,))
        else:
            has_alpha = image.has_transparency_data
        kind = _kind(bits, floating=floating)
        is_rgb = number >= 3 and (image.format != "TIFF" or image.tag_v2.get(channels.PHOTOMETRIC) not in (0, 1))
        return ImageHeader(size, orientation, number, kind, bits > 8, is_rgb, has_alpha, is_multiband)


def _of_tiff(file: BinaryIO, reading: ImageReading, name: str) -> ImageHeader:
    with open_tiff(file, name) as tiff:
        size = tiff.size(reading)
        bits = 8 * tiff.dtype.itemsize
        kind = _kind(bits, floating=tiff.dtype.kind == "f")
        number = tiff.channel_count(reading)
        return ImageHeader(size, tiff.orientation, number, kind, bits > 8, tiff.is_rgb, tiff.has_alpha, True)


def _format(image: Image.Image) -> tuple[int, int, bool]:
    """Returns the bits of a value, the number of channels, and whether the values are floating-point."""
    number = len(image.getbands())
    if image.mode in ("P", "PA", "CMYK", "YCbCr", "LAB", "HSV"):
        number = 3
    if image.format == "TIFF":
        tags = image.tag_v2
        bits, floating = max(tags.get(channels.BITS_PER_SAMPLE, (1,))), _FLOAT in tags.get(_SAMPLE_FORMAT, ())
        is_multiband = tags.get(channels.PHOTOMETRIC) in channels.MULTIBAND
        return bits, tags.get(channels.SAMPLES_PER_PIXEL, 1) if is_multiband else number, floating
    if image.mode.startswith("I") or (image.tile and image.tile[0].args in channels.DEEP_PNG):
        return 16, number, False
    return 8, number, image.mode == "F"


def _kind(bits: int, *, floating: bool) -> str:
    return f"{bits}-bit floating point" if floating else f"{bits} bit{'' if bits == 1 else 's'}"


def read_channels(path: ImageFile, reading: ImageReading = DEFAULT_READING) -> Channels:
    """Reads the values of all channels as they are stored.

    Raises:
        InputError: The file cannot be read, or is a stack from which the reading chooses no slice.
    """
    with open_file(path) as file, try_pillow(file) as image:
        every_bit = replace(reading, range=reading.range or (0, 1))
        stored = channels.of_file(file, image, every_bit, str(path))
        if stored is None:
            stored, kind = channels.of_pillow(image), image.format
            if stored.has_alpha and kind in ("TIFF", "JPEG2000"):
                stored = stored._replace(has_alpha=channels.looks_like_alpha(stored.values[..., -1]))
        return stored
