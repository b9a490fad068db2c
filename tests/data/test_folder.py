"""Your own data."""

import shutil

import numpy as np
import pytest
from PIL import Image

from keras_crosscoop.data import dataset
from keras_crosscoop.errors import InputError
from keras_crosscoop.images.palettes import distinct_colours, voc_palette


def test_voc_palette_is_the_published_one():
    """The 21 colours on the web page of VOC, and its void."""
    published = """0 0 0, 128 0 0, 0 128 0, 128 128 0, 0 0 128, 128 0 128, 0 128 128, 128 128 128, 64 0 0, 192 0 0,
        64 128 0, 192 128 0, 64 0 128, 192 0 128, 64 128 128, 192 128 128, 0 64 0, 128 64 0, 0 192 0, 128 192 0,
        0 64 128"""
    colours = voc_palette(256)
    assert colours[:21] == tuple(tuple(map(int, colour.split())) for colour in published.split(","))
    assert colours[255] == (224, 224, 192)
    assert len(set(colours)) == 256


def test_classes_and_colours(make_folder):
    root = make_folder()
    (root / "classes.txt").write_text("\ufeffroad #804080\n\n  traffic sign\t#DCdc00 \nC#\nopen sky\n", "utf-8")
    data = dataset("folder", root)
    assert data.name == "folder"
    assert data.classes == ("road", "traffic sign", "C#", "open sky")
    listed = (128, 64, 128), (220, 220, 0)
    assert data.palette == (*listed, *distinct_colours(2, listed))
    assert data.coding.ids == {0: 0, 1: 1, 2: 2, 3: 3, 255: 255}


def test_only_splits_that_exist_and_one_for_validation(make_folder):
    data = dataset("folder", make_folder({"test": 1, "train": 6}))
    assert {split: len(data.pairs(split)) for split in data.splits} == {"train": 5, "val": 1, "test": 1}
    assert data.splits == ("train", "val", "test")


def test_images_pair_by_relative_path_and_stem(make_folder):
    """With any suffix, at any depth, in the order of their paths; other files are ignored."""
    root = make_folder({"train": 2, "val": 1})
    for kind in ("images", "masks"):
        (root / kind / "train/0/c.d").mkdir(parents=True)
        shutil.move(root / kind / "train/000.png", root / kind / "train/0/c.d/x.y.png")
    Image.open(root / "images/train/001.png").save(root / "images/train/001.JPG", "JPEG")
    (root / "images/train/001.png").unlink()
    (root / "images/train/._001.png").write_text("what a Mac leaves behind")
    (root / "masks/train/notes.txt").write_text("nothing")

    pairs = dataset("folder", root).pairs("train")

    assert [(str(image.relative_to(root)), str(label.relative_to(root))) for image, label in pairs] == [
        ("images/train/0/c.d/x.y.png", "masks/train/0/c.d/x.y.png"),
        ("images/train/001.JPG", "masks/train/001.png"),
    ]


def test_linked_folders_are_entered(make_folder, tmp_path):
    root = make_folder({"train": 2, "val": 1})
    for kind in ("images", "masks"):
        (root / kind / "train").rename(tmp_path / kind)
        (root / kind / "train").mkdir()
        (root / kind / "train/linked").symlink_to(tmp_path / kind)
    assert len(dataset("folder", root).pairs("train")) == 2


def test_palette_masks_hold_ids(make_folder):
    root = make_folder({"train": 1, "val": 1})
    path = root / "masks/train/000.png"
    mask = Image.open(path)
    ids = np.array(mask)
    mask.putpalette(bytes(range(256)) * 3)
    mask.save(path)
    data = dataset("folder", root)
    np.testing.assert_array_equal(data.read(*data.pairs("train")[0])[1], ids)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"table of classes is empty\. Write one name per line\. Received: .*classes\.txt$"),
        ("#804080\n", r"hold the values 0 .*, but classes\.txt names 1 classes \(#804080\)\. .* Received: .*classes"),
        (
            "road\n\nroad #000000\ncar",
            r"Two classes have the same name\. Rename one\. Received: 'road' in .*classes\.txt$",
        ),
        ("\n".join(map(str, range(255))), r"at most 254 classes, as 255 is void\. Received: 255 .*classes\.txt$"),
        ("a\n" * 2**19 + "b", "has over 1,048,576 bytes"),
    ],
)
def test_bad_table_of_classes(make_folder, text, message):
    root = make_folder()
    (root / "classes.txt").write_text(text)
    with pytest.raises(InputError, match=message):
        dataset("folder", root)


def test_names_of_classes(make_folder):
    """In an encoding of old, too; without a table, values are their names."""
    root = make_folder()
    (root / "classes.txt").write_bytes(b"caf\xe9\nsky\ncar")
    assert dataset("folder", root).classes == ("caf\u00e9", "sky", "car")
    (root / "classes.txt").unlink()
    assert dataset("folder", root).classes == ("class 0", "class 1", "class 2")


def test_no_images(make_folder):
    root = make_folder()
    shutil.rmtree(root / "images")
    shutil.rmtree(root / "masks")
    with pytest.raises(
        InputError, match=r"holds no images\. Expected .* Found: \. \(1 \.txt: classes\.txt\)\. Received: .*mine$"
    ):
        dataset("folder", root)
