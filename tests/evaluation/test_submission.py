"""Predictions as benchmark servers take them, against the official rules."""

import sys
import warnings

import numpy as np
import pytest
from data.layouts import cityscapes_key, write_cityscapes, write_voc
from helpers import refused
from PIL import Image

from keras_crosscoop import dataset
from keras_crosscoop.data.cityscapes import LABELS
from keras_crosscoop.evaluation import Predictions, evaluate
from keras_crosscoop.images.palettes import voc_palette


def test_cityscapes_finds_its_ids(tmp_path, pair, monkeypatch):
    """By the function of `cityscapesscripts` that looks for the prediction of a ground-truth file."""
    root = write_cityscapes(tmp_path / "cityscapes", val=2)
    data, model = dataset("cityscapes", root), pair(num_classes=19)
    evaluate(model, data, "val", predictions=Predictions(tmp_path / "out", data, "val"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is older than some rules
        pytest.importorskip("cityscapesscripts")
        monkeypatch.setattr(sys, "argv", [""])
        from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as official  # noqa: N813
    arguments = official.args
    monkeypatch.setattr(arguments, "predictionPath", str(tmp_path / "out"))
    monkeypatch.setattr(arguments, "predictionWalk", None)
    to_id = np.array([label.id for label in LABELS if label.train_id != 255], np.uint8)
    for index in range(2):
        key = cityscapes_key("val", index)
        found = official.getPrediction(arguments, str(root / f"gtFine/val/{key}_gtFine_labelIds.png"))
        written = Image.open(found)
        assert written.mode == "L"
        classes = model.segment(root / f"leftImg8bit/val/{key}_leftImg8bit.png")
        np.testing.assert_array_equal(np.asarray(written), to_id[classes])


def test_voc_2012_as_its_development_kit_says(tmp_path, pair):
    """Section 4.2 of the kit's guidelines: results/VOC2012/Segmentation/comp5_test_cls/IMAGE.png, of indices."""
    root = write_voc(tmp_path / "voc")
    data, model = dataset("voc2012", root), pair(num_classes=21)
    evaluate(model, data, "val", predictions=Predictions(tmp_path / "out", data, "val"))
    for image, _ in data.pairs("val"):
        target = tmp_path / f"out/results/VOC2012/Segmentation/comp5_val_cls/{image.stem}.png"
        written = Image.open(target)
        assert written.mode == "P"
        assert written.getpalette()[: 3 * 21] == [value for colour in voc_palette(21) for value in colour]
        np.testing.assert_array_equal(np.asarray(written), model.segment(image))


def test_other_data_sets_get_palette_images(make_folder, tmp_path, pair):
    data, model = dataset("folder", make_folder()), pair()
    evaluate(model, data, "val", predictions=Predictions(tmp_path / "out", data, "val"))
    for image, _ in data.pairs("val"):
        np.testing.assert_array_equal(
            np.asarray(Image.open(tmp_path / "out" / f"{image.stem}.png")), model.segment(image)
        )


def test_crops_are_not_submitted(make_folder, tmp_path, pair):
    data = dataset("folder", make_folder())
    predictions = Predictions(tmp_path / "out", data, "val")
    assert "center_crop=16" in refused(evaluate, pair(), data, "val", predictions=predictions, center_crop=16)
    assert not (tmp_path / "out").exists()
    assert "center_crop=16" in refused(evaluate, pair(), data, "val", list_suspects=1, center_crop=16)


def test_nothing_is_overwritten_unasked(make_folder, tmp_path):
    data = dataset("folder", make_folder())
    (tmp_path / "out").mkdir()
    (tmp_path / "out/001.png").write_text("mine")
    assert "--force" in refused(Predictions, tmp_path / "out", data, "val")
    Predictions(tmp_path / "out", data, "val", force=True)
    assert (tmp_path / "out/001.png").read_text() == "mine"


def test_two_images_of_one_name_are_refused(make_folder, tmp_path):
    root = make_folder()
    for kind in ("images", "masks"):
        (root / kind / "val/more").mkdir()
        (root / kind / "val/more/000.png").write_bytes((root / kind / "val/000.png").read_bytes())
    message = refused(Predictions, tmp_path / "out", dataset("folder", root), "val")
    assert message.startswith(f"Two images would be written to {tmp_path / 'out/000.png'}.")


def test_images_alone_are_a_split_to_predict_on(make_folder, tmp_path, pair):
    root = make_folder()
    (root / "images/test/more").mkdir(parents=True)
    for name in ("b.png", "more/a.png"):
        (root / "images/test" / name).write_bytes((root / "images/val/000.png").read_bytes())
    data = dataset("folder", root)
    assert data.splits == ("train", "val", "test")
    assert "--save-predictions" in refused(evaluate, pair(), data, "test")
    evaluate(pair(), data, "test", predictions=Predictions(tmp_path / "out", data, "test"))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "b.png"]


def test_a_split_without_labels_points_at_predictions(tmp_path, pair):
    root = write_cityscapes(tmp_path / "cityscapes", val=1, test=1)
    data, model = dataset("cityscapes", root), pair(num_classes=19)
    assert "--save-predictions" in refused(evaluate, model, data, "test")
    found = evaluate(model, data, "test", predictions=Predictions(tmp_path / "out", data, "test"))
    assert (found["images"], found["outputs"]) == (1, {})
    assert len(list((tmp_path / "out").iterdir())) == 1
