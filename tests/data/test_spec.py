"""Data sets from files: samples, and errors about bad files."""

import shutil
import time

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from keras_crosscoop.data import Dataset, dataset
from keras_crosscoop.errors import InputError


@pytest.fixture
def root(make_folder):
    return make_folder()


def test_label_ids_map_values_to_classes(tmp_path):
    """As for Cityscapes: some values mean classes, all others and 255 are void."""
    raw = np.array([[0, 1, 2], [3, 4, 255]], np.uint8)
    Image.fromarray(raw).save(tmp_path / "label.png")
    picture = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    Image.fromarray(picture).save(tmp_path / "image.png")
    pair = (tmp_path / "image.png", tmp_path / "label.png")
    data = Dataset("x", ("a", "b"), ((0, 0, 0), (1, 1, 1)), ("val",), lambda split: [pair], (255, 1, 255, 0, 255))

    image, label = data.read(*data.pairs("val")[0])

    np.testing.assert_array_equal(image, picture)
    np.testing.assert_array_equal(label, [[255, 1, 255], [0, 255, 255]])
    assert label.dtype == np.uint8


def test_255_is_void_whatever_the_map_says(tmp_path):
    Image.fromarray(np.array([[7, 255]], np.uint8)).save(tmp_path / "label.png")
    data = Dataset("x", ("a",), ((0, 0, 0),), (), lambda split: [], (0,) * 256)
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
        match=rf'^The label of 002 holds class id {value}, but data set "folder" has ids 0 to 2, and 255 for void\. '
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


def test_empty_split(root):
    for kind in ("images", "masks"):
        shutil.rmtree(root / kind / "val")
        (root / kind / "val").mkdir()
    with pytest.raises(
        InputError, match=r'must hold images, but split "val" of data set "folder" is empty.* Received: \'val\''
    ):
        dataset("folder", root).pairs("val")


@pytest.mark.parametrize("kind", ["images", "masks"])
def test_missing_folder(root, kind):
    shutil.rmtree(root / kind / "val")
    with pytest.raises(InputError, match=rf"folder of the data set is missing\. .* Received: .*mine/{kind}/val$"):
        dataset("folder", root).pairs("val")


def test_image_without_label(root):
    (root / "masks/train/001.png").unlink()
    with pytest.raises(
        InputError,
        match=r"^An image has no label: expected .*masks/train/001\.png\. .* Received: .*images/train/001\.png$",
    ):
        dataset("folder", root).pairs("train")


def test_labels_without_images(root):
    (root / "images/train/001.png").unlink()
    (root / "images/train/003.png").unlink()
    with pytest.raises(
        InputError,
        match=r"^2 times: A label has no image: expected .*images/train/001 .*: .*train/001\.png, .*train/003\.png$",
    ):
        dataset("folder", root).pairs("train")


def test_two_images_for_one_label(root):
    Image.new("RGB", (32, 24)).save(root / "images/train/001.jpg")
    with pytest.raises(InputError, match=r"differ only in the suffix: .*train/001\.(png|jpg)\. Remove one of them\."):
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
    assert len(dataset("folder", root).pairs("train")) == 1500
    assert time.perf_counter() - start < 5
