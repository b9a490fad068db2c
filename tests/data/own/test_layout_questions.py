"""Layouts that names alone do not tell, files without a partner, and descriptions that settle it."""

import pytest
import yaml
from data.own.empty_files import layout, messages, noise, numbered, pairs_of, square, write
from helpers import refused

from keras_crosscoop.data.own.discovery import recognise

# What names do not tell


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("a/{}.png", "b/{}.png"),
        ("b/{}.png", "a/{}.png"),
        ("{}.jpg", "{}.png"),
        ("{}.png", "{}_L.png"),
        ("{}.jpg", "{}.jpg___fuse.png"),
    ],
)
def test_content_tells_masks(tmp_path, image, mask):
    files = {}
    for number in range(4):
        files[image.format(number)], files[mask.format(number)] = noise(number), square(3)
    found = layout(write(tmp_path, files))
    assert pairs_of(tmp_path, found) == numbered(image, mask)


def test_pairs_of_photographs(tmp_path):
    write(tmp_path, {f"{kind}/{number}.png": noise(number) for number in range(4) for kind in "ab"})
    message = refused(layout, tmp_path)
    assert 'images: "a/{name}.png", masks: "b/{name}.png"' in message
    assert 'images: "b/{name}.png", masks: "a/{name}.png"' in message


def test_swapped_folders(tmp_path):
    for number in range(4):
        write(tmp_path, {f"images/{number}.png": square(1), f"masks/{number}.png": noise(number)})
    assert "seem to be swapped" in refused(layout, tmp_path)


@pytest.mark.parametrize(
    ("files", "lines"),
    [
        (
            ("images/{}.jpg", "masks_v1/{}.png", "masks_v2/{}.png"),
            'masks: "masks_v1/{name}.png"; or masks: "masks_v2/{name}.png"',
        ),
        (
            ("images/{}.jpg", "masks/v1/{}.png", "masks/v2/{}.png"),
            'masks: "masks/v1/{name}.png"; or masks: "masks/v2/{name}.png"',
        ),
        (("A/{}.png", "B/{}.png", "label/{}.png"), 'images: "A/{name}.png"; or images: "B/{name}.png"'),
        (
            ("imagesTr/c{}_0000.png", "imagesTr/c{}_0001.png", "labelsTr/c{}.png"),
            'images: "images{split}/{name}_0000.png"; or images: "images{split}/{name}_0001.png"',
        ),
    ],
)
def test_two_readings(tmp_path, files, lines):
    write(tmp_path, [file.format(number) for file in files for number in range(4)])
    assert lines in refused(layout, tmp_path)


def test_masks_of_training_images_are_as_good_as_others_of_all_images(tmp_path):
    """DRIVE: vessels are drawn in the training images alone, and the field of view is known of all."""
    for split in ("training", "test"):
        write(tmp_path, [f"{split}/images/{number}_{split}.tif" for number in range(4)])
        write(tmp_path, [f"{split}/mask/{number}_{split}_mask.gif" for number in range(4)])
    write(tmp_path, [f"training/1st_manual/{number}_manual1.gif" for number in range(4)])
    message = refused(layout, tmp_path)
    assert 'masks: "{split}/mask/{name}_mask.gif"; or' in message
    assert 'masks: "{split}/1st_manual/{name}_manual1.gif"' in message


def test_train_val_is_the_split_for_training(tmp_path):
    """SUIM, which has a mask of each class for the test images, too."""
    write(tmp_path, [f"TEST/masks/{name}/{n}.png" for name in ("FV", "HD") for n in range(3)])
    write(tmp_path, [f"{split}/{kind}/{n}.png" for split in ("train_val", "TEST") for kind in ("images", "masks")
                     for n in range(3)])  # fmt: skip
    assert layout(tmp_path).sources == {"train": "train_val", "test": "TEST"}


@pytest.mark.parametrize("other", ["gt_border/{}.png", "dsm/{}.png"])
def test_borders_and_heights_are_left_out(tmp_path, other):
    kinds = ("top/{}.jpg", "gt/{}.png", other)
    write(tmp_path, [kind.format(number) for kind in kinds for number in range(4)])
    found = layout(tmp_path)
    assert (found.images, found.masks) == ("top/{name}.jpg", "gt/{name}.png")


def test_data_sets_in_the_layout_of_cityscapes(tmp_path):
    (tmp_path / "leftImg8bit/train/0").mkdir(parents=True)
    assert recognise(tmp_path) == "cityscapes"
    write(tmp_path, ["leftImg8bit/train/0/frame1_leftImg8bit.jpg"])
    assert recognise(tmp_path) == "folder"


def test_data_sets_in_the_layout_of_camvid(tmp_path):
    for folder in ("train", "trainannot", "val", "valannot"):
        (tmp_path / folder).mkdir()
    assert recognise(tmp_path) == "camvid"
    write(tmp_path, ["train/Seq05VD_f00000.png"])
    assert recognise(tmp_path) == "camvid"
    (tmp_path / "train/Seq05VD_f00000.png").rename(tmp_path / "train/frame_00000.png")
    assert recognise(tmp_path) == "folder"


@pytest.mark.parametrize(
    ("files", "parts"),
    [
        ([], ["holds no images", "Found: no files"]),
        (["notes.txt"], ["holds no images", ". (1 .txt: notes.txt)"]),
        (
            [f"images/{number}.jpg" for number in range(5)],
            ["no masks", "Found: images (5 .jpg: 0.jpg, 1.jpg, 2.jpg and 2 more)", "data import"],
        ),
        (
            [f"images/{n}.jpg" for n in range(3)] + [f"masks/{n}_{k}.png" for n in range(3) for k in range(3)],
            ["several numbered masks", "9 for 3 images"],
        ),
        (
            ["images/a.jpg", "masks/task-1-annotation-2-by-1-tag-road-0.png"],
            ["no masks", "Label Studio", "masks (1 .png: task-1"],
        ),
    ],
)
def test_no_masks(tmp_path, files, parts):
    message = refused(layout, write(tmp_path, files))
    for part in parts:
        assert part in message


# Files without a partner


def test_files_without_a_partner(tmp_path):
    write(tmp_path, [f"images/{number}.jpg" for number in range(10, 22)])
    write(tmp_path, [f"masks/{number}.png" for number in range(14, 24)])
    found = layout(tmp_path)
    assert len(found.pairs["train"]) == 8
    images, masks = messages(found, "problem")
    assert images.startswith("4 of 12 images in train have no mask.")
    assert images.endswith("Received: images/10.jpg, images/11.jpg, images/12.jpg and 1 more")
    assert masks.startswith("2 masks have no image in any split.")
    assert masks.endswith("Received: masks/22.png, masks/23.png")


def test_training_images_without_masks(tmp_path):
    """As data sets of anomalies have them: the message names the folders with masks, in a line that settles it."""
    for defects in (["scratch"], ["crack", "scratch"]):
        root = tmp_path / str(len(defects))
        write(root, [f"train/good/{number}.png" for number in range(10, 14)] + ["test/good/7.png"])
        for defect, number in [(defect, number) for defect in defects for number in range(3)]:
            write(root, [f"test/{defect}/{number}.png", f"ground_truth/{defect}/{number}_mask.png"])
        (message,) = messages(layout(root), "problem")
        assert message.startswith("No image in train has a mask, but ")
        source = "test/scratch" if len(defects) == 1 else "[test/crack, test/scratch]"
        assert f" write `train: {source}` into dataset.yaml. Received: " in message
        found = layout(root, **yaml.safe_load(f"train: {source}"))
        assert len(found.pairs["train"]) == 3 * len(defects)
        assert not messages(found, "problem")


def test_a_validation_split_without_masks_is_left_out(tmp_path):
    write(tmp_path, [f"train/{number}_{kind}" for number in range(4) for kind in ("sat.jpg", "mask.png")])
    write(tmp_path, ["valid/8_sat.jpg", "valid/9_sat.jpg"])
    found = layout(tmp_path)
    assert found.sources == {"train": "train"}
    assert messages(found, "warning") == ["No image in val has a mask. The split is left out. Received: 2 images"]
    masks = {"images": "{split}/{name}_sat.jpg", "masks": "{split}/{name}_mask.png"}
    (problem,) = messages(layout(tmp_path, train="train", val="valid", **masks), "problem")
    assert problem.startswith("2 of 2 images in val have no mask.")


def test_other_pairs_are_told(tmp_path):
    kinds = ("images/{}.jpg", "masks/{}.png", "images_more/b{}.jpg", "masks_more/b{}.png")
    write(tmp_path, [kind.format(number) for kind in kinds for number in range(4 if "more" in kind else 6)])
    found = layout(tmp_path)
    assert found.images == "images/{name}.jpg"
    (warning,) = messages(found, "warning")
    assert warning.startswith("4 further pairs were left out: images_more/{name}.jpg with masks_more/{name}.png.")


# Descriptions


@pytest.mark.parametrize(
    ("description", "expected"),
    [
        ({"masks": "masks_v2/{name}.png"}, ("images/{name}.jpg", "masks_v2/{name}.png", {"train": "images"})),
        ({"images": "images/{name}.jpg"}, None),
        (
            {"images": "images/{name}.jpg", "masks": "masks_v1/{name}.png", "val": 0.5},
            ("images/{name}.jpg", "masks_v1/{name}.png", {"train": "."}),
        ),
    ],
)
def test_description_settles(tmp_path, description, expected):
    kinds = ("images/{}.jpg", "masks_v1/{}.png", "masks_v2/{}.png")
    write(tmp_path, [kind.format(number) for kind in kinds for number in range(4)])
    if expected is None:
        assert "Two readings" in refused(layout, tmp_path, **description)
    else:
        found = layout(tmp_path, **description)
        assert (found.images, found.masks, found.sources) == expected
        assert len(found.pairs["train"]) == 4


def test_path_of_a_description_that_does_not_exist(tmp_path):
    """As in Ultralytics' files, whose `path` is often relative to another folder."""
    message = refused(layout, tmp_path / "../datasets/mine")
    assert message.startswith("The folder that `path` of dataset.yaml names does not exist.")
    assert message.endswith("datasets/mine")


@pytest.mark.parametrize("train", ["images/train", "images/train/*.jpg", "../images/train", ("images/train",)])
def test_description_of_a_split(tmp_path, train):
    """The other split is still found, also in a folder whose name looks like a pattern."""
    tmp_path = tmp_path / "data [1]"
    pairs = numbered("images/SPLIT/{}.jpg", "masks/SPLIT/{}.png", train=4, val=2)
    write(tmp_path, [file for split in pairs.values() for pair in split.items() for file in pair])
    assert pairs_of(tmp_path, layout(tmp_path, train=train)) == pairs
