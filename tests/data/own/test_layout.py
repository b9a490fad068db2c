"""Which files are images and masks, how they pair, and what the splits are: mostly by the names of empty files."""

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from data.own.empty_files import layout, messages, noise, numbered, pairs_of, square, write

from keras_crosscoop.data.own.description import Description
from keras_crosscoop.data.own.file_index import FileIndex
from keras_crosscoop.data.own.layout import find_layout
from keras_crosscoop.data.own.pairs import find_pairs
from tests.helpers import refused

SPLIT = {"train": 4, "val": 2, "test": 2}
LAYOUTS = {  # name -> (pairs, template of images, template of masks)
    "split inside": (
        numbered("images/SPLIT/{}.jpg", "masks/SPLIT/{}.png", **SPLIT),
        "images/{split}/{name}.jpg",
        "masks/{split}/{name}.png",
    ),
    "split outside": (
        numbered("SPLIT/images/{}.png", "SPLIT/masks/{}.png", **SPLIT, names=("train", "valid", "test")),
        "{split}/images/{name}.png",
        "{split}/masks/{name}.png",
    ),
    "no split": (numbered("img/{}.jpg", "ann/{}.png"), "img/{name}.jpg", "ann/{name}.png"),
    "image and label": (numbered("image/{}.tif", "label/{}.tif"), "image/{name}.tif", "label/{name}.tif"),
    "side by side": (numbered("{}.png", "{}_mask.png"), "{name}.png", "{name}_mask.png"),
    "prefixes": (numbered("img_{}.png", "gt_{}.png"), "img_{name}.png", "gt_{name}.png"),
    "words in the middle": (
        numbered("area_image_{}.tif", "area_mask_{}.tif"),
        "area_image_{name}.tif",
        "area_mask_{name}.tif",
    ),
    "upper case": (numbered("images/{}.JPG", "masks/{}.PNG"), "images/{name}.JPG", "masks/{name}.PNG"),
    "rare suffixes": (numbered("images/{}.jp2", "masks/{}.npy"), "images/{name}.jp2", "masks/{name}.npy"),
    "a folder for each patient": (
        {"train": {f"p{p}/images/{i}.png": f"p{p}/masks/{i}.png" for p in range(5) for i in range(3)}},
        "{folder}/images/{name}.png",
        "{folder}/masks/{name}.png",
    ),
    "slices beside their masks": (
        {"train": {f"P{p}/P{p}_{i:03}.tif": f"P{p}/P{p}_{i:03}_mask.tif" for p in range(5) for i in range(3)}},
        "{name}.tif",
        "{name}_mask.tif",
    ),
    "prefixes in folders": (
        {"train": {f"img/s{s}/im_{i}.png": f"gt/s{s}/gt_{i}.png" for s in range(3) for i in range(3)}},
        "img/{folder}/im_{name}.png",
        "gt/{folder}/gt_{name}.png",
    ),
    "tiles": (
        numbered("sat/tile_N45.{}_E10.5.tif", "gt/tile_N45.{}_E10.5.tif"),
        "sat/{name}.tif",
        "gt/{name}.tif",
    ),
    "masks of all splits in one folder": (
        numbered("images/SPLIT/{}.jpg", "masks/{}.png", train=4, val=2),
        "images/{split}/{name}.jpg",
        "masks/{name}.png",
    ),
    "other names of splits": (
        numbered("images/SPLIT/{}.jpg", "masks/SPLIT/{}.png", train=4, val=2, names=("training", "validation", "")),
        "images/{split}/{name}.jpg",
        "masks/{split}/{name}.png",
    ),
    "different names of splits": (
        {
            "train": {"images/training/1.jpg": "masks/train/1.png"},
            "val": {"images/validation/2.jpg": "masks/val/2.png"},
        },
        None,
        "masks/{split}/{name}.png",
    ),
    "split in the name": (
        numbered("images/SPLIT_{}.jpg", "masks/SPLIT_{}.png", train=4, val=2),
        "images/{split}_{name}.jpg",
        "masks/{split}_{name}.png",
    ),
    "a test split apart": (
        {**numbered("images/{}.jpg", "masks/{}.png"), "test": {"test_images/9.jpg": None}},
        None,
        "masks/{name}.png",
    ),
    "Roboflow": (
        numbered("SPLIT/{}_jpg.rf.c0.jpg", "SPLIT/{}_jpg.rf.c0_mask.png", **SPLIT, names=("train", "valid", "test")),
        "{split}/{name}.jpg",
        "{split}/{name}_mask.png",
    ),
    "Carvana": (
        {**numbered("train/0cd{}f_01.jpg", "train_masks/0cd{}f_01_mask.gif"), "test": {"test/0cd9f_01.jpg": None}},
        "{split}/{name}.jpg",
        "{split}_masks/{name}_mask.gif",
    ),
    "CamVid": (
        numbered("701_StillsRaw_full/0001TP_{:06}.png", "LabeledApproved_full/0001TP_{:06}_L.png"),
        "701_StillsRaw_full/{name}.png",
        "LabeledApproved_full/{name}_L.png",
    ),
    "CamVid of Kaggle": (
        numbered("SPLIT/0001TP_{:06}.png", "SPLIT_labels/0001TP_{:06}_L.png", **SPLIT),
        "{split}/{name}.png",
        "{split}_labels/{name}_L.png",
    ),
    "CamVid of SegNet": (
        numbered("SPLIT/0001TP_{:06}.png", "SPLITannot/0001TP_{:06}.png", **SPLIT),
        "{split}/{name}.png",
        "{split}annot/{name}.png",
    ),
    "DeepGlobe": (
        {**numbered("train/{}_sat.jpg", "train/{}_mask.png"), "test": {"test/9_sat.jpg": None}},
        "{split}/{name}_sat.jpg",
        "{split}/{name}_mask.png",
    ),
    "ISIC": (numbered("ISIC_{:07}.jpg", "ISIC_{:07}_segmentation.png"), "{name}.jpg", "{name}_segmentation.png"),
    "ISIC 2018": (
        numbered(
            "ISIC2018_Task1-2_SPLIT_Input/ISIC_{:07}.jpg",
            "ISIC2018_Task1_SPLIT_GroundTruth/ISIC_{:07}_segmentation.png",
            train=4,
            val=2,
            names=("Training", "Validation", ""),
        ),
        "ISIC2018_Task1-2_{split}_Input/{name}.jpg",
        "ISIC2018_Task1_{split}_GroundTruth/{name}_segmentation.png",
    ),
    "Oxford pets": (
        numbered("images/pug_{}.jpg", "annotations/trimaps/pug_{}.png"),
        "images/{name}.jpg",
        "annotations/trimaps/{name}.png",
    ),
    "ADE20K": (
        numbered(
            "images/SPLIT/ADE_SPLIT_{:08}.jpg",
            "annotations/SPLIT/ADE_SPLIT_{:08}.png",
            train=4,
            val=2,
            names=("training", "validation", ""),
        ),
        "images/{split}/{name}.jpg",
        "annotations/{split}/{name}.png",
    ),
    "COCO-Stuff": (
        numbered("images/SPLIT2017/{:012}.jpg", "annotations/SPLIT2017/{:012}.png", train=4, val=2),
        "images/{split}/{name}.jpg",
        "annotations/{split}/{name}.png",
    ),
    "MMSegmentation": (
        numbered("img_dir/SPLIT/{}.jpg", "ann_dir/SPLIT/{}.png", train=4, val=2),
        "img_dir/{split}/{name}.jpg",
        "ann_dir/{split}/{name}.png",
    ),
    "nnU-Net": (
        {**numbered("imagesTr/c_{:03}_0000.png", "labelsTr/c_{:03}.png"), "test": {"imagesTs/c_009_0000.png": None}},
        "images{split}/{name}_0000.png",
        "labels{split}/{name}.png",
    ),
    "Potsdam": (
        numbered("top_potsdam_2_{}_RGB.tif", "top_potsdam_2_{}_label.tif"),
        "{name}_RGB.tif",
        "{name}_label.tif",
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts(tmp_path, name):
    """The description that was found gives the same pairs again."""
    pairs, images, masks = LAYOUTS[name]
    write(tmp_path, [file for split in pairs.values() for pair in split.items() for file in pair if file])
    found = layout(tmp_path)
    assert pairs_of(tmp_path, found) == pairs
    assert (found.images, found.masks) == (images, masks)
    assert found.findings == []
    described = Description(path=tmp_path, images=images, masks=masks, **found.sources)
    assert {split: find_pairs(described, split) for split in pairs} == found.pairs


@pytest.mark.parametrize(
    ("files", "masks", "left_out"),
    [
        (numbered("ds/img/{}.jpg", "ds/masks_machine/{}.jpg.png"), "ds/masks_machine/{name}.jpg.png", "masks_human"),
        (
            numbered("JPEGImages/{}.jpg", "SegmentationClass/{}.png"),
            "SegmentationClass/{name}.png",
            "SegmentationObject",
        ),
        (numbered("images/{}.jpg", "masks/{}.png"), "masks/{name}.png", "vis"),
        (numbered("images/{}.jpg", "masks/{}.png"), "masks/{name}.png", "masks_color"),
        (numbered("images/{}.jpg", "masks/{}.png"), "masks/{name}.png", "predictions"),
    ],
)
def test_drawings_and_objects_are_no_masks(tmp_path, files, masks, left_out):
    write(tmp_path, [file for pair in files["train"].items() for file in pair])
    parent, suffix = (tmp_path / masks).parent, ".jpg.png" if "jpg.png" in masks else ".png"
    write(parent.with_name(left_out), [f"{number}{suffix}" for number in range(4)])
    found = layout(tmp_path)
    assert found.masks == masks
    (note,) = messages(found, "note")
    assert left_out in note
    assert "drawings, objects or predictions" in note


def test_drawings_beside_images(tmp_path):
    write(tmp_path, [f"{number}{ending}.png" for number in range(4) for ending in ("", "_mask", "_overlay")])
    found = layout(tmp_path)
    assert pairs_of(tmp_path, found) == numbered("{}.png", "{}_mask.png")
    assert messages(found, "note") == [
        "4 files in . were left out: their names suggest drawings, objects or predictions. Received: 0_overlay.png, "
        "1_overlay.png, 2_overlay.png and 1 more"
    ]


def test_ids_for_training_are_preferred(tmp_path):
    for kind in ("color", "instanceIds", "labelIds", "labelTrainIds"):
        for city in ("aachen", "ulm"):
            write(tmp_path / "leftImg8bit/train" / city, [f"{city}_{index}_leftImg8bit.png" for index in range(3)])
            write(tmp_path / "gtFine/train" / city, [f"{city}_{index}_gtFine_{kind}.png" for index in range(3)])
    write(tmp_path, ["gtFine/train/ulm/ulm_0_gtFine_polygons.json"])
    found = layout(tmp_path)
    assert found.images == "leftImg8bit/{split}/{name}_leftImg8bit.png"
    assert found.masks == "gtFine/{split}/{name}_gtFine_labelTrainIds.png"
    assert sum("To use them, set masks" in note for note in messages(found, "note")) == 3


def test_arrays_beside_pngs(tmp_path):
    """Labelme's export."""
    kinds = ("JPEGImages/{}.jpg", "SegmentationClass/{}.npy", "SegmentationClassPNG/{}.png")
    write(tmp_path, [kind.format(number) for kind in kinds for number in range(4)])
    assert layout(tmp_path).masks == "SegmentationClassPNG/{name}.png"


def test_names_in_two_unicode_forms(tmp_path):
    composed, decomposed = (unicodedata.normalize(form, "Bücher") for form in ("NFC", "NFD"))
    write(tmp_path, [f"images/{composed}.jpg", f"masks/{decomposed}.png", "images/a.jpg", "masks/a.png"])
    assert len(layout(tmp_path).pairs["train"]) == 2
    write(tmp_path / decomposed, ["images/a.jpg", "masks/a.png"])
    assert len(layout(tmp_path / decomposed).pairs["train"]) == 1


def test_files_of_operating_systems(tmp_path):
    pairs = numbered("images/{}.jpg", "masks/{}.png")
    write(tmp_path, [file for pair in pairs["train"].items() for file in pair])
    write(tmp_path, ["images/._0.jpg", "images/Thumbs.db", ".DS_Store", "__MACOSX/images/._0.jpg", "notes.txt"])
    found = layout(tmp_path)
    assert pairs_of(tmp_path, found) == pairs
    assert found.findings == []


# Lists

VOC = [
    f"{kind}/f_{number}.{suffix}"
    for kind, suffix in (("JPEGImages", "jpg"), ("SegmentationClass", "png"))
    for number in range(6)
]


@pytest.mark.parametrize(
    ("lists", "sources"),
    [
        (
            {"ImageSets/Segmentation/train.txt": "f_0\nf_1\n", "ImageSets/Segmentation/val.txt": "f_4\n"},
            {"train": "ImageSets/Segmentation/train.txt", "val": "ImageSets/Segmentation/val.txt"},
        ),
        ({"ImageSets/Segmentation/default.txt": "f_0\nf_1\nf_4\n"}, {"train": "ImageSets/Segmentation/default.txt"}),
        (
            {"train.txt": "./JPEGImages/f_0.jpg\n/data/JPEGImages/f_1.jpg\n", "val.txt": "JPEGImages/f_4.jpg\n"},
            {"train": "train.txt", "val": "val.txt"},
        ),
        (
            {"train_list.txt": "f_0.jpg\nf_1.jpg\n", "val_list.txt": "f_4.jpg\n", "all.txt": "f_0.jpg\n"},
            {"train": "train_list.txt", "val": "val_list.txt"},
        ),
        (
            {
                "train.txt": "JPEGImages/f_0.jpg SegmentationClass/f_0.png\n"
                "JPEGImages/f_1.jpg SegmentationClass/f_1.png\n",
                "val.txt": "JPEGImages/f_4.jpg\tSegmentationClass/f_4.png\n",
            },
            {"train": "train.txt", "val": "val.txt"},
        ),
        (
            {
                "train.txt": "./JPEGImages/f_0.jpg ./SegmentationClass/f_0.png\n"
                "/other data/JPEGImages/f_1.jpg /other data/SegmentationClass/f_1.png\n",
                "val.txt": "C:\\x\\JPEGImages\\f_4.jpg\tC:\\x\\SegmentationClass\\f_4.png\n",
            },
            {"train": "train.txt", "val": "val.txt"},
        ),
        ({"meta.csv": "image_id,split\nf_0,train\nf_1,train\nf_4,val\n"}, {"train": "meta.csv", "val": "meta.csv"}),
        (
            {
                "meta.csv": "id,split,mask_path,image_path\n"
                "0,train,SegmentationClass/f_0.png,JPEGImages/f_0.jpg\n"
                "1,train,SegmentationClass/f_1.png,JPEGImages/f_1.jpg\n"
                "4,valid,SegmentationClass/f_4.png,JPEGImages/f_4.jpg\n"
            },
            {"train": "meta.csv", "val": "meta.csv"},
        ),
        (
            {"pairs.csv": "".join(f"JPEGImages/f_{i}.jpg;SegmentationClass/f_{i}.png\n" for i in (0, 1, 4))},
            {"train": "pairs.csv"},
        ),
    ],
)
def test_lists(tmp_path, lists, sources):
    write(tmp_path, VOC)
    write(tmp_path, {"labelmap.txt": "background:0,0,0::\n", "classes.csv": "name,r,g,b\ncar,1,2,3\n", **lists})
    found = layout(tmp_path)
    assert found.sources == sources
    parts = {"train": (0, 1), "val": (4,)} if "val" in sources else {"train": (0, 1, 4)}
    assert pairs_of(tmp_path, found) == {
        split: {f"JPEGImages/f_{number}.jpg": f"SegmentationClass/f_{number}.png" for number in numbers}
        for split, numbers in parts.items()
    }
    assert not messages(found, "problem")


def test_a_table_without_a_heading_may_begin_with_a_missing_image(tmp_path):
    """Its first row is no heading."""
    write(tmp_path, VOC)
    write(tmp_path, {"pairs.csv": "gone.jpg,gone.png\nJPEGImages/f_1.jpg,SegmentationClass/f_1.png\n"})
    message = refused(layout, tmp_path, train="pairs.csv")
    assert message == f"A list names 1 image that is missing. Mend the list. Received: gone.jpg in {tmp_path}/pairs.csv"


def test_list_of_a_missing_image(tmp_path):
    write(tmp_path, VOC)
    write(tmp_path, {"train.txt": "f_0\nf_1\nf_7\nf_8\n"})
    assert "names 2 images that are missing" in refused(layout, tmp_path)


def test_two_sets_of_lists(tmp_path):
    write(tmp_path, VOC)
    write(tmp_path, {"a/train.txt": "f_0\nf_1\n", "b/train.txt": "f_0\nf_2\n"})
    message = refused(layout, tmp_path)
    assert 'train: "a/train.txt"; or train: "b/train.txt"' in message


# One mask for each class


@pytest.mark.parametrize(
    ("image", "masks"),
    [
        ("images/{name}.jpg", "masks/{name}-{class}.png"),
        ("{name}.jpg", "{name}-{class}.png"),
        ("images/{name}.jpg", "masks/{class}/{name}.png"),
    ],
)
def test_one_mask_for_each_class(tmp_path, image, masks):
    files = {image.format(name=f"x_{number}"): noise(number) for number in range(4)}
    for number in range(4):
        for place, name in enumerate(("road", "open_sky")):
            files[masks.format(name=f"x_{number}", **{"class": name})] = square(255, 1 + 6 * place)
    found = layout(write(tmp_path, files))
    assert (found.images, found.masks, found.classes) == (image, masks, ("open_sky", "road"))
    ids = found.pairs["train"][0][1].pixels()
    np.testing.assert_array_equal(ids[:6] == 2, square(1, 1)[:6])  # of background, open_sky and road
    np.testing.assert_array_equal(ids[6:] == 1, square(1, 7)[6:])


def test_many_files(tmp_path, monkeypatch):
    """The system is not asked about each of them."""
    kinds = ("images/scene_{}_a.jpg", "masks/scene_{}_a.png")
    write(tmp_path, [kind.format(number) for kind in kinds for number in range(600)])
    index, stat, calls = FileIndex(tmp_path), Path.stat, []
    monkeypatch.setattr(Path, "stat", lambda path, **options: calls.append(path) or stat(path, **options))
    assert len(find_layout(index, Description(path=tmp_path)).pairs["train"]) == 600
    assert len(calls) < 30
