"""Predictions and metrics on Cityscapes, compared with the official evaluation."""

import sys
import warnings

import numpy as np
import pytest
from data.layouts import cityscapes_key, write_cityscapes
from networks import LinearNetwork
from PIL import Image

from keras_crosscoop import dataset
from keras_crosscoop.data.cityscapes import LABELS
from keras_crosscoop.evaluation import SubmissionWriter, evaluate


@pytest.fixture
def official(monkeypatch):
    """The module of `cityscapesscripts` that evaluates."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Its code is older than some rules.
        pytest.importorskip("cityscapesscripts")
        monkeypatch.setattr(sys, "argv", [""])
        from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as module  # noqa: N813
    for name, value in {"evalInstLevelScore": False, "JSONOutput": False, "quiet": True}.items():
        monkeypatch.setattr(module.args, name, value)
    return module


def test_the_official_scripts_find_the_predictions_and_compute_the_same_metrics(tmp_path, official, monkeypatch):
    """On noise that is labelled with all ids but one, bicycle."""
    root = write_cityscapes(tmp_path / "cityscapes", val=3)
    rng = np.random.default_rng(0)
    keys = [cityscapes_key("val", index) for index in range(3)]
    for key in keys:
        noise, ids = rng.integers(0, 256, (32, 48, 3), np.uint8), rng.integers(0, 33, (32, 48), np.uint8)
        Image.fromarray(noise).save(root / f"leftImg8bit/val/{key}_leftImg8bit.png")
        Image.fromarray(ids).save(root / f"gtFine/val/{key}_gtFine_labelIds.png")
    data, model = dataset("cityscapes", root), LinearNetwork(num_classes=19)
    submission = SubmissionWriter(tmp_path / "out", data, "val")

    metrics = evaluate(model, data, "val", submission=submission)["outputs"]["ensemble"]

    monkeypatch.setattr(official.args, "predictionPath", str(tmp_path / "out"))
    monkeypatch.setattr(official.args, "predictionWalk", None)
    truths = [str(root / f"gtFine/val/{key}_gtFine_labelIds.png") for key in keys]
    files = [official.getPrediction(official.args, truth) for truth in truths]
    label_ids = np.array([label.id for label in LABELS if label.train_id != 255])
    for key, file in zip(keys, files, strict=True):
        image = np.asarray(Image.open(root / f"leftImg8bit/val/{key}_leftImg8bit.png"))
        with Image.open(file) as written:
            assert written.mode == "L"
            np.testing.assert_array_equal(np.asarray(written), label_ids[model.classes(image)["ensemble"]])
    scores = official.evaluateImgLists(files, truths, official.args)["classScores"]
    ious = {name: values["iou"] for name, values in metrics["per_class"].items()}
    assert ious.pop("bicycle") is None  # The official mean would include it wherever it is predicted.
    assert sum(iou > 0 for iou in ious.values()) > 5
    assert ious == pytest.approx({name: scores[name] for name in ious}, abs=1e-9)
    assert metrics["mean_iou"] == pytest.approx(np.mean([scores[name] for name in ious]), abs=1e-9)
