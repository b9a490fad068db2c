"""Weights from HDF5 files land in the variables of their names; whatever does not is told, and why."""

import csv
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from helpers import refused
from keras import layers
from keras.src.legacy.saving.legacy_h5_format import save_model_to_hdf5, save_weights_to_hdf5_group

from keras_crosscoop.models.weights import load_hdf5
from keras_crosscoop.models.weights.transfer import TransferredArray, TransferReport


def network(*branches, classes=3, nested=True, seed=0):
    """Branches of equal shapes, so that only names tell them apart, and random values, also where layers have none."""
    image = keras.Input((4, 4, 3))
    x = layers.Concatenate(name="concat")([layers.Conv2D(2, 3, name=branch)(image) for branch in branches or "ab"])
    x = layers.BatchNormalization(name="bn")(x)
    if nested:
        inner = keras.Sequential(
            [keras.Input(x.shape[1:]), layers.Dense(2, name="a"), layers.Dropout(0.5)], name="inner"
        )
        x = inner(x)
    model = keras.Model(image, layers.Dense(classes, name="classifier")(x), name="network")
    rng = np.random.default_rng(seed)
    model.set_weights([rng.normal(size=array.shape) for array in model.get_weights()])
    return model


def values(model):
    """Of every variable, by its path."""
    return {variable.path: variable.numpy() for variable in model.variables if "seed" not in variable.path}


def assert_equal(actual, expected):
    assert actual.keys() == expected.keys()
    for path, array in expected.items():
        np.testing.assert_array_equal(actual[path], array, err_msg=path)


def write(model, folder, form):
    """The model's weights in a file of one of the forms that Keras has had."""
    path = folder / {"keras": "model.keras", "weights": "model.weights.h5"}.get(form, "model.h5")
    match form:
        case "weights":
            model.save_weights(path)
        case "keras":
            model.save(path)
        case "old weights":
            with h5py.File(path, "w") as file:
                save_weights_to_hdf5_group(file, model)
        case "old model":
            save_model_to_hdf5(model, str(path))
        case "by hand":  # as TensorFlow 1's Keras wrote them
            with h5py.File(path, "w") as file:
                file.attrs["layer_names"] = [layer.name.encode() for layer in model.layers]
                for layer in model.layers:
                    group = file.create_group(layer.name)
                    names = [f"{layer.name}/{variable.name}:0".encode() for variable in layer.weights]
                    group.attrs["weight_names"] = names
                    for name, variable in zip(names, layer.weights, strict=True):
                        group[name] = variable.numpy()
    return path


FORMS = ["weights", "keras", "old weights", "old model", "by hand"]


@pytest.mark.parametrize(
    ("form", "frozen"), [*((form, False) for form in FORMS), ("weights", True), ("old model", True)]
)
def test_values_land_in_the_variables_of_their_names(tmp_path, form, frozen):
    """In whatever order the layers were built, and whether they are trained or not."""
    nested = form in ("weights", "keras")
    source, target = network("a", "b", nested=nested), network("b", "a", nested=nested, seed=1)
    source.get_layer("bn").trainable = not frozen
    target.get_layer("a").trainable = not frozen
    report = load_hdf5(target, write(source, tmp_path, form))
    assert report.skipped == []
    assert {entry.name for entry in report.loaded} == values(target).keys()
    assert_equal(values(target), values(source))


@pytest.mark.parametrize("form", ["weights", "keras"])
def test_nothing_but_weights_is_loaded_or_told_of(tmp_path, form):
    """Not the optimizer's state, nor what figures came to."""
    source = network()
    source.compile("adam", "mse", metrics=["mae"], run_eagerly=True)
    source.train_on_batch(np.zeros((1, 4, 4, 3)), np.zeros((1, 2, 2, 3)))
    report = load_hdf5(network(seed=1), write(source, tmp_path, form))
    assert report.skipped == []
    assert len(report.loaded) == len(values(source))


def test_what_fits_is_loaded_and_the_rest_stays(tmp_path):
    source, target = network("a", "c"), network("a", "b", classes=5, seed=1)
    before = values(target)
    report = load_hdf5(target, write(source, tmp_path, "weights"), partial=True)
    assert {entry.name: entry.reason for entry in report.skipped} == {
        "b/kernel": "not in the file, (3, 3, 3, 2) in the model",
        "b/bias": "not in the file, (2,) in the model",
        "classifier/kernel": "(2, 3) in the file, (2, 5) in the model",
        "classifier/bias": "(3,) in the file, (5,) in the model",
        "c/0": "(3, 3, 3, 2) in the file, not in the model",
        "c/1": "(2,) in the file, not in the model",
    }
    assert [entry.name for entry in report.unused] == ["c/0", "c/1"]
    assert {entry.name for entry in report.missing} == {"b/kernel", "b/bias", "classifier/kernel", "classifier/bias"}
    loaded = {entry.name for entry in report.loaded}
    assert loaded == before.keys() - {entry.name for entry in report.missing}
    assert_equal(values(target), before | {path: array for path, array in values(source).items() if path in loaded})


REMEDY = (
    "Give weights of the same network, built with the same options, or, for a warm start, of one that shares layers "
    "with it."
)


@pytest.mark.parametrize("form", ["weights", "old model"])
def test_weights_that_do_not_fit_change_nothing(tmp_path, form):
    """And are refused by the first variable of another shape, with both shapes."""
    source, target = network("b", nested=False), network("a", "b", nested=False, seed=1)
    before, path = values(target), write(source, tmp_path, form)
    assert refused(load_hdf5, target, path) == (
        'The weights do not fit "network": bn/gamma is (2,) in the file, (4,) in the model (6 more do not fit). '
        f"{REMEDY} Received: {path}"
    )
    assert_equal(values(target), before)
    missing = refused(load_hdf5, target, write(network("b", "c", nested=False), tmp_path, form))
    assert "a/kernel is not in the file, (3, 3, 3, 2) in the model (1 more do not fit)." in missing
    assert_equal(values(target), before)


def test_a_file_of_which_nothing_fits_is_refused(tmp_path):
    model = network()
    before = values(model)
    path = tmp_path / "other.weights.h5"
    keras.Sequential([keras.Input((3,)), layers.Dense(2, name="hidden")]).save_weights(path)
    message = refused(load_hdf5, model, path, partial=True)
    assert message.startswith(
        'The weights do not fit "network": a/kernel is not in the file, (3, 3, 3, 2) in the model ('
    )
    assert message.endswith(f"). The first unused array of the file is hidden/0. {REMEDY} Received: {path}")
    keras.Sequential([keras.Input((7,)), layers.Dense(7, name="classifier")]).save_weights(path)
    message = refused(load_hdf5, model, path, partial=True)
    assert message.startswith(
        'The weights do not fit "network": classifier/kernel is (7, 7) in the file, (2, 3) in the '
    )
    keras.Sequential([keras.Input((7,)), layers.ReLU()]).save_weights(path)
    assert f"more do not fit). {REMEDY}" in refused(load_hdf5, model, path, partial=True)
    assert_equal(values(model), before)


def test_layers_within_layers_are_told_of_too(tmp_path):
    """Where Keras keeps them apart from the model's own."""
    tokens = keras.Input((5, 4))
    x = layers.Bidirectional(layers.LSTM(2), name="both_ways")(
        layers.MultiHeadAttention(1, 3, name="heads")(tokens, tokens)
    )
    source = keras.Model(tokens, layers.Dense(3, name="classifier")(x))
    target = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="classifier")])
    source.save_weights(tmp_path / "model.weights.h5")
    report = load_hdf5(target, tmp_path / "model.weights.h5", partial=True)
    assert {entry.name.rpartition("/")[0] for entry in report.unused} == {
        *(f"heads/{layer}" for layer in ("query", "key", "value", "attention_output")),
        *(f"both_ways/{way}_lstm/lstm_cell" for way in ("forward", "backward")),
    }
    assert len(report.unused) + len(report.loaded) == len(source.weights)


def test_halved_precision_is_read(tmp_path):
    for dtype in ("float16", "bfloat16"):
        halved = keras.Sequential([keras.Input((4,)), layers.Dense(3, dtype=dtype, name="dense")])
        halved.save_weights(tmp_path / "halved.weights.h5")
        model = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="dense")])
        load_hdf5(model, tmp_path / "halved.weights.h5")
        np.testing.assert_array_equal(model.get_weights()[0], np.asarray(halved.get_weights()[0], "float32"))


def test_a_missing_file_is_named(tmp_path):
    for path in (tmp_path / "nowhere.weights.h5", tmp_path):
        assert refused(load_hdf5, network(), path).endswith(f"Received: {path}")


def zipped(path, content):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", content)


DAMAGES = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("hello\n"),
    "cut in its head": lambda path: path.write_bytes(path.read_bytes()[:50]),
    "cut in the middle": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "cut at the end": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "without its symbols": lambda path: path.write_bytes(path.read_bytes().replace(b"SNOD", b"XXXX")),
    "without its trees": lambda path: path.write_bytes(path.read_bytes().replace(b"TREE", b"XXXX")),
    "a zip of something else": lambda path: zipped(path, "hello"),
}


@pytest.fixture(scope="module", params=["weights", "keras", "old weights"])
def written(request, tmp_path_factory):
    """A model, and a file that another one like it wrote."""
    file = write(network(nested=False), tmp_path_factory.mktemp("files"), request.param)
    return network(nested=False, seed=1), file


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_refused_and_changes_nothing(written, tmp_path, damage):
    model, file = written
    path = tmp_path / file.name
    path.write_bytes(file.read_bytes())
    DAMAGES[damage](path)
    before = values(model)
    for partial in (False, True):
        message = refused(load_hdf5, model, path, partial=partial)
        assert message.startswith(
            'The file of weights cannot be read. It must be a complete ".weights.h5" or ".keras" file'
        )
        assert message.endswith(f"). Received: {path}")
    assert_equal(values(model), before)


def test_a_file_of_an_older_keras_is_refused(tmp_path):
    """Which named no layers before Keras 3.6."""
    model = network()
    path = write(model, tmp_path, "weights")
    with h5py.File(path, "r+") as file:
        file.visititems(lambda _, item: item.attrs.clear())
    assert "of Keras 3.6 or later" in refused(load_hdf5, model, path)


ENTRIES = (
    TransferredArray("a/kernel", (3, 3), (3, 3)),
    *(TransferredArray(f"layer_{number}/bias", None, (number,)) for number in range(1, 20)),
    TransferredArray("b/kernel", (1, 2), (2, 1)),
    TransferredArray("step", (), None),
)


def test_a_report_reads_in_lines():
    lines = str(TransferReport(Path("runs/one.h5"), ENTRIES)).splitlines()
    assert lines[0] == (
        "1 variables loaded from one.h5; skipped: 19 not in the file, 1 of another shape, 1 not in the model"
    )
    assert lines[1] == "  layer_1/bias: not in the file, (1,) in the model"
    assert lines[20:] == ["  b/kernel: (1, 2) in the file, (2, 1) in the model", "  ... and 1 more"]
    assert str(TransferReport(Path("one.h5"), ENTRIES[:1])) == "1 variables loaded from one.h5"


def test_a_report_is_written_as_a_table(tmp_path):
    TransferReport(Path("one.h5"), ENTRIES).write(tmp_path / "init_from.csv")
    rows = list(csv.reader((tmp_path / "init_from.csv").read_text().splitlines()))
    assert rows[:3] == [
        ["variable", "outcome", "in_file", "in_model"],
        ["a/kernel", "loaded", "(3, 3)", "(3, 3)"],
        ["layer_1/bias", "not in the file", "", "(1,)"],
    ]
    assert rows[-2:] == [
        ["b/kernel", "of another shape", "(1, 2)", "(2, 1)"],
        ["step", "not in the model", "()", ""],
    ]
    assert len(rows) == len(ENTRIES) + 1
