"""Image and label files, read as a person sees them and written whole or not at all."""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageOps

from keras_crosscoop.errors import InputError
from keras_crosscoop.labels import IGNORE_LABEL
from keras_crosscoop.system.files import ReadableFile, atomic_write

RGB = tuple[int, int, int]
ImageLike = str | os.PathLike | Image.Image | np.ndarray

VOID_COLOUR: RGB = (224, 224, 192)  # of pixels without a class, as PASCAL VOC draws them

# What files may hold, whatever their names end in. Pillow's other plugins are rarely tried, and some fail badly.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
LABEL_SUFFIXES = (".png",)  # lossy formats would change ids

_ID_MODES = ("1", "L", "P", "I;16", "I;16B", "I;16L", "I")  # Pillow's modes with one whole number a pixel
_TURNED = (5, 6, 7, 8)  # EXIF orientations that swap height and width


def read_image(path: str | os.PathLike | ReadableFile, content: BinaryIO | None = None) -> np.ndarray:
    """The picture in an image file, or in its `content` if that was read already, uint8 `(H, W, 3)`: see `to_rgb`.

    Raises:
        InputError: the file is missing, no image of one of `FORMATS`, damaged, or larger than the memory or Pillow's
            guard against decompression bombs.
    """
    with open_image(path, content) as image:
        return to_rgb(image)


def as_rgb(image: ImageLike) -> np.ndarray:
    """An image however it is given, as uint8 or float `(H, W, 3)` of RGB in [0, 255].

    Args:
        image: a file's path, a Pillow image, or such an array, which is handed back as it is.

    Raises:
        InputError: the file or image cannot be read, or the array is of another shape.
    """
    if isinstance(image, Image.Image):
        with _told(getattr(image, "filename", "") or f"an image of mode {image.mode}"):  # it may be decoded only now
            return to_rgb(image)
    if not isinstance(image, np.ndarray):
        return read_image(image)
    if image.ndim != 3 or image.shape[-1] != 3 or not image.size:
        raise InputError(f"An image array must be (H, W, 3), RGB. Received: an array of shape {image.shape}")
    return image


def to_rgb(image: Image.Image) -> np.ndarray:
    """A Pillow image of any mode as a viewer shows it, uint8 `(H, W, 3)`.

    Upright by its EXIF orientation; transparency over white, as on a page; 16 bits scaled to 8 rather than clipped;
    of several frames the first.

    Raises:
        InputError: floating-point or 32-bit pixels, whose range nothing tells.
    """
    name = getattr(image, "filename", "") or f"an image of mode {image.mode}"
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


def read_label(path: str | os.PathLike | ReadableFile, content: BinaryIO | None = None) -> np.ndarray:
    """The ids in a label file as stored, int32 `(H, W)`: grey values (8 or 16 bits), palette indices, or 0 and 1.

    As of `read_image`, its `content` may have been read already.

    Raises:
        InputError: the file cannot be read (see `read_image`), or it holds colours instead of ids.
    """
    with open_image(path, content) as image:
        _check_ids(image, path)
        return np.asarray(ImageOps.exif_transpose(image)).astype(np.int32)


def encode_pnm(array: np.ndarray) -> bytes:
    """A picture, uint8 `(H, W, 3)`, or ids, uint8 `(H, W)`, as a PPM or PGM file: the same bytes behind a header."""
    height, width, *colours = array.shape
    return b"P%d\n%d %d\n255\n" % (6 if colours else 5, width, height) + array.tobytes()


def image_size(path: str | os.PathLike | ReadableFile) -> tuple[int, int]:
    """`(H, W)` of what `read_image` will give, from the file's header alone.

    Raises:
        InputError: the file is missing or no image.
    """
    with open_image(path) as image:
        return _upright_size(image)


def label_size(path: str | os.PathLike | ReadableFile) -> tuple[int, int]:
    """`(H, W)` of what `read_label` will give, from the file's header alone.

    Raises:
        InputError: the file is missing, no image, or holds colours instead of ids.
    """
    with open_image(path) as image:
        _check_ids(image, path)
        return _upright_size(image)


def write_label(path: str | os.PathLike, ids: np.ndarray, palette: Sequence[RGB]) -> None:
    """Writes class ids, uint8 `(H, W)`, as a palette PNG that any viewer shows in the classes' colours.

    The file appears complete or not at all. Id 255 is void and shown in `VOID_COLOUR`.

    Args:
        path: the PNG to write; its folder exists.
        ids: class ids and 255, uint8 `(H, W)`.
        palette: the colour of each class.

    Raises:
        InputError: the file cannot be written.
    """
    image = Image.fromarray(np.asarray(ids, np.uint8))
    image.putpalette(palette_table(palette).tobytes())
    _write(image, path)


def write_grey(path: str | os.PathLike, values: np.ndarray) -> None:
    """Writes values, uint8 `(H, W)`, as a grey PNG, complete or not at all.

    Raises:
        InputError: the file cannot be written.
    """
    _write(Image.fromarray(values), path)


def _write(image: Image.Image, path: str | os.PathLike) -> None:
    try:
        with atomic_write(Path(path)) as partial:
            image.save(partial, format="PNG")
    except OSError as error:
        reason = error.strerror or error
        raise InputError(
            f"The label cannot be written ({reason}). Is there room, and permission? Received: {path}"
        ) from error


def palette_table(palette: Sequence[RGB]) -> np.ndarray:
    """The colour of every id that a label can hold, uint8 `(256, 3)`: the classes', black, and `VOID_COLOUR` at 255."""
    table = np.zeros((256, 3), np.uint8)
    table[: len(palette)] = palette
    table[IGNORE_LABEL] = VOID_COLOUR
    return table


def check_size(size: tuple[int, int], path: str | os.PathLike | ReadableFile) -> None:
    """Refuses to decode what Pillow would: a small file may hold more pixels than any memory.

    Args:
        size: `(H, W)`, as the file's header says.
        path: of the file.

    Raises:
        InputError: there are over twice `PIL.Image.MAX_IMAGE_PIXELS`.
    """
    if Image.MAX_IMAGE_PIXELS is not None and size[0] * size[1] > 2 * Image.MAX_IMAGE_PIXELS:
        raise _too_large(path)


def _too_large(path: str | os.PathLike | ReadableFile) -> InputError:
    return InputError(f"The image has over {2 * Image.MAX_IMAGE_PIXELS:,} pixels. Cut or shrink it. Received: {path}")


@contextmanager
def open_image(path: str | os.PathLike | ReadableFile, content: BinaryIO | None = None) -> Iterator[Image.Image]:
    """The opened, not yet decoded image of a file, or of its `content`, if that was read already.

    Raises:
        InputError: whatever goes wrong with it, inside this block too; it names the file.
    """
    with _told(path), ExitStack() as stack:
        if content is None and not isinstance(path, str | os.PathLike):
            content = stack.enter_context(path.open("rb"))
        yield stack.enter_context(Image.open(path if content is None else content, formats=FORMATS))


@contextmanager
def _told(path: str | os.PathLike | ReadableFile) -> Iterator[None]:
    """Turns whatever an image's decoder raises into an error that names the file."""
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
            f"The file holds no image that can be read. Replace it by one of {', '.join(FORMATS)}, or remove it. "
            f"Received: {path}"
        ) from error
    except MemoryError as error:
        raise InputError(f"The memory does not hold the image. Cut or shrink it. Received: {path}") from error
    except Exception as error:
        # Pillow's plugins raise anything on damaged files, mostly with a first line worth passing on.
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise InputError(f"The image cannot be read ({reason}). Replace or remove it. Received: {path}") from error


def _upright_size(image: Image.Image) -> tuple[int, int]:
    width, height = image.size
    # The base class's method: PNG's own decodes all pixels to look for an orientation behind them.
    orientation = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
    if orientation in _TURNED and image.format != "TIFF":  # TIFF's size is upright from the start
        return width, height
    return height, width


def _check_ids(image: Image.Image, path: str | os.PathLike | ReadableFile) -> None:
    if image.mode not in _ID_MODES:
        raise InputError(
            f"A label must hold one class id a pixel, as a grey or palette PNG, not {image.mode} colours. "
            f"Take the file as it was distributed, or replace each colour by its class id. Received: {path}"
        )
