"""Validation within training measures what `evaluate` does, also of images that are seen in windows."""

import signal

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import refused, runs_eagerly
from micro import micro_pair
from PIL import Image

from keras_crosscoop import config, training
from keras_crosscoop.data import Skipped, dataset
from keras_crosscoop.errors import Interrupted
from keras_crosscoop.evaluation import evaluate
from keras_crosscoop.models import inference
from keras_crosscoop.models.inference import Inference
from keras_crosscoop.training.validation import Validation

LARGE = ["000", "002"]  # of four images, 40x56; the others are 24x32


@pytest.fixture
def root(make_folder):
    folder = make_folder({"train": 4, "val": 4})
    rng = np.random.default_rng(1)
    for name in LARGE:
        ids = rng.integers(0, 3, (5, 7), np.uint8).repeat(8, 0).repeat(8, 1)
        ids[:2] = 255
        Image.fromarray(ids).save(folder / f"masks/val/{name}.png")
        Image.fromarray(rng.integers(0, 256, (40, 56, 3), np.uint8)).save(folder / f"images/val/{name}.png")
    return folder


@pytest.fixture(scope="module")
def model():
    network = micro_pair(classes=3)
    network.compile(loss_weights={"bottom": 0.5})
    return network


def settings_of(folder, **evaluation):
    model = {"top": "micro_3x3", "bottom": "micro_5x5", "decoder_channels": 8, "weights": None}
    data = {"name": "folder", "dir": str(folder), "crop_size": 32}
    train = {"batch_size": 4, "epochs": 1}
    return config.settings({"model": model, "data": data, "train": train}, {"evaluation": evaluation})


def validation_of(model, folder, on_error="fail", **evaluation):
    return Validation(model, settings_of(folder, **evaluation), dataset("folder", folder), on_error)


def metrics_of(validation, *before_window):
    return validation(keras.callbacks.CallbackList([], model=validation.model), *before_window)


def cross_entropy(probabilities, labels):
    """Its sum over valid pixels, and how many these are."""
    valid = labels != 255
    return -np.log(probabilities[valid, labels[valid]].astype("float64")).sum(), valid.sum()


@pytest.mark.parametrize(
    ("options", "large"),
    [({"window": 32}, 2), pytest.param({"window": 24, "crop": 36}, 4, marks=pytest.mark.slow)],
)
def test_figures_are_those_of_evaluate(root, model, options, large):
    validation = validation_of(model, root, **options)
    metrics = metrics_of(validation)
    assert len(validation.large) == large
    crop, window = options.get("crop"), options["window"]
    expected = evaluate(model, dataset("folder", root), "val", center_crop=crop, window=window)
    for output, figures in expected["outputs"].items():
        for name in ("mean_iou", "pixel_accuracy"):
            assert metrics[f"{output}_{name}"] == pytest.approx(figures[name], abs=1e-6)
    assert metrics_of(validation) == pytest.approx(metrics)  # and again


@runs_eagerly
def test_losses_are_those_of_the_blended_probabilities(root, model):
    metrics = metrics_of(validation_of(model, root, window=32))
    totals = dict.fromkeys(model.sides, 0)
    for pair in dataset("folder", root).pairs("val"):
        image, labels = dataset("folder", root).read(*pair)
        probabilities = Inference(model, window=32)(image)
        for side in model.sides:
            totals[side] += np.array(cross_entropy(probabilities[side], labels))
    losses = {side: total / pixels for side, (total, pixels) in totals.items()}
    assert metrics["top_loss"] == pytest.approx(losses["top"], rel=1e-5)
    assert metrics["bottom_loss"] == pytest.approx(losses["bottom"], rel=1e-5)
    assert metrics["loss"] == pytest.approx(losses["top"] + 0.5 * losses["bottom"], rel=1e-5)


@runs_eagerly
def test_images_that_are_seen_as_a_whole_go_through_keras_alone(root, model):
    validation = validation_of(model, root)
    metrics = metrics_of(validation)
    expected = model.evaluate(validation.batches, steps=4, return_dict=True, verbose=0)
    assert metrics == expected
    assert metrics_of(validation_of(model, root, window=56)) == expected


def test_images_that_the_memory_does_not_hold_are_never_seen_as_a_whole(root, monkeypatch):
    """Which is asked of images above a size, here above 24x32, without a setting."""
    model = micro_pair()
    model.compile()
    monkeypatch.setattr(inference, "LARGE", 24 * 32)
    monkeypatch.setattr(inference, "WINDOW", 20)
    monkeypatch.setattr(inference, "required_memory", lambda _, shape: np.prod(shape))
    monkeypatch.setattr(inference, "fits_in_memory", lambda need: need <= 3 * 24 * 32)
    seen = []
    call = type(model).call
    monkeypatch.setattr(type(model), "call", lambda self, x, **of: seen.append(x.shape[1:3]) or call(self, x, **of))
    validation = validation_of(model, root)
    metrics = metrics_of(validation)
    assert len(validation.large) == 2
    assert {tuple(shape) for shape in seen} <= {(20, 20), (24, 32), (None, None)}
    assert metrics["ensemble_mean_iou"] == pytest.approx(
        evaluate(model, dataset("folder", root), "val")["outputs"]["ensemble"]["mean_iou"], abs=1e-6
    )


@runs_eagerly
def test_what_was_seen_in_windows_always_is(root, model, monkeypatch):
    """However much memory is free later: all machines must call `before_window` equally often, or wait forever."""
    monkeypatch.setattr(inference, "WINDOW", 24)
    monkeypatch.setattr(Inference, "is_whole", lambda self, height, width: height <= 24)
    validation = validation_of(model, root)
    metrics_of(validation)
    monkeypatch.setattr(Inference, "is_whole", lambda self, height, width: True)
    windows, expected = [], []
    metrics_of(validation, lambda: windows.append(1))
    look = Inference(model, window=24)
    for name in LARGE:
        look.classes(np.asarray(Image.open(root / f"images/val/{name}.png")), lambda: expected.append(1))
    assert len(windows) == len(expected) > 4


@runs_eagerly
def test_what_a_gpu_does_not_hold_is_seen_in_windows(root, model, monkeypatch):
    expected = metrics_of(validation_of(model, root, window=32))
    whole, calls = model.evaluate, []

    def exhausted(*arguments, **options):
        calls.append(options["steps"])
        if options["steps"] == 4:
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
        return whole(*arguments, **options)

    monkeypatch.setattr(model, "evaluate", exhausted)
    monkeypatch.setattr(inference, "WINDOW", 32)
    monkeypatch.setattr(Inference, "is_whole", lambda self, height, width: calls[-1:] == [] or height <= 32)
    assert metrics_of(validation_of(model, root)) == pytest.approx(expected)
    assert calls == [4, 2]


@runs_eagerly
def test_a_bad_file_among_them_is_told_or_skipped(root, model):
    path = root / "images/val/002.png"
    path.write_bytes(path.read_bytes()[:-1000])
    assert str(path) in refused(metrics_of, validation_of(model, root, window=32))
    skipped = Skipped(limit=0.25)
    metrics = metrics_of(validation_of(model, root, skipped, window=32))
    assert list(skipped.by_image) == [str(path)]
    for folder in ("images", "masks"):
        (root / folder / "val/002.png").unlink()
    assert metrics == pytest.approx(metrics_of(validation_of(model, root, window=32)))


@pytest.mark.slow
@pytest.mark.usefixtures("builds_micro_networks")
def test_a_signal_between_windows_ends_it_as_between_steps(root, tmp_path, monkeypatch):
    """With a checkpoint from before the validation, which is measured anew."""
    windows = []
    predict = Inference._predict

    def signalled(self, window):
        windows.append(window.shape)
        if len(windows) == 2:
            signal.raise_signal(signal.SIGTERM)
        return predict(self, window)

    monkeypatch.setattr(Inference, "_predict", signalled)
    folder = tmp_path / "run"
    with pytest.raises(Interrupted, match=r"saved at step 1\. Continue with: crosscoop-tf fit --resume "):
        training.fit(settings_of(root, window=32), folder)
    assert len(windows) == 2
    run = training.resume(folder)
    written = run.history.read_text().splitlines()
    assert len(written) == 2
    assert float(dict(zip(*(line.split(",") for line in written), strict=True))["val_ensemble_mean_iou"]) > 0
