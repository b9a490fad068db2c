"""`evaluate` against scikit-learn and NumPy, computed from the same predictions."""

import numpy as np
import pytest
from helpers import refused, write_folder
from networks import LinearNetwork
from PIL import Image
from sklearn import metrics as oracle

from keras_crosscoop import dataset
from keras_crosscoop.evaluation import Inference, SubmissionWriter, best_and_worst, evaluate
from keras_crosscoop.evaluation.boundaries import boundary_matches

OUTPUTS = ("top", "bottom", "ensemble")


@pytest.fixture(scope="module")
def model():
    return LinearNetwork()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return dataset("folder", write_folder(tmp_path_factory.mktemp("data") / "data", {"train": 1, "val": 3}, (20, 27)))


@pytest.fixture(scope="module")
def metrics(model, data):
    return evaluate(model, data, "val", intervals=True)


def predict(model, data, **options):
    """The labels, and the probabilities of each output, of all images."""
    images, labels = zip(*(data.read(*pair) for pair in data.pairs("val")), strict=True)
    outputs = [Inference(model, **options)(image) if options else model.probabilities(image) for image in images]
    return labels, {output: [probabilities[output] for probabilities in outputs] for output in OUTPUTS}


def valid_pixels(labels, arrays):
    """The labels and values of the pixels that are not void, over all images."""
    valid = np.concatenate([label.ravel() for label in labels]) != 255
    return [np.concatenate([array.ravel() for array in group])[valid] for group in (labels, arrays)]


@pytest.mark.parametrize("options", [{}, {"window": 16, "scales": (0.75, 1.0), "flip": True}])
def test_metrics_equal_those_of_scikit_learn(model, data, options):
    metrics = evaluate(model, data, "val", **options)
    assert (metrics["dataset"], metrics["split"], metrics["images"]) == ("folder", "val", 3)
    assert tuple(metrics["outputs"]) == OUTPUTS
    images, probabilities = predict(model, data, **options)
    for output, measured in metrics["outputs"].items():
        maps = [values.argmax(-1).astype(np.uint8) for values in probabilities[output]]
        labels, classes = valid_pixels(images, maps)
        _, confidence = valid_pixels(images, [values.max(-1) for values in probabilities[output]])
        assert measured["confusion"] == oracle.confusion_matrix(labels, classes, labels=range(3)).tolist()
        each_class = {"labels": range(3), "average": None, "zero_division": 0}
        iou = oracle.jaccard_score(labels, classes, **each_class)
        dice = oracle.f1_score(labels, classes, **each_class)
        recall = oracle.recall_score(labels, classes, **each_class)
        for key, expected in {"iou": iou, "dice": dice, "accuracy": recall}.items():
            assert [values[key] for values in measured["per_class"].values()] == pytest.approx(list(expected))
            assert measured[f"mean_{key}"] == pytest.approx(np.mean(expected))
        assert measured["pixel_accuracy"] == pytest.approx(oracle.accuracy_score(labels, classes))
        weighted = oracle.jaccard_score(labels, classes, average="weighted", zero_division=0)
        assert measured["frequency_weighted_iou"] == pytest.approx(weighted)

        bins = np.minimum((confidence * 15).astype(int), 14)
        right = labels == classes
        error = sum(
            abs(right[bins == b].mean() - confidence[bins == b].mean()) * (bins == b).mean() for b in np.unique(bins)
        )
        assert measured["calibration_error"] == pytest.approx(error, abs=1e-6)
        assert measured["calibration"]["pixels"] == np.bincount(bins, minlength=15).tolist()

        (matches,) = sum(boundary_matches(label, ids[None], 3, 3) for label, ids in zip(images, maps, strict=True))
        precision, recall = matches[:, [1, 3]].T / np.maximum(matches[:, [0, 2]].T, 1)
        scores = 2 * precision * recall / np.maximum(precision + recall, 1e-9)
        assert [values["boundary_f"] for values in measured["per_class"].values()] == pytest.approx(list(scores))


def test_disagreement_tells_which_network_is_right(model, data, metrics):
    images, probabilities = predict(model, data)
    maps = {output: [values.argmax(-1) for values in probabilities[output]] for output in OUTPUTS}
    labels, top = valid_pixels(images, maps["top"])
    bottom, ensemble = (valid_pixels(images, maps[output])[1] for output in ("bottom", "ensemble"))
    different = top != bottom
    assert 0.05 < different.mean() < 0.95
    shares = metrics["disagreement"]
    assert shares["share"] == pytest.approx(different.mean())
    for name, right in {
        "top": top == labels,
        "bottom": bottom == labels,
        "neither": (top != labels) & (bottom != labels),
        "ensemble": ensemble == labels,
    }.items():
        assert shares[f"{name}_right"] == pytest.approx(right[different].mean())


def test_images_have_metrics_and_a_rank(model, data, metrics):
    images, probabilities = predict(model, data)
    for index, (image, labels, values) in enumerate(
        zip(metrics["per_image"], images, probabilities["bottom"], strict=True)
    ):
        classes, valid = values.argmax(-1), labels != 255
        assert image["image"] == f"{index:03}.png"
        iou = oracle.jaccard_score(labels[valid], classes[valid], average="macro")
        assert image["mean_iou"]["bottom"] == pytest.approx(iou)
        assert image["pixel_accuracy"]["bottom"] == pytest.approx((labels == classes)[valid].mean())
    ranked = sorted(metrics["per_image"], key=lambda image: image["mean_iou"]["ensemble"])
    assert best_and_worst(metrics, 2) == (ranked[:0:-1], ranked[:2])


def test_intervals_reach_from_the_worst_image_to_the_best(metrics):
    """Each image alone is a 27th of the resamples."""
    accuracies = [image["pixel_accuracy"]["top"] for image in metrics["per_image"]]
    interval = metrics["outputs"]["top"]["intervals"]["pixel_accuracy"]
    assert interval == pytest.approx([min(accuracies), max(accuracies)])


def test_means_are_over_the_classes_of_the_labels(tmp_path, model):
    """No label has class 2, which the networks predict."""
    data = dataset("folder", write_folder(tmp_path / "data", {"train": 1, "val": 2}))
    for _, path in data.pairs("val"):
        ids = np.asarray(Image.open(path))
        Image.fromarray(np.where(ids == 2, 1, ids)).save(path)
    metrics = evaluate(model, data, "val", intervals=True)
    images, probabilities = predict(model, data)
    for output, measured in metrics["outputs"].items():
        maps = [values.argmax(-1) for values in probabilities[output]]
        labels, classes = valid_pixels(images, maps)
        assert (classes == 2).any()
        two_classes = {"labels": [0, 1], "average": "macro", "zero_division": 0}
        assert measured["mean_iou"] == pytest.approx(oracle.jaccard_score(labels, classes, **two_classes))
        assert measured["mean_dice"] == pytest.approx(oracle.f1_score(labels, classes, **two_classes))
        assert set(measured["per_class"]["car"].values()) == {None}
        assert measured["intervals"]["per_class"]["car"] is None
        ious = [
            oracle.jaccard_score(label[label != 255], ids[label != 255], **two_classes)
            for label, ids in zip(images, maps, strict=True)
        ]
        assert [image["mean_iou"][output] for image in metrics["per_image"]] == pytest.approx(ious)


def test_images_with_the_same_name_are_named_by_their_folders(make_folder, model):
    root = make_folder()
    for kind in ("images", "masks"):
        (root / kind / "val/more").mkdir()
        (root / kind / "val/more/000.png").write_bytes((root / kind / "val/001.png").read_bytes())
    images = evaluate(model, dataset("folder", root), "val")["per_image"]
    assert [image["image"] for image in images] == ["000.png", "001.png", "more/000.png"]
    assert images[2]["mean_iou"] == images[1]["mean_iou"] != images[0]["mean_iou"]


def test_skipped_images_are_listed_and_not_counted(make_folder, model, tmp_path):
    data = dataset("folder", make_folder({"train": 1, "val": 100}, size=(4, 5)))
    _, bad = data.pairs("val")[7]
    bad.write_bytes(b"")
    calls = []
    metrics = evaluate(
        model,
        data,
        "val",
        on_error="skip",
        confusions_path=tmp_path / "confusions.npz",
        progress=lambda *counts: calls.append(counts),
    )
    assert metrics["images"] == 99
    assert [image["image"] for image in metrics["per_image"]] == [f"{n:03}.png" for n in range(100) if n != 7]
    (reason,) = metrics["skipped"]
    assert reason.endswith(f"Received: {bad}")
    assert calls == [(number, 100) for number in range(1, 101)]
    saved = np.load(tmp_path / "confusions.npz")
    confusions = saved["confusions"]
    assert confusions.shape == (99, 3, 3, 3)
    assert saved["images"].tolist() == [image["image"] for image in metrics["per_image"]]
    assert (saved["outputs"].tolist(), saved["classes"].tolist()) == ([*metrics["outputs"]], [*data.classes])
    assert confusions[:, 2].sum(0).tolist() == metrics["outputs"]["ensemble"]["confusion"]


def test_predictions_and_label_errors_need_whole_images(data, model, tmp_path):
    submission = SubmissionWriter(tmp_path / "out", data, "val")
    assert "center_crop=16" in refused(evaluate, model, data, "val", submission=submission, center_crop=16)
    assert not (tmp_path / "out").exists()
    assert "center_crop=16" in refused(evaluate, model, data, "val", label_errors=1, center_crop=16)
