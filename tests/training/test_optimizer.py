"""Each step is PyTorch's, computed again in NumPy; and only backbones learn at the plain rate."""

import keras
import numpy as np
import pytest

from keras_crosscoop import DeepLabV3Plus
from keras_crosscoop.training.optimizer import SGD, in_backbone

SCHEDULE = {"initial_learning_rate": 0.1, "decay_steps": 8, "end_learning_rate": 0.0, "power": 0.9}


def polynomial(step):
    return 0.1 * (1 - min(step, 8) / 8) ** 0.9


def variables():
    """One in a backbone, one in a head."""
    made = []
    for scope, value in (("top_backbone", [1.0, -2.0]), ("top_aspp_1x1_conv", [0.5, 3.0, -1.0])):
        with keras.name_scope(scope):
            made.append(keras.Variable(value, dtype="float32", name="kernel"))
    return made


def by_torch(values, gradients, rates, momentum, decay, multipliers):
    """`torch.optim.SGD` with two parameter groups: the velocity holds no learning rate, decay is in the gradient."""
    values = [np.array(value, "float64") for value in values]
    velocities = [np.zeros_like(value) for value in values]
    for step_gradients, rate in zip(gradients, rates, strict=True):
        for i, gradient in enumerate(step_gradients):
            velocities[i] = momentum * velocities[i] + gradient + decay * values[i]
            values[i] = values[i] - multipliers[i] * rate * velocities[i]
    return values, velocities


@pytest.mark.parametrize(("momentum", "decay", "multiplier"), [(0.9, 5e-2, 10.0), (0.0, 5e-2, 3.0), (0.9, 0.0, 1.0)])
def test_ten_steps_are_those_of_torch(momentum, decay, multiplier):
    """While the rate decays along a polynomial to zero, reached at the eighth step."""
    schedule = keras.optimizers.schedules.PolynomialDecay(**SCHEDULE)
    optimizer = SGD(schedule, momentum=momentum, weight_decay=decay, head_multiplier=multiplier)
    weights, rng = variables(), np.random.default_rng(0)
    start = [w.numpy() for w in weights]
    gradients = [[rng.normal(size=w.shape).astype("float32") for w in weights] for _ in range(10)]
    for step_gradients in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(g) for g in step_gradients], weights)
    rates = [polynomial(step) for step in range(10)]
    expected, velocities = by_torch(start, gradients, rates, momentum, decay, (1, multiplier))
    for weight, value in zip(weights, expected, strict=True):
        np.testing.assert_allclose(weight.numpy(), value, rtol=1e-5, atol=1e-6)
    for velocity, value in zip(optimizer.velocities, velocities, strict=True):
        np.testing.assert_allclose(velocity.numpy(), value, rtol=1e-5, atol=1e-6)
    assert int(optimizer.iterations) == 10


def test_two_steps_by_hand():
    """Weight 1, gradient 0, decay 1/2, momentum 1/2, rate 1/4: velocity 1/2, then 1/4 + 7/16."""
    optimizer = SGD(0.25, momentum=0.5, weight_decay=0.5, head_multiplier=2)
    weights = variables()
    weights[0].assign([1, 0])
    zeros = [keras.ops.zeros(w.shape) for w in weights]
    optimizer.apply(zeros, weights)
    assert weights[0].numpy().tolist() == [1 - 1 / 8, 0]
    optimizer.apply(zeros, weights)
    assert weights[0].numpy().tolist() == [7 / 8 - 1 / 4 * (1 / 4 + 7 / 16), 0]


def test_comes_back_from_its_configuration():
    optimizer = SGD(
        keras.optimizers.schedules.PolynomialDecay(**SCHEDULE),
        momentum=0.8,
        weight_decay=1e-3,
        head_multiplier=7.0,
        clipnorm=2.0,
        name="mine",
    )
    back = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(optimizer))
    assert type(back) is SGD
    assert (back.momentum, back.decay, back.head_multiplier, back.clipnorm, back.name) == (0.8, 1e-3, 7.0, 2.0, "mine")
    assert back._learning_rate.get_config() == optimizer._learning_rate.get_config()
    assert back.get_config() == optimizer.get_config()


@pytest.mark.parametrize("topology", ["cross", None])
def test_backbones_variables_are_told_by_their_path(pair, topology):
    """Exactly those of the backbones, among all of a model's; also of a model that was made from a configuration."""
    if topology:
        model, scopes = pair(top={"name": "mobilenet", "alpha": 0.25}), ("top_backbone", "bottom_backbone")
    else:
        model, scopes = DeepLabV3Plus(3, backbone="tiny_resnet", weights=None, width=8), ("single_backbone",)
    for network in (model, type(model).from_config(model.get_config())):
        backbones = {id(w) for scope in scopes for w in network.get_layer(scope).variables}
        assert {id(w) for w in network.variables if in_backbone(w)} == backbones
        assert 0 < len(backbones) < len(network.variables)
        optimizer = SGD(head_multiplier=10)
        optimizer.build(network.trainable_variables)
        expected = [1 if id(w) in backbones else 10 for w in network.trainable_variables]
        assert optimizer.multipliers == expected
