"""Checks: known labels give known statistics, and every kind of problem is reported."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from data.layouts import write_cityscapes
from helpers import refused, settle
from PIL import Image

from keras_crosscoop.data import dataset
from keras_crosscoop.data.checks import check_dataset
from keras_crosscoop.data.coding import Coding
from keras_crosscoop.data.records.checksums import write_sums

ROAD, SKY, CAR, VOID = 0, 1, 2, 255


def save(root, split, name, ids, seed=None):
    """A pair of these ids, and of an image that no other name has."""
    for kind in ("images", "masks"):
        (root / kind / split).mkdir(parents=True, exist_ok=True)
    ids = np.array(ids, np.uint8)
    rng = np.random.default_rng(sum(map(ord, split + name)) if seed is None else seed)
    Image.fromarray(ids).save(root / "masks" / split / f"{name}.png")
    Image.fromarray(rng.integers(0, 256, (*ids.shape, 3), np.uint8)).save(root / "images" / split / f"{name}.png")


@pytest.fixture
def mine(tmp_path):
    """Three training images whose pixels one can count, one for validation; nothing is left to find out."""
    root = tmp_path / "mine"
    root.mkdir()
    (root / "classes.txt").write_text("road #000080\nsky\ncar\n")
    save(root, "train", "a", [[ROAD] * 8, [ROAD] * 5 + [SKY] * 3])  # 13 road, 3 sky
    save(root, "train", "b", [[ROAD] * 7 + [SKY], [VOID] * 8])  # 7 road, 1 sky, 8 void
    save(root, "train", "c", [[ROAD] * 4, [CAR] * 2 + [VOID] * 2])  # 4 road, 2 car, 2 void
    save(root, "val", "d", [[ROAD] * 12 + [SKY] * 2 + [CAR, VOID]])
    return settle(root)


def checked(root, *splits, **options):
    return check_dataset(dataset("folder", root), splits or None, **options)


def lines(report):
    return [(finding.severity, finding.split, finding.message, finding.files) for finding in report.findings]


def test_a_good_data_set_has_no_findings(mine):
    report = checked(mine)
    assert lines(report) == []
    assert report.problems == ()
    assert [(split.name, split.images) for split in report.splits] == [("train", 3), ("val", 1)]


def test_pixels_sizes_and_frequencies_are_counted(mine):
    train = checked(mine).splits[0]
    assert train.pixels == (24, 4, 2)
    assert train.void == 10
    assert train.images_with == (3, 2, 1)
    assert train.pixels_around == (40, 32, 8)
    assert train.frequencies == (24 / 30, 4 / 30, 2 / 30)
    assert train.void_share == 10 / 40
    assert train.sizes == {(2, 8): 2, (2, 4): 1}


def test_the_commonest_size_comes_first(mine):
    save(mine, "train", "0", [[ROAD]])
    assert list(checked(mine, "train").splits[0].sizes.items()) == [((2, 8), 2), ((1, 1), 1), ((2, 4), 1)]


def test_class_weights_are_those_of_median_frequency(mine):
    """Frequencies 24/40, 4/32 and 2/8, of which the median is 1/4."""
    assert checked(mine).class_weights("train") == pytest.approx({"road": 0.25 / 0.6, "sky": 2, "car": 1})


@pytest.mark.parametrize(("own", "severity"), [(True, "problem"), (False, "warning")])
def test_a_class_that_never_occurs_has_no_weight_and_a_finding(mine, own, severity):
    """The median is that of the other classes. With three frequencies of 0, it would be 1/16."""
    data = dataset("folder", settle(mine, ("road", "sky", "car", "bus", "tram", "bike")))
    report = check_dataset(data if own else replace(data, description=None))
    assert report.class_weights("train") == pytest.approx({"road": 0.25 / 0.6, "sky": 2, "car": 1})
    train, val = report.findings
    assert (train.severity, train.split) == (severity, "train")
    assert train.message.startswith("3 of 6 classes never occur in split train: bus, tram, bike. A network cannot")
    assert (val.severity, val.split) == ("note", "val")
    assert val.message.startswith("3 of 6 classes never occur in split val: bus, tram, bike. Their IoU")
    assert report.as_dict()["ok"] is not own


def test_weights_need_labels(mine):
    assert "'test'" in refused(checked(mine).class_weights, "test")


def test_label_ids_are_counted_as_the_classes_they_mean(mine):
    data = replace(dataset("folder", mine), coding=Coding.of_ids((CAR, VOID, ROAD)))
    train = check_dataset(data).splits[0]
    assert train.pixels == (2, 0, 24)
    assert train.void == 10 + 4


def test_every_file_without_its_partner_is_listed_and_the_others_are_read(mine):
    (mine / "dataset.yaml").unlink()  # which may name a part of the masks
    for other in ("images/train/b.png", "masks/train/a.png"):
        (mine / other).unlink()
    report = checked(mine)
    label, image = report.problems[:2]
    assert (label.split, label.files) == ("", (str(mine / "masks/train/b.png"),))
    assert label.message.startswith("1 mask has no image in any split.")
    assert (image.split, image.files) == ("train", (str(mine / "images/train/a.png"),))
    assert image.message.startswith("1 of 2 images in train have no mask.")
    assert report.splits[0].pixels == (4, 0, 2)  # of c
    assert refused(dataset("folder", mine).pairs, "train") == image.message


def test_findings_of_one_cause_take_one_line(mine):
    for number in range(14):
        save(mine, "train", f"x{number}", [[ROAD, 3 + number]])
        save(mine, "train", f"y{number}", [[ROAD] * (number + 1)])
        (mine / f"masks/train/y{number}.png").unlink()
    report = checked(mine)
    assert len(report.problems) == 15
    alone, outside = report.lines("problem")
    assert alone.startswith("14 of 31 images in train have no mask.")
    assert alone.endswith("Received: images/train/y0.png, images/train/y1.png, images/train/y10.png and 11 more")
    assert outside.startswith("14 times: A label holds value 3, but its classes are values 0 to 2")
    masks = mine / "masks/train"
    assert outside.endswith(f"Received: {masks / 'x0.png'}, {masks / 'x1.png'}, {masks / 'x10.png'} and 11 more")
    assert refused(dataset("folder", mine).pairs, "train") == alone


@pytest.mark.parametrize("kind", ["images", "masks"])
def test_every_broken_file_is_listed(mine, kind):
    files = [mine / kind / "train" / name for name in ("a.png", "c.png")]
    for file in files:
        save(mine, "train", file.stem, np.arange(64 * 64).reshape(64, 64) * 7919 % 3)
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])  # the header is whole
    report = checked(mine)
    assert [(finding.severity, finding.split, finding.files) for finding in report.findings[:2]] == [
        ("problem", "train", (str(file),)) for file in files
    ]
    assert all("cannot be read" in finding.message for finding in report.problems)
    assert len(report.problems) == 2
    assert report.splits[0].pixels == (7, 1, 0)  # of what could be read; other files may hold cars


def test_both_files_of_a_pair_may_be_broken(mine):
    files = [mine / kind / "train/a.png" for kind in ("images", "masks")]
    for file in files:
        file.write_text("neither")
    assert [finding.files for finding in checked(mine).problems] == [(str(file),) for file in files]


def test_pairs_of_two_sizes_are_problems(mine):
    Image.new("RGB", (9, 2)).save(mine / "images/train/a.png")
    (problem,) = checked(mine).problems
    assert problem.files == (str(mine / "images/train/a.png"), str(mine / "masks/train/a.png"))
    assert "is 9x2 and its label 8x2" in problem.message


def test_ids_outside_the_classes_are_problems(mine):
    save(mine, "train", "a", [[ROAD, 3]])
    save(mine, "train", "b", [[ROAD, 254]])
    assert [problem.message.split(",")[0] for problem in checked(mine).problems] == [
        "A label holds value 3",
        "A label holds value 254",
    ]


def test_labels_in_colours_are_problems(mine):
    Image.new("RGB", (8, 2)).save(mine / "masks/train/a.png")
    (problem,) = checked(mine).problems
    assert problem.files == (str(mine / "masks/train/a.png"),)
    assert "not RGB colours" in problem.message


def test_a_broken_label_in_colours_is_the_only_broken_file(mine):
    """A mask that is read by colour is named for its damage, and its image not at all."""
    save(mine, "train", "c", np.arange(64 * 64).reshape(64, 64) * 7919 % 3)
    colours = np.array([(128, 64, 128), (0, 130, 180), (0, 0, 142)], np.uint8)
    for path in (mine / "masks").rglob("*.png"):
        ids = np.array(Image.open(path))
        Image.fromarray(np.where(ids[..., None] == VOID, np.uint8(0), colours[ids % 3])).save(path)
    path = mine / "masks/train/c.png"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])  # the header is whole
    values = {"#804080": "road", "#0082b4": "sky", "#00008e": "car"}
    (problem,) = checked(settle(mine, values=values, ignore=["#000000"])).problems
    assert problem.files == (str(path),)
    assert "cannot be read" in problem.message


def test_labels_of_void_alone_are_noted(mine):
    for name in "bc":
        save(mine, "train", name, [[VOID, VOID]])
    findings = [finding for finding in checked(mine).findings if finding.severity == "note"]
    files = tuple(str(mine / f"images/train/{name}.png") for name in "bc")
    assert [(finding.split, finding.files) for finding in findings] == [("train", files)]
    assert f"the label of {files[0]}, and 1 more." in findings[0].message


def test_one_picture_in_two_splits_is_a_problem_however_it_is_stored(mine):
    file = mine / "images/train/a.png"
    save(mine, "val", "e", [[ROAD] * 8, [ROAD] * 5 + [SKY] * 3])
    Image.open(file).save(mine / "images/val/e.bmp")
    (mine / "images/val/e.png").unlink()
    (problem,) = checked(mine).findings
    assert (problem.severity, problem.split) == ("problem", "val")
    assert problem.files == (str(file), str(mine / "images/val/e.bmp"))
    assert problem.message.startswith(f"Splits train and val must not share an image, but {file} is in val, too.")


def test_images_of_the_same_bytes_and_another_shape_differ(mine):
    for split, size in (("train", (2, 8)), ("val", (4, 4))):
        save(mine, split, "flat", np.reshape([ROAD] * 12 + [SKY] * 4, size))
        Image.new("RGB", size[::-1]).save(mine / f"images/{split}/flat.png")
    assert lines(checked(mine)) == []


def test_one_picture_twice_in_a_split_is_noted(mine):
    for name in "xyz":
        save(mine, "train", name, [[ROAD] * 6 + [SKY]], seed=7)
    (note,) = checked(mine).findings
    files = [str(mine / f"images/train/{name}.png") for name in "xyz"]
    assert (note.severity, note.split, note.files) == ("note", "train", tuple(files))
    assert f"twice: {files[0]} and {files[1]}, and 1 more." in note.message


def test_splits_meant_to_share_images_may(mine):
    """Such as those of VOC: val is in trainval, and train in both others; each file is read once."""
    data = dataset("folder", mine)
    pairs = {split: data.find(split) for split in data.splits}
    pairs |= {"trainval": pairs["train"] + pairs["val"], "trainaug": pairs["train"]}
    (mine / "masks/train/b.png").write_text("no label")
    progress = []
    shared = replace(data, splits=tuple(pairs), find=pairs.get)
    report = check_dataset(shared, progress=lambda done, total: progress.append((done, total)))
    assert progress == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [(finding.severity, finding.split) for finding in report.findings] == [("problem", "train")]
    assert [split.images for split in report.splits] == [2, 1, 3, 2]


def test_the_same_file_in_train_and_val_is_a_problem(mine):
    data = dataset("folder", mine)
    find = data.find
    both = replace(data, find=lambda split: find("train") + (find("val") if split == "val" else []))
    assert len(check_dataset(both).problems) == 3


def test_an_unlabelled_split_has_images_only(mine):
    save(mine, "val", "e", [[ROAD, SKY, CAR]])
    (mine / "images/val/e.png").write_text("no image")
    data = dataset("folder", mine)
    find = data.find

    def without_labels(split):
        return [(image, None) for image, _ in find("val")] if split == "test" else find(split)

    hidden = replace(data, splits=("train", "test"), find=without_labels, unlabelled=("test",))
    report = check_dataset(hidden, ("train", "test"))
    assert [(finding.severity, finding.split) for finding in report.findings] == [("problem", "test")]
    test = report.splits[1]
    assert (test.images, test.labelled, test.pixels, test.void) == (1, False, (0, 0, 0), 0)
    assert test.sizes == {(1, 16): 1}
    assert "'test'" in refused(report.class_weights, "test")


def test_only_the_named_splits_are_checked(mine):
    (mine / "images/val/d.png").write_text("no image")
    assert checked(mine, "train").problems == ()
    assert [split.name for split in checked(mine, "train").splits] == ["train"]
    assert 'Did you mean "train"?' in refused(checked, mine, "trian")


def test_a_split_without_images_is_a_problem(mine):
    for kind in ("images", "masks"):
        shutil.rmtree(mine / kind / "val")
        (mine / kind / "val").mkdir()
    (problem,) = checked(mine).findings
    assert (problem.severity, problem.split) == ("problem", "val")
    assert problem.message.startswith("Split val has no images.")


def test_a_missing_validation_split_is_a_warning(mine):
    (warning,) = check_dataset(replace(dataset("folder", mine), splits=("train",))).findings
    assert (warning.severity, warning.split) == ("warning", "")
    assert 'There is no split "val".' in warning.message
    assert lines(checked(mine, "train")) == []


class TestCamvid:
    """The expected splits are known, also when they are missing."""

    @pytest.fixture
    def root(self, tmp_path):
        for index, split in enumerate(("train", "val")):
            for folder in (split, f"{split}annot"):
                (tmp_path / folder).mkdir()
            Image.fromarray(np.arange(11, dtype=np.uint8)[None]).save(tmp_path / f"{split}annot" / "0.png")
            Image.new("RGB", (11, 1), (index, 0, 0)).save(tmp_path / split / "0.png")
        return tmp_path

    def test_a_missing_optional_split_is_a_note(self, root):
        *few, note = check_dataset(dataset("camvid", root)).findings
        assert (note.severity, note.split) == ("note", "test")
        assert [(finding.severity, finding.message.partition(". ")[0]) for finding in few] == [
            ("warning", "Split train has 1 of 367 images"),
            ("warning", "Split val has 1 of 101 images"),
        ]
        assert note.message.startswith("Split test was not checked.")
        assert note.message.endswith(f"Received: {root / 'test'}")

    def test_a_missing_named_split_is_a_problem(self, root):
        (problem,) = check_dataset(dataset("camvid", root), ("train", "test")).problems
        assert (problem.severity, problem.split) == ("problem", "test")

    def test_a_missing_split_for_training_is_a_problem(self, root):
        shutil.rmtree(root / "valannot")
        (problem,) = check_dataset(dataset("camvid", root)).problems
        assert (problem.severity, problem.split) == ("problem", "val")
        assert problem.message.endswith(f"Received: {root / 'valannot'}")

    def test_another_folder_is_refused(self, tmp_path):
        message = refused(check_dataset, dataset("camvid", tmp_path))
        assert message.endswith(f"Received: {tmp_path / 'train'}")


def test_records_are_compared_with_their_checksums(mine, tmp_path):
    records = tmp_path / "records"
    records.mkdir()
    for name in "pq":
        (records / name).write_text(name)
    (note,) = checked(mine, records=records).findings
    assert note.severity == "note"
    assert "checksums of the records" in note.message

    write_sums(records)
    assert lines(checked(mine, records=records)) == []

    (records / "q").write_text("changed")
    (problem,) = checked(mine, records=records).findings
    assert (problem.severity, problem.split, problem.files) == ("problem", "", (str(records / "q"),))
    assert "has changed since it was written" in problem.message


def test_a_report_as_a_dict(mine):
    metrics = checked(mine).as_dict()
    train = metrics["splits"]["train"]
    assert metrics["ok"] is True
    assert train["pixels"] == {"road": 24, "sky": 4, "car": 2}
    assert train["class_weights"] == pytest.approx({"road": 0.25 / 0.6, "sky": 2, "car": 1})
    assert train["sizes"][0] == {"height": 2, "width": 8, "images": 2}
    (mine / "images/val/d.png").write_text("no image")
    metrics = checked(mine).as_dict()
    assert metrics["ok"] is False
    assert metrics["findings"][0]["files"] == (str(mine / "images/val/d.png"),)
    assert metrics["splits"]["val"]["class_weights"] == {"road": None, "sky": None, "car": None}


def test_a_damaged_optional_split_is_a_problem(tmp_path):
    """Unlike a missing one."""
    write_cityscapes(tmp_path, train_extra=2, zipped=True)
    archive = tmp_path / "gtCoarse.zip"
    archive.write_bytes(archive.read_bytes()[:-100])
    problems = check_dataset(dataset("cityscapes", tmp_path)).problems
    assert [problem.split for problem in problems] == ["train_extra"]  # and "train_coarse", of the same message
    archive.unlink()
    assert not check_dataset(dataset("cityscapes", tmp_path)).problems
