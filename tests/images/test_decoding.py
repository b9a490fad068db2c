"""Windows that the fast decoders read hold the same pixels as the whole file, for every format."""

import io
import zlib

import numpy as np
import pytest
from helpers import photograph, refused
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from keras_crosscoop.errors import InputError
from keras_crosscoop.images import decoding, headers
from keras_crosscoop.images.decoding import RawFile, image_reader, label_reader
from keras_crosscoop.images.io import image_size, read_image, read_label

PICTURE = photograph(61, 83)[0].astype(np.uint8)
IDS = np.random.default_rng(0).integers(0, 12, (61, 83), np.uint8)
WINDOWS = [
    (slice(0, 61), slice(0, 83)),
    (slice(7, 50), slice(9, 10)),
    (slice(60, 61), slice(33, 83)),
    (slice(0, 33), slice(17, 82)),
    (slice(16, 32), slice(32, 64)),
]
UPRIGHT, TURNED = 1, 6


def exif(orientation):
    data = Image.Exif()
    data[0x0112] = orientation
    return data


def saved(path, array, **options):
    Image.fromarray(array).save(path, **options)
    return path


def in_palette(bits):
    return Image.fromarray(PICTURE).quantize(2**bits)


NATIVE = {
    "jpg": lambda path: saved(path, PICTURE, quality=90),
    "grey.jpg": lambda path: saved(path, PICTURE[..., 0]),
    "progressive.jpg": lambda path: saved(path, PICTURE, progressive=True, subsampling=0),
    "upright.jpg": lambda path: saved(path, PICTURE, exif=exif(UPRIGHT)),
    "png": lambda path: saved(path, PICTURE),
    "grey.png": lambda path: saved(path, PICTURE[..., 0]),
}
PILLOW = {
    "turned.jpg": lambda path: saved(path, PICTURE, exif=exif(TURNED)),
    "turned.png": lambda path: saved(path, PICTURE, exif=exif(TURNED)),
    "cmyk.jpg": lambda path: Image.fromarray(PICTURE).convert("CMYK").save(path) or path,
    "palette.png": lambda path: in_palette(8).save(path) or path,
    "bits.png": lambda path: in_palette(2).save(path) or path,
    "alpha.png": lambda path: saved(path, np.dstack([PICTURE, PICTURE[..., :1]])),
    "transparent.png": lambda path: saved(path, PICTURE, transparency=tuple(map(int, PICTURE[3, 4]))),
    "deep.png": lambda path: saved(path, PICTURE[..., 0].astype(np.uint16) * 256 + 200),
    "bmp": lambda path: saved(path, PICTURE),
    "tif": lambda path: saved(path, PICTURE),
    "webp": lambda path: saved(path, PICTURE),
    "gif": lambda path: in_palette(8).save(path) or path,
}


@pytest.mark.parametrize("name", [*NATIVE, *PILLOW])
def test_windows_of_images(name, tmp_path, monkeypatch):
    path = {**NATIVE, **PILLOW}[name](tmp_path / f"a.{name}")
    whole = read_image(path)
    opened = image_reader(path)
    if name in NATIVE:  # then nothing else decodes it
        monkeypatch.setattr(decoding, "read_image", None)
    assert opened.size == whole.shape[:2]
    for rows, columns in WINDOWS if name in NATIVE else [(slice(5, 61), slice(2, 61))]:
        np.testing.assert_array_equal(opened.read(rows, columns), whole[rows, columns])


@pytest.mark.parametrize("chunk", ["zTXt", "iTXt", "tEXt"])
def test_png_turned_by_a_text(chunk, tmp_path):
    """ImageMagick, and programs that write XMP, store the orientation as text."""
    raw = exif(TURNED).tobytes()
    hexadecimal = "".join(f"{raw.hex()[at : at + 72]}\n" for at in range(0, 2 * len(raw), 72))
    profile = f"\nexif\n{len(raw):8}\n{hexadecimal}"
    xmp = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    text = PngInfo()
    if chunk == "iTXt":
        text.add_itxt("XML:com.adobe.xmp", xmp)
    else:
        text.add_text("Raw profile type exif", profile, zip=chunk == "zTXt")
    saved(tmp_path / "a.png", PICTURE, pnginfo=text)
    expected = read_image(tmp_path / "a.png")
    assert expected.shape == (83, 61, 3)
    assert image_reader(tmp_path / "a.png").size == (83, 61)


def test_jpeg_turned_behind_its_frame(tmp_path):
    data = saved(tmp_path / "a.jpg", PICTURE, exif=exif(TURNED)).read_bytes()
    at = data.index(b"\xff\xe1")
    length = 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    block, rest = data[at : at + length], data[:at] + data[at + length :]
    scan = rest.index(b"\xff\xda")
    (tmp_path / "a.jpg").write_bytes(rest[:scan] + block + rest[scan:])
    assert read_image(tmp_path / "a.jpg").shape == (83, 61, 3)
    assert image_reader(tmp_path / "a.jpg").size == (83, 61)


def test_truncated_jpeg_is_reported_once(tmp_path, capfd):
    """Without a second message of libjpeg on stderr."""
    path = NATIVE["jpg"](tmp_path / "a.jpg")
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(InputError, match="image file is truncated"):
        image_reader(path)
    assert "read error" not in capfd.readouterr().err


def test_interlaced_png(tmp_path):
    """Pillow cannot write interlaced files, so this one is made by hand: a single pass of one pixel."""
    buffer = io.BytesIO()
    Image.fromarray(PICTURE[:1, :1]).save(buffer, "PNG")
    data = bytearray(buffer.getvalue())
    data[28] = 1
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    (tmp_path / "a.png").write_bytes(data)
    assert not headers.png(bytes(data)).plain
    np.testing.assert_array_equal(image_reader(tmp_path / "a.png").read(slice(0, 1), slice(0, 1)), PICTURE[:1, :1])


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("grey.png", IDS),
        ("palette.png", IDS),
        ("bits.png", IDS % 4),
        ("1.png", IDS % 2 == 1),
        ("deep.png", IDS.astype(np.uint16) * 1000),
    ],
)
def test_windows_of_labels(name, array, tmp_path, monkeypatch, capfd):
    image = Image.fromarray(array)
    if name in ("palette.png", "bits.png"):
        image.putpalette(np.random.default_rng(1).integers(0, 256, 768, np.uint8).tobytes())
    image.save(tmp_path / name, **({"bits": 2} if name == "bits.png" else {}))
    np.testing.assert_array_equal(read_label(tmp_path / name), array)
    opened = label_reader(tmp_path / name)
    if name in ("grey.png", "palette.png"):  # then nothing else decodes it
        monkeypatch.setattr(decoding, "read_label", None)
    assert opened.size == array.shape
    for rows, columns in WINDOWS:
        np.testing.assert_array_equal(opened.read(rows, columns), array[rows, columns])
    assert "PNG warning" not in capfd.readouterr().err  # libpng would tell of every file


@pytest.mark.parametrize("rows", [slice(0, 61), slice(50, 61)])
def test_damaged_png_below_its_header(rows, tmp_path):
    path = saved(tmp_path / "a.png", PICTURE, compress_level=0)
    path.write_bytes(path.read_bytes()[:12000])  # of 15,000 bytes
    opened = image_reader(path)
    with pytest.raises(
        InputError, match=r"The image cannot be read \(.*\)\. Replace or remove it\. Received: .*a\.png$"
    ):
        opened.read(rows, slice(2, 60))


@pytest.mark.parametrize(("array", "open_file"), [(PICTURE, image_reader), (IDS, label_reader)])
def test_raw_pixels(array, open_file):
    class Raw(RawFile):
        def pixels(self):
            return array

    reader = open_file(Raw())
    assert reader.size == image_size(Raw()) == (61, 83)
    for rows, columns in WINDOWS:
        np.testing.assert_array_equal(reader.read(rows, columns), array[rows, columns])
    np.testing.assert_array_equal(np.asarray(Image.open(Raw().open())), array)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda data: data[:-300], "image file is truncated"),
        (lambda data: data[:200], ""),
        (lambda data: b"", ""),
    ],
)
def test_damaged_jpeg(damage, reason, tmp_path):
    path = NATIVE["jpg"](tmp_path / "a.jpg")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=rf"{reason}.* Received: .*a\.jpg$") as caught:
        image_reader(path).read(slice(0, 61), slice(0, 83))
    assert "\n" not in str(caught.value)


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"cannot be read \(No such file.*\)\. Is it complete, .* Received: .*a\.png$"):
        image_reader(tmp_path / "a.png")


@pytest.mark.parametrize("kind", ["jpg", "png", "palette.png"])
def test_too_large_images_are_refused_before_decoding(kind, tmp_path, monkeypatch):
    """TensorFlow's decoders have no limit."""
    path = {**NATIVE, **PILLOW}[kind](tmp_path / f"picture.{kind}")
    open_file = label_reader if kind == "palette.png" else image_reader
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", PICTURE.shape[0] * PICTURE.shape[1] // 2 + 1)
    open_file(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", PICTURE.shape[0] * PICTURE.shape[1] // 2 - 1)
    message = refused(open_file, path)
    assert message == f"The image has over {2 * Image.MAX_IMAGE_PIXELS:,} pixels. Crop or shrink it. Received: {path}"
