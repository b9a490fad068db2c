"""TIFF files that Pillow cannot read or would read with fewer bits or bands: 16-bit RGB, many bands, stacks."""

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from PIL import Image

from keras_crosscoop.errors import InputError, reason
from keras_crosscoop.images.headers import check_size
from keras_crosscoop.images.reading import ImageReading

if TYPE_CHECKING:
    import tifffile

_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_LZW, _DEFLATE = 5, 8
_TILE_TAGS, _STRIP_TAGS = ("TileOffsets", "TileByteCounts"), ("StripOffsets", "StripByteCounts")


def is_tiff(file: BinaryIO) -> bool:
    """Whether an open file begins as a TIFF file does; its position becomes its start."""
    file.seek(0)
    magic = file.read(4)
    file.seek(0)
    return magic in _MAGIC


def parse_no_data(text: object) -> float | None:
    """Reads GDAL's tag for the value of pixels without data."""
    try:
        return float(str(text).strip("\0 "))
    except ValueError:
        return None


class CompressionError(InputError):
    """A TIFF file is compressed in a way that tifffile cannot decode by itself."""


class StackError(InputError):
    """A TIFF file is a stack, from which no slice was chosen."""


class Tiff:
    """An open TIFF file.

    Attributes:
        pages: The pages of the first one's size, without thumbnails and smaller versions.
        shape: `(H, W, C)` of a page, as stored.
        orientation: The EXIF orientation.
        is_rgb: Whether the file says that its first three channels are red, green and blue.
        has_alpha: Whether the file says that the channel after the colours is transparency.
        no_data: The value of pixels without data, if the file names one, as GDAL does.
    """

    def __init__(self, file: "tifffile.TiffFile", name: str) -> None:
        self.name = name
        first = file.pages[0]
        self.series = file.series[0]
        self.pages = [page for page in file.pages if page.shape == first.shape and not page.is_reduced]
        if first.imagedepth > 1:
            raise StackError(f"The image has {first.imagedepth} layers. Save the one to use as TIFF. Received: {name}")
        self.shape = (first.imagelength, first.imagewidth, first.samplesperpixel)
        self.dtype = first.dtype
        self._planar = first.planarconfig == 2 and first.samplesperpixel > 1
        tags = {name: tag.value for name in ("Orientation", "GDAL_NODATA") if (tag := first.tags.get(name))}
        self.orientation = int(tags.get("Orientation", 1))
        self.is_rgb = first.photometric == 2
        extra = first.samplesperpixel - (3 if self.is_rgb else 1)
        self.has_alpha = extra == 1 and first.extrasamples[:1] in ((1,), (2,))
        self.no_data = parse_no_data(tags.get("GDAL_NODATA"))

    @property
    def stack(self) -> tuple[int, ...] | None:
        """The shape of a stack of slices; None for one image."""
        if len(self.pages) < 2:
            return None
        # An array `(H, W, C)` may be stored as H pages of W x C.
        return self.series.shape if self.series.ndim == 3 else (len(self.pages), *self.shape[:2])

    def read(self, reading: ImageReading) -> np.ndarray:
        """Returns the stored values `(H, W, C)`.

        Raises:
            StackError: See `size`.
        """
        check_size(self.size(reading), self.name)
        if self._pages_are_channels(reading):
            return np.moveaxis(self.series.asarray(), self._channel_axis, -1)
        pixels = self.pages[(reading.slice or 1) - 1].asarray()
        return np.moveaxis(pixels, 0, -1) if self._planar else pixels.reshape(self.shape)

    def size(self, reading: ImageReading) -> tuple[int, int]:
        """Returns `(H, W)` as stored, of the pixels that `read` returns.

        Raises:
            StackError: It is a stack, and the reading names neither its channels nor one of its slices.
        """
        if self._pages_are_channels(reading):
            height, width = np.delete(self.series.shape, self._channel_axis).tolist()
            return height, width
        if self.stack is not None and not 1 <= (reading.slice or 0) <= len(self.pages):
            shape = " x ".join(map(str, self.stack))
            raise StackError(
                f"The image is a stack of {len(self.pages)} slices ({shape}). Choose one with `slice: 1` in "
                "dataset.yaml; or, if they are channels, name those of red, green and blue with `channels: [1, 2, 3]`. "
                f"Received: {self.name}"
            )
        return self.shape[:2]

    def channel_count(self, reading: ImageReading) -> int:
        """Returns C of the pixels that `read` returns."""
        return self.series.shape[self._channel_axis] if self._pages_are_channels(reading) else self.shape[-1]

    def _pages_are_channels(self, reading: ImageReading) -> bool:
        return self.stack is not None and reading.channels is not None and reading.slice is None

    @property
    def _channel_axis(self) -> int:
        return int(np.argmin(self.series.shape))


@contextmanager
def open_tiff(file: BinaryIO, name: str) -> Iterator[Tiff]:
    """Opens a TIFF file with tifffile.

    Args:
        file: The open file.
        name: Its path, for errors.

    Raises:
        CompressionError: tifffile cannot decode the pixels.
        InputError: The file is damaged.
    """
    import tifffile

    try:
        file.seek(0)
        with tifffile.TiffFile(_without_lzw(file)) as opened:
            yield Tiff(opened, name)
    except (InputError, MemoryError):
        raise
    except Exception as error:  # damaged files make tifffile raise errors of any type
        if "imagecodecs" in str(error):
            raise CompressionError(
                f"The TIFF's compression is not supported ({reason(error)}). Save it uncompressed or with deflate, or "
                f"install the package imagecodecs. Received: {name}"
            ) from error
        raise InputError(
            f"The image cannot be read ({reason(error)}). Replace or remove it. Received: {name}"
        ) from error


def _without_lzw(file: BinaryIO) -> BinaryIO:
    """Returns a deflate copy of an LZW file, which tifffile cannot decode by itself, and other files unchanged.

    Pillow decodes each segment as a grey image of one row.
    """
    import tifffile

    with tifffile.TiffFile(file) as opened:
        compressed = any(page.compression == _LZW for page in opened.pages)
    file.seek(0)
    if not compressed:
        return file
    content = BytesIO(file.read())
    with tifffile.TiffFile(content, mode="r+") as opened:
        for page in opened.pages:
            if page.compression == _LZW:
                _decompress(page, content)
    content.seek(0)
    return content


def _decompress(page: "tifffile.TiffPage", content: BytesIO) -> None:
    offsets, lengths = _TILE_TAGS if page.is_tiled else _STRIP_TAGS
    rows, columns = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, page.imagewidth)
    bits = columns * page.bitspersample * (page.samplesperpixel if page.planarconfig == 1 else 1)
    per_plane = -(-page.imagelength // rows)
    places = []
    for number, (offset, length) in enumerate(zip(page.dataoffsets, page.databytecounts, strict=True)):
        content.seek(offset)
        height = rows if page.is_tiled else min(rows, page.imagelength - number % per_plane * rows)
        # Deflate without compression: of uncompressed files, tifffile would ignore the predictor.
        segment = zlib.compress(_decode_lzw(content.read(length), -(-bits // 8) * height), 0)
        places.append((content.seek(0, 2), len(segment)))
        content.write(segment)
    page.tags[offsets].overwrite([place for place, _ in places])
    page.tags[lengths].overwrite([length for _, length in places])
    page.tags["Compression"].overwrite(_DEFLATE)


def _decode_lzw(data: bytes, length: int) -> bytes:
    if len(data) > 1 and data[0] == 0 and data[1] & 1:
        raise ValueError("old-style LZW")
    tags = {256: length, 257: 1, 258: 8, 259: _LZW, 262: 1, 273: 0, 277: 1, 278: 1, 279: len(data)}
    tags[273] = 10 + 12 * len(tags) + 4  # where the data begin
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    header = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)
    with Image.open(BytesIO(header + data), formats=["TIFF"]) as image:
        return image.tobytes()
