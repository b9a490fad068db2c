"""Cityscapes as distributed, extracted or not: its samples, and errors about bad files."""

import shutil
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from data.layouts import CITIES, FILES, SIZE, cityscapes_ids, cityscapes_key, colour, write_cityscapes, zip_cityscapes
from helpers import refused
from PIL import Image

from keras_crosscoop.data import CATALOGUE, cityscapes, dataset

COUNTS = {"train": 4, "val": 2, "test": 2, "train_extra": 3, "train_coarse": 4}
# The labels that are measured, as the paper lists them; another statement of the table than that of the package.
MEASURED = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]


def classes_of(ids):
    return np.where(np.isin(ids, MEASURED), np.searchsorted(MEASURED, ids), 255)


def assert_official(data, counts):
    """Compares every split with the values that `write_cityscapes` wrote."""
    for split, count in counts.items():
        images = "train" if split == "train_coarse" else split
        kind = "gtCoarse" if split in ("train_coarse", "train_extra") else "gtFine"
        order = sorted(range(count), key=lambda index, images=images: cityscapes_key(images, index))
        pairs = data.pairs(split)
        assert [image.name for image, _ in pairs] == [
            f"{cityscapes_key(images, index).partition('/')[2]}_leftImg8bit.png" for index in order
        ]
        for index, pair in zip(order, pairs, strict=True):
            image, label = data.read(*pair)
            assert (image == colour(images, index)).all(), (split, index)
            expected = np.full(SIZE, 255) if split == "test" else classes_of(cityscapes_ids(index, kind))
            np.testing.assert_array_equal(label, expected, err_msg=f"{split} {index}")


@pytest.fixture
def root(tmp_path):
    return write_cityscapes(tmp_path / "cityscapes")


def label_of(root, split="train", index=1, ids="labelIds"):
    return root / "gtFine" / split / f"{cityscapes_key(split, index)}_gtFine_{ids}.png"


def image_of(root, split="train", index=1):
    return root / "leftImg8bit" / split / f"{cityscapes_key(split, index)}_leftImg8bit.png"


def test_table_of_labels():
    """Spot checks against the published table; tests below check all ids through files."""
    table = {label.name: label for label in cityscapes.LABELS}
    assert [label.id for label in cityscapes.LABELS] == list(range(34))
    assert table["road"] == (7, "road", 0, (128, 64, 128))
    assert table["pole"] == (17, "pole", 5, (153, 153, 153))
    assert table["polegroup"].train_id == table["caravan"].train_id == table["unlabeled"].train_id == 255
    assert table["bicycle"] == (33, "bicycle", 18, (119, 11, 32))
    assert [label.id for label in cityscapes.LABELS if label.train_id != 255] == MEASURED
    assert list(CATALOGUE["cityscapes"].submission.ids) == MEASURED


def test_classes_and_colours(root):
    data = dataset("cityscapes", root)
    assert " ".join(name.replace(" ", "-") for name in data.classes) == (
        "road sidewalk building wall fence pole traffic-light traffic-sign vegetation terrain sky person rider car "
        "truck bus train motorcycle bicycle"
    )
    colours = dict(zip(data.classes, data.palette, strict=True))
    assert (colours["sky"], colours["car"]) == ((70, 130, 180), (0, 0, 142))
    assert len(colours) == CATALOGUE["cityscapes"].classes == 19


def test_extracted(tmp_path):
    assert_official(dataset("cityscapes", write_cityscapes(tmp_path, train_extra=3)), COUNTS)


def test_archives_as_they_are(tmp_path):
    root = write_cityscapes(tmp_path, train_extra=3, zipped=True)
    assert {path.name for path in root.iterdir()} == {f"{name}.zip" for name in FILES} | {"README", "license.txt"}
    data = dataset("cityscapes", root)
    assert_official(data, COUNTS)
    image, label = data.pairs("val")[1]
    key = cityscapes_key("val", 1)
    assert str(image) == f"{root}/leftImg8bit_trainvaltest.zip/leftImg8bit/val/{key}_leftImg8bit.png"
    assert str(label) == f"{root}/gtFine_trainvaltest.zip/gtFine/val/{key}_gtFine_labelIds.png"
    assert label.name == f"{key.partition('/')[2]}_gtFine_labelIds.png"
    assert image.root is data.pairs("train")[0][0].root  # opened once


@pytest.mark.parametrize("archive", FILES)
def test_folders_and_archives_mixed(tmp_path, archive):
    root = write_cityscapes(tmp_path, train_extra=3)
    zip_cityscapes(root, archive)
    assert (root / f"{archive}.zip").is_file()
    assert_official(dataset("cityscapes", root), COUNTS)


def test_archives_extracted_into_folders_of_their_names(tmp_path):
    root = write_cityscapes(tmp_path, train_extra=3, zipped=True)
    for name in FILES:
        with zipfile.ZipFile(root / f"{name}.zip") as archive:
            archive.extractall(root / name)
        (root / f"{name}.zip").unlink()
    assert_official(dataset("cityscapes", root), COUNTS)


def test_a_folder_comes_before_its_archive(root):
    shutil.copytree(root / "gtFine", root / "kept")
    zip_cityscapes(root, "gtFine_trainvaltest")
    (root / "kept").rename(root / "gtFine")
    assert all(isinstance(label, Path) for _, label in dataset("cityscapes", root).pairs("train"))


def test_fine_labels_alone_are_enough(root):
    data = dataset("cityscapes", root)
    assert data.unlabelled == ("test",)
    assert_official(data, {"train": 4, "val": 2, "test": 2})


def test_dummy_labels_of_the_test_split_are_not_needed(root):
    shutil.rmtree(root / "gtFine/test")
    assert_official(dataset("cityscapes", root), {"test": 2})


def _as_training_ids(root):
    """Replaces the official ids by training ids, as `cityscapesscripts` makes them."""
    for path in root.rglob("*_gtFine_labelIds.png"):
        with Image.open(path) as label:
            ids = classes_of(np.asarray(label)).astype(np.uint8)
        Image.fromarray(ids).save(path.with_name(path.name.replace("labelIds", "labelTrainIds")))
        path.unlink()


@pytest.mark.parametrize("zipped", [False, True])
def test_training_ids_where_there_are_no_ids(root, zipped):
    _as_training_ids(root)
    if zipped:
        zip_cityscapes(root)
    assert_official(dataset("cityscapes", root), {"train": 4, "val": 2})


def test_ids_come_before_training_ids(root):
    for split, index in [("train", 0), ("val", 1)]:
        Image.new("L", SIZE[::-1], 3).save(label_of(root, split, index, "labelTrainIds"))
    assert_official(dataset("cityscapes", root), {"train": 4, "val": 2})


@pytest.mark.slow
def test_true_size(tmp_path):
    """The number of pairs in the catalogue, from archives with as many empty files as the official ones."""
    splits = {"train": 2975, "val": 500, "test": 1525, "train_extra": 19998}
    for archive, (kind, of_archive) in FILES.items():
        ends = ["leftImg8bit.png"] if kind == "leftImg8bit" else [f"{kind}_labelIds.png", f"{kind}_instanceIds.png"]
        keys = [f"{split}/{cityscapes_key(split, index)}" for split in of_archive for index in range(splits[split])]
        with zipfile.ZipFile(tmp_path / f"{archive}.zip", "w") as target:
            for name in (f"{kind}/{key}_{end}" for key in keys for end in ends):
                target.writestr(name, b"")
    data = dataset("cityscapes", tmp_path)
    counts = {split: len(data.find(split)) for split in data.splits}
    assert counts == CATALOGUE["cityscapes"].splits
    assert counts["train"] + counts["val"] + counts["test"] == 5000
    assert counts["train_extra"] == 19998


@pytest.mark.slow
def test_three_thousand_files_in_archives_in_under_five_seconds(tmp_path):
    root = write_cityscapes(tmp_path, train=2)
    contents = {"leftImg8bit": image_of(root).read_bytes(), "gtFine": label_of(root).read_bytes()}
    for kind, end in (("leftImg8bit", "leftImg8bit"), ("gtFine", "gtFine_labelIds")):
        shutil.rmtree(root / kind)
        with zipfile.ZipFile(root / f"{kind}_trainvaltest.zip", "w", zipfile.ZIP_DEFLATED) as target:
            for index in range(1500):
                target.writestr(f"{kind}/train/{cityscapes_key('train', index)}_{end}.png", contents[kind])
    start = time.perf_counter()
    assert len(dataset("cityscapes", root).pairs("train")) == 1500
    assert time.perf_counter() - start < 5


# Errors


@pytest.mark.parametrize(
    ("split", "kind", "part", "package"),
    [
        ("train", "leftImg8bit", "leftImg8bit/train", "leftImg8bit_trainvaltest.zip"),
        ("val", "gtFine", "gtFine/val", "gtFine_trainvaltest.zip"),
        ("test", "leftImg8bit", "leftImg8bit/test", "leftImg8bit_trainvaltest.zip"),
        ("train_extra", "none", "leftImg8bit/train_extra", "leftImg8bit_trainextra.zip"),
        ("train_coarse", "none", "gtCoarse/train", "gtCoarse.zip"),
    ],
)
def test_missing_part(root, split, kind, part, package):
    shutil.rmtree(root / kind, ignore_errors=True)
    message = refused(dataset("cityscapes", root).pairs, split)
    assert message.startswith(f"A part of the data set is missing: expected {root / part} or {root / package}. ")
    assert f"Get {package} from www.cityscapes-dataset.com/downloads; it need not be extracted. " in message
    assert message.endswith(f"Received: {root}")


@pytest.mark.parametrize("zipped", [False, True])
def test_city_without_labels(root, zipped):
    """As after an interrupted copy."""
    shutil.rmtree(root / "gtFine/train/zurich")
    place = root / "gtFine/train"
    image = image_of(root)
    if zipped:
        zip_cityscapes(root)
        place = root / "gtFine_trainvaltest.zip/gtFine/train"
        image = root / "leftImg8bit_trainvaltest.zip" / image.relative_to(root)
    message = refused(dataset("cityscapes", root).pairs, "train")
    assert message.startswith(
        f"2 times: An image has no label: expected {place}/zurich/zurich_000000_000019_gtFine_labelIds.png, "
        "which gtFine_trainvaltest.zip holds. "
    )
    assert f"Received: {image}, " in message


def test_city_without_images(root):
    shutil.rmtree(root / "leftImg8bit/val/munster")
    message = refused(dataset("cityscapes", root).pairs, "val")
    assert f"A label has no image: expected {image_of(root, 'val')}, which leftImg8bit_trainvaltest.zip" in message
    assert message.endswith(f"Received: {label_of(root, 'val')}")


def test_coarse_label_is_missing(tmp_path):
    root = write_cityscapes(tmp_path, train_extra=3)
    path = root / f"gtCoarse/train_extra/{cityscapes_key('train_extra', 2)}_gtCoarse_labelIds.png"
    path.unlink()
    message = refused(dataset("cityscapes", root).pairs, "train_extra")
    assert f"An image has no label: expected {path}, which gtCoarse.zip holds. " in message


def test_training_ids_are_in_no_archive(root):
    _as_training_ids(root)
    path = label_of(root, "val", 0, "labelTrainIds")
    path.unlink()
    assert f"An image has no label: expected {path}. Add" in refused(dataset("cityscapes", root).pairs, "val")


def test_no_labels_among_the_other_files(root):
    """As if only `*_color.png` and similar files were copied."""
    for path in root.rglob("*_labelIds.png"):
        path.unlink()
    message = refused(dataset("cityscapes", root).pairs, "train")
    assert f"4 times: An image has no label: expected {label_of(root, 'train', 0)}, which" in message


def test_nothing_but_empty_folders(root):
    for city in CITIES["val"]:
        for kind in ("leftImg8bit", "gtFine"):
            shutil.rmtree(root / kind / "val" / city)
    message = refused(dataset("cityscapes", root).pairs, "val")
    assert 'split "val" of data set "cityscapes" is empty. Is it fully extracted? Received: \'val\'' in message


@pytest.mark.parametrize("kind", ["leftImg8bit", "gtFine"])
def test_truncated_archive(tmp_path, kind):
    path = write_cityscapes(tmp_path, zipped=True) / f"{kind}_trainvaltest.zip"
    path.write_bytes(path.read_bytes()[:-200])
    message = refused(lambda: dataset("cityscapes", tmp_path).pairs("train"))
    assert message.startswith("The archive cannot be opened (File is not a zip file). Is it complete? Download it")
    assert message.endswith(f"Received: {path}")


def test_damaged_archive_of_another_part_does_no_harm(tmp_path):
    root = write_cityscapes(tmp_path, train_extra=3, zipped=True)
    for name in ("leftImg8bit_trainextra", "gtCoarse"):
        (root / f"{name}.zip").write_bytes(b"")
    assert_official(dataset("cityscapes", root), {"train": 4, "val": 2, "test": 2})


@pytest.mark.parametrize("kind", ["leftImg8bit", "gtFine"])
def test_damaged_member(tmp_path, kind):
    root = write_cityscapes(tmp_path, zipped=True)
    path = root / f"{kind}_trainvaltest.zip"
    member = dataset("cityscapes", root).find("train")[2][kind == "gtFine"]
    with path.open("r+b") as file:
        file.seek(member.root.getinfo(member.at).header_offset + 30 + len(member.at))
        file.write(b"\xff" * 8)
    data = dataset("cityscapes", root)
    pair = data.find("train")[2]
    message = refused(data.read, *pair)
    assert message.startswith("The file cannot be read (")
    assert message.endswith(f"Received: {path}/{member.at}")
    assert refused(data.pairs, "train").endswith(f"Received: {path}/{member.at}")


@pytest.mark.parametrize("zipped", [False, True])
def test_label_of_another_size(root, zipped):
    path = label_of(root)
    with Image.open(path) as label:
        label.resize((20, 15), Image.Resampling.NEAREST).save(path)
    if zipped:
        zip_cityscapes(root)
        path = root / "gtFine_trainvaltest.zip" / path.relative_to(root)
    message = refused(dataset("cityscapes", root).pairs, "train")
    assert f"{image_of(root).name} is 40x30 and its label 20x15." in message
    assert message.endswith(f"Received: {path}")


@pytest.mark.parametrize("zipped", [False, True])
def test_colours_in_place_of_ids(root, zipped):
    path = label_of(root)
    shutil.copy(label_of(root, ids="color"), path)
    if zipped:
        zip_cityscapes(root)
        path = root / "gtFine_trainvaltest.zip" / path.relative_to(root)
    message = refused(dataset("cityscapes", root).pairs, "train")
    assert "one class id per pixel, as a grey or palette PNG, not RGBA colours. Take the file as it was dist" in message
    assert message.endswith(f"Received: {path}")


@pytest.mark.parametrize(
    ("training_ids", "value", "known"),
    [(False, 34, "7, 8, 11 and 16 more, and void is 0, 1, 2 and 13 more"), (True, 19, "0 to 18, and void is 255")],
)
def test_id_outside_the_table(root, training_ids, value, known):
    if training_ids:
        _as_training_ids(root)
    path = label_of(root, ids="labelTrainIds" if training_ids else "labelIds")
    Image.new("L", SIZE[::-1], value).save(path)
    data = dataset("cityscapes", root)
    message = refused(data.read, image_of(root), path)
    assert message.startswith(f"A label holds value {value}, but its classes are values {known}. ")
    assert message.endswith(f"Received: {path}")
