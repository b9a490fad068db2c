"""The learning rate, step by step, beside PyTorch's and by hand."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_crosscoop.errors import InputError
from keras_crosscoop.training.schedule import Polynomial


def test_rates_are_those_of_torch():
    golden = json.loads((Path(__file__).parent / "golden/torch_sgd.json").read_text())["plain"]
    schedule = Polynomial(0.1, 10)
    np.testing.assert_allclose([schedule(step) for step in range(10)], [step["rate"] for step in golden], rtol=1e-6)


def test_warms_up_on_top_of_the_decay():
    """To all of it at the last step of the warm-up; a power of 2 over 8 steps."""
    rates = [float(Polynomial(64.0, 8, 2, warmup_steps=4)(step)) for step in range(8)]
    assert rates == [64 / 4, 49 * 2 / 4, 36 * 3 / 4, 25, 16, 9, 4, 1]


@pytest.mark.parametrize("warmup_steps", [0, 1, 3, 200])
def test_ends_are_exact(warmup_steps):
    """The whole rate at first, where it does not warm up, and zero from the end on, however far beyond."""
    schedule = Polynomial(0.007, 100, warmup_steps=warmup_steps)
    assert float(schedule(0)) == np.float32(0.007) / np.float32(max(warmup_steps, 1))
    assert [float(schedule(step)) for step in (100, 101, 10**9)] == [0, 0, 0]
    assert float(schedule(99)) == pytest.approx(0.007 * 0.01**0.9 * min(1, 100 / max(warmup_steps, 1)), rel=1e-6)


def test_no_digits_are_lost_in_a_long_training():
    """A step short of ten million, 1 - step / steps has none left in float32."""
    assert float(Polynomial(1.0, 10**7, power=1)(10**7 - 1)) == pytest.approx(1e-7, rel=1e-6)


@pytest.mark.parametrize("compiled", [False, True])
def test_takes_the_count_of_an_optimizer(compiled):
    """And gives float32, of any kind of integer."""
    schedule = Polynomial(1.0, 4, 1, warmup_steps=2)
    call = tf.function(schedule, jit_compile=True) if compiled else schedule
    count = keras.Variable(3, dtype="int64", trainable=False)
    for step in (count, count.value, tf.constant(3), np.int64(3), 3):
        assert (call(step).dtype, float(call(step))) == (tf.float32, 0.25)


def test_comes_back_from_its_configuration():
    schedule = Polynomial(0.1, 10, 0.5, 3)
    back = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
    assert type(back) is Polynomial
    assert back.get_config() == {"learning_rate": 0.1, "steps": 10, "power": 0.5, "warmup_steps": 3}
    assert [float(back(step)) for step in range(11)] == [float(schedule(step)) for step in range(11)]


@pytest.mark.parametrize("options", [{"steps": 0}, {"steps": 10, "warmup_steps": -1}])
def test_refuses_counts_that_make_no_schedule(options):
    with pytest.raises(InputError, match=r"`steps` of 1 or more.* Received: steps="):
        Polynomial(0.1, **options)
