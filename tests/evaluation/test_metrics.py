"""Figures against scikit-learn and NumPy, worked out from the same predictions one image at a time."""

import numpy as np
import pytest
from PIL import Image
from sklearn import metrics as oracle

from keras_crosscoop import dataset, load_dataset
from keras_crosscoop.evaluation import Inference, evaluate, metrics
from keras_crosscoop.evaluation.boundaries import boundary_matches

OUTPUTS = ("top", "bottom", "ensemble")


@pytest.fixture
def data(make_folder):
    return dataset("folder", make_folder({"train": 1, "val": 3}, size=(30, 41)))


def seen(model, data, output, **options):
    """All labels, classes and confidences of valid pixels, and each image's maps."""
    labels, probabilities = [], []
    for pair in data.pairs("val"):
        image, label = data.read(*pair)
        labels.append(label)
        probabilities.append(Inference(model, **options)(image)[output])
    maps = [each.argmax(-1).astype(np.uint8) for each in probabilities]
    valid = np.concatenate([label.ravel() for label in labels]) != 255
    flat = [np.concatenate([each.ravel() for each in images])[valid] for images in (labels, maps)]
    return *flat, np.concatenate([each.max(-1).ravel() for each in probabilities])[valid], labels, maps


@pytest.mark.parametrize(
    "options", [{}, pytest.param({"window": 24, "scales": (0.75, 1.0), "flip": True}, marks=pytest.mark.slow)]
)
def test_figures_equal_scikit_learns(pair, data, options):
    model = pair()
    found = evaluate(model, data, "val", **options)
    assert (found["dataset"], found["split"], found["images"]) == ("folder", "val", 3)
    assert tuple(found["outputs"]) == OUTPUTS
    for output, measured in found["outputs"].items():
        truth, predicted, confidence, labels, maps = seen(model, data, output, **options)
        classes = range(3)
        matrix = oracle.confusion_matrix(truth, predicted, labels=classes)
        assert measured["confusion"] == matrix.tolist()
        iou = oracle.jaccard_score(truth, predicted, labels=classes, average=None, zero_division=0)
        dice = oracle.f1_score(truth, predicted, labels=classes, average=None, zero_division=0)
        recall = oracle.recall_score(truth, predicted, labels=classes, average=None, zero_division=0)
        for figure, of_classes, mean in (("iou", iou, "mean_iou"), ("dice", dice, "mean_dice")):
            assert [of[figure] for of in measured["per_class"].values()] == pytest.approx(list(of_classes), abs=1e-12)
            assert measured[mean] == pytest.approx(np.mean(of_classes), abs=1e-12)
        assert [of["accuracy"] for of in measured["per_class"].values()] == pytest.approx(list(recall), abs=1e-12)
        assert measured["mean_accuracy"] == pytest.approx(oracle.balanced_accuracy_score(truth, predicted), abs=1e-12)
        assert measured["pixel_accuracy"] == pytest.approx(oracle.accuracy_score(truth, predicted), abs=1e-12)
        weighted = oracle.jaccard_score(truth, predicted, average="weighted", zero_division=0)
        assert measured["frequency_weighted_iou"] == pytest.approx(weighted, abs=1e-12)

        bins = np.minimum((confidence * 15).astype(int), 14)
        right = truth == predicted
        error = sum(
            abs(right[bins == b].mean() - confidence[bins == b].mean()) * (bins == b).mean() for b in np.unique(bins)
        )
        assert measured["calibration_error"] == pytest.approx(error, abs=1e-6)
        assert measured["calibration"]["pixels"] == np.bincount(bins, minlength=15).tolist()

        (matches,) = sum(boundary_matches(label, ids[None], 3, 3) for label, ids in zip(labels, maps, strict=True))
        precision, recall = matches[:, [1, 3]].T / np.maximum(matches[:, [0, 2]].T, 1)
        scores = 2 * precision * recall / np.maximum(precision + recall, 1e-9)
        assert [of["boundary_f"] for of in measured["per_class"].values()] == pytest.approx(list(scores), abs=1e-12)


@pytest.mark.slow
def test_who_is_right_where_networks_differ(pair, data):
    model = pair()
    found = evaluate(model, data, "val")["disagreement"]
    (truth, top, *_), (_, bottom, *_), (_, ensemble, *_) = (seen(model, data, output) for output in OUTPUTS)
    differ = top != bottom
    assert 0.05 < differ.mean() < 0.95
    assert found["share"] == pytest.approx(differ.mean(), abs=1e-12)
    for name, right in (
        ("top", top == truth),
        ("bottom", bottom == truth),
        ("neither", (top != truth) & (bottom != truth)),
        ("ensemble", ensemble == truth),
    ):
        assert found[f"{name}_right"] == pytest.approx(right[differ].mean(), abs=1e-12)


@pytest.mark.slow
def test_images_are_told_apart(pair, data):
    model = pair()
    found = evaluate(model, data, "val")
    assert [image["image"] for image in found["per_image"]] == ["000.png", "001.png", "002.png"]
    *_, labels, maps = seen(model, data, "bottom")
    for image, label, classes in zip(found["per_image"], labels, maps, strict=True):
        valid = label != 255
        ious = oracle.jaccard_score(label[valid], classes[valid], labels=range(3), average=None, zero_division=0)
        assert image["mean_iou"]["bottom"] == pytest.approx(ious.mean(), abs=1e-12)
        assert image["pixel_accuracy"]["bottom"] == pytest.approx((label == classes)[valid].mean(), abs=1e-12)
    best, worst = metrics.best_and_worst(found, 3)
    ranked = sorted(found["per_image"], key=lambda image: image["mean_iou"]["ensemble"])
    assert worst == ranked
    assert best == ranked[::-1]


def test_intervals_reach_from_image_to_image():
    """Of two images, a quarter of the resamples is the one twice, and another quarter the other."""
    good, bad = np.array([[[8, 0], [0, 8]]]), np.array([[[4, 4], [4, 4]]])
    found = metrics.intervals([good, bad], ["top"], ["a", "b"])["top"]
    assert found["pixel_accuracy"] == pytest.approx([0.5, 1.0])
    assert found["mean_iou"] == pytest.approx([1 / 3, 1.0])
    assert found["per_class"] == {"a": pytest.approx([1 / 3, 1.0]), "b": pytest.approx([1 / 3, 1.0])}


def test_intervals_are_those_of_the_binomial():
    """Images that are all right or all wrong: the share of right ones is a binomial's, whose quantiles are known."""
    images = [np.array([[[1, 0], [0, 0]]])] * 60 + [np.array([[[0, 1], [0, 0]]])] * 40
    low, high = metrics.intervals(images, ["top"], ["a", "b"])["top"]["pixel_accuracy"]
    assert low == pytest.approx(0.50, abs=0.02)  # scipy.stats.binom(100, 0.6).ppf([0.025, 0.975]) / 100
    assert high == pytest.approx(0.69, abs=0.02)


def test_a_class_that_is_nowhere_counts_nowhere():
    """Nowhere in labels: what is taken for it counts against the others."""
    boundaries = np.array([[4, 3, 5, 3], [2, 0, 0, 0]])  # of b an outline is predicted, and there is none
    absent = metrics._of_output(np.array([[3, 1], [0, 0]]), np.zeros((15, 3)), boundaries, ["a", "b"])
    assert absent["per_class"]["b"] == {"iou": None, "accuracy": None, "dice": None, "boundary_f": None}
    assert absent["mean_iou"] == absent["frequency_weighted_iou"] == absent["mean_accuracy"] == 0.75
    assert absent["mean_dice"] == pytest.approx(6 / 7)
    assert absent["mean_boundary_f"] == pytest.approx(2 * (3 / 4) * (3 / 5) / (3 / 4 + 3 / 5))


def test_all_outputs_are_measured_on_the_classes_of_the_labels(make_folder, pair):
    """Without class 2 there, which one network sees everywhere and the other nowhere: in training, too."""
    data = dataset("folder", make_folder({"train": 1, "val": 3}, size=(30, 41)))
    for _, path in data.pairs("val"):
        ids = np.asarray(Image.open(path))
        Image.fromarray(np.where(ids == 2, 1, ids)).save(path)
    model = pair()
    model.get_layer("top_classifier").bias.assign([0, 0, 0.1])
    model.get_layer("bottom_classifier").bias.assign([0, 0, -10])
    model.compile()

    found = evaluate(model, data, "val", intervals=True)
    in_training = model.evaluate(load_dataset(data, "val", batch_size=1), verbose=0, return_dict=True)

    only_predicted = [sum(row[2] for row in found["outputs"][output]["confusion"]) for output in OUTPUTS]
    assert only_predicted[0] > 0 == only_predicted[1]
    for output in OUTPUTS:
        measured = found["outputs"][output]
        truth, predicted, _, labels, maps = seen(model, data, output)
        iou = oracle.jaccard_score(truth, predicted, labels=[0, 1], average="macro", zero_division=0)
        dice = oracle.f1_score(truth, predicted, labels=[0, 1], average="macro", zero_division=0)
        assert (measured["mean_iou"], measured["mean_dice"]) == pytest.approx((iou, dice), abs=1e-12)
        assert in_training[f"{output}_mean_iou"] == pytest.approx(iou, abs=1e-6)
        assert set(measured["per_class"]["car"].values()) == {None}
        assert measured["intervals"]["per_class"]["car"] is None
        of_images = [
            oracle.jaccard_score(label[label != 255], ids[label != 255], labels=[0, 1], average="macro")
            for label, ids in zip(labels, maps, strict=True)
        ]
        assert [image["mean_iou"][output] for image in found["per_image"]] == pytest.approx(of_images, abs=1e-12)
        assert measured["intervals"]["mean_iou"] == pytest.approx([min(of_images), max(of_images)], abs=1e-12)


def test_images_of_one_name_in_two_folders_are_told_apart(make_folder, pair):
    root = make_folder()
    for kind in ("images", "masks"):
        (root / kind / "val/more").mkdir()
        (root / kind / "val/more/000.png").write_bytes((root / kind / "val/001.png").read_bytes())
    found = evaluate(pair(), dataset("folder", root), "val")["per_image"]
    assert [image["image"] for image in found] == ["000.png", "001.png", "more/000.png"]
    assert found[2]["mean_iou"] == found[1]["mean_iou"] != found[0]["mean_iou"]


def test_intervals_on_request(pair, data):
    found = evaluate(pair(), data, "val", intervals=True)
    of_images = [image["pixel_accuracy"]["top"] for image in found["per_image"]]
    low, high = found["outputs"]["top"]["intervals"]["pixel_accuracy"]
    assert [low, high] == pytest.approx([min(of_images), max(of_images)])  # each alone in a 27th of the resamples


def test_what_was_skipped_is_told(make_folder, pair):
    data = dataset("folder", make_folder({"train": 1, "val": 100}, size=(8, 8)))
    _, bad = data.pairs("val")[7]
    bad.write_bytes(b"")
    found = evaluate(pair(), data, "val", on_error="skip")
    assert found["images"] == 99
    assert [image["image"] for image in found["per_image"]] == [f"{n:03}.png" for n in range(100) if n != 7]
    (reason,) = found["skipped"]
    assert reason.endswith(f"Received: {bad}")
