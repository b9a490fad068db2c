"""The size of images: parsers of JPEG and PNG headers, faster than Pillow's for small files, and a limit."""

import struct
import zlib
from typing import NamedTuple

from PIL import Image

from keras_crosscoop.errors import InputError

GREY, COLOURED, INDEXED = 0, 2, 3  # PNG colour types

_PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR"
# PNG chunks with transparency, animation, or metadata that may hold an orientation.
_SPECIAL = {b"tRNS", b"acTL", b"eXIf", b"zTXt", b"iTXt"}
_EXIF_TEXT = b"Raw profile type exif"  # the keyword of a tEXt chunk that may hold an orientation
_JPEG = b"\xff\xd8\xff"
_FRAMES = (0xC0, 0xC1, 0xC2)  # markers of baseline, extended and progressive frames
_EXIF, _SCAN = 0xE1, 0xDA  # markers of metadata and of the pixels
_END, _TAIL = b"\xff\xd9", 1024  # the end marker, and the bytes that cameras may write after it


class Png(NamedTuple):
    """The header of a PNG file.

    Attributes:
        size: `(H, W)`.
        colour_type: The colour type, such as `GREY`, `COLOURED` or `INDEXED`.
        plain: Whether libpng and Pillow read the same pixels: 8 bits, opaque, one frame, upright, not interlaced.
        pixels: The position of the first IDAT chunk.
    """

    size: tuple[int, int]
    colour_type: int
    plain: bool
    pixels: int


class Jpeg(NamedTuple):
    """The header of a JPEG file: `(H, W)` as stored, the number of channels, and whether there is EXIF metadata."""

    size: tuple[int, int]
    channels: int
    has_exif: bool


def png(data: bytes) -> Png | None:
    """Parses the header of a PNG file; None for other and damaged files."""
    if not data.startswith(_PNG) or len(data) < 33:
        return None
    width, height, depth, colour_type, _, _, interlaced = struct.unpack_from(">IIBBBBB", data, 16)
    chunks, at = {}, 33  # name -> position
    while at + 8 <= len(data):  # to the end, because an orientation may follow the pixels
        chunks.setdefault(data[at + 4 : at + 8], at)
        if data.startswith(_EXIF_TEXT, at + 8):
            chunks[b"eXIf"] = at
        at += 12 + int.from_bytes(data[at : at + 4], "big")
    plain = width and height and depth == 8 and not interlaced and b"IDAT" in chunks and not chunks.keys() & _SPECIAL
    return Png((height, width), colour_type, bool(plain), chunks.get(b"IDAT", 33))


def jpeg(data: bytes) -> Jpeg | None:
    """Parses the header of an 8-bit JPEG file; None for other and truncated files."""
    if not data.startswith(_JPEG):
        return None
    frame, has_exif, at = None, False, 2
    while at + 10 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == _SCAN:
            break
        if marker in _FRAMES:
            frame = struct.unpack_from(">BHHB", data, at + 4)
        has_exif |= marker == _EXIF
        at += 2 + length
    if frame is None or _END not in data[-_TAIL:]:
        return None
    depth, height, width, channels = frame
    return Jpeg((height, width), channels, has_exif) if depth == 8 and height and width else None


def as_grey(data: bytes, header: Png) -> bytes:
    """Turns a palette PNG into a grey one, so that libpng returns its indices and not its colours."""
    grey = data[12:25] + bytes([GREY]) + data[26:29]
    return data[:12] + grey + struct.pack(">I", zlib.crc32(grey)) + data[header.pixels :]


def check_size(size: tuple[int, int], path: object) -> None:
    """Applies Pillow's limit against decompression bombs to images that another library decodes.

    Args:
        size: `(H, W)`, as the file's header says.
        path: The file.

    Raises:
        InputError: The image has more than twice `PIL.Image.MAX_IMAGE_PIXELS`.
    """
    if Image.MAX_IMAGE_PIXELS is not None and size[0] * size[1] > 2 * Image.MAX_IMAGE_PIXELS:
        raise too_large(path)


def too_large(path: object) -> InputError:
    """Returns the error for an image with too many pixels."""
    return InputError(f"The image has over {2 * Image.MAX_IMAGE_PIXELS:,} pixels. Crop or shrink it. Received: {path}")
