"""Reading and writing of image and label files with Pillow."""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageOps

from keras_crosscoop.errors import InputError, reason
from keras_crosscoop.images import arrays, channels
from keras_crosscoop.images.headers import too_large
from keras_crosscoop.images.palettes import RGB, palette_table
from keras_crosscoop.images.reading import DEFAULT_READING, ImageReading, turn_back, turn_upright
from keras_crosscoop.images.tiff import is_tiff
from keras_crosscoop.system.files import ReadableFile, atomic_write

ImageLike = str | os.PathLike | Image.Image | np.ndarray
ImageFile = str | os.PathLike | ReadableFile

# The supported file formats, whatever the suffix. Pillow's other plugins are rarely used, and some crash.
logging.getLogger("PIL.TiffImagePlugin").setLevel(logging.CRITICAL)  # its errors are raised, too
PILLOW_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "JPEG2000")

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".jp2")
LABEL_SUFFIXES = (".png",)  # lossy formats would change ids

ID_MODES = ("1", "L", "P", "I;16", "I;16B", "I;16L", "I", "F")  # Pillow's modes with one number per pixel
_SWAPPED = (5, 6, 7, 8)  # EXIF orientations that swap height and width


def read_image(path: ImageFile, content: BinaryIO | None = None, reading: ImageReading = DEFAULT_READING) -> np.ndarray:
    """Reads an image file as RGB, uint8 `(H, W, 3)`, converted as by `to_rgb`.

    Args:
        path: The file.
        content: The content of the file, if it was read before.
        reading: The range of values, the channels and the orientation.

    Raises:
        InputError: The file is missing or damaged, is not one of `PILLOW_FORMATS`, has too many pixels for the memory
            or for Pillow's limit, is a stack of slices, or cannot become RGB without a further entry of `reading`.
    """
    name = str(path)
    with open_file(path, content) as file, try_pillow(file) as image:
        if (stored := channels.of_file(file, image, reading, name)) is not None:
            rgb = channels.compose(stored, reading, name)
            return rgb if reading.orientation == "stored" else turn_upright(rgb, stored.orientation)
        return to_rgb(image, reading, name)


def as_rgb(image: ImageLike, reading: ImageReading = DEFAULT_READING) -> np.ndarray:
    """Converts a path, a Pillow image or an array to RGB in [0, 255], uint8 or float `(H, W, 3)`.

    Arrays of this shape are returned unchanged.

    Raises:
        InputError: The file or Pillow image cannot be read, or the array has another shape.
    """
    if isinstance(image, Image.Image):
        with _named_errors(_name(image)):  # Pillow decodes lazily, so errors may arise here
            return to_rgb(image, reading)
    if not isinstance(image, np.ndarray):
        return read_image(image, reading=reading)
    if image.ndim != 3 or image.shape[-1] != 3 or not image.size:
        raise InputError(f"An image array must be (H, W, 3), RGB. Received: an array of shape {image.shape}")
    return image


def to_rgb(image: Image.Image, reading: ImageReading = DEFAULT_READING, name: str | None = None) -> np.ndarray:
    """Converts a Pillow image of any mode to RGB, uint8 `(H, W, 3)`, as a viewer shows it.

    The image is turned upright by its EXIF orientation. Transparent pixels are blended over white. 16-bit values are
    scaled to 8 bits. Only the first of several frames is used. `reading` changes these rules.

    Args:
        image: The image.
        reading: The range of values, the channels and the orientation.
        name: The name of the image for errors; by default its path.

    Raises:
        InputError: The pixels are floating-point, or integers above 16 bits, and `reading` has no range for them.
    """
    name, kind, turned = name or _name(image), image.format, 1
    if reading.orientation != "stored":
        image = ImageOps.exif_transpose(image)
    elif kind == "TIFF":  # Pillow turns it when it decodes it
        turned = image.tag_v2.get(ExifTags.Base.Orientation, 1)
    if reading.channels is not None or image.mode == "F" or image.mode.startswith("I"):
        rgb = channels.compose(channels.of_pillow(image), reading, name)
    else:
        rgb = _blend_over_white(image, is_remote_sensing=kind in ("TIFF", "JPEG2000"))
    return turn_back(rgb, turned)


def _blend_over_white(image: Image.Image, *, is_remote_sensing: bool) -> np.ndarray:
    """Returns RGB; a fourth band of a format of remote sensing is left out unless it looks like transparency."""
    if image.has_transparency_data and not (
        is_remote_sensing and not channels.looks_like_alpha(np.asarray(image.convert("RGBA").getchannel("A")))
    ):
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(image.convert("RGB"))


def read_label(path: ImageFile, content: BinaryIO | None = None, *, colours: bool = False) -> np.ndarray:
    """Reads the pixels of a label file: its integers, int32 `(H, W)`, or its colours, uint8 `(H, W, 3)`.

    Integers are grey values (8, 16 or 32 bit), palette indices, or bits (0 and 1). Whole floating-point numbers are
    integers, too, and NaN is -1. Transparent pixels are 0 or black, whatever the file holds below the transparency.

    Args:
        path: The file.
        content: The content of the file, if it was read before.
        colours: Whether to read colours; those of a palette file are the colours in its palette.

    Raises:
        InputError: The file cannot be read (see `read_image`), or holds colours where integers are expected.
    """
    if arrays.is_array(path, content):
        return arrays.read_label(path, content, colours=colours)
    with open_image(path, content) as image:
        _check_label(image, path, colours)
        image = ImageOps.exif_transpose(image)
        if colours:
            return label_colours(image)
        return arrays.as_integers(np.asarray(image), path)


def label_colours(image: Image.Image) -> np.ndarray:
    """Returns the colours of a label, uint8 `(H, W, 3)`; transparent pixels are black."""
    if not image.has_transparency_data:
        return np.array(image.convert("RGB"))
    pixels = np.array(image.convert("RGBA"))
    return np.where(pixels[..., 3:] > 0, pixels[..., :3], np.uint8(0))


def image_size(path: ImageFile, reading: ImageReading = DEFAULT_READING) -> tuple[int, int]:
    """Reads `(H, W)` of the image that `read_image` returns from the file's header.

    Raises:
        InputError: The file is missing, not an image, or a stack of slices.
    """
    with open_file(path) as file, try_pillow(file) as image:
        size, orientation = channels.header_of_file(file, image, reading, str(path)) or stored_size(image)
        is_swapped = orientation in _SWAPPED and reading.orientation != "stored"
        return size[::-1] if is_swapped else size


def label_size(path: ImageFile, *, colours: bool = False) -> tuple[int, int]:
    """Reads `(H, W)` of the upright label from the file's header.

    Raises:
        InputError: The file is missing, is not an image, or holds colours where integers are expected.
    """
    if arrays.is_array(path):
        return arrays.label_size(path)
    with open_image(path) as image:
        _check_label(image, path, colours)
        return _upright_size(image)


def encode_pnm(array: np.ndarray) -> bytes:
    """Encodes uint8 `(H, W, 3)` as a PPM file, or uint8 `(H, W)` as a PGM file: a header and the same bytes."""
    height, width, *colours = array.shape
    return b"P%d\n%d %d\n255\n" % (6 if colours else 5, width, height) + array.tobytes()


def write_label(path: str | os.PathLike, ids: np.ndarray, palette: Sequence[RGB] | None) -> None:
    """Writes a label file; after an error, there is no partial file.

    Args:
        path: The PNG to write; its folder exists.
        ids: Class ids and 255 for void, uint8 `(H, W)`.
        palette: The colour of each class, for a palette PNG that viewers show in these colours; None for a grey PNG.

    Raises:
        InputError: The file cannot be written.
    """
    image = Image.fromarray(np.asarray(ids, np.uint8))
    if palette is not None:
        image.putpalette(palette_table(palette).tobytes())
    write_png(image, Path(path))


def write_png(image: Image.Image, path: Path, **options: Any) -> None:
    """Writes a Pillow image as PNG; after an error, there is no partial file.

    Raises:
        InputError: The file cannot be written.
    """
    try:
        with atomic_write(path) as partial:
            image.save(partial, format="PNG", **options)
    except OSError as error:
        raise InputError(
            f"The image cannot be written ({reason(error)}). Check free space and permissions. Received: {path}"
        ) from error


@contextmanager
def open_image(path: ImageFile, content: BinaryIO | None = None) -> Iterator[Image.Image]:
    """Opens an image file, or its `content`, without decoding the pixels.

    Raises:
        InputError: Opening or the body of the `with` statement fails; the error names the file.
    """
    with open_file(path, content) as file, Image.open(file, formats=PILLOW_FORMATS) as image:
        yield image


@contextmanager
def open_file(path: ImageFile, content: BinaryIO | None = None) -> Iterator[BinaryIO]:
    """Opens a file in binary mode, or takes its `content`; errors are those of `open_image`."""
    with _named_errors(path), ExitStack() as stack:
        if content is None:
            file = Path(path) if isinstance(path, str | os.PathLike) else path
            content = stack.enter_context(file.open("rb"))
        yield content


@contextmanager
def try_pillow(file: BinaryIO) -> Iterator[Image.Image | None]:
    """Opens an image file with Pillow; gives None for a TIFF file that only tifffile can open."""
    try:
        image = Image.open(file, formats=PILLOW_FORMATS)
    except Image.UnidentifiedImageError:
        if not is_tiff(file):
            raise
        yield None
    else:
        with image:
            yield image


@contextmanager
def _named_errors(path: ImageFile) -> Iterator[None]:
    """Turns any error of an image decoder into an `InputError` that names the file."""
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"There is no such image file. Is the path right? Received: {path}") from error
    except Image.DecompressionBombError as error:
        raise too_large(path) from error
    except Image.UnidentifiedImageError as error:
        raise InputError(
            f"The file is not a readable image. Replace it by one of {', '.join(PILLOW_FORMATS)}, or "
            f"remove it. Received: {path}"
        ) from error
    except MemoryError as error:
        raise InputError(f"The image does not fit into memory. Crop or shrink it. Received: {path}") from error
    except Exception as error:  # damaged files make Pillow raise errors of any type
        raise InputError(
            f"The image cannot be read ({reason(error)}). Replace or remove it. Received: {path}"
        ) from error


def _name(image: Image.Image) -> str:
    return getattr(image, "filename", "") or f"an image of mode {image.mode}"


def _upright_size(image: Image.Image) -> tuple[int, int]:
    size, orientation = stored_size(image)
    return size[::-1] if orientation in _SWAPPED else size


def stored_size(image: Image.Image) -> tuple[tuple[int, int], int]:
    """Returns `(H, W)` as stored, and the EXIF orientation."""
    width, height = image.size
    # The method of the base class, because PNG's method decodes all pixels to find metadata after them.
    orientation = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
    if orientation in _SWAPPED and image.format == "TIFF":  # Pillow turns the size of TIFF files itself
        return (width, height), orientation
    return (height, width), orientation


def _check_label(image: Image.Image, path: ImageFile, colours: bool) -> None:
    if image.format in ("TIFF", "GIF") and image.is_animated:
        size = image.size
        image.seek(1)
        if image.size == size:  # unlike smaller copies for overviews
            raise InputError(
                f"A label must be a single picture, but the file holds {image.n_frames} pages. Save one page that "
                f"holds the ids of all classes. Received: {path}"
            )
        image.seek(0)
    if not colours and image.mode not in ID_MODES:
        raise _colours_instead_of_ids(image.mode, path)


def _colours_instead_of_ids(mode: str, path: ImageFile) -> InputError:
    return InputError(
        f"A label must hold one class id per pixel, as a grey or palette PNG, not {mode} colours. "
        f"Take the file as it was distributed, or replace each colour by its class id. Received: {path}"
    )
