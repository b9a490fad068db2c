"""Figures against NumPy, worked out from the same predictions one image at a time."""

import numpy as np
import pytest

from keras_crosscoop import CrossCoop, dataset
from keras_crosscoop.evaluation import evaluate


def test_figures_equal_numpys(make_folder):
    data = dataset("folder", make_folder({"train": 1, "val": 3}, size=(30, 41)))
    model = CrossCoop(3, top="tiny_xception", bottom="tiny_resnet", width=8, weights=None)
    model.compile()

    figures = evaluate(model, data, "val")

    assert (figures["dataset"], figures["split"], figures["images"]) == ("folder", "val", 3)
    for output in ("top", "bottom", "ensemble"):
        truths, predictions = [], []
        for image_path, label_path in data.pairs("val"):
            image, label = data.read(image_path, label_path)
            truths.append(label[label != 255])
            predictions.append(model.segment(image, output)[label != 255])
        truth, prediction = np.concatenate(truths), np.concatenate(predictions)
        ious = {
            name: np.sum((truth == i) & (prediction == i)) / np.sum((truth == i) | (prediction == i))
            for i, name in enumerate(data.classes)
        }
        measured = figures["outputs"][output]
        assert measured["per_class"] == pytest.approx(ious, abs=1e-12)
        assert measured["mean_iou"] == pytest.approx(np.mean(list(ious.values())), abs=1e-12)
        assert measured["pixel_accuracy"] == pytest.approx(np.mean(truth == prediction), abs=1e-12)


def test_what_was_skipped_is_told(make_folder):
    data = dataset("folder", make_folder({"train": 1, "val": 100}, size=(8, 8)))
    _, bad = data.pairs("val")[7]
    bad.write_bytes(b"")
    model = CrossCoop(3, top="tiny_xception", bottom="tiny_resnet", width=8, weights=None)
    model.compile()
    figures = evaluate(model, data, "val", on_error="skip")
    assert figures["images"] == 99
    (reason,) = figures["skipped"]
    assert reason.endswith(f"Received: {bad}")
