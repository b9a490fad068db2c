"""Files contain the predictions, in any batches. An error in one file does not stop the others."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from networks import LinearNetwork
from PIL import Image

from keras_crosscoop.errors import InputError
from keras_crosscoop.evaluation import Inference, file_predictor
from keras_crosscoop.evaluation.file_predictor import FilePredictor
from keras_crosscoop.evaluation.predictor import LocalPredictor
from keras_crosscoop.evaluation.sources import find_sources, make_folders
from keras_crosscoop.images.io import read_image, read_label
from keras_crosscoop.images.overlays import draw_overlay
from keras_crosscoop.images.reading import ImageReading

CLASSES = ("road", "sky", "car")
PALETTE = ((10, 20, 30), (0, 0, 250), (200, 0, 0))
SIZES = [(20, 24), (20, 24), (20, 24), (16, 20), (20, 24)]


@pytest.fixture
def model():
    return LinearNetwork()


@pytest.fixture
def sources(tmp_path):
    """Images in `in`, whose results go to `out`."""
    (tmp_path / "in").mkdir()
    rng = np.random.default_rng(0)
    for number, size in enumerate(SIZES):
        Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(tmp_path / f"in/{number}.png")
    sources = find_sources([tmp_path / "in"], tmp_path / "out")
    make_folders(sources)
    return sources


def predict_files(model, sources, *, probabilities=False, **options):
    predictor = LocalPredictor(Inference(model), probabilities=probabilities)
    return list(FilePredictor(predictor, CLASSES, PALETTE, **options)(sources))


@pytest.mark.parametrize(
    ("batch_size", "large", "batches"), [(1, 20 * 24, []), (2, 20 * 24, [2]), (8, 20 * 24, [3]), (8, 20 * 24 - 1, [])]
)
def test_files_contain_the_predictions_in_any_batches(model, sources, batch_size, large, batches, monkeypatch):
    """Large images form no batches."""
    monkeypatch.setattr(file_predictor, "LARGE", large)
    sizes, batch = [], LocalPredictor.batch
    monkeypatch.setattr(LocalPredictor, "batch", lambda self, images: sizes.append(len(images)) or batch(self, images))
    assert predict_files(model, sources, probabilities=True, batch_size=batch_size) == [None] * len(sources)
    assert sizes == batches
    for source in sources:
        pixels, ids = read_image(source.path), read_label(f"{source.target}.png")
        expected = model.probabilities(pixels)["ensemble"]
        np.testing.assert_array_equal(ids, expected.argmax(-1))
        overlay = np.asarray(draw_overlay(pixels, ids, CLASSES, PALETTE))
        np.testing.assert_array_equal(read_image(f"{source.target}_overlay.png"), overlay)
        with np.load(f"{source.target}.npz") as saved:
            assert list(saved["classes"]) == list(CLASSES)
            np.testing.assert_allclose(saved["probabilities"], expected, atol=1e-3)


def test_files_are_read_as_in_training(model, sources):
    reading = ImageReading(channels=(3, 2, 1))
    assert predict_files(model, sources, reading=reading) == [None] * len(sources)
    for source in sources:
        expected = model.probabilities(read_image(source.path)[..., ::-1])["ensemble"].argmax(-1)
        np.testing.assert_array_equal(read_label(f"{source.target}.png"), expected)


def test_only_what_is_requested_is_written(model, sources, tmp_path):
    predict_files(model, find_sources([tmp_path / "in"], tmp_path / "out", overlay=False))
    names = sorted(path.name for path in sources[0].target.parent.iterdir())
    assert names == [f"{number}.png" for number in range(len(SIZES))]


@pytest.mark.parametrize("batch_size", [1, 4])
def test_errors_are_yielded_and_the_other_files_predicted(model, sources, batch_size):
    sources[0].path.write_text("no image")
    whole = sources[2].path.read_bytes()
    sources[2].path.write_bytes(whole[: len(whole) // 2])
    Path(f"{sources[4].target}.png").mkdir()  # where no file can be written
    outcomes = predict_files(model, sources, batch_size=batch_size)
    assert [isinstance(outcome, InputError) for outcome in outcomes] == [True, False, True, False, True]
    assert str(sources[0].path) in str(outcomes[0])
    assert str(sources[2].path) in str(outcomes[2])
    assert str(sources[4].target) in str(outcomes[4])
    for number in (1, 3):
        assert read_label(f"{sources[number].target}.png").shape == SIZES[number]
    assert not list(sources[0].target.parent.glob("[02]*"))


def test_a_batch_that_exceeds_the_memory_is_split_and_a_single_image_is_an_error(model, sources, monkeypatch):
    def exhausted(*_):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM")

    monkeypatch.setattr(LocalPredictor, "batch", exhausted)
    assert predict_files(model, sources, batch_size=8) == [None] * len(sources)
    monkeypatch.setattr(Inference, "_probabilities", exhausted)
    outcomes = predict_files(model, sources, batch_size=8)
    assert all("--window" in str(outcome) for outcome in outcomes)
    assert [str(outcome).rpartition(", ")[2] for outcome in outcomes] == [str(source.path) for source in sources]


@pytest.mark.parametrize("batch_size", [1, 8])
def test_probabilities_that_are_not_finite_are_an_error(model, sources, batch_size):
    """Their argmax would be class 0."""
    model.matrices[0][:] = np.nan
    outcomes = predict_files(model, sources, batch_size=batch_size)
    assert all("weights" in str(outcome) for outcome in outcomes)
    assert [str(outcome).rpartition(", ")[2] for outcome in outcomes] == [str(source.path) for source in sources]
    assert not list(sources[0].target.parent.iterdir())


def test_a_full_disk_ends_the_prediction(model, sources, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(file_predictor.np, "savez", full)
    with pytest.raises(OSError, match="No space left") as error:
        predict_files(model, sources, probabilities=True)
    assert error.value.filename == f"{sources[0].target}.npz"
    assert not list(sources[0].target.parent.glob("*.npz"))
