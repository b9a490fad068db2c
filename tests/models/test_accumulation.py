"""A batch in micro-batches makes the step of the whole batch."""

from functools import partial

import numpy as np
import pytest
import tensorflow as tf
from micro import micro_pair

from keras_crosscoop import precision
from keras_crosscoop.layers import batch_norms
from keras_crosscoop.losses import CrossEntropy, Dice, WeightedSum
from keras_crosscoop.training import SGD, AdamW
from keras_crosscoop.training.state import values, variables

STEPS = 3

single = partial(micro_pair, sides=("single",), dropout=0)
LOSSES = [
    pytest.param(CrossEntropy(), id="cross-entropy", marks=pytest.mark.slow),
    pytest.param(
        WeightedSum([CrossEntropy([1, 2, 0.5], hard_pixel_fraction=0.3), Dice()], [1, 0.7]),
        id="weights, top k and Dice",
    ),
]


def batch(number, images=8):
    """Images that are void by very different shares, the second half of them almost whole."""
    rng = np.random.default_rng(number)
    x = rng.integers(0, 256, (images, 33, 33, 3)).astype("uint8")
    y = rng.integers(0, 3, (images, 33, 33)).astype("uint8")
    y[rng.random(y.shape) < np.linspace(0, 0.99, images)[:, None, None]] = 255
    return x, y


OPTIMIZERS = {"sgd": partial(SGD, 0.01, momentum=0.9, weight_decay=1e-4), "adamw": partial(AdamW, 0.001)}


def trained(network, parts, *, optimizer="sgd", frozen=True, **options):
    """The variables after some steps, and the losses of each."""
    model = network()
    for layer in batch_norms(model):
        layer.trainable = not frozen
    model.compile(OPTIMIZERS[optimizer](global_clipnorm=1.0, ema_decay=0.9), accumulation_steps=parts, **options)
    losses = [model.train_on_batch(*batch(number), return_dict=True) for number in range(STEPS)]
    return values(variables(model)), losses


@pytest.mark.parametrize("remat", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_weights_are_those_of_the_whole_batch(pair, optimizer, loss, remat):
    network = partial(pair, dropout=(0, 0, 0)) if remat else partial(micro_pair, dropout=0)
    expected, expected_losses = trained(network, 1, optimizer=optimizer, loss=loss, run_eagerly=True)
    actual, losses = trained(network, 4, optimizer=optimizer, loss=loss, remat=remat)
    for step, expected_step in zip(losses, expected_losses, strict=True):
        assert step == pytest.approx(expected_step, rel=1e-5)
    assert expected_losses[0]["loss"] != pytest.approx(expected_losses[-1]["loss"], rel=1e-3)  # it did learn
    assert actual.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_allclose(actual[name], array, rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.parametrize(
    ("parts", "clip"), [*(pytest.param(parts, None, marks=pytest.mark.slow) for parts in (1, 2)), (2, 0.1)]
)
def test_float16_makes_the_step_of_float32(parts, clip):
    """The loss is scaled for the gradients, and these are scaled back, in parts too and before they are clipped."""
    moved = {}
    for name in ("float32", "mixed_float16"):
        with precision.policy(name):
            model = single()
        for layer in batch_norms(model):
            layer.trainable = False
        model.compile(SGD(0.1, global_clipnorm=clip), accumulation_steps=parts, run_eagerly=True)
        before = values(variables(model))
        model.train_on_batch(*batch(0))
        after = values(variables(model))
        moved[name] = {key: after[key] - before[key] for key in after if key.endswith("kernel")}
    pairs = list(zip(moved["mixed_float16"].values(), moved["float32"].values(), strict=True))
    assert len(pairs) == 2
    for actual, expected in pairs:
        assert np.linalg.norm(expected) > 1e-4
        assert np.linalg.norm(actual - expected) < 0.02 * np.linalg.norm(expected)


def test_batch_normalisation_sees_micro_batches():
    """Each part moves the statistics, as on small batches; what is computed of them therefore differs."""
    whole, _ = trained(single, 1, frozen=False, run_eagerly=True)
    parts, _ = trained(single, 4, frozen=False, run_eagerly=True)
    moved = [name for name in whole if "moving_mean" in name]
    assert moved
    assert any(np.abs(whole[name] - parts[name]).max() > 1e-3 for name in moved)


# Of batches from eight images: a known one, and six, then two.
@pytest.mark.parametrize("size", [8, pytest.param(6, marks=pytest.mark.slow)])
def test_a_batch_that_cannot_be_divided_is_refused(size):
    model = single()
    model.compile(SGD(0.01), accumulation_steps=3)
    samples = tf.data.Dataset.from_tensor_slices(batch(0)).batch(size, drop_remainder=size == 8)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"a multiple of `accumulation_steps` \(3\) images"):
        model.fit(samples, shuffle=False, verbose=0)
