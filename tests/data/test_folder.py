"""Your own data."""

import shutil

import numpy as np
import pytest
from PIL import Image

from keras_crosscoop.data import dataset
from keras_crosscoop.errors import InputError
from keras_crosscoop.images.palettes import voc_palette


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
    assert data.palette == ((128, 64, 128), (220, 220, 0), (0, 128, 0), (128, 128, 0))  # by their ids 2 and 3
    assert data.label_ids == (0, 1, 2, 3)


def test_only_splits_that_exist(make_folder):
    assert dataset("folder", make_folder({"test": 1, "train": 2})).splits == ("train", "test")


def test_images_pair_by_relative_path_and_stem(make_folder):
    """With any suffix, at any depth, in the order of their paths; other files are ignored."""
    root = make_folder({"train": 2})
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
    root = make_folder({"train": 2})
    for kind in ("images", "masks"):
        (root / kind / "train").rename(tmp_path / kind)
        (root / kind / "train").mkdir()
        (root / kind / "train/linked").symlink_to(tmp_path / kind)
    assert len(dataset("folder", root).pairs("train")) == 2


def test_palette_masks_hold_ids(make_folder):
    root = make_folder({"train": 1})
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
        ("", r"list of classes is empty\. Write one name per line\. Received: .*classes\.txt$"),
        ("road\nsky #12345\n", r"a name and a colour as in `road #804080`\. .*classes\.txt, line 2: 'sky #12345'$"),
        ("#804080\n", r"a name and a colour .* line 1: '#804080'$"),
        ("road\n\nroad #000000", r"Two classes have the same name\. Rename one of them\. .* line 3: 'road #000000'$"),
        ("\n".join(map(str, range(255))), r"at most 254 classes, as 255 is void\. .* line 255: '254'$"),
    ],
)
def test_bad_list_of_classes(make_folder, text, message):
    root = make_folder()
    (root / "classes.txt").write_text(text)
    with pytest.raises(InputError, match=message):
        dataset("folder", root)


def test_no_list_of_classes(make_folder):
    root = make_folder()
    (root / "classes.txt").write_bytes(b"caf\xe9")
    with pytest.raises(InputError, match=r"cannot be read\. Write one name per line, in UTF-8\. Received: .*classes"):
        dataset("folder", root)
    (root / "classes.txt").write_bytes(b"a\n" * 2**19 + b"b")
    with pytest.raises(InputError, match="has over 1,048,576 bytes"):
        dataset("folder", root)
    (root / "classes.txt").unlink()
    with pytest.raises(InputError, match=r"no classes\.txt in the folder\. Create it .* Received: .*mine$"):
        dataset("folder", root)


def test_no_split(make_folder):
    root = make_folder()
    shutil.rmtree(root / "images")
    shutil.rmtree(root / "masks")
    with pytest.raises(
        InputError, match=r"holds no split\. Lay it out as images/\{train,val,test\}/.* Received: .*mine$"
    ):
        dataset("folder", root)
