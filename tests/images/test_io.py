"""Reading and writing of image and label files, and errors about bad ones."""

import struct
from contextlib import suppress
from io import BytesIO

import numpy as np
import pytest
from helpers import refused
from PIL import Image, ImageColor
from PIL.PngImagePlugin import PngImageFile

from keras_crosscoop.errors import InputError
from keras_crosscoop.images.decoding import image_reader
from keras_crosscoop.images.io import as_rgb, image_size, label_size, read_image, read_label, to_rgb, write_label

RNG = np.random.default_rng(0)
PICTURE = RNG.integers(0, 256, (5, 7, 3), np.uint8)
GREY = RNG.integers(0, 256, (5, 7), np.uint8)
ORIENTATION = 0x0112

# The stored array of an upright image for each EXIF orientation.
STORED = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: np.rot90(x, 1),
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
    8: lambda x: np.rot90(x, -1),
}


def save_turned(array, path, orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.fromarray(np.ascontiguousarray(STORED[orientation](array))).save(path, exif=exif)


def test_rgb_comes_unchanged(tmp_path):
    Image.fromarray(PICTURE).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    np.testing.assert_array_equal(image, PICTURE)
    assert image.dtype == np.uint8


def test_grey_has_three_equal_channels(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), GREY[..., None].repeat(3, 2))


def test_16_bit_grey_is_scaled_not_clipped(tmp_path):
    """16-bit values are divided by 257 and rounded."""
    deep = GREY.astype(np.uint16) * 257
    deep[0, :4] = [128, 129, 65535 - 128, 65535 - 129]
    expected = GREY.copy()
    expected[0, :4] = [0, 1, 255, 254]
    Image.fromarray(deep).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), expected[..., None].repeat(3, 2))


def test_palette_becomes_its_colours(tmp_path):
    ids = (GREY % 4).astype(np.uint8)
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 8, 7]], np.uint8)
    image = Image.fromarray(ids)
    image.putpalette(colours.tobytes())
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), colours[ids])
    image.save(tmp_path / "b.png", transparency=2)  # colour 2 is see-through
    colours[2] = 255
    np.testing.assert_array_equal(read_image(tmp_path / "b.png"), colours[ids])


def test_transparency_lies_over_white(tmp_path):
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0] = [[200, 100, 0, 255], [200, 100, 0, 0], [200, 100, 0, 51]]  # opaque, absent, one fifth there
    Image.fromarray(rgba).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").tolist() == [[[200, 100, 0], [255, 255, 255], [244, 224, 204]]]


def test_cmyk_becomes_rgb(tmp_path):
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=100)  # no cyan: red
    np.testing.assert_allclose(read_image(tmp_path / "a.jpg"), np.broadcast_to([255, 0, 0], (8, 8, 3)), atol=3)


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
@pytest.mark.parametrize("orientation", STORED)
def test_every_exif_orientation_is_upright(tmp_path, orientation, suffix):
    path = tmp_path / f"a.{suffix}"
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](PICTURE)))
    stored.save(path, exif=exif, lossless=True)
    np.testing.assert_array_equal(read_image(path), PICTURE)
    assert image_size(path) == (5, 7)


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_labels_turn_with_their_images(tmp_path, orientation, dtype):
    save_turned(GREY.astype(dtype), tmp_path / "a.png", orientation)
    np.testing.assert_array_equal(read_label(tmp_path / "a.png"), GREY)
    assert label_size(tmp_path / "a.png") == (5, 7)


def test_pillow_images_need_no_file():
    np.testing.assert_array_equal(to_rgb(Image.fromarray(PICTURE)), PICTURE)


def test_floating_point_is_refused(tmp_path):
    Image.fromarray(GREY.astype(np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(
        InputError,
        match=r"range is unknown\. Give it in dataset\.yaml, such as `range: \[0, 1\]`.* Received: .*a\.tif$",
    ):
        read_image(tmp_path / "a.tif", BytesIO((tmp_path / "a.tif").read_bytes()))


def test_label_values_come_as_stored(tmp_path):
    deep = GREY.astype(np.uint16) * 200
    Image.fromarray(deep).save(tmp_path / "deep.png")
    label = read_label(tmp_path / "deep.png")
    np.testing.assert_array_equal(label, deep)
    assert label.dtype == np.int32

    palette = Image.fromarray(GREY)
    palette.putpalette(RNG.integers(0, 256, 768, np.uint8).tobytes())
    palette.save(tmp_path / "palette.png")
    np.testing.assert_array_equal(read_label(tmp_path / "palette.png"), GREY)

    Image.fromarray(GREY > 100).save(tmp_path / "bilevel.png")
    np.testing.assert_array_equal(read_label(tmp_path / "bilevel.png"), GREY > 100)


@pytest.mark.parametrize(("mode", "colour"), [("RGB", "red"), ("RGBA", "red"), ("RGB", "gray"), ("LA", "gray")])
def test_coloured_labels_are_refused(tmp_path, mode, colour):
    """Also grey ones, whose three channels are equal: a data set says whether its labels hold colours or ids."""
    Image.new(mode, (4, 4), colour).save(tmp_path / "a.png")
    with pytest.raises(
        InputError,
        match=rf"one class id per pixel, as a grey or palette PNG, not {mode} colours\. "
        r"Take the file as it was distributed, or replace each colour by its class id\. Received: .*a\.png$",
    ):
        read_label(tmp_path / "a.png")
    assert tuple(read_label(tmp_path / "a.png", colours=True)[0, 0]) == ImageColor.getrgb(colour)


def test_transparent_pixels_of_coloured_labels_are_black(tmp_path):
    pixels = np.array([[[9, 9, 9, 255], [9, 9, 9, 0]]], np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert read_label(tmp_path / "a.png", colours=True).tolist() == [[[9, 9, 9], [0, 0, 0]]]


@pytest.mark.parametrize("function", [read_image, read_label, image_size, label_size])
def test_missing_and_foreign_files(tmp_path, function):
    with pytest.raises(InputError, match=r"no such image file\. Is the path right\? Received: .*none\.png$"):
        function(tmp_path / "none.png")
    (tmp_path / "text.png").write_text("not an image")
    with pytest.raises(InputError, match=r"not a readable image\. Replace it .* Received: .*text\.png$"):
        function(tmp_path / "text.png")
    with pytest.raises(InputError, match=r"cannot be read \(.*\)\. Replace or remove it\. Received: "):
        function(tmp_path)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow warns of broken metadata and goes on
@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif", "bmp"])
def test_truncated_at_any_byte_is_one_line(tmp_path, suffix):
    """A file truncated anywhere gives one line that names it, and no other exception."""
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(RNG.integers(0, 256, (16, 16, 3), np.uint8)).save(path)
    whole = path.read_bytes()
    for length in range(0, len(whole) - 24, 7):  # the last bytes hold but checksums and an end marker
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"^.* Received: .*$") as caught:
            read_image(path)
        assert str(caught.value).endswith(f"Received: {path}")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("function", [read_image, read_label, image_size, label_size])
def test_formats_go_by_content(tmp_path, function):
    """Pillow has 40 more formats, whose plugins raise any error, such as `NotImplementedError` for this DDS file."""
    bad = b"DDS " + struct.pack("<7I44x8I5I", 124, 0x1007, 8, 8, 0, 0, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    (tmp_path / "a.png").write_bytes(bad)
    with pytest.raises(NotImplementedError):
        Image.open(tmp_path / "a.png")
    with pytest.raises(
        InputError, match=r"Replace it by one of PNG, JPEG, BMP, GIF, TIFF, WEBP, PPM, JPEG2000, or remove it"
    ):
        function(tmp_path / "a.png")
    Image.fromarray(GREY).save(tmp_path / "b.jpg", format="GIF")
    function(tmp_path / "b.jpg")


@pytest.mark.parametrize("function", [read_image, as_rgb, read_label])
@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (NotImplementedError("no such thing"), "cannot be read (no such thing)"),
        (RecursionError(), "cannot be read (RecursionError)"),
        (struct.error("unpack requires 4 bytes\nand more"), "cannot be read (unpack requires 4 bytes)"),
        (MemoryError(), "The image does not fit into memory. Crop or shrink it."),
        (OverflowError("too large"), "cannot be read (too large)"),
    ],
)
def test_whatever_a_decoder_raises_is_one_line_that_names_the_file(tmp_path, monkeypatch, function, error, expected):
    def fail(_):
        raise error

    path = tmp_path / "a.png"
    Image.fromarray(GREY).save(path)
    monkeypatch.setattr(PngImageFile, "load", fail)
    message = refused(function, Image.open(path) if function is as_rgb else path)
    assert expected in message
    assert message.endswith(f"Received: {path}")


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow warns of broken metadata and goes on
@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif", "bmp", "gif", "ppm", "jp2"])
def test_damaged_bytes_are_a_picture_or_one_line(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(PICTURE).save(path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(whole)
        for at in rng.integers(0, min(len(whole), 200), rng.integers(1, 6)):
            damaged[at] = rng.integers(0, 256)
        path.write_bytes(damaged)
        for function in (read_image, read_label, lambda path: image_reader(path).read(slice(0, 5), slice(0, 7))):
            with suppress(InputError):
                function(path)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_sizes_need_no_pixels(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(RNG.integers(0, 256, (50, 70), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:1000])
    assert image_size(path) == label_size(path) == (50, 70)


def test_decompression_bomb(tmp_path, monkeypatch):
    Image.new("L", (40, 40)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(InputError, match=r"over 200 pixels\. Crop or shrink it\. Received: .*a\.png$"):
        read_image(tmp_path / "a.png")


def test_written_labels_hold_ids_and_show_colours(tmp_path):
    ids = np.array([[0, 1], [2, 255]], np.uint8)
    palette = [(1, 2, 3), (40, 50, 60), (128, 64, 128)]
    write_label(tmp_path / "a.png", ids, palette)
    np.testing.assert_array_equal(read_label(tmp_path / "a.png"), ids)
    shown = read_image(tmp_path / "a.png")
    np.testing.assert_array_equal(shown.reshape(-1, 3), [*palette, (224, 224, 192)])


def test_nothing_half_written(tmp_path, monkeypatch):
    def fail(self, file, **kwargs):
        file.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(InputError, match=r"cannot be written \(No space left on device\).* Received: .*a\.png$"):
        write_label(tmp_path / "a.png", np.zeros((2, 2), np.uint8), [(0, 0, 0)])
    assert list(tmp_path.iterdir()) == []


def test_label_into_no_folder(tmp_path):
    with pytest.raises(InputError, match=r"cannot be written .* Received: .*a\.png$"):
        write_label(tmp_path / "none" / "a.png", np.zeros((2, 2), np.uint8), [(0, 0, 0)])


def test_many_channels_are_read_without_a_message_of_pillow(tmp_path, caplog):
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(
        tmp_path / "7.tif", np.zeros((5, 6, 7), np.uint16), photometric="minisblack", planarconfig="contig"
    )
    assert image_size(tmp_path / "7.tif") == (5, 6)
    assert not caplog.records
