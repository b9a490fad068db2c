"""The sentence about what would help most, for runs of each kind."""

import pytest

from keras_crosscoop import config
from keras_crosscoop.evaluation.report.advice import advise


def advice(*, ious=(0.8, 0.7), images_with=(100, 100), val_loss=0.5, epochs=100, crop_size=321, pairs=100, **options):
    settings = config.settings({"data": {"crop_size": crop_size}, "train": {"batch_size": 8, **options}})
    per_class = {name: {"iou": iou} for name, iou in zip(("road", "pole"), ious, strict=True)}
    mean = sum(iou for iou in ious if iou is not None) / len(ious)
    train = {
        "images": 100,
        "pairs": pairs,
        "images_with": dict(zip(("road", "pole"), images_with, strict=True)),
        "sizes": [{"height": 360, "width": 480, "images": 100}],
    }
    history = [{"epoch": number, "loss": 0.5, "val_loss": val_loss} for number in range(epochs)]
    metrics = {"outputs": {"top": {}, "ensemble": {"per_class": per_class, "mean_iou": mean}}}
    return advise(settings, metrics, history, {"splits": {"train": train}})


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"ious": (0.8, 0.1), "images_with": (100, 3)}, "More images of pole: its IoU is 10.0 %, and only 3 of 100"),
        ({"ious": (0.8, 0.1), "images_with": (100, 50), "epochs": 10}, "More time: each training image was seen 10"),
        ({"ious": (0.8, None), "images_with": (100, 0), "epochs": 10}, "More time"),
        ({"val_loss": 1.0}, "More training images: the loss on the validation images is 2.0 times"),
        ({"crop_size": 129}, "Larger crops: they show 129 pixels of images of 360x480."),
        ({"epochs": 30, "steps_per_epoch": 125, "pairs": 1000}, "Larger backbones"),
        ({"epochs": 29, "steps_per_epoch": 125, "pairs": 1000}, "More time: each training image was seen 29 times"),
        ({}, "Larger backbones"),
    ],
)
def test_each_kind_of_run_gets_its_advice(facts, expected):
    assert advice(**facts).startswith(expected)


def test_a_loss_of_zero_is_no_ratio():
    settings = config.settings({"train": {"batch_size": 8}})
    metrics = {"outputs": {"top": {"per_class": {"road": {"iou": 1.0}}, "mean_iou": 1.0}}}
    train = {"images": 8, "pairs": 8, "images_with": {"road": 8}, "sizes": [{"height": 9, "width": 9, "images": 8}]}
    history = [{"loss": 0.0, "val_loss": 1.0}]
    assert advise(settings, metrics, history, {"splits": {"train": train}}).startswith("More time")


def test_without_history_or_labels_nothing_is_said():
    assert advise(config.settings(), {"outputs": {"top": {}}}, [], {}) is None
    assert advise(config.settings(), {"outputs": {"top": {}}}, [{"loss": 1.0}], None) is None
