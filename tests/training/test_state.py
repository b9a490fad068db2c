"""Averaged weights replace the model's own for a time."""

import numpy as np
import pytest
from helpers import assert_equal
from micro import micro_pair

from keras_crosscoop import precision
from keras_crosscoop.training import SGD, AdamW
from keras_crosscoop.training.state import use_ema_weights, values, variables


def compiled(model, ema_decay=0.9, kind=SGD):
    model.compile(kind(0.05, ema_decay=ema_decay), run_eagerly=True)
    return model


def sample(number):
    """A batch of two."""
    image = np.random.default_rng(number).uniform(0, 2, (2, 8, 8, 3)).astype("float32")
    return image, (image[..., 0] > 1).astype("uint8") + (image[..., 1] > 1)


def variables_of(model):
    return values(variables(model))


@pytest.mark.parametrize(("frozen", "kind"), [(False, SGD), (True, SGD), (False, AdamW)])
def test_statistics_are_averaged_as_weights_are(frozen, kind):
    """By hand, from those of batch normalisation after each of three steps. Frozen ones stay."""
    model = micro_pair(size=8)
    norms = [model.get_layer(f"{side}_bn") for side in ("top", "bottom")]
    for norm in norms:
        norm.trainable = not frozen
    compiled(model, ema_decay=0.15, kind=kind)
    statistics = [statistic for norm in norms for statistic in (norm.moving_mean, norm.moving_variance)]
    expected = start = [statistic.numpy() for statistic in statistics]
    for number, decay in enumerate((1 / 10, 0.15, 0.15)):  # the least of 0.15 and (1 + t) / (10 + t)
        model.train_on_batch(*sample(number))
        after = zip(expected, statistics, strict=True)
        expected = [decay * average + (1 - decay) * statistic.numpy() for average, statistic in after]
    before = variables_of(model)
    with use_ema_weights(model):
        for statistic, average, first in zip(statistics, expected, start, strict=True):
            np.testing.assert_allclose(statistic.numpy(), average, rtol=1e-5)
            assert np.array_equal(average, first) == frozen
        assert any(not np.array_equal(before[name], value) for name, value in variables_of(model).items())
    assert_equal(variables_of(model), before)
    assert len(model.optimizer.statistics) == (0 if frozen else 4)


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
@pytest.mark.parametrize("error", [None, ZeroDivisionError])
def test_own_weights_come_back_after_averages(policy, error):
    """Also those of an optimizer that scales losses, and after an error."""
    with precision.policy(policy):
        model = compiled(micro_pair(size=8))
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    assert (optimizer is not model.optimizer) == (policy == "mixed_float16")
    rng = np.random.default_rng(0)
    averages = [*optimizer.ema_weights, *optimizer.ema_statistics]
    variables = [*model.trainable_variables, *optimizer.statistics]
    assert len(variables) == len(model.trainable_variables) + 4
    for variable in (*variables, *averages):
        variable.assign(rng.normal(size=variable.shape))
    before = variables_of(model)

    def inside():
        with use_ema_weights(model):
            for variable, average in zip(variables, averages, strict=True):
                np.testing.assert_array_equal(variable.numpy(), average.numpy())
            if error:
                raise error

    if error:
        with pytest.raises(error):
            inside()
    else:
        inside()
    assert_equal(variables_of(model), before)


def test_without_averages_weights_stay():
    model = compiled(micro_pair(size=8), ema_decay=None)
    before = variables_of(model)
    with use_ema_weights(model):
        assert_equal(variables_of(model), before)
    assert_equal(variables_of(model), before)
