"""Reading and writing of image and label files with Pillow."""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageOps

from keras_crosscoop.errors import InputError, reason
from keras_crosscoop.images.palettes import RGB, palette_table
from keras_crosscoop.system.files import ReadableFile, atomic_write

ImageLike = str | os.PathLike | Image.Image | np.ndarray
ImageFile = str | os.PathLike | ReadableFile

# The supported file formats, whatever the suffix. Pillow's other plugins are rarely used, and some crash.
PILLOW_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
LABEL_SUFFIXES = (".png",)  # lossy formats would change ids

_ID_MODES = ("1", "L", "P", "I;16", "I;16B", "I;16L", "I")  # Pillow's modes with one integer per pixel
_SWAPPED = (5, 6, 7, 8)  # EXIF orientations that swap height and width


def read_image(path: ImageFile, content: BinaryIO | None = None) -> np.ndarray:
    """Reads an image file as RGB, uint8 `(H, W, 3)`, converted as by `to_rgb`.

    Args:
        path: The file.
        content: The content of the file, if it was read before.

    Raises:
        InputError: The file is missing or damaged, is not one of `PILLOW_FORMATS`, or has too many pixels for the
            memory or for Pillow's limit.
    """
    with open_image(path, content) as image:
        return to_rgb(image)


def as_rgb(image: ImageLike) -> np.ndarray:
    """Converts a path, a Pillow image or an array to RGB in [0, 255], uint8 or float `(H, W, 3)`.

    Arrays of this shape are returned unchanged.

    Raises:
        InputError: The file or Pillow image cannot be read, or the array has another shape.
    """
    if isinstance(image, Image.Image):
        with _named_errors(_name(image)):  # Pillow decodes lazily, so errors may arise here
            return to_rgb(image)
    if not isinstance(image, np.ndarray):
        return read_image(image)
    if image.ndim != 3 or image.shape[-1] != 3 or not image.size:
        raise InputError(f"An image array must be (H, W, 3), RGB. Received: an array of shape {image.shape}")
    return image


def to_rgb(image: Image.Image) -> np.ndarray:
    """Converts a Pillow image of any mode to RGB, uint8 `(H, W, 3)`, as a viewer shows it.

    The image is turned upright by its EXIF orientation. Transparent pixels are blended over white. 16-bit values are
    scaled to 8 bits. Only the first of several frames is used.

    Raises:
        InputError: The pixels are floating-point, or integers above 16 bits, whose range is unknown.
    """
    name = _name(image)
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        grey = np.asarray(image).astype(np.int64)
        if grey.min() < 0 or grey.max() > 65535:
            raise InputError(f"An image's values must lie in 0 to 65535. Convert it to 8 bit. Received: {name}")
        return np.repeat(((grey + 128) // 257).astype(np.uint8)[..., None], 3, axis=-1)  # 65535 / 255 = 257
    if image.mode == "F":
        raise InputError(f"An image must hold whole numbers, not floating point. Convert it to 8 bit. Received: {name}")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(image.convert("RGB"))


def read_label(path: ImageFile, content: BinaryIO | None = None) -> np.ndarray:
    """Reads the ids in a label file, int32 `(H, W)`: grey values (8 or 16 bit), palette indices, or bits (0 and 1).

    Raises:
        InputError: The file cannot be read (see `read_image`), or holds colours instead of ids.
    """
    with open_image(path, content) as image:
        _check_ids(image, path)
        return np.asarray(ImageOps.exif_transpose(image)).astype(np.int32)


def image_size(path: ImageFile) -> tuple[int, int]:
    """Reads `(H, W)` of the upright image from the file's header.

    Raises:
        InputError: The file is missing or not an image.
    """
    with open_image(path) as image:
        return _upright_size(image)


def label_size(path: ImageFile) -> tuple[int, int]:
    """Reads `(H, W)` of the upright label from the file's header.

    Raises:
        InputError: The file is missing, is not an image, or holds colours instead of ids.
    """
    with open_image(path) as image:
        _check_ids(image, path)
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


def check_size(size: tuple[int, int], path: ImageFile) -> None:
    """Applies Pillow's limit against decompression bombs to images that another library decodes.

    Args:
        size: `(H, W)`, as the file's header says.
        path: The file.

    Raises:
        InputError: The image has more than twice `PIL.Image.MAX_IMAGE_PIXELS`.
    """
    if Image.MAX_IMAGE_PIXELS is not None and size[0] * size[1] > 2 * Image.MAX_IMAGE_PIXELS:
        raise _too_large(path)


def _too_large(path: ImageFile) -> InputError:
    return InputError(f"The image has over {2 * Image.MAX_IMAGE_PIXELS:,} pixels. Crop or shrink it. Received: {path}")


@contextmanager
def open_image(path: ImageFile, content: BinaryIO | None = None) -> Iterator[Image.Image]:
    """Opens an image file, or its `content`, without decoding the pixels.

    Raises:
        InputError: Opening or the body of the `with` statement fails; the error names the file.
    """
    with _named_errors(path), ExitStack() as stack:
        if content is None and not isinstance(path, str | os.PathLike):
            content = stack.enter_context(path.open("rb"))
        yield stack.enter_context(Image.open(path if content is None else content, formats=PILLOW_FORMATS))


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
        raise _too_large(path) from error
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
    width, height = image.size
    # The method of the base class, because PNG's method decodes all pixels to find metadata after them.
    orientation = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
    if orientation in _SWAPPED and image.format != "TIFF":  # Pillow turns the size of TIFF files itself
        return width, height
    return height, width


def _check_ids(image: Image.Image, path: ImageFile) -> None:
    if image.mode not in _ID_MODES:
        raise InputError(
            f"A label must hold one class id per pixel, as a grey or palette PNG, not {image.mode} colours. "
            f"Take the file as it was distributed, or replace each colour by its class id. Received: {path}"
        )
