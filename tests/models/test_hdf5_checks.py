"""A file of weights reads nothing but itself, and holds nothing but numbers that a network can have."""

import json
import time
import zipfile

import h5py
import keras
import numpy as np
import pytest
from helpers import refused
from keras import layers
from models.networks import single

import keras_crosscoop
from keras_crosscoop.models.weights import load_hdf5


@pytest.fixture(scope="module")
def model():
    """Whose weights are 1, so that it shows whether any are loaded."""
    network = keras.Sequential([keras.Input((4,)), layers.Dense(8, name="dense")], name="network")
    network.set_weights([np.ones_like(array) for array in network.get_weights()])
    return network


@pytest.fixture(params=["model.weights.h5", "model.keras"])
def changed(request, model, tmp_path):
    """Writes a kernel of 2s and a bias of 1s with a change to the HDF5 file, by itself or in a `.keras` archive."""

    def change(edit):
        file = tmp_path / "plain.weights.h5"
        model.save_weights(file)
        with h5py.File(file, "r+") as opened:
            opened[KERNEL][...] = 2
            edit(opened)
        path = tmp_path / request.param
        if path.suffix == ".keras":
            with zipfile.ZipFile(path, "w") as archive:
                archive.write(file, "model.weights.h5")
        else:
            file.rename(path)
        return path

    return change


KERNEL, BIAS = "layers/dense/vars/0", "layers/dense/vars/1"


def replaced(create):
    """An edit that puts another array in the place of the bias."""

    def edit(file):
        del file[BIAS]
        create(file)

    return edit


def virtual(file):
    layout = h5py.VirtualLayout((8,), "f4")
    layout[:] = h5py.VirtualSource("secret.h5", "secret", (8,))
    file.create_virtual_dataset(BIAS, layout)


def linked(link, place="layers/other"):
    def edit(file):
        file[place] = link(file) if callable(link) else link

    return edit


EDITS = {  # and the part of the file that the error names
    "external storage": (
        replaced(lambda file: file.create_dataset(BIAS, (8,), "f4", external=[("secret.bin", 0, 32)])),
        BIAS,
    ),
    "virtual": (replaced(virtual), BIAS),
    "external link": (linked(h5py.ExternalLink("secret.h5", "/")), "layers/other"),
    "external array": (replaced(linked(h5py.ExternalLink("secret.h5", "/secret"), BIAS)), BIAS),
    "soft link to its group": (linked(h5py.SoftLink("/layers")), "layers/other"),
    "broken soft link": (linked(h5py.SoftLink("/nowhere")), "layers/other"),
    "hard link to its group": (linked(lambda file: file["layers"]), "layers/other"),
    "hard link to the root": (linked(lambda file: file["/"]), "layers/other"),
    "array twice": (linked(lambda file: file[KERNEL]), KERNEL),
    "type": (linked(np.dtype("f4")), "layers/other"),
    "text": (linked("text", "layers/dense/vars/2"), "layers/dense/vars/2"),
    "bytes": (linked(np.bytes_(b"text"), "optimizer"), "optimizer"),
    "complex": (replaced(linked(np.zeros(8, "c8"), BIAS)), BIAS),
    "records": (replaced(linked(np.zeros(8, [("a", "f4")]), BIAS)), BIAS),
    "references": (
        replaced(lambda file: file.create_dataset(BIAS, data=[file.ref] * 8, dtype=h5py.ref_dtype)),
        BIAS,
    ),
    "lists": (replaced(lambda file: file.create_dataset(BIAS, (8,), dtype=h5py.vlen_dtype("f4"))), BIAS),
    "nothing": (replaced(linked(h5py.Empty("f4"), BIAS)), BIAS),
    "compressed": (
        replaced(lambda file: file.create_dataset(BIAS, data=np.zeros(8, "f4"), compression="gzip")),
        BIAS,
    ),
    "never written": (replaced(lambda file: file.create_dataset(BIAS, (8,), "f4")), BIAS),
    "larger than the disk": (
        linked(lambda file: file.create_dataset("x", (2**40, 2**10), "f4", chunks=(2**10, 2**10)), "y"),
        "x",
    ),
}


@pytest.mark.parametrize(("edit", "part"), EDITS.values(), ids=EDITS)
def test_only_plain_arrays_of_its_own_are_read(model, changed, tmp_path, monkeypatch, edit, part):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret.bin").write_bytes(bytes(32))
    with h5py.File("secret.h5", "w") as file:
        file["secret"] = np.zeros(8, "f4")
    path = changed(edit)
    for partial in (False, True):
        message = refused(load_hdf5, model, path, partial=partial)
        assert message.startswith("A file of weights may hold only complete and uncompressed arrays of numbers, ")
        assert message.endswith(f"Received: /{part} in {path}")
    assert all((array == 1).all() for array in model.get_weights())


@pytest.mark.parametrize("size", [0, 2**64 - 16])
def test_a_heap_that_never_ends_is_refused(model, tmp_path, size):
    """HDF5 would go on reading the first entry, in code that no signal interrupts."""
    path = tmp_path / "model.weights.h5"
    model.save_weights(path)
    content = bytearray(path.read_bytes())
    heap = content.find(b"GCOL")
    assert heap > 0
    content[heap + 16 : heap + 18] = b"\0\0" if size == 0 else b"\1\0"
    content[heap + 24 : heap + 32] = size.to_bytes(8, "little")
    path.write_bytes(content)
    assert "Received: a damaged string heap in" in refused(load_hdf5, model, path)


def test_heaps_within_heaps_are_refused_at_once(model, tmp_path):
    """Each alone is well formed, and entries lead from one to the next, but to walk each to its end takes hours."""
    path = tmp_path / "model.weights.h5"
    model.save_weights(path)
    heap, entry = (
        b"GCOL\1\0\0\0" + (2**40).to_bytes(8, "little"),
        b"\1" + bytes(7) + b"\x18" + bytes(15),
    )
    with path.open("ab") as file:
        file.write(bytes(-path.stat().st_size % 8) + (heap + entry) * 50_000)
    begun = time.process_time()
    assert "Received: a damaged string heap in" in refused(load_hdf5, model, path)
    assert time.process_time() - begun < 5


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.zeros(8, "i4"), "dense/bias must be float32, but the file has int32"),
        (np.zeros(8, bool), "dense/bias must be float32, but the file has bool"),
        (np.array([np.nan] * 2 + [0] * 6, "f4"), "dense/bias are not finite (2 of 8 are NaN, infinite or too large)"),
        (np.array([-np.inf] + [0] * 7, "f2"), "dense/bias are not finite (1 of 8 are NaN, infinite or too large)"),
        (np.full(8, 1e300), "dense/bias are not finite (8 of 8 are NaN, infinite or too large)"),
    ],
)
def test_weights_are_finite_floating_point_numbers(model, changed, values, reason):
    path = changed(replaced(linked(values, BIAS)))
    assert f"The weights of network/{reason}" in refused(load_hdf5, model, path, partial=True)
    assert all((array == 1).all() for array in model.get_weights())


def test_integer_weights_are_loaded_where_the_variable_is_an_integer(tmp_path):
    def network():
        image = keras.Input((4, 4, 3))
        return keras.Model(image, layers.Normalization(name="normalise")(image))

    source = network()
    source.layers[1].adapt(np.random.default_rng(0).normal(size=(2, 4, 4, 3)).astype("float32"))
    source.save_weights(tmp_path / "a.weights.h5")
    (count,) = (v for v in source.variables if v.name == "count")
    count.assign(7)
    source.save_weights(tmp_path / "a.weights.h5")
    target = network()
    load_hdf5(target, tmp_path / "a.weights.h5")
    assert [int(v.numpy()) for v in target.variables if v.name == "count"] == [7]


def members_of(file):
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The members of a network's `.keras` file."""
    network = single()
    network.compile("adam")
    network.save(tmp_path_factory.mktemp("saved") / "model.keras")
    return members_of(tmp_path_factory.getbasetemp() / "saved0" / "model.keras")


def rewritten(path, members, *more, **options):
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, content in [*members.items(), *more]:
            archive.writestr(name, content)
    return path


LAYER = {"module": "keras.layers", "class_name": "Dense", "config": {"units": 10**9}, "registered_name": None}
METRIC = {"module": "keras.metrics", "class_name": "MeanIoU", "config": {"num_classes": 10**6}, "registered_name": None}

DESCRIPTIONS = {
    "channels": ({"input_shape": [None, None, 5_000_000]}, {}, "input_shape.2: Input should be 3. Received: 5000000"),
    "a wide image": ({"input_shape": [10**9, None, 3]}, {}, "input_shape.0: Input should be less than or equal to"),
    "a mapping": ({"num_classes": {"a": 1}}, {}, "num_classes: Input should be a valid integer. Received: {'a': 1}"),
    "a text": ({"decoder_channels": "8"}, {}, "decoder_channels: Input should be a valid integer"),
    "a truth": ({"num_classes": True}, {}, "num_classes: Input should be a valid integer"),
    "a stride": ({"output_stride": 1}, {}, "output_stride: Input should be 8, 16 or 32"),
    "dropout": ({"dropout": [0.1, 1.5, 0.1]}, {}, "dropout.1: Input should be less than 1"),
    "no number": ({"dropout": [0.1, float("nan"), 0.1]}, {}, "dropout.1: Input should be a finite number"),
    "another option": ({"weights": "/etc/passwd"}, {}, "weights: Input should be None"),
    "an unknown one": ({"colour": 1}, {}, "colour: Extra inputs are not permitted"),
    "a backbone": ({"backbone": "vgg16"}, {}, "backbone.name: There is no backbone of that name."),
    "its file": ({"backbone": {"name": "resnet50", "weights": "a.h5"}}, {}, "backbone.weights: Extra inputs"),
    "a layer": ({}, {"optimizer": LAYER}, "its compile configuration holds an object of another kind"),
    "a metric": ({}, {"metrics": [METRIC]}, "its compile configuration has a number beyond 1000. Received: 1000000"),
    "a lambda": (
        {},
        {"loss": {"class_name": "__lambda__", "config": {"value": "x"}}},
        "its compile configuration holds an object of another kind",
    ),
    "a long number": ({}, {"steps_per_execution": 10**400}, "its compile configuration has a number beyond 1e+12"),
}


@pytest.mark.parametrize(("config", "compiled", "reason"), DESCRIPTIONS.values(), ids=DESCRIPTIONS)
def test_a_description_that_no_network_has_is_refused_before_anything_is_built(
    saved, tmp_path, monkeypatch, config, compiled, reason
):
    monkeypatch.setattr("keras.saving.load_model", lambda *_, **__: pytest.fail("it was built"))
    described = json.loads(saved["config.json"])
    described["config"] |= config
    described["compile_config"] |= compiled
    path = rewritten(tmp_path / "bad.keras", saved | {"config.json": json.dumps(described)})
    message = refused(keras_crosscoop.load, path)
    assert message.startswith(f"The file describes an impossible network: {reason}")
    assert message.endswith(f" in {path}")


def test_an_archive_is_as_keras_writes_it(saved, tmp_path):
    """Not compressed, which a small file could fill the memory by, and each member once."""
    path = rewritten(tmp_path / "model.keras", saved)
    assert keras_crosscoop.load(path).optimizer.name == "adam"
    rewritten(path, saved, compression=zipfile.ZIP_DEFLATED)
    assert "its members are compressed or not unique" in refused(keras_crosscoop.load, path)
    with pytest.warns(UserWarning, match="Duplicate name"):
        rewritten(path, saved, ("config.json", b"{}"))
    assert "its members are compressed or not unique" in refused(keras_crosscoop.load, path)
    rewritten(path, saved, ("assets/../../evil", b"evil"))
    assert "it has an unknown member 'assets/../../evil'" in refused(keras_crosscoop.load, path)
    rewritten(path, saved | {"config.json": b"[" * 100_000})
    assert "The file holds no Keras model that can be loaded" in refused(keras_crosscoop.load, path)
    content = rewritten(path, saved).read_bytes()
    path.write_bytes(content.replace(b"num_classes", b"num_klasses", 1))
    assert "config.json is damaged" in refused(keras_crosscoop.load, path)


def test_a_keras_file_must_hold_all_weights_and_finite_ones(saved, tmp_path):
    weights = tmp_path / "model.weights.h5"
    weights.write_bytes(saved["model.weights.h5"])
    with h5py.File(weights, "r+") as file:
        place = next(name for name in file["layers"] if name.startswith("conv"))
        file[f"layers/{place}/vars/0"][0] = np.nan
    path = rewritten(tmp_path / "model.keras", saved | {"model.weights.h5": weights.read_bytes()})
    assert "are not finite" in refused(keras_crosscoop.load, path)
