"""Images of any bit depth and number of channels as RGB."""

from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import ExifTags, Image

from keras_crosscoop.errors import InputError
from keras_crosscoop.images.reading import ImageReading
from keras_crosscoop.images.tiff import CompressionError, open_tiff, parse_no_data

BITS_PER_SAMPLE, SAMPLES_PER_PIXEL, PHOTOMETRIC, NO_DATA = 258, 277, 262, 42113  # TIFF tags
MULTIBAND = (0, 1, 2)  # photometric interpretations whose channels are stored one by one
_16_BIT = (0, 65535)
DEEP_PNG = {"RGB;16B": "RGB;16L", "RGBA;16B": "RGBA;16L"}  # Pillow's raw modes of the high and of the low bytes
_OPAQUE_SHARE = 0.75  # of the pixels that are not fully transparent


class Channels(NamedTuple):
    """The pixels of an image file.

    Attributes:
        values: `(H, W, C)`, as stored.
        is_rgb: Whether the first three channels are red, green and blue.
        has_alpha: Whether the last channel is transparency.
        orientation: The EXIF orientation, if the values were not turned yet.
        no_data: The value of pixels without data, if a TIFF file names one, as GDAL does.
    """

    values: np.ndarray
    is_rgb: bool
    has_alpha: bool = False
    orientation: int = 1
    no_data: float | None = None


def looks_like_alpha(band: np.ndarray) -> bool:
    """Whether a channel looks like transparency: most pixels that are not transparent are opaque."""
    visible = band[band > 0]
    return bool(visible.size) and np.count_nonzero(visible == _opaque(band.dtype)) >= _OPAQUE_SHARE * visible.size


def _opaque(dtype: np.dtype) -> int:
    return np.iinfo(dtype).max if dtype.kind == "u" else 1


def compose(channels: Channels, reading: ImageReading, name: str) -> np.ndarray:
    """Chooses three channels, scales their values to 0 to 255, and blends transparent pixels over white.

    Returns:
        RGB, uint8 `(H, W, 3)`.

    Raises:
        InputError: It is unknown which channels are red, green and blue, or which values are black and white.
    """
    values, has_alpha = channels.values, channels.has_alpha and reading.channels is None
    rgb = _scale(values[..., _chosen(channels, reading, name)], reading, name)
    if not has_alpha:
        return rgb
    alpha = ImageReading(range=(0, _opaque(values.dtype))).scale(values[..., -1:]) / np.float32(255)
    return np.rint(rgb * alpha + 255 * (1 - alpha)).astype(np.uint8)


def _chosen(channels: Channels, reading: ImageReading, name: str) -> list[int]:
    count = channels.values.shape[-1]
    if count == 1:
        return [0, 0, 0]
    if reading.channels is not None:
        if max(reading.channels) > count:
            raise InputError(
                f"The image has {count} channels, but the description says `channels: {[*reading.channels]}`. "
                f"Received: {name}"
            )
        return [number - 1 for number in reading.channels]
    if count == 2 and channels.has_alpha:
        return [0, 0, 0]
    if count == 3 or (count > 3 and channels.is_rgb):
        return [0, 1, 2]
    example = [1, 2, 2] if count == 2 else [3, 2, 1]
    raise InputError(
        f"The image has {count} channels, and it is unknown which are red, green and blue. Name them in dataset.yaml, "
        f"such as `channels: {example}`. Received: {name}"
    )


def _scale(values: np.ndarray, reading: ImageReading, name: str) -> np.ndarray:
    if values.dtype == np.uint8 or reading.range is not None:
        return reading.scale(values)
    if values.dtype == bool:
        return values.astype(np.uint8) * np.uint8(255)
    if values.dtype.kind == "f":
        raise InputError(
            "The image holds floating-point values, whose range is unknown. Give it in dataset.yaml, such as "
            f"`range: [0, 1]`, or convert the image to 8 bits. Received: {name}"
        )
    if values.min() < 0 or values.max() > 65535:
        raise InputError(
            f"The image holds values of {values.min()} to {values.max()}, beyond 0 to 65535. Give their range in "
            f"dataset.yaml, such as `range: [-1000, 3000]`, or convert the image to 8 bits. Received: {name}"
        )
    return ImageReading(range=_16_BIT).scale(values.astype(np.uint16))


def of_pillow(image: Image.Image) -> Channels:
    """Returns the channels of an opened image, as Pillow decodes them."""
    if image.mode == "F" or image.mode.startswith("I"):
        no_data = parse_no_data(image.tag_v2.get(NO_DATA)) if image.format == "TIFF" else None
        return Channels(np.asarray(image)[..., None], is_rgb=False, no_data=no_data)
    if image.has_transparency_data:
        return Channels(np.asarray(image.convert("RGBA")), is_rgb=True, has_alpha=True)
    if image.mode in ("1", "L"):
        return Channels(np.asarray(image.convert("L"))[..., None], is_rgb=False)
    return Channels(np.asarray(image.convert("RGB")), is_rgb=True)


def of_file(file: BinaryIO, image: Image.Image | None, reading: ImageReading, name: str) -> Channels | None:
    """Returns the channels of a file that Pillow cannot read, or would read with fewer bits or channels; else None.

    Args:
        file: The open file.
        image: The same, opened by Pillow; None if it cannot.
        reading: How the image is read.
        name: The path, for errors.

    Raises:
        InputError: The file is damaged, or a stack of slices.
    """
    if image is None or image.format == "TIFF":
        return _of_tiff(file, image, reading, name)
    if image.format == "PNG" and reading.range is not None:
        return _of_deep_png(file, image)
    if image.format == "JPEG2000" and image.mode in ("RGB", "RGBA") and _is_deep_jpeg2000(file):
        raise InputError(f"A JPEG 2000 image of several channels must have 8 bits. Save it as TIFF. Received: {name}")
    return None


def header_of_file(
    file: BinaryIO, image: Image.Image | None, reading: ImageReading, name: str
) -> tuple[tuple[int, int], int] | None:
    """Returns `(H, W)` as stored and the EXIF orientation, of files whose header Pillow cannot read; else None.

    Raises:
        InputError: See `of_file`.
    """
    if image is not None and (image.format != "TIFF" or not image.is_animated):
        return None
    with open_tiff(file, name) as tiff:
        return tiff.size(reading), tiff.orientation


def _of_tiff(file: BinaryIO, image: Image.Image | None, reading: ImageReading, name: str) -> Channels | None:
    if image is not None and not _is_special(image, reading):
        return None
    try:
        with open_tiff(file, name) as tiff:
            if image is not None and tiff.stack is None and tiff.shape[-1] in (1, 3) and tiff.dtype == np.uint8:
                return None  # the other pages are thumbnails
            values = tiff.read(reading)
    except CompressionError:
        if image is None or max(image.tag_v2.get(BITS_PER_SAMPLE, (1,))) > 8:
            raise
        return None
    has_alpha = tiff.has_alpha and looks_like_alpha(values[..., -1])
    if has_alpha and image is not None and tiff.dtype == np.uint8 and tiff.stack is None:
        return None
    return Channels(values, tiff.is_rgb, has_alpha, tiff.orientation, tiff.no_data)


def _is_special(image: Image.Image, reading: ImageReading) -> bool:
    """Whether Pillow may misread a TIFF file."""
    bits, samples = image.tag_v2.get(BITS_PER_SAMPLE, (1,)), image.tag_v2.get(SAMPLES_PER_PIXEL, 1)
    is_deep = max(bits) > 8 and samples > 1 and reading.range is not None
    is_multiband = samples not in (1, 3) and image.tag_v2.get(PHOTOMETRIC) in MULTIBAND
    return is_deep or is_multiband or image.is_animated


def _of_deep_png(file: BinaryIO, image: Image.Image) -> Channels | None:
    """Returns the channels of a PNG with several channels of 16 bits; None for other images.

    Pillow keeps the high bytes. Decoded again with the bytes of each value swapped, the file gives the low bytes.
    """
    if not image.tile or image.tile[0].args not in DEEP_PNG:
        return None
    low_mode = DEEP_PNG[image.tile[0].args]
    high = np.asarray(image).astype(np.uint16)
    file.seek(0)
    with Image.open(file, formats=["PNG"]) as again:
        again.tile = [tile._replace(args=low_mode) for tile in again.tile]
        low = np.asarray(again)
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    return Channels(high << 8 | low, is_rgb=True, has_alpha=high.shape[-1] == 4, orientation=orientation)


def _is_deep_jpeg2000(file: BinaryIO) -> bool:
    file.seek(0)
    header = file.read(1 << 16)
    file.seek(0)
    start = header.find(b"\xff\x4f\xff\x51")  # the codestream begins with image and tile size
    return start >= 0 and len(header) > start + 42 and (header[start + 42] & 127) + 1 > 8
