"""JAX and PyTorch compute what TensorFlow does, where TensorFlow is not even installed.

This file is also what runs there: `KERAS_BACKEND=jax python tests/test_portability.py FOLDER`, all in one process for
each backend, since it takes long to start and to compile. Everything runs on the CPU, whose arithmetic has 24 bits.
"""

import os
import subprocess
import sys
import warnings
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

NETWORKS = {  # the last one is trained, too
    "applications": {"top": {"name": "mobilenet_v2", "alpha": 0.35}, "bottom": "resnet50", "decoder_channels": 8},
    "tiny": {"top": "tiny_xception", "bottom": "tiny_resnet", "decoder_channels": 8},
    "micro": {"top": "micro_3x3", "bottom": "micro_5x5", "decoder_channels": 8},
}
COMPARED = [  # a backend and the networks to compare
    pytest.param(
        (backend, names), marks=[*marks, pytest.mark.skipif(not find_spec(backend), reason=f"no {backend} here")]
    )
    for backend, names, marks in (
        ("jax", ("micro",), []),
        ("jax", ("applications", "tiny"), [pytest.mark.slow]),
        ("torch", ("applications", "tiny"), [pytest.mark.slow]),
    )
]
METRICS = ("loss", "top_loss", "bottom_loss", "top_mean_iou", "bottom_pixel_accuracy", "ensemble_mean_iou")


class WithoutTensorFlow(PathFinder):
    """Finds every module but TensorFlow's."""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.split(".")[0] == "tensorflow" else super().find_spec(name, path, target)


def hide_tensorflow():
    sys.meta_path[sys.meta_path.index(PathFinder)] = WithoutTensorFlow


def photos():
    """Four images, dark and bright by turns, of an odd size, so that padding, resizing and cropping all have to act."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4, 65, 83, 3)) / np.reshape([3, 1, 2, 1], (4, 1, 1, 1))
    labels = rng.integers(0, 3, (4, 65, 83))
    labels[:, :9] = 255
    return images.astype("uint8"), labels.astype("uint8")


def settle(model, images):
    """Gives each normalisation about the statistics of what it gets, as training does: else random networks explode."""
    import keras

    layers = [layer for part in (model, *model.layers) for layer in getattr(part, "layers", ())]
    normalizations = [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]
    for momentum in (0.5, 0.5, 0.5, 0.9):  # the last one is the networks' own
        for layer in normalizations:
            layer.momentum = momentum
        if momentum == 0.5:
            model(images.astype("float32"), training=True)


def results(folder, names):
    """All that is compared, by name. TensorFlow runs first and leaves its weights and its model in the folder."""
    import keras
    import micro  # noqa: F401

    from keras_crosscoop import CrossCoop

    backend, results = keras.backend.backend(), {}
    images, labels = photos()
    for name in names:
        arguments = NETWORKS[name]
        keras.utils.set_random_seed(0)
        model = CrossCoop(3, **arguments, weights=None, dropout=(0, 0, 0))
        weights = folder / f"{name}.weights.h5"
        if backend == "tensorflow":
            settle(model, images)
            model.save_weights(weights)
        else:
            model.load_weights(weights)
        results |= {f"logits/{name}/{side}": values for side, values in model.predict(images[:2], verbose=0).items()}

    before = {weight.path: keras.ops.convert_to_numpy(weight) for weight in model.trainable_weights}
    model.compile(keras.optimizers.SGD(0.1))
    history = model.fit(images[:2], labels[:2], verbose=0).history
    results |= {f"fit/{name}": value for name, (value,) in history.items()}
    for weight in model.trainable_weights:
        results[f"update/{weight.path}"] = keras.ops.convert_to_numpy(weight) - before[weight.path]
    for weight in model.non_trainable_weights:
        if weight.path.endswith(("moving_mean", "moving_variance")):
            results[f"moving/{weight.path}"] = keras.ops.convert_to_numpy(weight)

    evaluated = model.evaluate(images, labels, batch_size=2, verbose=0, return_dict=True)
    results |= {f"evaluate/{name}": value for name, value in evaluated.items()}
    results |= {f"confusion/{name}": matrix for name, matrix in model.confusions.items()}

    class WithMore(CrossCoop):  # than the package's loss
        def compute_loss(self, *args, **kwargs):
            return 0.5 * super().compute_loss(*args, **kwargs) + 1

    more = WithMore(3, **arguments, weights=None)
    more.set_weights(model.get_weights())
    more.compile()
    results["more/loss"] = more.evaluate(images, labels, batch_size=4, verbose=0, return_dict=True)["loss"]

    model.save(folder / f"{backend}.keras")
    for origin in {"tensorflow", backend}:
        loaded = keras.saving.load_model(folder / f"{origin}.keras")
        results[f"segment/{origin}.keras"] = loaded.segment(images[1])
        results[f"jit/{origin}.keras"] = loaded.jit_compile
    return results | {"missing": missing()}


def missing():
    """What the package cannot give, and why."""
    import keras_crosscoop

    failed = []
    for place in (keras_crosscoop, keras_crosscoop.training):
        for name in place.__all__:
            try:
                getattr(place, name)
            except ImportError as error:
                failed.append(f"{name}: {error}")
    return failed


def run(backend, *command):
    on_the_cpu = {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}
    soon = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}  # of XLA: compiling takes most of the time
    environment = {**os.environ, **on_the_cpu, **soon, "KERAS_BACKEND": backend}
    done = subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def found_by(backend, folder, names):
    run(backend, __file__, str(folder), *names)
    with np.load(folder / f"{backend}.npz") as file:
        return dict(file)


def part(results, kind):
    return {name: value for name, value in results.items() if name.startswith(f"{kind}/")}


def numbers(results, kind):
    return {name: value.item() for name, value in part(results, kind).items()}


@pytest.fixture(scope="module", params=COMPARED)
def both(request, tmp_path_factory):
    """The results of TensorFlow, and those of the other backend with its name."""
    (backend, names), folder = request.param, tmp_path_factory.mktemp("portability")
    here = found_by("tensorflow", folder, names)
    return here, {**found_by(backend, folder, names), "backend": backend}


@pytest.fixture
def here(both):
    return both[0]


@pytest.fixture
def there(both):
    return both[1]


def test_the_same_weights_give_the_same_logits(here, there):
    """To 1e-4 of the largest logit, at every pixel of both outputs."""
    expected, actual = part(here, "logits"), part(there, "logits")
    assert set(actual) == set(expected)
    assert {name.split("/")[2] for name in actual} == {"top", "bottom"}
    for name, logits in expected.items():
        assert logits.std() > 0.1, "or there is nothing to see"
        assert logits.shape == actual[name].shape == (2, 65, 83, 3)
        assert np.abs(actual[name] - logits).max() <= 1e-4 * np.abs(logits).max(), name


def test_a_training_step_moves_the_weights_alike(here, there):
    """Each weight's change to 1 %, but for the noise of 24 bits, and the moving averages to 1e-4."""
    expected, actual = part(here, "update"), part(there, "update")
    assert set(actual) == set(expected)
    for name, update in expected.items():
        assert np.linalg.norm(actual[name] - update) <= 0.01 * np.linalg.norm(update) + 1e-6, name
    assert np.sqrt(sum(np.sum(update**2) for update in expected.values())) > 0.1
    for name, average in part(here, "moving").items():
        np.testing.assert_allclose(there[name], average, rtol=1e-3, atol=1e-4, err_msg=name)


def test_training_reports_the_same_losses(here, there):
    """Our step on TensorFlow reports nothing else; Keras's own measures classes, too."""
    expected, actual = numbers(here, "fit"), numbers(there, "fit")
    assert set(expected) == {"fit/loss", "fit/top_loss", "fit/bottom_loss"}
    assert {name: actual[name] for name in expected} == pytest.approx(expected, rel=1e-5)
    assert actual["fit/loss"] == pytest.approx(actual["fit/top_loss"] + actual["fit/bottom_loss"], rel=1e-6)


def test_a_subclass_adds_to_the_loss_everywhere(here, there):
    for results in (here, there):
        loss = numbers(results, "evaluate")["evaluate/loss"]
        assert numbers(results, "more")["more/loss"] == pytest.approx(0.5 * loss + 1, rel=1e-4)


def test_evaluation_reports_the_same_figures(here, there):
    """But for pixels on the border between two classes."""
    expected, actual = numbers(here, "evaluate"), numbers(there, "evaluate")
    assert set(actual) >= {f"evaluate/{metric}" for metric in METRICS}
    assert actual == pytest.approx(expected, abs=1e-3)
    for name, matrix in part(here, "confusion").items():
        assert there[name].dtype == "int64"
        assert there[name].sum() == matrix.sum() == 4 * 56 * 83, "void is not counted"
        assert np.abs(there[name] - matrix).sum() <= 20, name


def test_files_move_between_backends(here, there):
    """With the optimizer, and as fast as each can: only JAX compiles its steps unless it is told otherwise."""
    classes = here["segment/tensorflow.keras"]
    for origin in ("tensorflow", there["backend"]):
        assert np.mean(there[f"segment/{origin}.keras"] != classes) < 1e-3
        assert there[f"jit/{origin}.keras"] == (there["backend"] == "jax")
    assert len(np.unique(classes)) == 3
    assert not here["jit/tensorflow.keras"]


def test_only_what_reads_data_needs_tensorflow(here, there):
    names = ("Dataset", "dataset", "evaluation", "export", "fit", "load_dataset", "resume")
    assert sorted(there["missing"]) == [f"{name}: No module named 'tensorflow'" for name in names]
    assert here["missing"].size == 0


def test_names_are_imported_when_they_are_asked_for():
    """And all are listed before."""
    script = (
        "import sys, keras_crosscoop\n"
        "print(sorted(set(keras_crosscoop.__all__) - set(dir(keras_crosscoop))))\n"
        "print('keras_crosscoop.data' in sys.modules)\n"
        "print(keras_crosscoop.evaluation.evaluate.__module__, keras_crosscoop.load.__module__)\n"
        "from keras_crosscoop import *\n"
        "print(dataset.__module__, load_dataset.__module__, training.fit.__module__)\n"
        "print(hasattr(keras_crosscoop, 'datasets'), hasattr(training, 'fitt'))\n"
    )
    assert run("tensorflow", "-c", script).splitlines() == [
        "[]",
        "False",
        "keras_crosscoop.evaluation.evaluator keras_crosscoop.runs",
        "keras_crosscoop.data.catalogue keras_crosscoop.data.pipeline keras_crosscoop.training.trainer",
        "False False",
    ]


if __name__ == "__main__":
    if os.environ["KERAS_BACKEND"] != "tensorflow":
        hide_tensorflow()
    import keras

    warnings.simplefilter("error")  # after the backend's own import, which is not ours to judge
    warnings.filterwarnings("ignore", "__array__ implementation doesn't accept a copy keyword", DeprecationWarning)
    np.savez(Path(sys.argv[1]) / f"{keras.backend.backend()}.npz", **results(Path(sys.argv[1]), sys.argv[2:]))
