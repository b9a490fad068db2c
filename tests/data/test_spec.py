"""Data sets from files: samples, and errors about bad files."""

import shutil
import time

import numpy as np
import pytest
from helpers import settle
from PIL import Image, PngImagePlugin

from keras_crosscoop.data import Dataset, dataset
from keras_crosscoop.data.coding import Coding
from keras_crosscoop.errors import InputError
from keras_crosscoop.images.reading import ImageReading


@pytest.fixture
def root(make_folder):
    return settle(make_folder())


def test_label_ids_map_values_to_classes(tmp_path):
    """As for Cityscapes: some values mean classes, all others and 255 are void."""
    raw = np.array([[0, 1, 2], [3, 4, 255]], np.uint8)
    Image.fromarray(raw).save(tmp_path / "label.png")
    picture = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    Image.fromarray(picture).save(tmp_path / "image.png")
    pair = (tmp_path / "image.png", tmp_path / "label.png")
    data = Dataset(
        "x", ("a", "b"), ((0, 0, 0), (1, 1, 1)), ("val",), lambda split: [pair], Coding.of_ids((255, 1, 255, 0, 255))
    )

    image, label = data.read(*data.pairs("val")[0])

    np.testing.assert_array_equal(image, picture)
    np.testing.assert_array_equal(label, [[255, 1, 255], [0, 255, 255]])
    assert label.dtype == np.uint8


def test_255_is_void_whatever_the_map_says(tmp_path):
    Image.fromarray(np.array([[7, 255]], np.uint8)).save(tmp_path / "label.png")
    data = Dataset("x", ("a",), ((0, 0, 0),), (), lambda split: [], Coding.of_ids([0] * 256))
    assert data.read(tmp_path / "label.png", tmp_path / "label.png")[1].tolist() == [[0, 255]]


@pytest.mark.parametrize(
    ("dtype", "value"), [(np.uint8, 3), (np.uint8, 254), (np.uint16, 256), (np.uint16, 60000), (np.int32, -1)]
)
def test_id_outside_the_classes(root, dtype, value):
    label = np.zeros((24, 32), dtype)
    label[5, 6] = value
    # Only a TIFF holds negative values: one in spite of its name.
    Image.fromarray(label).save(root / "masks/train/002.png", format="TIFF" if value < 0 else "PNG")
    data = dataset("folder", root)
    with pytest.raises(
        InputError,
        match=rf"^A label holds value {value}, but its classes are values 0 to 2, and void is 255\. "
        r"Is it complete, and not re-saved by another tool\? Received: .*masks/train/002\.png$",
    ):
        data.read(*data.pairs("train")[2])


def test_unknown_split_names_the_nearest(root):
    with pytest.raises(
        InputError, match=r'no split of data set "folder" .* Did you mean "train"\? Received: \'trian\''
    ):
        dataset("folder", root).pairs("trian")
    with pytest.raises(InputError, match=r"Valid: train, val\. Received: 'everything'"):
        dataset("folder", root).pairs("everything")


@pytest.mark.parametrize(
    ("kinds", "message"),
    [
        (("images", "masks"), r"^Split val has no images\. Are its files in place\? Received: val: val in .*mine$"),
        (("images",), r"^Split val has no images\. Are its files in place\? Received: val: val in .*mine$"),
        (("masks",), r"^2 of 2 images in val have no mask\. .* Received: images/val/000\.png, images/val/001\.png$"),
    ],
)
def test_empty_folders(root, kinds, message):
    for kind in kinds:
        shutil.rmtree(root / kind / "val")
        (root / kind / "val").mkdir()
    data = dataset("folder", root)
    assert len(data.pairs("train")) == 4
    with pytest.raises(InputError, match=message):
        data.pairs("val")


def test_image_without_label(root):
    (root / "masks/train/001.png").unlink()
    with pytest.raises(
        InputError, match=r"^1 of 4 images in train have no mask\. Add the masks.* Received: images/train/001\.png$"
    ):
        dataset("folder", root).pairs("train")


def test_two_images_for_one_label(root):
    Image.new("RGB", (32, 24)).save(root / "images/train/001.jpg")
    with pytest.raises(
        InputError, match=r"^2 images in train differ only in the suffix.* Received: images/train/001\.jpg, .*001\.png$"
    ):
        dataset("folder", root).pairs("train")


def test_sizes_differ(root):
    """`pairs` compares headers, and `read` compares again, as files may change in between."""
    data = dataset("folder", root)
    pair = data.pairs("train")[1]
    Image.new("L", (32, 25)).save(pair[1])
    for check in (lambda: data.pairs("train"), lambda: data.read(*pair)):
        with pytest.raises(
            InputError,
            match=r"images/train/001\.png is 32x24 and its label 32x25\. .* Received: .*masks/train/001\.png$",
        ):
            check()


def test_sizes_are_compared_upright(root):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (24, 32)).save(root / "images/train/000.png", exif=exif)
    data = dataset("folder", root)
    assert data.read(*data.pairs("train")[0])[0].shape == (24, 32, 3)


def data_of(image, mask, **options):
    """A data set of one image and its mask."""
    return Dataset("x", ("a",), ((0, 0, 0),), ("train",), lambda split: [(image, mask)], **options)


def test_a_mask_of_the_stored_size_keeps_its_image_from_being_turned(tmp_path):
    """Unless the orientation is given."""
    image, mask = tmp_path / "image.png", tmp_path / "mask.png"
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.arange(24 * 32 * 3, dtype=np.uint8).reshape(24, 32, 3)
    Image.fromarray(pixels).save(image, exif=exif)
    Image.fromarray(np.zeros((24, 32), np.uint8)).save(mask)
    data = data_of(image, mask)
    assert data.pairs("train") == [(image, mask)]
    np.testing.assert_array_equal(data.read(image, mask)[0], pixels)
    assert data.size(image, mask) == (24, 32)
    assert data.size(image, None) == (32, 24)
    with pytest.raises(InputError, match=r"must have the same size, but .*image\.png is 24x32 and its label 32x24"):
        data_of(image, mask, reading=ImageReading(orientation="exif")).pairs("train")


def test_a_data_set_scales_its_images_by_its_range(tmp_path):
    Image.fromarray(np.full((24, 32), 2048, np.uint16)).save(tmp_path / "image.png")
    data = data_of(tmp_path / "image.png", None, reading=ImageReading(range=(0, 4095)))
    assert (data.read(*data.pairs("train")[0])[0] == 128).all()


def test_an_orientation_behind_the_pixels_counts(root, monkeypatch):
    """PNG allows metadata behind the image data."""
    exif = Image.Exif()
    exif[0x0112] = 6
    path = root / "images/train/000.png"
    Image.new("RGB", (24, 32)).save(path)
    end = path.read_bytes()[-12:]
    with path.open("r+b") as file:
        file.seek(-12, 2)
        PngImagePlugin.putchunk(file, b"eXIf", exif.tobytes()[6:])
        file.write(end)
    data = dataset("folder", root)
    assert data.read(*data.pairs("train")[0])[0].shape == (24, 32, 3)


def test_coloured_label_is_found_before_training(root):
    Image.new("RGB", (32, 24)).save(root / "masks/train/003.png")
    with pytest.raises(InputError, match=r"one class id per pixel, .* not RGB .* Received: .*masks/train/003\.png$"):
        dataset("folder", root).pairs("train")


@pytest.mark.parametrize("kind", ["images", "masks"])
def test_unreadable_file_is_found_before_training(root, kind):
    (root / kind / "train/003.png").write_bytes(b"")
    with pytest.raises(InputError, match=rf"is not a readable image\. .* Received: .*{kind}/train/003\.png$"):
        dataset("folder", root).pairs("train")


@pytest.mark.parametrize("kind", ["images", "masks"])
def test_truncated_file(root, kind):
    path = root / kind / "train/001.png"
    path.write_bytes(path.read_bytes()[:-60])
    data = dataset("folder", root)
    with pytest.raises(
        InputError, match=rf"cannot be read \(.*\)\. Replace or remove it\. Received: .*{kind}/train/001"
    ):
        data.read(*data.pairs("train")[1])


@pytest.mark.slow
def test_three_thousand_files_in_under_five_seconds(make_folder):
    root = make_folder({"train": 1})
    for index in range(1, 1500):
        for kind in ("images", "masks"):
            shutil.copy(root / kind / "train/000.png", root / kind / "train" / f"{index:03}.png")
    start = time.perf_counter()
    data = dataset("folder", root)
    assert sum(len(data.pairs(split)) for split in ("train", "val")) == 1500  # val is a part of the images
    assert time.perf_counter() - start < 5
