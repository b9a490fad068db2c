"""Small valid files of weights and checkpoints, and how the package reads them."""

import gzip
import io
import tarfile
from functools import partial

import h5py
import keras
import numpy as np
import tensorflow as tf
from fuzzing import mutations
from fuzzing.seed import Seed, in_file
from keras.src.legacy.saving.legacy_h5_format import save_model_to_hdf5, save_weights_to_hdf5_group

from keras_crosscoop import DeepLabV3Plus, load, warm_start
from keras_crosscoop.models.weights import load_hdf5, open_checkpoint, transfer
from keras_crosscoop.training.checkpoint_files import CheckpointFiles
from keras_crosscoop.training.state import TrainingState


def network():
    """A small network with layers of all kinds that hold weights."""
    image = keras.Input((4, 4, 3))
    x = keras.layers.Conv2D(2, 3, name="conv")(image)
    x = keras.layers.BatchNormalization(name="bn")(x)
    x = keras.Sequential([keras.Input(x.shape[1:]), keras.layers.Dense(2, name="inner")], name="nested")(x)
    return keras.Model(image, keras.layers.Dense(3, name="classifier")(x), name="network")


def weights(folder):
    """HDF5, `.keras`, DeepLab's checkpoints, and those that a training goes on from."""
    keras.utils.set_random_seed(0)
    model = network()
    model.save_weights(folder / "seed.weights.h5")
    model.save(folder / "seed.keras")
    save_model_to_hdf5(model, str(folder / "old.h5"))
    flat = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="dense")])
    with h5py.File(folder / "older.h5", "w") as file:
        save_weights_to_hdf5_group(file, flat)
    single = DeepLabV3Plus(3, backbone="tiny_resnet", weights=None, decoder_channels=8)
    single.save_weights(folder / "single.weights.h5")
    single.compile("sgd")
    single.save(folder / "single.keras")

    of_keras = mutations.of_archive(model_weights_h5=mutations.of_hdf5, config_json=mutations.of_json)
    examples = [
        _weights(folder, "seed.weights.h5", mutations.of_hdf5, partial(load_hdf5, model)),
        _weights(folder, "seed.weights.h5", mutations.of_hdf5, partial(load_hdf5, model, partial=True)),
        _weights(folder, "single.weights.h5", mutations.of_hdf5, partial(warm_start, single)),
        _weights(folder, "seed.keras", of_keras, partial(load_hdf5, model, partial=True)),
        _weights(folder, "old.h5", mutations.of_hdf5, partial(load_hdf5, model, partial=True)),
        _weights(folder, "older.h5", mutations.of_hdf5, partial(load_hdf5, flat)),
        _weights(folder, "single.keras", of_keras, load),
    ]
    return [*examples, *released(folder), *checkpoints(folder)]


def _weights(folder, name, mutate, read):
    return Seed(name, (folder / name).read_bytes(), mutate, partial(in_file, folder / "read" / name, read))


def released(folder):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="dense")])
    variables = {f"xception_65/{variable.name}": variable for variable in model.variables}
    prefix = folder / "released" / "model.ckpt"
    prefix.parent.mkdir(exist_ok=True)
    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=[*variables, "global_step"],
        shape_and_slices=[""] * (len(variables) + 1),
        tensors=[*(tf.constant(variable.numpy()) for variable in variables.values()), tf.constant(7, tf.int64)],
    )
    files = {path.name: path.read_bytes() for path in sorted(prefix.parent.iterdir())}

    def packed(files, mode="w:gz"):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode=mode) as archive:
            for name, content in files.items():
                member = tarfile.TarInfo(f"xception/{name}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        return buffer.getvalue()

    def read(path):
        with open_checkpoint(path) as source:
            transfer(source, variables)

    def of_members(content, rng, others=()):
        damaged = dict(files)
        name = rng.choice([*damaged])
        damaged[name] = mutations.of_bytes(damaged[name], rng, others)
        return packed(damaged)

    def of_headers(content, rng, others=()):
        return gzip.compress(mutations.of_bytes(packed(files, "w"), rng, others), 1)

    run = partial(in_file, folder / "read" / "archive.tar.gz", read)
    archive = packed(files)
    examples = [Seed("archive.tar.gz", archive, mutate, run) for mutate in (mutations.of_bytes, of_members, of_headers)]
    beside = folder / "unpacked"
    beside.mkdir(exist_ok=True)

    def run_one(content, name):
        for other, whole in files.items():
            (beside / other).write_bytes(content if other == name else whole)
        read(beside / "model.ckpt")

    alone = [Seed(name, content, mutations.of_bytes, partial(run_one, name=name)) for name, content in files.items()]
    return [*examples, *alone]


def checkpoints(folder):
    """Checkpoints of a training."""
    files = CheckpointFiles(folder / "checkpoints")
    variables = {"a": np.arange(6, dtype="float32").reshape(2, 3), "b": np.zeros(5, "int64")}
    state = TrainingState(1, 2, 3, variables, {"callback": {"best": np.float32(0.5), "log": [1, (2, "a")]}})
    files.folder.mkdir(exist_ok=True)
    path = files.save(state)
    shapes = {name: (array.shape, array.dtype) for name, array in variables.items()}
    mutate = mutations.of_archive(
        **{name.replace(".", "_"): mutations.of_bytes for name in ("progress.json.npy", "variables/a.npy")}
    )
    read = partial(in_file, path, lambda _: files.load(shapes))
    return [Seed(path.name, path.read_bytes(), mutate, read)]
