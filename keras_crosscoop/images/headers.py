"""What the headers of JPEG and PNG files tell: read here, as Pillow takes a good part of a small file's time for it."""

import struct
import zlib
from typing import NamedTuple

GREY, COLOURED, INDEXED = 0, 2, 3  # PNG's colour types

_PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR"
_SPECIAL = {b"tRNS", b"acTL", b"eXIf", b"zTXt", b"iTXt"}  # its chunks of transparency, animation, and metadata that may
_TURNING_TEXT = b"Raw profile type exif"  # hold an orientation; as may a tEXt chunk of this name
_JPEG = b"\xff\xd8\xff"
_FRAMES = (0xC0, 0xC1, 0xC2)  # JPEG's markers of baseline, extended and progressive frames
_SCAN, _END, _TAIL = 0xDA, b"\xff\xd9", 1024  # of its pixels; of its end, which cameras write a little behind
_EXIF = 0xE1  # its marker of metadata, the orientation among them


class Png(NamedTuple):
    """What matters of a PNG file: its size, `colour_type`, whether it is `plain`, and where its `pixels` begin.

    A plain one is read alike by libpng and Pillow: one opaque picture of 8 bits, upright, its rows in order.
    """

    size: tuple[int, int]
    colour_type: int
    plain: bool
    pixels: int


class Jpeg(NamedTuple):
    """What matters of a JPEG file: its size, as stored, its `channels`, and whether it `has_exif` data or the like."""

    size: tuple[int, int]
    channels: int
    has_exif: bool


def png(data: bytes) -> Png | None:
    """The header of a PNG file; None where it is none, or damaged."""
    if not data.startswith(_PNG) or len(data) < 33:
        return None
    width, height, depth, colour_type, _, _, interlaced = struct.unpack_from(">IIBBBBB", data, 16)
    chunks, at = {}, 33  # name -> where it begins
    while at + 8 <= len(data):  # to the end: an orientation may also stand behind the pixels
        chunks.setdefault(data[at + 4 : at + 8], at)
        if data.startswith(_TURNING_TEXT, at + 8):
            chunks[b"eXIf"] = at
        at += 12 + int.from_bytes(data[at : at + 4], "big")
    plain = width and height and depth == 8 and not interlaced and b"IDAT" in chunks and not chunks.keys() & _SPECIAL
    return Png((height, width), colour_type, bool(plain), chunks.get(b"IDAT", 33))


def jpeg(data: bytes) -> Jpeg | None:
    """The header of a JPEG file of 8 bits; None where it is none, or another one, or breaks off."""
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
    """The same PNG without a palette, so that its indices are shades of grey, and not mapped to colours."""
    grey = data[12:25] + bytes([GREY]) + data[26:29]
    return data[:12] + grey + struct.pack(">I", zlib.crc32(grey)) + data[header.pixels :]
