"""Run folders: made once, opened again, and refused where they are not what they should be."""

import h5py
import numpy as np
import pytest

from keras_crosscoop import config, dataset, load
from keras_crosscoop.errors import InputError
from keras_crosscoop.runs import Run, build
from keras_crosscoop.training import SGD

TINY = {"model": {"top": "tiny_xception", "bottom": "tiny_resnet", "width": 8, "weights": None}}


@pytest.fixture
def data(make_folder):
    return dataset("folder", make_folder(size=(32, 32)))


@pytest.fixture
def run(data, tmp_path):
    return Run.create(tmp_path / "run", config.settings(TINY), data)


def test_a_run_is_opened_as_it_was_made(run, data):
    opened = Run.open(run.folder)
    assert opened == run
    assert opened.classes == ("road", "sky", "car")
    assert opened.palette == tuple(tuple(map(int, colour)) for colour in data.palette)


def test_loading_gives_the_outputs_of_what_was_saved_without_its_optimizer(run):
    model = build(run.settings.model, 3)
    model.compile(SGD(0.01))
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype("uint8")
    model.train_on_batch(images, np.zeros((2, 32, 32), "uint8"))  # makes optimizer state, moves batch statistics
    run.save_weights(model)

    loaded = load(run.folder)

    before, after = model.predict_on_batch(images), loaded.predict_on_batch(images)
    np.testing.assert_array_equal(before["top"], after["top"])
    np.testing.assert_array_equal(before["bottom"], after["bottom"])
    with h5py.File(run.weights) as file:
        assert "optimizer" not in file
    assert sorted(path.name for path in run.folder.iterdir()) == ["best.weights.h5", "classes.json", "config.yaml"]


def test_a_keras_file_is_loaded_as_well(run, tmp_path):
    model = build(run.settings.model, 3)
    model.save(tmp_path / "model.keras")
    image = np.full((1, 32, 32, 3), 99, "uint8")
    np.testing.assert_array_equal(
        load(tmp_path / "model.keras").predict_on_batch(image)["top"], model.predict_on_batch(image)["top"]
    )


def test_a_used_folder_is_never_written_to(data, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="new or empty folder"):
        Run.create(tmp_path, config.settings(TINY), data)
    assert not (tmp_path / "config.yaml").exists()


def test_what_is_no_run_or_a_damaged_one_is_named(run, tmp_path):
    for source, message in (
        (tmp_path / "nowhere", r"no such run folder or .keras file.*nowhere"),
        (tmp_path, "This is no run"),
        (run.folder, "no weights"),
        (run.folder / "config.yaml", r"holds no Keras model.*config.yaml"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            load(source)
        assert "\n" not in str(caught.value)
    run.weights.write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"do not fit.*best.weights.h5"):
        load(run.folder)
    (run.folder / "classes.json").write_text("[")
    with pytest.raises(InputError, match=r"classes cannot be read.*classes.json"):
        load(run.folder)
