"""Exports work without this package, and without Keras."""

import json
import subprocess
import sys

import numpy as np
import pytest

BLOCKED = """\
import json, sys
import numpy as np
sys.modules.update(dict.fromkeys({blocked!r}))
"""


def alone(script, *arguments, blocked):
    """What a script prints, as JSON, in a process that can import nothing of `blocked`."""
    text = BLOCKED.format(blocked=blocked) + script
    done = subprocess.run([sys.executable, "-c", text, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.mark.slow
def test_the_block_holds():
    for module in ("keras", "keras_crosscoop.layers"):
        script = f"try:\n    import {module}\nexcept ModuleNotFoundError as error:\n    print(json.dumps(error.name))\n"
        assert alone(script, blocked=["keras", "keras_crosscoop"]) in (module, module.split(".")[0])


def assert_same(predicted, network, images):
    expected = network.segment(images[0], probabilities=True)
    np.testing.assert_allclose(predicted["confidence"], expected[1].max(-1), atol=1e-5)
    assert (np.array(predicted["classes"]) == expected[0]).mean() > 0.999


@pytest.mark.slow
def test_a_saved_model_needs_tensorflow_alone(saved_model, network, images, tmp_path):
    np.save(tmp_path / "image.npy", images[:1])
    script = (
        "import tensorflow as tf\n"
        "segment = tf.saved_model.load(sys.argv[1]).signatures['serving_default']\n"
        "found = segment(image=tf.constant(np.load(sys.argv[2])))\n"
        "print(json.dumps({key: value.numpy()[0].tolist() for key, value in found.items()}))\n"
    )
    blocked = ["keras", "keras_crosscoop", "crosscoop_tf", "h5py"]
    assert_same(alone(script, saved_model, tmp_path / "image.npy", blocked=blocked), network, images)


@pytest.mark.slow
def test_a_litert_file_needs_its_interpreter_alone(litert_files, network, images, tmp_path):
    np.save(tmp_path / "image.npy", images[:1])
    script = (
        "from ai_edge_litert.interpreter import Interpreter\n"
        "segment = Interpreter(sys.argv[1]).get_signature_runner('serving_default')\n"
        "found = segment(image=np.load(sys.argv[2]))\n"
        "print(json.dumps({key: value[0].tolist() for key, value in found.items()}))\n"
    )
    blocked = ["tensorflow", "keras", "keras_crosscoop", "crosscoop_tf", "jax", "torch"]
    assert_same(alone(script, litert_files["none"], tmp_path / "image.npy", blocked=blocked), network, images)


def saved_model_cli(*arguments):
    command = [sys.executable, "-m", "tensorflow.python.tools.saved_model_cli", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_saved_model_cli_shows_and_runs_it(saved_model, network, images, tmp_path):
    np.save(tmp_path / "image.npy", images[:1])
    shown = saved_model_cli("show", "--dir", saved_model, "--all")
    for part in ("signature_def['serving_default']", "signature_def['serve_bytes']", "signature_def['probabilities']"):
        assert part in shown
    assert "shape: (-1, -1, -1, 3)" in shown
    saved_model_cli(
        *("run", "--dir", saved_model, "--tag_set", "serve", "--signature_def", "serving_default"),
        *("--inputs", f"image={tmp_path / 'image.npy'}", "--outdir", tmp_path / "out"),
    )
    predicted = {name: np.load(tmp_path / "out" / f"{name}.npy")[0] for name in ("classes", "confidence")}
    assert_same(predicted, network, images)


@pytest.mark.parametrize("unknown", ["keras_crosscoop", "RegisteredKeras"])
def test_a_saved_model_names_nothing_of_this_package(saved_model, unknown):
    assert unknown.encode() not in (saved_model / "saved_model.pb").read_bytes()
