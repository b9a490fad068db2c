"""Images of more than 8 bits, with other channels than RGB, in stacks, and with an orientation that is not heeded."""

import zlib
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
import tifffile
from helpers import refused
from PIL import Image

from keras_crosscoop.images.decoding import image_reader
from keras_crosscoop.images.io import as_rgb, image_size, read_image
from keras_crosscoop.images.reading import ImageReading, turn_back, turn_upright

RNG = np.random.default_rng(0)
DEEP = RNG.integers(0, 4096, (5, 7, 3), np.uint16)
BANDS = RNG.integers(0, 256, (5, 7, 6), np.uint8)
TWELVE_BITS = ImageReading(range=(0, 4095))
SCALED = np.rint(DEEP / 4095 * 255).astype(np.uint8)


def write_png_16_bit(path, pixels):
    """Writes 16-bit RGB or RGBA, which Pillow cannot."""
    import tensorflow as tf

    path.write_bytes(tf.io.encode_png(pixels).numpy())


def reads(path, reading):
    """Reads an image in both ways, which must agree, and checks its size."""
    pixels = read_image(path, reading=reading)
    window = image_reader(path, reading)
    assert window.size == image_size(path, reading) == pixels.shape[:2]
    np.testing.assert_array_equal(window.read(slice(1, 4), slice(2, 5)), pixels[1:4, 2:5])
    np.testing.assert_array_equal(as_rgb(path, reading), pixels)
    return pixels


def test_grey_of_16_bits_is_scaled_by_the_range(tmp_path):
    Image.fromarray(DEEP[..., 0]).save(tmp_path / "a.png")
    np.testing.assert_array_equal(reads(tmp_path / "a.png", TWELVE_BITS), SCALED[..., :1].repeat(3, 2))


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"byteorder": ">"}, {"planarconfig": "separate"}])
def test_rgb_tiff_of_16_bits_keeps_its_low_bytes(tmp_path, options):
    pixels = np.moveaxis(DEEP, -1, 0) if "planarconfig" in options else DEEP
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", **options)
    np.testing.assert_array_equal(reads(tmp_path / "a.tif", TWELVE_BITS), SCALED)


@pytest.mark.parametrize("channels", [3, 4])
def test_rgb_png_of_16_bits_keeps_its_low_bytes(tmp_path, channels):
    pixels = np.dstack([DEEP, np.full((5, 7), 65535, np.uint16)])[..., :channels]
    write_png_16_bit(tmp_path / "a.png", pixels)
    np.testing.assert_array_equal(reads(tmp_path / "a.png", TWELVE_BITS), SCALED)


def compress_lzw(path):
    """Replaces the deflate compression of a TIFF file by LZW, for which tifffile needs another package."""
    with tifffile.TiffFile(path, mode="r+") as file:
        page, places = file.pages[0], []
        for offset, length in zip(page.dataoffsets, page.databytecounts, strict=True):
            file.filehandle.seek(offset)
            pixels = np.frombuffer(zlib.decompress(file.filehandle.read(length)), np.uint8)
            Image.fromarray(pixels[None]).save(grey := BytesIO(), "TIFF", compression="tiff_lzw")
            with Image.open(grey) as image:
                (start,), (count,) = image.tag_v2[273], image.tag_v2[279]
            places.append((file.filehandle.seek(0, 2), count))
            file.filehandle.write(grey.getvalue()[start : start + count])
        kind = "Tile" if page.is_tiled else "Strip"
        page.tags[f"{kind}Offsets"].overwrite([place for place, _ in places])
        page.tags[f"{kind}ByteCounts"].overwrite([count for _, count in places])
        page.tags["Compression"].overwrite(5)


@pytest.mark.parametrize(
    "options",
    [{}, {"predictor": 2}, {"rowsperstrip": 2}, {"tile": (16, 16), "predictor": 2}, {"planarconfig": "separate"}],
)
def test_lzw_needs_no_further_package(tmp_path, options):
    pixels = np.moveaxis(DEEP, -1, 0) if "planarconfig" in options else DEEP
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", compression="zlib", **options)
    compress_lzw(tmp_path / "a.tif")
    np.testing.assert_array_equal(reads(tmp_path / "a.tif", TWELVE_BITS), SCALED)


def test_floating_point_is_scaled_by_the_range(tmp_path):
    values = np.linspace(-0.5, 1.5, 35, dtype=np.float32).reshape(5, 7)
    values[0, :2] = np.nan, np.inf
    tifffile.imwrite(tmp_path / "a.tif", values)
    expected = np.rint(np.clip(values, 0, 1) * 255)
    expected[0, :2] = 0, 255
    np.testing.assert_array_equal(reads(tmp_path / "a.tif", ImageReading(range=(0, 1)))[..., 1], expected)


def test_8_bits_have_no_range(tmp_path):
    Image.fromarray(BANDS[..., :3]).save(tmp_path / "a.png")
    np.testing.assert_array_equal(reads(tmp_path / "a.png", TWELVE_BITS), BANDS[..., :3])


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_channels_are_chosen_by_number(tmp_path, name):
    Image.fromarray(BANDS[..., :4]).save(tmp_path / name)
    np.testing.assert_array_equal(reads(tmp_path / name, ImageReading(channels=(4, 1, 3))), BANDS[..., [3, 0, 2]])
    message = refused(read_image, tmp_path / name, reading=ImageReading(channels=(5, 1, 1)))
    assert (
        message
        == f"The image has 4 channels, but the description says `channels: [5, 1, 1]`. Received: {tmp_path / name}"
    )


def test_many_channels(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", BANDS, photometric="minisblack", planarconfig="contig")
    np.testing.assert_array_equal(reads(tmp_path / "a.tif", ImageReading(channels=(6, 4, 1))), BANDS[..., [5, 3, 0]])
    assert "6 channels, and it is unknown which" in refused(read_image, tmp_path / "a.tif")


def test_a_fourth_band_is_transparency_only_if_it_looks_so(tmp_path):
    path = tmp_path / "a.tif"
    for associated in ("assocalpha", "unassalpha", "unspecified"):
        tifffile.imwrite(path, BANDS[..., :4], photometric="rgb", extrasamples=[associated])
        np.testing.assert_array_equal(reads(path, ImageReading()), BANDS[..., :3])
    cut = BANDS[..., :4].copy()
    cut[..., 3] = 255
    cut[0, :3, 3] = 0
    tifffile.imwrite(path, cut, photometric="rgb", extrasamples=["unassalpha"])
    expected = cut[..., :3].copy()
    expected[0, :3] = 255
    np.testing.assert_array_equal(reads(path, ImageReading()), expected)
    tifffile.imwrite(path, cut, photometric="rgb", extrasamples=["unspecified"])
    np.testing.assert_array_equal(reads(path, ImageReading()), cut[..., :3])


@pytest.mark.parametrize(("dtype", "opaque"), [(np.float32, 1), (np.uint16, 65535), (np.uint32, 2**32 - 1)])
def test_opaque_is_the_highest_value_of_the_type(tmp_path, dtype, opaque):
    stored = np.full((5, 7, 4), opaque, dtype)
    stored[..., :3] = np.arange(105).reshape(5, 7, 3) / (104 if opaque == 1 else 1)
    stored[0, 0, 3] = 0
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", extrasamples=["unassalpha"])
    expected = np.rint(np.arange(105).reshape(5, 7, 3) * (255 / 104))
    expected[0, 0] = 255
    read = reads(tmp_path / "a.tif", ImageReading(range=(0, 1 if opaque == 1 else 104)))
    np.testing.assert_allclose(read, expected, atol=1)


def test_two_channels_are_refused(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, BANDS[..., :2], photometric="minisblack", planarconfig="contig")
    assert refused(read_image, path) == (
        "The image has 2 channels, and it is unknown which are red, green and blue. Name them in dataset.yaml, such as "
        f"`channels: [1, 2, 2]`. Received: {path}"
    )
    np.testing.assert_array_equal(reads(path, ImageReading(channels=(1, 2, 2))), BANDS[..., [0, 1, 1]])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_stacks_need_a_slice(tmp_path, dtype):
    path, stack = tmp_path / "a.tif", np.moveaxis(BANDS[..., :4], -1, 0).astype(dtype)
    tifffile.imwrite(path, stack, photometric="minisblack")
    for function in (read_image, image_size, lambda path: image_reader(path)):
        assert refused(function, path) == (
            "The image is a stack of 4 slices (4 x 5 x 7). Choose one with `slice: 1` in dataset.yaml; or, if they are "
            f"channels, name those of red, green and blue with `channels: [1, 2, 3]`. Received: {path}"
        )
    plain = ImageReading(range=(0, 255))
    np.testing.assert_array_equal(reads(path, replace(plain, slice=2)), BANDS[..., 1:2].repeat(3, 2))
    np.testing.assert_array_equal(reads(path, replace(plain, channels=(2, 1, 4))), BANDS[..., [1, 0, 3]])
    assert "stack of 4 slices" in refused(read_image, path, reading=ImageReading(slice=7))


def test_thumbnails_are_no_slices(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(BANDS[..., :3], photometric="rgb")
        file.write(BANDS[::2, ::2, :3], photometric="rgb", subfiletype=1)
    np.testing.assert_array_equal(reads(tmp_path / "a.tif", ImageReading()), BANDS[..., :3])


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "deep.tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_can_be_left_alone(tmp_path, orientation, name):
    exif = Image.Exif()
    exif[0x0112] = orientation
    reading = ImageReading(range=(0, 255))
    if name == "deep.tif":
        tags = [(274, "H", 1, orientation, True)]
        tifffile.imwrite(tmp_path / name, BANDS[..., :3].astype(np.uint16), photometric="rgb", extratags=tags)
    else:
        Image.fromarray(BANDS[..., :3]).save(tmp_path / name, exif=exif, quality=100, subsampling=0)
    tolerance = 6 if name == "a.jpg" else 0
    stored = reads(tmp_path / name, replace(reading, orientation="stored"))
    np.testing.assert_allclose(stored.astype(int), BANDS[..., :3], atol=tolerance)
    upright = reads(tmp_path / name, reading)
    np.testing.assert_array_equal(upright, turn_upright(stored, orientation))
    np.testing.assert_array_equal(turn_back(upright, orientation), stored)


def test_jpeg_2000(tmp_path):
    Image.fromarray(BANDS[..., :3]).save(tmp_path / "a.jp2")  # lossless by default
    np.testing.assert_array_equal(reads(tmp_path / "a.jp2", ImageReading()), BANDS[..., :3])
    Image.fromarray(DEEP[..., 0]).save(tmp_path / "b.jp2")
    np.testing.assert_array_equal(reads(tmp_path / "b.jp2", TWELVE_BITS), SCALED[..., :1].repeat(3, 2))


@pytest.mark.parametrize("entry", [{"range": (3, 3)}, {"channels": (0, 1, 2)}, {"slice": 0}])
def test_impossible_readings_are_refused(entry):
    assert "Received: " in refused(ImageReading, **entry)


def test_damaged_tiff_is_one_line(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, DEEP, photometric="rgb", compression="zlib")
    whole = path.read_bytes()
    for length in range(8, len(whole), 23):
        path.write_bytes(whole[:length])
        assert refused(read_image, path, reading=TWELVE_BITS).endswith(f"Received: {path}")


def test_decompression_bomb(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "a.tif", DEEP, photometric="rgb")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert "over 20 pixels" in refused(read_image, tmp_path / "a.tif", reading=TWELVE_BITS)
