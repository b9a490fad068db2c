"""Exports of annotation tools become masks that are right pixel by pixel."""

import contextlib
import importlib.util
import json
import re
import shutil

import numpy as np
import pytest
from data.importing import dense_exports, tool_exports
from data.importing.tool_exports import CLASSES, NAMES, SCENES, coco, save_photograph, truth, write_json
from PIL import Image

from keras_crosscoop import dataset
from keras_crosscoop.data.importing import FORMATS, import_annotations
from keras_crosscoop.data.own.description import read_description
from keras_crosscoop.errors import InputError
from keras_crosscoop.labels import IGNORE_LABEL

MAKERS = {**vars(tool_exports), **vars(dense_exports)}
FORMAT_OF = {"ade20k_2021": "ade20k"}
DATUMARO = pytest.mark.skipif(importlib.util.find_spec("datumaro") is None, reason="needs the extra `formats`")
SYNTHIA = {"road": "Road", "car": "Car", "tree": "Vegetation"}
VOC = {"road": "chair", "car": "car", "tree": "pottedplant"}


def names_of(folder, split, name):
    """The name of the class of each pixel of a mask."""
    names = read_description(folder / "dataset.yaml").names
    table = np.full(256, "void", object)
    table[: len(names)] = names
    with Image.open(folder / "masks" / split / f"{name}.png") as mask:
        assert mask.mode == "P"
        return table[np.asarray(mask)]


def files_of(root):
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def export(tmp_path):
    """The folder of an export."""
    (tmp_path / "export").mkdir()
    return tmp_path / "export"


@pytest.mark.parametrize(
    ("make", "format_name", "renamed", "dense"),
    [
        ("coco", "coco", {}, False),
        ("coco_with_folders", "coco", {}, False),
        ("roboflow", "coco", {}, False),
        ("label_studio_coco", "coco", {}, False),
        ("label_studio_png", "label_studio_png", {}, False),
        ("cvat", "cvat", {}, False),
        ("labelme", "labelme", {}, False),
        ("labelme_embedded", "labelme", {}, False),
        ("yolo", "yolo", {}, False),
        ("yolo_roboflow", "yolo", {}, False),
        ("label_studio_yolo", "yolo", {}, False),
        ("supervisely", "supervisely", {}, False),
        ("ade20k", "ade20k", {}, True),
        ("ade20k_2021", "ade20k", {}, True),
        ("kitti", "kitti", {"tree": "vegetation"}, True),
        ("mapillary", "mapillary", {}, True),
        ("mapillary_2", "mapillary", {}, True),
        pytest.param("voc", "voc_segmentation", {}, False, marks=DATUMARO),
        pytest.param("voc2012", "voc_segmentation", VOC, False, marks=DATUMARO),
        pytest.param("synthia", "synthia_rand", SYNTHIA, True, marks=DATUMARO),
    ],
)
def test_masks_of_each_format(make, format_name, renamed, dense, export, tmp_path):
    MAKERS[f"make_{make}"](export)
    before = files_of(export)
    report = import_annotations(export, tmp_path / "data")
    assert report.format == format_name
    assert files_of(export) == before
    splits = SCENES if len(report.splits) > 1 else {"train": NAMES}
    assert report.splits == {split: len(names) for split, names in splits.items()}
    for split, names in splits.items():
        for name in names:
            expected = truth(name, crowd=make == "coco", background="void" if dense else "background")
            if make == "voc2012":
                expected[:2] = "void"
            for name_here, name_there in renamed.items():
                expected[expected == name_here] = name_there
            np.testing.assert_array_equal(names_of(tmp_path / "data", split, name), expected)
            (image,) = (tmp_path / "data/images" / split).glob(f"{name}.*")
            assert image.read_bytes() in before.values() or make == "labelme_embedded"
            assert image.stat().st_nlink == 1  # a copy, which can be edited without a change of the export
    description = read_description(tmp_path / "data/dataset.yaml")
    assert description.ignore == (IGNORE_LABEL,)
    assert set(description.names) == {renamed.get(name, name) for name in CLASSES} | (
        set() if dense else {"background"}
    )
    assert sum(report.pixels.values()) == len(NAMES) * 30 * 40


@pytest.mark.parametrize("make", ["coco", "supervisely", "label_studio_png"])
def test_the_new_folder_trains(make, export, tmp_path):
    """It is opened as any folder of one's own; nothing in it is a question."""
    MAKERS[f"make_{make}"](export)
    import_annotations(export, tmp_path / "data")
    data = dataset(tmp_path / "data")
    assert data.splits == ("train", "val")
    assert not data.findings
    pairs = [pair for split in data.splits for pair in data.pairs(split)]
    for image, mask in pairs:
        pixels, ids = data.read(image, mask)
        np.testing.assert_array_equal(pixels, np.asarray(tool_exports.photograph(image.stem)))
        names = np.array([*data.classes, *[""] * (255 - len(data.classes)), "void"], object)
        np.testing.assert_array_equal(names[ids], names_of(tmp_path / "data", mask.parent.name, mask.stem))
    assert {image.stem for image, _ in pairs} == set(NAMES)


def test_splits_without_validation_get_a_share(export, tmp_path):
    tool_exports.make_label_studio_coco(export)
    import_annotations(export, tmp_path / "data")
    assert read_description(tmp_path / "data/dataset.yaml").val == 0.2


def test_background_can_be_void(export, tmp_path):
    tool_exports.make_yolo(export)
    import_annotations(export, tmp_path / "data", background=False)
    np.testing.assert_array_equal(names_of(tmp_path / "data", "train", "one"), truth("one", background="void"))


def test_some_classes_can_be_kept(export, tmp_path):
    tool_exports.make_yolo(export)
    report = import_annotations(export, tmp_path / "data", classes=["car"])
    assert list(report.pixels) == ["background", "car", "void"]
    with pytest.raises(InputError, match=r"no such class. It has road, car, tree. Received: bus"):
        import_annotations(export, tmp_path / "other", classes=["bus"])


@pytest.mark.parametrize("name", ["dont_care", "Void", "no data"])
def test_a_class_that_means_no_class_is_void(name, export, tmp_path):
    """By the names that `data.own` understands."""
    tool_exports.make_yolo(export)
    (path,) = export.rglob("data.yaml")
    path.write_text(path.read_text().replace("car", name))
    report = import_annotations(export, tmp_path / "data")
    assert list(report.pixels) == ["background", "road", "tree", "void"]
    assert report.pixels["void"] > 0


def test_classes_that_are_not_kept_are_background_but_unlabelled_pixels_are_void(export, tmp_path):
    dense_exports.make_kitti(export)
    import_annotations(export, tmp_path / "data", classes=["car"])
    expected = truth("one", background="void")
    expected[np.isin(expected, ["road", "tree"])] = "background"
    np.testing.assert_array_equal(names_of(tmp_path / "data", "train", "one"), expected)


def test_zip_files(export, tmp_path):
    tool_exports.make_cvat(export)
    shutil.make_archive(tmp_path / "task", "zip", export)
    assert import_annotations(tmp_path / "task.zip", tmp_path / "data").splits == {"train": 2, "val": 1}
    assert {path.name for path in (tmp_path / "data").iterdir()} == {"images", "masks", "dataset.yaml"}
    (tmp_path / "bad.zip").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"The zip file cannot be unpacked .* Received: .*bad.zip"):
        import_annotations(tmp_path / "bad.zip", tmp_path / "other")


def test_images_in_several_splits_are_told(export, tmp_path):
    tool_exports.make_yolo(export)
    text = (export / "data.yaml").read_text().replace("val: images/val", "val: images/train")
    (export / "data.yaml").write_text(text)
    report = import_annotations(export, tmp_path / "data")
    assert "Images are in several splits: 2 (images/train/one.png, images/train/two.png)" in [
        finding.message for finding in report.findings
    ]


def test_nothing_is_overwritten_and_nothing_half_written_remains(export, tmp_path):
    tool_exports.make_labelme(export)
    (tmp_path / "data").mkdir()
    with pytest.raises(InputError, match="already exists"):
        import_annotations(export, tmp_path / "data")
    (export / "train/two.json").write_text('{"shapes": [], "flags": {}, "version"')
    with pytest.raises(InputError, match=r"cannot be read .* Received: .*two.json"):
        import_annotations(export, tmp_path / "new")
    assert {path.name for path in tmp_path.iterdir()} == {"data", "export"}


def coco_file(export, change):
    """Writes a COCO export after a change of its content."""
    for name in NAMES:
        save_photograph(export / f"{name}.png")
    content = coco(NAMES)
    change(content)
    write_json(export / "labels.json", content)


def outside(content):
    content["annotations"][0]["segmentation"] = [[-9, 4, 10, 4, 10, 60, -9, 60]]


def empty_polygon(content):
    content["annotations"][0]["segmentation"] = [[1, 1, 2, 2]]


def no_pixel(content):
    content["annotations"][0]["segmentation"] = [[1.1, 1.1, 1.2, 1.1, 1.2, 1.2]]


def box_only(content):
    content["annotations"][0]["segmentation"] = []


def missing_image(content):
    content["images"].append({"id": 9, "file_name": "gone.jpg", "width": 4, "height": 4})


def unlisted_image(content):
    content["annotations"][0]["image_id"] = 77


def unlisted_category(content):
    content["annotations"][0]["category_id"] = 77


def unused_category(content):
    content["categories"].append({"id": 9, "name": "bus"})


def other_size(content):
    content["images"][0]["width"] = 41


def damaged_lengths(content):
    content["annotations"][1]["segmentation"]["counts"] = [5]


def without_annotations(content):
    content["annotations"] = [entry for entry in content["annotations"] if entry["image_id"] != 1]


def twice(content):
    content["images"].append({**content["images"][0], "id": 9})


@pytest.mark.parametrize(
    ("change", "message", "images"),
    [
        (outside, "Polygons reach outside of their image, and were cut: 1 (one.png)", 3),
        (empty_polygon, "Polygons with fewer than three corners were left out: 1 (annotation 1)", 3),
        (no_pixel, "Objects without a pixel were left out: 1 (one.png)", 3),
        (box_only, "Objects with a box but without a mask were left out: 1 (annotation 1)", 3),
        (missing_image, "Images that annotations name are missing, and were left out: 1 (gone.jpg)", 3),
        (unlisted_image, "Annotations of images that the file does not list were left out: 1 (77)", 3),
        (unlisted_category, "Objects of categories that the file does not list were left out: 1 (77)", 3),
        (unused_category, "Classes that never occur were left out: 1 (bus)", 3),
        (other_size, "another size, and were left out: 1 (one.png: 40x30, annotated as 41x30)", 2),
        (damaged_lengths, "Images with an unusable mask were left out: 1 (one.png: The lengths", 2),
        (without_annotations, "Images without annotations are all background; --skip-unlabelled leaves", 3),
        (twice, "Images were annotated several times; all their objects were taken: 1 (one.png)", 3),
    ],
)
def test_one_line_tells_each_cause(change, message, images, export, tmp_path):
    coco_file(export, change)
    report = import_annotations(export, tmp_path / "data")
    assert any(message in finding.message for finding in report.findings)
    assert report.splits == {"train": images}
    assert len(list((tmp_path / "data/masks").rglob("*.png"))) == len(list((tmp_path / "data/images").rglob("*.png")))


def test_images_without_annotations_can_be_left_out(export, tmp_path):
    coco_file(export, without_annotations)
    assert import_annotations(export, tmp_path / "data", skip_unlabelled=True).splits == {"train": 2}


def test_a_polygon_outside_of_the_image_is_cut(export, tmp_path):
    coco_file(export, outside)
    import_annotations(export, tmp_path / "data", classes=["car"])
    expected = np.full((30, 40), "background", object)
    expected[4:, :10] = "car"
    expected[truth("one") == "tree"] = "background"  # it is smaller
    np.testing.assert_array_equal(names_of(tmp_path / "data", "train", "one"), expected)


@pytest.mark.parametrize("make", ["coco", "cvat", "labelme", "supervisely", "ade20k_2021", "mapillary", "yolo"])
def test_damaged_files_are_one_line(make, export, tmp_path):
    """Whatever entry a file lacks, the error is one that a user can act on, or a finding."""
    MAKERS[f"make_{make}"](export)
    suffixes = (".json", ".xml", ".yaml", ".txt")
    (first, *_) = sorted(path for path in export.rglob("*") if path.suffix in suffixes and "captions" not in path.name)
    content = first.read_text()
    for number, word in enumerate(sorted(set(re.findall(r"\w{2,}", content)) - {"annotations"})):
        first.write_text(re.sub(rf"\b{word}\b", "broken", content))
        with contextlib.suppress(InputError):
            import_annotations(export, tmp_path / f"data{number}", format=FORMAT_OF.get(make, make))


def test_images_may_be_elsewhere(export, tmp_path):
    for name in NAMES:
        save_photograph(tmp_path / "photos/deep" / f"{name}.png")
    write_json(export / "labels.json", coco(NAMES))
    with pytest.raises(InputError, match=r"holds no annotated image. Images that .* are missing, and were left out: 3"):
        import_annotations(export, tmp_path / "data")
    assert import_annotations(export / "labels.json", tmp_path / "data", images=tmp_path / "photos").splits == {
        "train": 3
    }


def test_annotations_of_the_stored_picture_are_turned_with_it(export, tmp_path):
    """A camera stores a picture on its side; some tools annotate it as stored."""
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    for name in NAMES:
        Image.new("RGB", (40, 30)).save(export / f"{name}.jpg", exif=exif)
    write_json(export / "labels.json", coco(NAMES, file_name="{}.jpg"))
    import_annotations(export, tmp_path / "data")
    np.testing.assert_array_equal(names_of(tmp_path / "data", "train", "one"), np.rot90(truth("one"), -1))


def test_names_that_differ_in_the_suffix_only(export, tmp_path):
    for suffix in ("png", "bmp"):
        tool_exports.photograph("one").save(export / f"one.{suffix}")
    content = coco(["one", "two"])
    content["images"][1]["file_name"] = "one.bmp"
    write_json(export / "labels.json", content)
    import_annotations(export, tmp_path / "data")
    assert {path.name for path in (tmp_path / "data/images/train").iterdir()} == {"one_png.png", "one_bmp.bmp"}
    np.testing.assert_array_equal(names_of(tmp_path / "data", "train", "one_bmp"), truth("two"))


def test_several_formats_are_a_question(export, tmp_path):
    tool_exports.make_yolo(export)
    tool_exports.make_labelme(export)
    with pytest.raises(InputError, match=r"several formats. Name one: --format labelme or --format yolo"):
        import_annotations(export, tmp_path / "data")
    assert import_annotations(export, tmp_path / "data", format="yolo").format == "yolo"


def test_no_format_lists_what_is_there(export, tmp_path):
    save_photograph(export / "one.png")
    (export / "notes.txt").write_text("")
    with pytest.raises(InputError, match=rf"none of the formats {', '.join(FORMATS)}.*with 1 .txt, 1 .png \(notes.txt"):
        import_annotations(export, tmp_path / "data")


@DATUMARO
def test_unknown_format(export, tmp_path):
    with pytest.raises(InputError, match='Did you mean "voc'):
        import_annotations(export, tmp_path / "data", format="vocc")


def test_masks_of_label_studio_need_the_names_of_the_images(export, tmp_path):
    tool_exports.make_label_studio_png(export)
    (export / "project-1.json").unlink()
    with pytest.raises(
        InputError, match=r"JSON export of the same project .* 3 tasks without an image \(task 11, 12, 13\)"
    ):
        import_annotations(export, tmp_path / "data")


def test_report_is_json(export, tmp_path):
    tool_exports.make_coco(export)
    content = json.loads(json.dumps(import_annotations(export, tmp_path / "data").as_dict()))
    assert content["splits"] == {"train": 2, "val": 1}
    assert content["findings"][0]["severity"] in ("warning", "note")
