"""Predictions in files are those of inference, in any batches, whatever becomes of other files."""

import errno
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import photograph, refused
from PIL import Image

from keras_crosscoop.errors import InputError
from keras_crosscoop.evaluation import Inference, predicting, predictor
from keras_crosscoop.evaluation.pipeline import ahead, batches, behind
from keras_crosscoop.evaluation.predicting import Predicting
from keras_crosscoop.evaluation.predictor import Predictor
from keras_crosscoop.evaluation.sources import find_sources, make_folders
from keras_crosscoop.images.io import read_image, read_label
from keras_crosscoop.images.overlays import draw_overlay

CLASSES = ("road", "sky", "car")
PALETTE = ((10, 20, 30), (0, 0, 250), (200, 0, 0))
SIZES = [(40, 48), (40, 48), (40, 48), (32, 40), (40, 48)]


@pytest.fixture
def model(pair):
    """Several classes occur, and the networks disagree."""
    network = pair()
    for seed, layer in enumerate(layer for layer in network.layers if layer.name.endswith("classifier")):
        layer.kernel.assign(4 * keras.random.normal(layer.kernel.shape, seed=seed))
    return network


@pytest.fixture
def sources(tmp_path):
    """Pictures in `in`, whose predictions go to `out`."""
    (tmp_path / "in").mkdir()
    for number, size in enumerate(SIZES):
        pixels = photograph(*size, seed=number)[0].astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"in/{number}.png")
    found = find_sources([tmp_path / "in"], tmp_path / "out")
    make_folders(found)
    return found


@pytest.mark.parametrize(
    "output", [*(pytest.param(side, marks=pytest.mark.slow) for side in ("top", "bottom")), "ensemble"]
)
def test_a_prediction_is_that_of_inference(model, output):
    image = photograph(40, 48)[0].astype(np.uint8)
    for options in ({}, {"window": 24}, {"scales": (0.5, 1)}, {"flip": True}):
        inference = Inference(model, **options)
        expected = inference(image)[output]
        assert len(np.unique(expected.argmax(-1))) > 1
        predictor = Predictor(inference, output, probabilities=True)
        assert predictor.takes_together(40, 48) == (not options)
        predictions = [predictor(image), *([] if options else predictor.batch(np.stack([image, image])))]
        for prediction in predictions:
            assert (prediction.ids.dtype, prediction.probabilities.dtype) == (np.uint8, np.float16)
            np.testing.assert_allclose(prediction.probabilities, expected, atol=1e-3)
            assert np.mean(prediction.ids == expected.argmax(-1)) > 0.999  # but for rounding


def test_the_ensemble_is_the_default_and_only_there_where_there_are_two(model):
    image = photograph(40, 48)[0].astype(np.uint8)
    ids = Predictor(Inference(model))(image).ids
    np.testing.assert_array_equal(ids, model.segment(image, "ensemble"))
    assert np.any(ids != model.segment(image, "top"))
    assert "Valid: top, bottom, ensemble" in refused(Predictor, Inference(model), "single")


@pytest.mark.parametrize("batch_size", [1, pytest.param(2, marks=pytest.mark.slow), 8])
def test_files_hold_predictions_whatever_the_batches(model, sources, batch_size, monkeypatch):
    together = []
    batch = Predictor.batch
    monkeypatch.setattr(Predictor, "batch", lambda self, images: together.append(len(images)) or batch(self, images))
    of_model = Predictor(Inference(model), probabilities=True)

    outcomes = list(Predicting(of_model, CLASSES, PALETTE, batch_size=batch_size)(sources))

    assert outcomes == [None] * len(sources)
    assert together == {1: [1, 1, 1, 1, 1], 2: [2, 1, 1, 1], 8: [3, 1, 1]}[batch_size]
    for source in sources:
        pixels, ids = read_image(source.path), read_label(f"{source.target}.png")
        probabilities = Inference(model)(pixels)["ensemble"]
        assert np.mean(ids == probabilities.argmax(-1)) > 0.999
        np.testing.assert_array_equal(
            read_image(f"{source.target}_overlay.png"), np.asarray(draw_overlay(pixels, ids, CLASSES, PALETTE))
        )
        with np.load(f"{source.target}.npz") as saved:
            assert list(saved["classes"]) == list(CLASSES)
            np.testing.assert_allclose(saved["probabilities"], probabilities, atol=1e-3)


def test_only_what_is_wanted_is_written(model, sources):
    list(Predicting(Predictor(Inference(model)), CLASSES, PALETTE, overlay=False)(sources))
    folder = sources[0].target.parent
    assert sorted(path.name for path in folder.iterdir()) == [f"{number}.png" for number in range(len(SIZES))]


@pytest.mark.parametrize("batch_size", [1, 4])
def test_files_that_fail_are_named_and_the_others_predicted(model, sources, batch_size, monkeypatch):
    sources[0].path.write_text("no image")
    whole = sources[2].path.read_bytes()
    sources[2].path.write_bytes(whole[: len(whole) // 2])
    Path(f"{sources[4].target}.png").mkdir()  # where nothing can be written

    outcomes = list(Predicting(Predictor(Inference(model)), CLASSES, PALETTE, batch_size=batch_size)(sources))

    assert [isinstance(outcome, InputError) for outcome in outcomes] == [True, False, True, False, True]
    assert str(sources[0].path) in str(outcomes[0])
    assert str(sources[2].path) in str(outcomes[2])
    assert str(sources[4].target) in str(outcomes[4])
    for number in (1, 3):
        assert read_label(f"{sources[number].target}.png").shape == SIZES[number]
    assert not list(sources[0].target.parent.glob("[02]*"))


def test_a_batch_too_large_goes_one_by_one_and_one_too_large_is_told_of(model, sources, monkeypatch):
    def exhausted(*_):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM")

    monkeypatch.setattr(Predictor, "batch", exhausted)
    of_model = Predictor(Inference(model))
    predicts = Predicting(of_model, CLASSES, PALETTE, batch_size=8)
    assert list(predicts(sources)) == [None] * len(sources)
    monkeypatch.setattr(of_model.inference, "_probabilities", exhausted)
    del of_model.inference._network
    outcomes = list(predicts(sources))
    assert all("--window" in str(outcome) for outcome in outcomes)
    assert [str(outcome).rpartition(", ")[2] for outcome in outcomes] == [str(source.path) for source in sources]


@pytest.mark.parametrize("batch_size", [1, 8])
def test_weights_that_are_no_numbers_are_told_of(model, sources, batch_size):
    """The largest of them would be class 0, everywhere."""
    bias = model.get_layer("top_classifier").bias
    bias.assign(np.full(bias.shape, np.nan))
    predicts = Predicting(Predictor(Inference(model)), CLASSES, PALETTE, batch_size=batch_size)
    outcomes = list(predicts(sources))
    assert all(
        str(outcome).startswith("The networks give no numbers: their weights are ruined") for outcome in outcomes
    )
    assert [str(outcome).rpartition(", ")[2] for outcome in outcomes] == [str(source.path) for source in sources]
    assert not list(sources[0].target.parent.iterdir())


def test_large_images_go_through_inference_which_asks_for_the_memory(model, monkeypatch):
    monkeypatch.setattr(predictor, "LARGE", 40 * 48)
    assert Predictor(Inference(model)).takes_together(40, 48)
    assert not Predictor(Inference(model)).takes_together(41, 48)


def test_a_full_disk_ends_it(model, sources, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(predicting.np, "savez", full)
    predicts = Predicting(Predictor(Inference(model), probabilities=True), CLASSES, PALETTE)
    with pytest.raises(OSError, match="No space left") as error:
        list(predicts(sources))
    assert error.value.filename == f"{sources[0].target}.npz"
    assert not list(sources[0].target.parent.glob("*.npz"))


def test_calls_ahead_are_in_order_and_bounded():
    """While one result is used, three more calls have begun, and no fourth."""
    begun, gate = [], threading.Semaphore(0)

    def call(number):
        def work():
            begun.append(number)
            gate.release()
            return number

        return work

    with ThreadPoolExecutor(8) as pool:
        results = ahead(pool, map(call, range(10)), 3)
        assert next(results) == 0
        for _ in range(4):
            assert gate.acquire(timeout=10)
        assert sorted(begun) == [0, 1, 2, 3]
        assert list(results) == list(range(1, 10))


def test_results_behind_come_as_soon_as_they_are_there():
    """A done call is told of though another follows; of calls that last, three are under way and no more."""
    held, fetched = threading.Event(), []

    def calls():
        for number in range(6):
            fetched.append(number)
            yield (lambda: "done") if number == 0 else (lambda: held.wait(10) and "held")

    class AtOnce(ThreadPoolExecutor):
        def submit(self, call):
            future = super().submit(call)
            if len(fetched) == 1:
                future.result()
            return future

    with AtOnce(8) as pool:
        results = behind(pool, calls(), 3)
        assert next(results) == "done"
        assert fetched == [0]
        threading.Timer(0.2, held.set).start()
        assert next(results) == "held"
        assert fetched == [0, 1, 2, 3, 4]
        assert list(results) == ["held"] * 4


def test_batches_are_runs_of_what_is_alike():
    assert list(batches("aaabbab", 2, str.upper)) == [["a", "a"], ["a"], ["b", "b"], ["a"], ["b"]]
