"""Recomputation changes what is kept, and nothing else: logits, gradients and every variable after a step.

This file is also what runs on two devices, and where memory is measured: both need a process of their own.
"""

import re
import subprocess
import sys
from functools import partial
from itertools import chain
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_crosscoop import CrossCoop, DeepLabV3Plus, backbones
from keras_crosscoop.layers import Dropout, PadToMultiple, ResizeLike
from keras_crosscoop.models import Segmenter, remat

AT_LEAST = 6  # operations, so that small backbones have several segments
PAIR = {"top": "tiny_xception", "bottom": "tiny_resnet", "decoder_channels": 8, "weights": None}


def images(batch=2, size=32):
    return np.random.default_rng(0).integers(0, 256, (batch, size, size, 3)).astype("uint8")


def network(kind=CrossCoop, **arguments):
    keras.utils.set_random_seed(0)
    return kind(
        3, **({**PAIR, **arguments} if kind is CrossCoop else {"decoder_channels": 8, "weights": None, **arguments})
    )


def small_network():
    """A backbone, and as little of a head as reads both of its taps."""
    keras.utils.set_random_seed(0)
    image = keras.Input((None, None, 3))
    taps = backbones.build("micro_3x3", weights=None, scope="single_backbone")(PadToMultiple(16)(image))
    x = keras.layers.Concatenate()([taps["low"], ResizeLike()(taps["high"], taps["low"])])
    x = Dropout(0.5)(x)
    return Segmenter(image, {"single": keras.layers.Conv2D(3, 1, name="single_classifier")(x)}, {})


def weighted(logits):
    """A loss whose gradient differs from pixel to pixel."""
    rng = np.random.default_rng(1)
    return tf.add_n([tf.reduce_mean(logits[side] * rng.normal(size=logits[side].shape)) for side in sorted(logits)])


def state(model):
    """Weights by name, and what random layers draw from next."""
    seeds = [variable for variable in model.variables if "seed" in variable.path]  # numbered through the whole process
    arrays = {f"after/{weight.path}": weight.numpy() for weight in model.weights}
    return arrays | {f"after/seed_{index}": seed.numpy() for index, seed in enumerate(seeds)}


def step(model, forward):
    """Logits and gradients of a traced step, and what it leaves in the variables, all by name."""

    @tf.function
    def traced(x):
        with tf.GradientTape() as tape:
            logits = forward(x)
            loss = weighted(logits)
        return logits, tape.gradient(loss, [weight.value for weight in model.trainable_weights])

    logits, gradients = traced(images())
    names = [f"gradient/{weight.path}" for weight in model.trainable_weights]
    return {**logits, **dict(zip(names, gradients, strict=True)), **state(model)}


def compared(build, at_least=AT_LEAST):
    """Steps of two equal models, plain and recomputed."""
    model, other = build(), build()
    before = state(model)
    plain = step(model, lambda x: model(x, training=True))
    actual = step(other, remat.recomputed(other, at_least))
    assert actual.keys() == plain.keys()
    changed = {name for name, value in before.items() if not np.array_equal(value, plain[name])}
    return plain, actual, changed


def assert_alike(plain, actual, tolerance=1e-4):
    """Each array, to `tolerance` of its largest number, or of a hundredth of the largest of all gradients.

    Before a normalisation, gradients of additions are zero but for rounding.
    """
    largest = max(np.abs(value).max() for name, value in plain.items() if name.startswith("gradient/"))
    for name, expected in plain.items():
        expected, array = np.asarray(expected, "float64"), np.asarray(actual[name], "float64")
        scale = max(np.abs(expected).max(), 0.01 * largest)
        np.testing.assert_allclose(array, expected, rtol=0, atol=tolerance * scale, err_msg=name)


@pytest.mark.parametrize(
    "build",
    [
        small_network,
        *(
            pytest.param(partial(network, kind, **arguments), marks=pytest.mark.slow)
            for kind, arguments in (
                (CrossCoop, {}),
                (CrossCoop, {"topology": "none", "sites": ()}),
                (DeepLabV3Plus, {"backbone": "tiny_xception"}),
                (DeepLabV3Plus, {"backbone": {"name": "mobilenet_v2", "alpha": 0.35}}),
            )
        ),
    ],
)
def test_a_step_is_the_same(build):
    """Moving averages among what it leaves: updated once, not again in the backward pass. Dropout is on."""
    plain, actual, changed = compared(build)
    assert any(name.endswith("moving_variance") and "backbone" in name for name in changed)
    assert all(np.any(plain[name]) for name in plain if name.startswith("gradient/"))
    assert_alike(plain, actual)


@pytest.mark.slow
def test_dropout_in_a_backbone_draws_the_same_twice():
    """EfficientNet drops whole blocks; a second draw would give the gradients of another network."""
    plain, actual, changed = compared(lambda: network(DeepLabV3Plus, backbone="efficientnet_b0"), 40)
    assert sum("seed" in name for name in changed) > 3, "the head has three"
    assert_alike(plain, actual)


@pytest.mark.slow
def test_frozen_weights_have_no_gradient_and_frozen_statistics_stay():
    def build():
        model = network()
        model.get_layer("top_backbone").trainable = False
        return model

    plain, actual, changed = compared(build)
    assert not any("top_backbone" in name for name in [*changed, *actual] if not name.startswith("after/"))
    assert_alike(plain, actual)


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_a_step_in_half_precision_is_the_same(policy):
    """Recomputed under the default policy, as where a run goes on: the layers keep theirs."""

    def build():
        keras.config.set_dtype_policy(policy)
        try:
            return network()
        finally:
            keras.config.set_dtype_policy("float32")

    plain, actual, _ = compared(build)
    assert_alike(plain, actual, 0.01)  # bfloat16 has 8 bits


@pytest.mark.parametrize(
    "name",
    [
        *("tiny_xception", "tiny_resnet"),
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("resnet50", "mobilenet_v3_large", "xception65")),
    ],
)
def test_segments_make_up_the_backbone(name):
    """Each operation stands in one of them, once, and they are as long as they shall be and hardly longer."""
    backbone = backbones.build(name, weights=None)
    parts = remat.segments(backbone, 16)
    operations = [
        [operation.name for operation in part.operations if not isinstance(operation, keras.layers.InputLayer)]
        for part in parts
    ]
    expected = [operation.name for operation in backbone.operations[1:]]
    assert sorted(chain(*operations)) == sorted(expected)
    assert all(16 <= len(part) <= 40 for part in operations[:-1])
    assert [set(part.output) - {"next"} for part in parts if set(part.output) - {"next"}] in (
        [{"low"}, {"high"}],
        [{"low", "high"}],
    )


@pytest.mark.slow
def test_the_model_stays_as_it_is(tmp_path):
    model = network(dropout=(0, 0, 0))
    config, names = model.to_json(), [weight.path for weight in model.weights]
    remat.recomputed(model, AT_LEAST)
    assert model.to_json() == config
    assert [weight.path for weight in model.weights] == names
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(images())["top"], model(images())["top"])
    actual = step(loaded, remat.recomputed(loaded, AT_LEAST))
    assert_alike(step(model, lambda x: model(x, training=True)), actual)


def on_two_devices(file):
    """Writes what plain and recomputed steps with synchronised normalisation leave in the weights of two devices."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    arrays = {}
    for name in ("plain", "recomputed"):
        with strategy.scope():
            model = network(dropout=(0, 0, 0))
            optimizer = keras.optimizers.SGD(0.01)
            optimizer.build(model.trainable_variables)
        for layer in model._flatten_layers():
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.synchronized = True
        forward = remat.recomputed(model, AT_LEAST) if name == "recomputed" else partial(model, training=True)

        def replica(x, model=model, optimizer=optimizer, forward=forward):
            with tf.GradientTape() as tape:
                loss = weighted(forward(x)) / 2
            optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)

        halves = strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(np.split(images(4), 2)[context.replica_id_in_sync_group])
        )
        traced = tf.function(replica)
        before = model.get_weights()
        for _ in range(2):
            strategy.run(traced, [halves])
        arrays |= {f"{name}/gradient/{w.path}": w.numpy() - old for w, old in zip(model.weights, before, strict=True)}
    np.savez(file, **arrays)


def highest():
    """The most memory that this process has held, in MiB; `ru_maxrss` would begin with that of the tests."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024


def peak(mode):
    """Prints by how many MiB a step raises what the process has held before."""
    model = network(DeepLabV3Plus, backbone="resnet50", dropout=(0, 0, 0))
    forward = remat.recomputed(model) if mode == "recomputed" else lambda x: model(x, training=True)
    x = images(8, 129)

    @tf.function
    def traced():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(forward(x)["single"] ** 2)
        return [tf.norm(gradient) for gradient in tape.gradient(loss, model.trainable_variables)]

    traced.get_concrete_function()
    before = highest()
    traced()
    sys.stdout.write(str(highest() - before))


def alone(*arguments):
    done = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


@pytest.mark.slow
def test_two_devices_in_step_recompute_alike(tmp_path):
    alone("devices", str(tmp_path / "found.npz"))
    with np.load(tmp_path / "found.npz") as archive:
        plain, recomputed = (
            {name.removeprefix(kind): archive[name] for name in archive if name.startswith(kind)}
            for kind in ("plain/", "recomputed/")
        )
    assert np.abs(plain["gradient/top_backbone/entry_flow_conv1_1/kernel"]).max() > 0
    assert plain.keys() == recomputed.keys()
    assert_alike(plain, recomputed, 1e-4)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells it")
def test_memory_is_saved():
    """Which it is not where TensorFlow merges the second pass with the first one."""
    plain, recomputed = (float(alone("peak", mode)) for mode in ("plain", "recomputed"))
    assert recomputed < 0.6 * plain


if __name__ == "__main__":
    {"devices": on_two_devices, "peak": peak}[sys.argv[1]](sys.argv[2])
