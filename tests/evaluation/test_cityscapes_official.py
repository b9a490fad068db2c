"""Our figures on Cityscapes are those of the official evaluation, on the same predictions."""

import warnings

import keras
import numpy as np
import pytest
from data.layouts import cityscapes_key, write_cityscapes
from PIL import Image

from keras_crosscoop import CrossCoop, dataset
from keras_crosscoop.data.cityscapes import LABELS
from keras_crosscoop.evaluation import evaluate

SIZE = (64, 96)


@pytest.fixture
def official():
    """The module of `cityscapesscripts` that measures."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is older than some rules
        pytest.importorskip("cityscapesscripts")
        from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as module  # noqa: N813
    module.args.evalInstLevelScore = False
    module.args.JSONOutput = False
    module.args.quiet = True
    return module


@pytest.fixture
def tree(tmp_path):
    """Pictures of noise, labelled with all 34 ids in patches; one class occurs nowhere."""
    root = write_cityscapes(tmp_path / "cityscapes", val=3)
    rng = np.random.default_rng(0)
    for index in range(3):
        key = cityscapes_key("val", index)
        noise = rng.integers(0, 256, (8, 12, 3), np.uint8).repeat(8, 0).repeat(8, 1)
        Image.fromarray(noise).save(root / f"leftImg8bit/val/{key}_leftImg8bit.png")
        ids = rng.integers(0, 33, (8, 12), np.uint8).repeat(8, 0).repeat(8, 1)  # less 33, bicycle
        Image.fromarray(ids).save(root / f"gtFine/val/{key}_gtFine_labelIds.png")
    return root


def test_as_the_official_evaluation(tree, official, tmp_path):
    data = dataset("cityscapes", tree)
    keras.utils.set_random_seed(0)
    model = CrossCoop(19, top="tiny_xception", bottom="tiny_resnet", decoder_channels=8, weights=None)
    for layer in model.layers:
        if layer.name.endswith("classifier"):
            layer.kernel.assign(keras.random.normal(layer.kernel.shape, seed=1))  # so that many classes are seen
    model.compile()

    figures = evaluate(model, data, "val")

    to_label = np.array([label.id for label in LABELS if label.train_id != 255], np.uint8)
    for output in ("top", "bottom", "ensemble"):
        predicted, truths = [], []
        for index in range(3):
            key = cityscapes_key("val", index)
            classes = model.segment(tree / f"leftImg8bit/val/{key}_leftImg8bit.png", output)
            assert len(np.unique(classes)) > 5
            predicted.append(str(tmp_path / f"{output}-{index}.png"))
            Image.fromarray(to_label[classes]).save(predicted[-1])
            truths.append(str(tree / f"gtFine/val/{key}_gtFine_labelIds.png"))
        scores = official.evaluateImgLists(predicted, truths, official.args)
        ours = figures["outputs"][output]
        ious = {name: of_class["iou"] for name, of_class in ours["per_class"].items()}
        assert ious.pop("bicycle") is None  # which no label has: the official mean would count it wherever it is seen
        assert ious == pytest.approx({name: scores["classScores"][name] for name in ious}, abs=1e-9)
        assert ours["mean_iou"] == pytest.approx(np.mean([scores["classScores"][name] for name in ious]), abs=1e-9)
        assert any(ious.values())
