"""The optimizer against NumPy: PyTorch's rule, written out."""

import keras
import numpy as np
import pytest

from keras_crosscoop import CrossCoop
from keras_crosscoop.training import SGD
from keras_crosscoop.training.optimizer import in_backbone


def weight(scope: str, value: np.ndarray) -> keras.Variable:
    with keras.name_scope(scope):
        return keras.Variable(value, name="kernel")


def test_ten_steps_equal_the_rule_written_out():
    random = np.random.default_rng(0)
    start = random.normal(size=(2, 3)).astype("float32")
    inside, outside = weight("top_backbone", start), weight("top_classifier", start)
    schedule = keras.optimizers.schedules.PolynomialDecay(0.1, decay_steps=10, end_learning_rate=0.0, power=0.9)
    optimizer = SGD(schedule, momentum=0.9, weight_decay=0.01, head_multiplier=10.0)
    expected = {1.0: start.astype("float64"), 10.0: start.astype("float64")}
    velocity = dict.fromkeys(expected, 0.0)

    for step in range(10):
        gradient = random.normal(size=(2, 3)).astype("float32")
        optimizer.apply([gradient, gradient], [inside, outside])
        rate = 0.1 * (1 - step / 10) ** 0.9
        for multiplier in expected:
            velocity[multiplier] = 0.9 * velocity[multiplier] + gradient + 0.01 * expected[multiplier]
            expected[multiplier] = expected[multiplier] - rate * multiplier * velocity[multiplier]

    np.testing.assert_allclose(inside.numpy(), expected[1.0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(outside.numpy(), expected[10.0], rtol=1e-5, atol=1e-5)


def test_the_backbones_variables_are_those_of_the_backbones():
    model = CrossCoop(3, top="tiny_xception", bottom="tiny_resnet", width=8, weights=None)
    backbones = [layer for layer in model.layers if isinstance(layer, keras.Model)]
    assert {layer.name for layer in backbones} == {"top_backbone", "bottom_backbone"}
    inside = {id(variable) for backbone in backbones for variable in backbone.trainable_variables}
    assert {id(variable) for variable in model.trainable_variables if in_backbone(variable)} == inside
    assert 0 < len(inside) < len(model.trainable_variables)


def test_it_survives_serialisation():
    optimizer = SGD(0.5, momentum=0.8, weight_decay=0.02, head_multiplier=3.0)
    copy = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert isinstance(copy, SGD)
    assert copy.get_config() == optimizer.get_config()
    assert (copy.momentum, copy.decay, copy.head_multiplier) == (0.8, 0.02, 3.0)


def test_weight_decay_is_not_applied_twice():
    variable = weight("head", np.ones((1,), "float32"))
    SGD(0.1, momentum=0.0, weight_decay=0.5, head_multiplier=1.0).apply([np.zeros(1, "float32")], [variable])
    assert variable.numpy()[0] == pytest.approx(1 - 0.1 * 0.5)
