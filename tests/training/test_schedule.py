"""The learning rate, step by step, beside PyTorch's and Keras's, and by hand."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_crosscoop.errors import InputError
from keras_crosscoop.training.schedule import Cosine, Polynomial

both = pytest.mark.parametrize("kind", [Polynomial, Cosine])


def test_rates_are_those_of_torch():
    golden = json.loads((Path(__file__).parent / "golden/torch_sgd.json").read_text())["plain"]
    schedule = Polynomial(0.1, 10)
    np.testing.assert_allclose([schedule(step) for step in range(10)], [step["rate"] for step in golden], rtol=1e-6)


def test_rates_are_those_of_keras_own_cosine():
    """Without a warm-up, before which Keras does not decay."""
    ours, keras_own = Cosine(0.1, 10), keras.optimizers.schedules.CosineDecay(0.1, 10)
    rates = [float(ours(step)) for step in range(12)]
    np.testing.assert_allclose(rates, [float(keras_own(step)) for step in range(12)], rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (Polynomial(64.0, 8, 2, warmup_steps=4), [64 / 4, 49 * 2 / 4, 36 * 3 / 4, 25, 16, 9, 4, 1]),
        (Cosine(64.0, 6, warmup_steps=4), [64 / 4, (32 + 768**0.5) * 2 / 4, 48 * 3 / 4, 32, 16, 32 - 768**0.5]),
    ],
)
def test_warms_up_on_top_of_the_decay(schedule, expected):
    """To all of it at the last step of the warm-up; a power of 2 over 8 steps, and twelfths of a circle."""
    assert [float(schedule(step)) for step in range(len(expected))] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("warmup_steps", [0, 1, 3, 200])
@pytest.mark.parametrize(("kind", "last"), [(Polynomial, 0.01**0.9), (Cosine, (1 - np.cos(np.pi / 100)) / 2)])
def test_ends_are_exact(kind, last, warmup_steps):
    """The whole rate at first, where it does not warm up, and zero from the end on, however far beyond."""
    schedule = kind(0.007, 100, warmup_steps=warmup_steps)
    assert float(schedule(0)) == np.float32(0.007) / np.float32(max(warmup_steps, 1))
    assert [float(schedule(step)) for step in (100, 101, 10**9)] == [0, 0, 0]
    assert float(schedule(99)) == pytest.approx(0.007 * last * min(1, 100 / max(warmup_steps, 1)), rel=1e-6)


@pytest.mark.parametrize(
    ("schedule", "last"),
    [(Polynomial(1.0, 10**7, power=1), 1e-7), (Cosine(1.0, 10**7), (np.pi / 2 * 1e-7) ** 2)],
    ids=["polynomial", "cosine"],
)
def test_no_digits_are_lost_in_a_long_training(schedule, last):
    """A step short of ten million, 1 - step / steps has none left in float32."""
    assert float(schedule(10**7 - 1)) == pytest.approx(last, rel=1e-6)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(
    ("schedule", "rate"),
    [(Polynomial(1.0, 4, 1, warmup_steps=2), 0.25), (Cosine(1.0, 9, warmup_steps=2), 0.75)],
    ids=["polynomial", "cosine"],
)
def test_takes_the_count_of_an_optimizer(schedule, rate, compiled):
    """And gives float32, of any kind of integer."""
    call = tf.function(schedule, jit_compile=True) if compiled else schedule
    count = keras.Variable(3, dtype="int64", trainable=False)
    for step in (count, count.value, tf.constant(3), np.int64(3), 3):
        assert (call(step).dtype, float(call(step))) == (tf.float32, pytest.approx(rate, rel=1e-6))


@pytest.mark.parametrize(("kind", "own"), [(Polynomial, {"power": 0.5}), (Cosine, {})])
def test_comes_back_from_its_configuration(kind, own):
    options = {"learning_rate": 0.1, "steps": 10, "warmup_steps": 3, **own}
    schedule = kind(**options)
    back = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
    assert type(back) is kind
    assert back.get_config() == options
    assert [float(back(step)) for step in range(11)] == [float(schedule(step)) for step in range(11)]


@both
@pytest.mark.parametrize("options", [{"steps": 0}, {"steps": 10, "warmup_steps": -1}])
def test_refuses_counts_that_make_no_schedule(options, kind):
    with pytest.raises(InputError, match=r"`steps` of 1 or more.* Received: steps="):
        kind(0.1, **options)
