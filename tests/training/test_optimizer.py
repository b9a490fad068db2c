"""Each step is PyTorch's or Keras's, or computed again in NumPy; and only backbones learn at the plain rate.

This file is also what runs on two devices: TensorFlow splits a CPU in two only before it starts.
"""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_crosscoop import DeepLabV3Plus, config
from keras_crosscoop.errors import InputError
from keras_crosscoop.training import builders
from keras_crosscoop.training.optimizer import SGD, AdamW, in_backbone
from keras_crosscoop.training.schedule import Cosine, Polynomial

GOLDEN = Path(__file__).parent / "golden"
CASES = {  # on two devices
    "coupled": partial(SGD, ema_decay=0.3),
    "decoupled": partial(SGD, decoupled_weight_decay=True, weight_decay=0.05),
    "scaled": partial(SGD, ema_decay=0.3, momentum=0.0),
    "adamw": partial(AdamW, ema_decay=0.3, weight_decay=0.05),
}
both = pytest.mark.parametrize("kind", [SGD, AdamW])


def variables(values=(((1.0,), (-2.0,)), ((0.5,), (3.0,), (-1.0,))), dtype="float32"):
    """One in a backbone, one in a head."""
    made = []
    for scope, value in zip(("top_backbone", "top_aspp_1x1_conv"), values, strict=True):
        with keras.name_scope(scope):
            made.append(keras.Variable(np.array(value), dtype=dtype, name="kernel"))
    return made


def gradients(steps=10):
    rng = np.random.default_rng(0)
    return [[rng.normal(size=(size, 1)).astype("float32") for size in (2, 3)] for _ in range(steps)]


def numpy(some):
    return [keras.ops.convert_to_numpy(variable) for variable in some]


def assert_close(actual, expected):
    for one, other in zip(numpy(actual), expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def by_hand(weights, rates, momentum=0.9, decay=5e-4, multipliers=(1, 10), decoupled_weight_decay=False):
    """The weights after each step, and the last velocities."""
    weights = [weight.astype("float64") for weight in numpy(weights)]
    velocities = [np.zeros_like(weight) for weight in weights]
    trace = []
    for of_step, rate in zip(gradients(len(rates)), rates, strict=True):
        for i, gradient in enumerate(of_step):
            own = multipliers[i] * rate
            velocities[i] = momentum * velocities[i] + gradient + (0 if decoupled_weight_decay else decay * weights[i])
            weights[i] = weights[i] - own * velocities[i] - (own * decay * weights[i] if decoupled_weight_decay else 0)
        trace.append(list(weights))
    return trace, velocities


@pytest.mark.parametrize("compiled", ["not", "graph", "xla"])
@pytest.mark.parametrize("case", ["plain", "clipped"])
def test_ten_steps_are_those_of_torch(case, compiled, monkeypatch):
    """While the rate decays; where gradients are clipped by their common norm, some steps have less and some more."""
    monkeypatch.syspath_prepend(GOLDEN)
    import torch_sgd as golden

    start, of_steps = golden.inputs()
    weights = variables(start)
    optimizer = SGD(
        Polynomial(golden.RATE, golden.STEPS, golden.POWER),
        momentum=golden.MOMENTUM,
        weight_decay=golden.DECAY,
        head_lr_multiplier=golden.HEAD,
        global_clipnorm=golden.MAX_NORM if case == "clipped" else None,
    )
    optimizer.build(weights)

    def step(of_step):
        optimizer.apply(of_step, weights)

    if compiled != "not":
        step = tf.function(step, jit_compile=compiled == "xla")
    for of_step, expected in zip(of_steps, json.loads((GOLDEN / "torch_sgd.json").read_text())[case], strict=True):
        step([tf.constant(gradient) for gradient in of_step])
        assert_close(weights, expected["weights"])
        assert_close(optimizer.velocities, expected["velocities"])
    assert int(optimizer.iterations) == 10


@pytest.mark.parametrize("dtype", ["float32", "float64"])  # by kernels of TensorFlow's, or without
@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize(("momentum", "decay", "multiplier"), [(0.9, 5e-2, 10.0), (0.0, 5e-2, 3.0), (0.9, 0.0, 1.0)])
def test_ten_steps_by_hand(momentum, decay, multiplier, decoupled, dtype):
    """While the rate decays to zero, reached at the eighth step; decoupled, the decay is in no velocity."""
    options = {"momentum": momentum, "decoupled_weight_decay": decoupled}
    optimizer = SGD(Polynomial(0.1, 8), weight_decay=decay, head_lr_multiplier=multiplier, **options)
    weights = variables(dtype=dtype)
    rates = [0.1 * (1 - min(step, 8) / 8) ** 0.9 for step in range(10)]
    trace, velocities = by_hand(weights, rates, decay=decay, multipliers=(1, multiplier), **options)
    for of_step in gradients():
        optimizer.apply([tf.constant(gradient) for gradient in of_step], weights)
    assert_close(weights, trace[-1])
    assert_close(optimizer.velocities, velocities)
    assert {w.dtype for w in (*weights, *optimizer.velocities)} == {dtype}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_two_steps_by_hand(dtype):
    """Weight 1, gradient 0, decay 1/2, momentum 1/2, rate 1/4: velocity 1/2, then 1/4 + 7/16."""
    optimizer = SGD(0.25, momentum=0.5, weight_decay=0.5, head_lr_multiplier=2)
    weights = variables(((1, 0), (0, 0, 0)), dtype)
    zeros = [keras.ops.zeros(w.shape) for w in weights]
    optimizer.apply(zeros, weights)
    assert keras.ops.convert_to_numpy(weights[0]).tolist() == [1 - 1 / 8, 0]
    optimizer.apply(zeros, weights)
    assert keras.ops.convert_to_numpy(weights[0]).tolist() == [7 / 8 - 1 / 4 * (1 / 4 + 7 / 16), 0]


GROUPS = (  # an array of a backbone, and one of a head
    (((1.0, -2.0),), ((0.5,), (3.0,))),  # kernels
    ((1.0, -2.0), (0.5, 3.0, -1.0)),  # biases, or the scales and offsets of normalisation
)


def adamw_by_hand(weights, rates, *, decay, head, betas, epsilon, max_norm):
    """The weights after each step: algorithm 2 of Loshchilov and Hutter, with gradients clipped by their common norm.

    The schedule's rate multiplies the step and the decay, as in PyTorch.
    """
    weights = [weight.astype("float64") for weight in weights]
    rng = np.random.default_rng(0)
    moments = [(np.zeros_like(weight), np.zeros_like(weight)) for weight in weights]
    for t, rate in enumerate(rates, 1):
        of_step = [rng.normal(size=weight.shape) for weight in weights]
        norm = np.sqrt(sum((gradient**2).sum() for gradient in of_step))
        for i, gradient in enumerate(of_step):
            clipped = gradient * min(1, max_norm / norm) if max_norm else gradient
            first, second = moments[i]
            first = betas[0] * first + (1 - betas[0]) * clipped
            second = betas[1] * second + (1 - betas[1]) * clipped**2
            moments[i] = first, second
            unbiased = first / (1 - betas[0] ** t), second / (1 - betas[1] ** t)
            direction = unbiased[0] / (np.sqrt(unbiased[1]) + epsilon)
            own = rate * (head if i % 2 else 1)
            weights[i] = weights[i] - own * (direction + (decay * weights[i] if weights[i].ndim > 1 else 0))
        yield of_step, list(weights)


@pytest.mark.parametrize("compiled", ["not", "graph", "xla"])
@pytest.mark.parametrize("max_norm", [None, 3.0])  # some steps have less and some more
@pytest.mark.parametrize("dtype", ["float32", "float64"])  # by kernels of TensorFlow's, or without
def test_ten_steps_are_those_of_the_paper_on_adamw(dtype, max_norm, compiled):
    """While the rate decays to zero, reached at the eighth step; of four groups: backbone and head, decay and none."""
    weights = [weight for values in GROUPS for weight in variables(values, dtype)]
    options = {"beta_1": 0.8, "beta_2": 0.99, "epsilon": 1e-12}
    optimizer = AdamW(
        Cosine(0.02, 8), weight_decay=0.5, head_lr_multiplier=5, global_clipnorm=max_norm, clipnorm=None, **options
    )
    optimizer.build(weights)
    rates = [0.02 * (1 + np.cos(np.pi * min(step, 8) / 8)) / 2 for step in range(10)]

    def step(of_step):
        optimizer.apply(of_step, weights)

    if compiled != "not":
        step = tf.function(step, jit_compile=compiled == "xla")
    expected = adamw_by_hand(
        numpy(weights), rates, decay=0.5, head=5, betas=(0.8, 0.99), epsilon=1e-12, max_norm=max_norm
    )
    for of_step, after in expected:
        step([tf.constant(gradient, dtype) for gradient in of_step])
        assert_close(weights, after)
    assert int(optimizer.iterations) == 10


@pytest.mark.parametrize("amsgrad", [False, True])
def test_ten_steps_are_those_of_keras_own_adamw(amsgrad):
    """Where no multiplier acts and all variables decay; of gradients so small that epsilon counts.

    The second moment forgets so fast that it also falls, which AMSGrad ignores.
    """
    options = {"learning_rate": Polynomial(0.1, 8), "weight_decay": 0.5, "beta_2": 0.5, "amsgrad": amsgrad}
    ours, keras_own = AdamW(head_lr_multiplier=1, **options), keras.optimizers.AdamW(**options)
    weights, twins = variables(), variables()
    for of_step in gradients():
        for optimizer, own in ((ours, weights), (keras_own, twins)):
            optimizer.apply([tf.constant(1e-6 * gradient) for gradient in of_step], own)
        assert_close(weights, numpy(twins))


@both
def test_variables_can_be_excluded_from_weight_decay(kind):
    """By Keras's own method."""
    kernel, bias = variables(((((1.0,),)), (1.0,)))
    optimizer = kind(weight_decay=0.25)
    optimizer.build([kernel, bias])
    assert optimizer.decays == [0.25, 0.25 if kind is SGD else 0]
    optimizer = kind(weight_decay=0.25)
    optimizer.exclude_from_weight_decay([kernel])
    optimizer.build([kernel, bias])
    assert optimizer.decays == [0, 0.25 if kind is SGD else 0]


@both
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("average", [0.0, 0.3, 0.999])
def test_averages_follow_the_weights(average, dtype, kind):
    """The first steps have a smaller decay than `ema_decay`: three steps for 0.3, and all for 0.999."""
    optimizer, weights = kind(0.1, ema_decay=average), variables(dtype=dtype)
    optimizer.build(weights)
    expected = before = numpy(weights)
    assert_close(optimizer.ema_weights, expected)
    for t, of_step in enumerate(gradients()):
        optimizer.apply([tf.constant(gradient) for gradient in of_step], weights)
        decay = min(average, (1 + t) / (10 + t))
        expected = [decay * a + (1 - decay) * w for a, w in zip(expected, numpy(weights), strict=True)]
        assert_close(optimizer.ema_weights, expected)
    assert all(np.abs(one - other).min() > 0.01 for one, other in zip(before, numpy(weights), strict=True))


@both
def test_a_step_with_gradients_that_are_not_finite_is_skipped(kind):
    """By the optimizer that scales losses: nothing moves, and its scale halves. The next step is the first one."""
    weights, twins = variables(), variables()
    inner, alone = kind(Polynomial(0.1, 8), ema_decay=0.3), kind(Polynomial(0.1, 8), ema_decay=0.3)
    optimizer = keras.optimizers.LossScaleOptimizer(inner, initial_scale=8)
    optimizer.build(weights)
    before = numpy(inner.variables)
    (of_step,) = gradients(1)
    step = tf.function(lambda *some: optimizer.apply(some, weights))
    for bad in (np.nan, np.inf):
        step(tf.constant(of_step[0] * [[1], [bad]], "float32"), tf.constant(of_step[1]))
        assert_close(weights, numpy(twins))
        assert_close(inner.variables, before)
    assert float(optimizer.dynamic_scale) == 2
    step(*(tf.constant(2 * gradient) for gradient in of_step))
    alone.apply([tf.constant(gradient) for gradient in of_step], twins)
    assert_close(weights, numpy(twins))
    assert_close(inner.variables, numpy(alone.variables))
    assert int(optimizer.iterations) == 1


@pytest.mark.parametrize(("kind", "count"), [(SGD, 2), (AdamW, 3)])  # variables for each weight
def test_all_its_state_is_in_its_variables(kind, count):
    """Another one that takes these over goes on with the same steps."""
    weights, twins = variables(), variables()
    optimizer, other = (kind(Polynomial(0.1, 8), ema_decay=0.9) for _ in range(2))
    first, second, third = ([tf.constant(gradient) for gradient in of_step] for of_step in gradients(3))
    optimizer.apply(first, weights)
    optimizer.apply(second, weights)
    other.build(twins)
    assert len(optimizer.variables) == 1 + count * len(weights)
    for own, others in zip((*optimizer.variables, *weights), (*other.variables, *twins), strict=True):
        others.assign(own)
    optimizer.apply(third, weights)
    other.apply(third, twins)
    for own, others in zip((*optimizer.variables, *weights), (*other.variables, *twins), strict=True):
        np.testing.assert_array_equal(own.numpy(), others.numpy())


@pytest.mark.parametrize(
    ("kind", "own"),
    [(SGD, {"momentum": 0.8, "decoupled_weight_decay": True}), (AdamW, {"beta_1": 0.8, "amsgrad": True})],
)
def test_comes_back_from_its_configuration(kind, own):
    options = {"weight_decay": 1e-3, "head_lr_multiplier": 7.0, "ema_decay": 0.99, "clipnorm": 2.0, "name": "mine"}
    optimizer = kind(Polynomial(0.1, 8, 0.7, 2), **options, **own)
    back = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(optimizer))
    assert type(back) is kind
    assert {name: getattr(back, name) for name in (*options, *own)} == options | own
    assert back._learning_rate.get_config() == optimizer._learning_rate.get_config()
    assert back.get_config() == optimizer.get_config()


@both
@pytest.mark.parametrize("options", [{"ema_decay": 1.0}, {"ema_decay": -0.1}, {"use_ema": True}])
def test_refuses_averages_that_it_cannot_keep(options, kind):
    ((name, value),) = options.items()
    with pytest.raises(InputError, match=rf"`ema_decay`.* Received: {name}={value}\."):
        kind(**options)


SHARED = {"weight_decay": 0.1, "head_lr_multiplier": 3.0, "ema_decay": 0.9}


@pytest.mark.parametrize(
    ("given", "kind", "schedule", "options"),
    [
        ({}, SGD, Polynomial(0.007, 100), {}),
        ({"optimizer": "adamw", "schedule": "cosine"}, AdamW, Cosine(6e-5, 100), {}),
        (
            {"poly_power": 2.0, "warmup_steps": 4, "momentum": 0.5, "decoupled_weight_decay": True, **SHARED},
            SGD,
            Polynomial(0.007, 100, 2.0, 4),
            {"momentum": 0.5, "decoupled_weight_decay": True, **SHARED},
        ),
        (
            {"optimizer": "adamw", "learning_rate": 0.1, "warmup_steps": 4, "clip_norm": 2.0, **SHARED},
            AdamW,
            Polynomial(0.1, 100, 0.9, 4),
            {"global_clipnorm": 2.0, **SHARED},
        ),
    ],
    ids=["sgd by default", "adamw by default", "sgd", "adamw"],
)
def test_settings_make_an_optimizer(given, kind, schedule, options):
    """For 50 epochs of two steps."""
    made = builders.optimizer(config.settings({"train": given}), 2)
    assert (type(made), made.get_config()) == (kind, kind(schedule, **options).get_config())


@pytest.mark.parametrize("topology", ["cross", None])
def test_backbones_variables_are_told_by_their_path(pair, topology):
    """Exactly those of the backbones, among all of a model's; also of a model that was made from a configuration."""
    if topology:
        model, scopes = pair(top="tiny_resnet"), ("top_backbone", "bottom_backbone")
    else:
        model, scopes = DeepLabV3Plus(3, backbone="tiny_resnet", weights=None, decoder_channels=8), ("single_backbone",)
    for network in (model, type(model).from_config(model.get_config())):
        backbones = {id(w) for scope in scopes for w in network.get_layer(scope).variables}
        assert {id(w) for w in network.variables if in_backbone(w)} == backbones
        assert 0 < len(backbones) < len(network.variables)
        optimizer = AdamW(head_lr_multiplier=10)
        optimizer.build(network.trainable_variables)
        expected = [1 if id(w) in backbones else 10 for w in network.trainable_variables]
        assert optimizer.multipliers == expected
        names = {True: set(), False: set()}
        for weight, decay in zip(network.trainable_variables, optimizer.decays, strict=True):
            names[decay > 0].add(weight.name)
        assert names == {True: {"kernel"}, False: {"bias", "gamma", "beta"}}


def trained(case, replicas):
    """What is there after four steps, each replica giving its part of the gradients.

    Weights, a statistic, which each of them keeps by itself, and the optimizer's variables.
    """
    weights = variables()
    statistic = keras.Variable(np.array([1.0, 2.0]), dtype="float32", trainable=False, name="moving_mean")
    optimizer = CASES[case](Polynomial(0.1, 5))
    if case == "scaled":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=4)
    optimizer.build(weights)
    getattr(optimizer, "inner_optimizer", optimizer).update_ema_statistics([statistic])

    @tf.function
    def step(*of_step):
        statistic.assign(0.5 * statistic + of_step[0][:, 0])
        optimizer.apply([optimizer.scale_loss(gradient / replicas) for gradient in of_step], weights)

    for of_step in gradients(4):
        tf.distribute.get_strategy().run(step, [tf.constant(gradient) for gradient in of_step])
    return [*weights, statistic, *optimizer.variables]


def test_two_devices_keep_what_one_does(tmp_path):
    """Weights, velocities or moments, averages and counts, on either device, where Keras sums both gradients."""
    done = subprocess.run([sys.executable, __file__, tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    for case in CASES:
        expected = numpy(trained(case, 1))
        for device in range(2):
            with np.load(tmp_path / f"{case}_{device}.npz") as arrays:
                assert_close(arrays.values(), expected)


if __name__ == "__main__":
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    for case in CASES:
        with strategy.scope():
            made = [strategy.experimental_local_results(variable.value) for variable in trained(case, 2)]
        for device, of_device in enumerate(zip(*made, strict=True)):
            np.savez(Path(sys.argv[1]) / f"{case}_{device}.npz", *(copy.numpy() for copy in of_device))
