"""A run folder gives back the network that was saved into it, or an error of one line."""

import errno
import json
import re
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import h5py
import keras
import numpy as np
import pytest
from helpers import refused
from PIL import Image

import keras_crosscoop
from keras_crosscoop import DeepLabV3Plus, config
from keras_crosscoop.data import Dataset
from keras_crosscoop.evaluation import Inference
from keras_crosscoop.images.reading import DEFAULT_READING, ImageReading
from keras_crosscoop.runs import Run, build
from keras_crosscoop.training import SGD

DATASET = Dataset(
    "drawn",
    ("road", "sky", "a car"),
    ((1, 2, 3), (255, 0, 16), (7, 8, 9)),
    ("train",),
    lambda split: [],
)
TINY = {"top": "micro_3x3", "bottom": "micro_3x3", "decoder_channels": 8, "weights": None, "dropout": [0, 0, 0]}
SINGLE = {**TINY, "bottom": None}
IMAGE = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), np.uint8)


def create(folder, **model):
    return Run.create(folder, config.settings({"model": {**TINY, **model}, "train": {"seed": 5}}), DATASET)


def network(settings):
    """Builds the network of settings, with random values everywhere, also in its optimizer."""
    model = build(settings.model, 3)
    model.compile(SGD(0.01))
    rng = np.random.default_rng(0)
    for variable in (*model.weights, *model.optimizer.velocities):
        if variable.dtype == "float32":
            variable.assign(rng.uniform(0.1, 0.5, variable.shape))
    return model


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of a single network that has weights, and the network."""
    run = create(tmp_path_factory.mktemp("runs") / "new" / "folder", **SINGLE)
    model = network(run.settings)
    run.save_weights(model)
    return run, model


@pytest.fixture
def damaged(finished, tmp_path):
    """A copy of the run to be changed."""
    run, _ = finished
    folder = tmp_path / "run"
    folder.mkdir()
    for file in run.folder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def test_a_run_is_opened_as_it_was_created(tmp_path):
    created = create(tmp_path / "a" / "run", topology="none")
    opened = Run.open(created.folder)
    assert opened == created
    assert opened.classes == ("road", "sky", "a car")
    assert opened.palette == ((1, 2, 3), (255, 0, 16), (7, 8, 9))
    assert (opened.settings.model.topology, opened.settings.train.seed) == ("none", 5)
    assert json.loads((created.folder / "classes.json").read_text()) == {
        "road": "#010203",
        "sky": "#ff0010",
        "a car": "#070809",
    }
    assert {file.name for file in created.folder.iterdir()} == {"config.yaml", "classes.json"}


def test_a_data_set_must_have_the_classes_of_the_run(tmp_path):
    run = create(tmp_path / "run")
    run.check_classes(DATASET)
    other = replace(DATASET, classes=("road", "sky", "a bus"))
    message = refused(run.check_classes, other)
    assert '(road, sky, a car), but data set "drawn" has 3 (road, sky, a bus).' in message


def test_a_run_takes_an_empty_folder(tmp_path):
    assert Run.open(create(tmp_path).folder).classes == DATASET.classes


def test_a_discarded_run_leaves_what_was_there_before(tmp_path):
    """A folder that the user had made stays, empty again; also where it is reached through a link."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    for name in ("mine", "link", "new"):
        run = create(tmp_path / name)
        (run.folder / "tensorboard").mkdir()
        (run.folder / "tensorboard" / "events").touch()
        run.discard()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["link", "mine"]


def test_a_run_takes_no_folder_in_use(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    assert "new or empty folder" in refused(create, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_run_takes_no_file_for_a_folder(tmp_path):
    (tmp_path / "file").write_text("mine")
    assert str(tmp_path / "file") in refused(create, tmp_path / "file")
    assert str(tmp_path / "file" / "run") in refused(create, tmp_path / "file" / "run")
    assert (tmp_path / "file").read_text() == "mine"


def test_loading_gives_the_network_that_was_saved(tmp_path):
    """Its weights bit by bit, compiled and ready to be measured."""
    run = create(tmp_path / "run", topology="one_way", sites=["aspp"])
    model = network(run.settings)
    run.save_weights(model)
    loaded = keras_crosscoop.load(str(run.folder))
    assert loaded.get_config() == model.get_config() | {"name": loaded.name}
    for own, saved in zip(loaded.weights, model.weights, strict=True):
        np.testing.assert_array_equal(own, saved)
    assert loaded.compiled


def test_a_run_reads_files_as_its_images_were_read(finished, tmp_path):
    """Also its model does, and a `.keras` file of it."""
    run, _ = finished
    shutil.copytree(run.folder, tmp_path / "run")
    (tmp_path / "run/dataset.yaml").write_text("names: [a]\nrange: [0, 4095]\nchannels: [3, 2, 1]\n")
    assert run.reading == DEFAULT_READING
    reading = ImageReading(range=(0, 4095), channels=(3, 2, 1))
    assert Run.open(tmp_path / "run").reading == reading
    model = keras_crosscoop.load(tmp_path / "run")
    deep = np.random.default_rng(0).integers(0, 4096, (32, 32), np.uint16)
    Image.fromarray(deep).save(tmp_path / "a.png")
    pixels = np.rint(deep / 4095 * 255).astype(np.uint8)[..., None].repeat(3, 2)
    model.save(tmp_path / "model.keras")
    for loaded in (model, keras_crosscoop.load(tmp_path / "model.keras")):
        assert loaded.reading == reading
        np.testing.assert_array_equal(
            loaded.segment(tmp_path / "a.png", probabilities=True)[1], loaded.segment(pixels, probabilities=True)[1]
        )
    np.testing.assert_array_equal(Inference(model)(tmp_path / "a.png")["single"], Inference(model)(pixels)["single"])
    (tmp_path / "run/dataset.yaml").write_text("range: [5, 5]\n")
    assert "Restore it" in refused(lambda: Run.open(tmp_path / "run").reading)


def test_weights_come_without_optimizer(finished):
    """Each of the network's weights once, and nothing else: 4 bytes a number."""
    run, model = finished
    with h5py.File(run.weights) as file:
        arrays = []
        file.visititems(
            lambda name, item: arrays.append((name, item.shape)) if isinstance(item, h5py.Dataset) else None
        )
    weights = [w for w in model.weights if "seed_generator" not in w.path]
    saved = [shape for name, shape in arrays if "seed_generator" not in name]
    assert sorted(saved) == sorted(tuple(w.shape) for w in weights)
    assert not [name for name, _ in arrays if "optimizer" in name or "figures" in name]
    assert len(model.optimizer.variables) > len(model.trainable_variables)
    assert {file.name for file in run.folder.iterdir()} == {"config.yaml", "classes.json", "best.weights.h5"}


def test_loading_into_a_trained_model_leaves_its_optimizer(finished):
    """As `fit` does at its end."""
    run, model = finished
    other = network(run.settings)
    other.set_weights([0 * array for array in other.get_weights()])
    velocity = other.optimizer.velocities[0].numpy()
    assert velocity.any()
    run.load_weights(other)
    np.testing.assert_array_equal(other.get_weights()[0], model.get_weights()[0])
    np.testing.assert_array_equal(other.optimizer.velocities[0], velocity)


def test_on_a_full_disk_the_former_weights_stay(finished, damaged, monkeypatch):
    """HDF5 would crash in the middle of it, so room is asked for first: as much as the file takes, and some more."""
    _, model = finished
    run, needed = Run.open(damaged), []
    before = run.weights.read_bytes()
    size = run.weights.stat().st_size
    for free in (size, 2 * size + 10_000_000):
        monkeypatch.setattr(shutil, "disk_usage", lambda folder, free=free: SimpleNamespace(free=free))
        try:
            run.save_weights(model)
        except OSError as error:
            needed.append((free, error.errno))
            assert run.weights.read_bytes() == before
            assert not list(damaged.glob(".*"))
    assert needed == [(size, errno.ENOSPC)]


def test_a_single_networks_run(finished):
    run, model = finished
    loaded = keras_crosscoop.load(run.folder)
    assert type(loaded) is keras_crosscoop.DeepLabV3Plus
    np.testing.assert_array_equal(loaded.segment(IMAGE[0]), model.segment(IMAGE[0]))


def test_loading_fetches_no_pretrained_weights(tmp_path):
    """They are in the run's own: another machine need not have the file that training started from."""
    model = build(config.settings({"model": SINGLE}).model, 3)
    model.get_layer("single_backbone").save_weights(tmp_path / "backbone.weights.h5")
    run = create(tmp_path / "run", **{**SINGLE, "weights": str(tmp_path / "backbone.weights.h5")})
    trained = build(run.settings.model, 3)
    np.testing.assert_array_equal(trained.layers[2].get_weights()[0], model.layers[2].get_weights()[0])
    run.save_weights(trained)
    (tmp_path / "backbone.weights.h5").unlink()
    np.testing.assert_array_equal(run.load().get_weights()[0], trained.get_weights()[0])


def test_a_single_network_takes_the_weights_of_its_side(tmp_path):
    """`--bottom none --top-weights FILE`."""
    model = build(config.settings({"model": SINGLE}).model, 3)
    model.get_layer("single_backbone").save_weights(tmp_path / "backbone.weights.h5")
    weights = {"weights": {"top": str(tmp_path / "backbone.weights.h5")}}
    settings = config.settings({"model": SINGLE | weights})
    trained = build(settings.model, 3)
    np.testing.assert_array_equal(trained.layers[2].get_weights()[0], model.layers[2].get_weights()[0])


def test_a_folder_without_config_is_no_run(tmp_path):
    assert refused(Run.open, tmp_path).startswith("This is not a run: it holds no config.yaml.")
    assert refused(Run.open, tmp_path / "nowhere").startswith("This is not a run: there is no such folder.")
    assert refused(keras_crosscoop.load, tmp_path).startswith("This is not a run")
    assert refused(keras_crosscoop.load, tmp_path / "nowhere").startswith("There is no such run folder or .keras file.")
    config_file = create(tmp_path / "run").folder / "config.yaml"
    assert refused(keras_crosscoop.load, config_file).startswith("The file holds no Keras model")


def test_a_run_without_weights_says_so(damaged):
    """And how to get them: they may have been removed since."""
    (damaged / "best.weights.h5").unlink()
    assert refused(keras_crosscoop.load, damaged) == (
        "The run has no weights: no epoch was validated yet, or best.weights.h5 was removed. Continue with "
        f"`crosscoop-tf fit --resume {damaged}`, or put the file back. Received: {damaged}"
    )


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_cut_weights_are_refused(damaged, share):
    weights = damaged / "best.weights.h5"
    content = weights.read_bytes()
    weights.write_bytes(content[: int(share * len(content))])
    assert refused(keras_crosscoop.load, damaged).endswith(f"Received: {weights}")


def test_damaged_weights_are_refused(damaged):
    """Every signature of a group's table of names is overwritten."""
    weights = damaged / "best.weights.h5"
    weights.write_bytes(weights.read_bytes().replace(b"SNOD", b"XXXX"))
    assert refused(keras_crosscoop.load, damaged).endswith(f"Received: {weights}")


def test_weights_of_another_network_are_refused(damaged):
    """Without a warning of Keras's before it."""
    file = damaged / "config.yaml"
    file.write_text(file.read_text().replace("decoder_channels: 8", "decoder_channels: 16"))
    message = refused(keras_crosscoop.load, damaged)
    assert re.search(r'do not fit "deeplab_v3_plus": .* in the file, .* in the model.*/best\.weights\.h5', message)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "5", '{"road": 5}', '{"road": "#zzzzzz"}', '{"a": "#80"}', "{}", 9999 * "["]
)
def test_damaged_classes_are_refused(damaged, content):
    (damaged / "classes.json").write_text(content)
    assert refused(Run.open, damaged).endswith(f"Received: {damaged / 'classes.json'}")


def test_lost_classes_are_refused(damaged):
    (damaged / "classes.json").unlink()
    assert "classes cannot be read" in refused(Run.open, damaged)


def test_a_damaged_config_is_refused(damaged):
    (damaged / "config.yaml").write_text("model: [1,\n2")
    assert "not valid YAML" in refused(keras_crosscoop.load, damaged)
    (damaged / "config.yaml").write_text("model: {topp: mobilenet}")
    message = refused(keras_crosscoop.load, damaged)
    assert message.startswith("The run's config.yaml was edited, or another version wrote it. There is no setting")
    assert 'Did you mean "model.top"?' in message
    assert message.endswith(f" in {damaged}")


def test_two_that_begin_at_once(tmp_path, monkeypatch):
    """Both found the folder empty; the later one leaves it to the other."""
    first = create(tmp_path / "run")
    before = [(path.name, path.stat()) for path in first.folder.iterdir()]
    with monkeypatch.context() as patch:
        patch.setattr(Path, "iterdir", lambda _: iter(()))
        assert "new or empty folder" in refused(create, tmp_path / "run")
    assert [(path.name, path.stat()) for path in first.folder.iterdir()] == before


def test_a_run_that_cannot_be_described_is_not_begun(tmp_path, monkeypatch):
    def fill(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(json, "dumps", fill)
    assert refused(create, tmp_path / "run").startswith("The run's folder cannot be written (No space left on device)")
    assert [*tmp_path.iterdir()] == []


def test_a_keras_file_is_loaded_too(finished, tmp_path):
    _, model = finished
    model.save(tmp_path / "model.keras")
    loaded = keras_crosscoop.load(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.get_weights()[0], model.get_weights()[0])


@keras.saving.register_keras_serializable("tests")
class Doubled(DeepLabV3Plus):
    """With a loss of its own, as a user may write one."""

    def compute_loss(self, **arguments):
        return 2 * super().compute_loss(**arguments)


def test_a_subclass_of_the_users_is_loaded_too(tmp_path):
    model = Doubled(3, backbone="micro_3x3", decoder_channels=8, weights=None)
    model.save(tmp_path / "model.keras")
    loaded = keras_crosscoop.load(tmp_path / "model.keras")
    assert type(loaded) is Doubled


CHANGES = {  # to a `.keras` file's description; each describes more memory than the file's weights take
    "decoder_channels": (
        {"decoder_channels": 2048},
        "a network that is larger than its weights (decoder_channels=2048)",
    ),
    "classes": (
        {"num_classes": 10**9},
        "an impossible network: num_classes: Input should be less than or equal to 255",
    ),
    "backbone": (
        {"backbone": {"name": "mobilenet", "alpha": 1e6}},
        "an impossible network: backbone.alpha: Input should be less than or equal to 16. Received: 1000000.0",
    ),
}


@pytest.mark.parametrize(("changes", "message"), CHANGES.values(), ids=CHANGES)
def test_a_file_cannot_ask_for_more_memory_than_it_has_numbers_for(finished, tmp_path, changes, message):
    _, model = finished
    model.save(tmp_path / "model.keras")
    members = members_of(tmp_path / "model.keras")
    described = json.loads(members["config.json"])
    described["config"] |= changes
    write_members(tmp_path / "bomb.keras", {**members, "config.json": json.dumps(described)})
    assert f"The file describes {message}" in refused(keras_crosscoop.load, tmp_path / "bomb.keras")


@pytest.mark.parametrize("place", ["layers/conv2d/vars", "optimizer/vars"])
def test_an_array_cannot_say_that_it_is_larger_than_it_is(finished, tmp_path, place):
    _, model = finished
    model.save(tmp_path / "model.keras")
    members = members_of(tmp_path / "model.keras")
    weights = tmp_path / "model.weights.h5"
    weights.write_bytes(members["model.weights.h5"])
    with h5py.File(weights, "a") as file:
        file.create_dataset(f"{place}/9999", (10**6, 10**6), "float32")  # of which nothing is stored
    write_members(tmp_path / "bomb.keras", {**members, "model.weights.h5": weights.read_bytes()})
    assert f"Received: /{place}/9999 in" in refused(keras_crosscoop.load, tmp_path / "bomb.keras")


def members_of(file):
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write_members(file, members):
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def test_other_files_are_refused(tmp_path):
    file = tmp_path / "model.keras"
    file.write_text("hello")
    assert refused(keras_crosscoop.load, file).startswith("The file holds no Keras model")
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save(file)
    assert refused(keras_crosscoop.load, file).endswith(f"Received: {file} (Sequential)")
    file.write_bytes(file.read_bytes()[:-100])
    assert refused(keras_crosscoop.load, file).startswith("The file holds no Keras model")


def test_other_archives_are_refused(tmp_path):
    file = tmp_path / "model.keras"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("notes.txt", "hello")
    assert refused(keras_crosscoop.load, file).startswith("The file holds no Keras model")


@pytest.mark.parametrize("member", ["config.json", "model.weights.h5"])
def test_damaged_archives_are_refused(finished, tmp_path, member):
    _, model = finished
    file = tmp_path / "model.keras"
    model.save(file)
    members = members_of(file)
    content = members[member]
    write_members(file, {**members, member: content[:20] + bytes(100) + content[120:]})
    assert "cannot be read" in (message := refused(keras_crosscoop.load, file)) or "that can be loaded" in message
