"""`compute_loss` defines what is trained and reported, and what Keras's users may give means what it does there."""

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import refused
from keras import ops
from micro import micro_pair
from models import networks

from keras_crosscoop.layers import batch_norms
from keras_crosscoop.losses import CrossEntropy, Dice, WeightedSum
from keras_crosscoop.models import Segmenter
from keras_crosscoop.training import SGD

KERAS = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=255)
RNG = np.random.default_rng(0)


def batch(images=2):
    labels = RNG.integers(0, 3, (images, 32, 32), np.uint8)
    labels[RNG.random(labels.shape) < np.linspace(0.1, 0.9, images)[:, None, None]] = 255
    return RNG.integers(0, 256, (images, 32, 32, 3), np.uint8), labels


def single(kind=Segmenter):
    model = micro_pair(sides=("single",), dropout=0, kind=kind)
    for layer in batch_norms(model):  # so that parts of a batch add up to the whole of it
        layer.trainable = False
    return model


def compiled(model, **options):
    """By plain gradient descent, whose steps are as large as the gradients."""
    model.compile(SGD(0.1, momentum=0, weight_decay=0, head_lr_multiplier=1), **{"run_eagerly": True, **options})
    return model


def moved(model, *data):
    """How far a step moves each weight, and what it reports."""
    before = [weight.numpy() for weight in model.trainable_weights]
    logs = model.train_on_batch(*data, return_dict=True)
    return [weight.numpy() - old for weight, old in zip(model.trainable_weights, before, strict=True)], logs


class Threefold(Segmenter):
    """Adds to the loss of the package."""

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return 3 * super().compute_loss(x, y, y_pred, sample_weight, training)


class OfLogits(Segmenter):
    """Replaces it."""

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return ops.mean(y_pred["single"] ** 2)


@pytest.mark.parametrize("options", [{}, {"accumulation_steps": 2}, {"run_eagerly": False}])
def test_a_subclass_adds_to_the_loss_that_is_trained(options):
    data = batch()
    expected, logs = moved(compiled(single()), *data)
    actual, of_subclass = moved(compiled(single(Threefold), **options), *data)
    for ours, theirs in zip(actual, expected, strict=True):
        np.testing.assert_allclose(ours, 3 * theirs, rtol=1e-3, atol=1e-6)
    assert max(np.abs(step).max() for step in expected) > 1e-3
    assert of_subclass == pytest.approx({"loss": 3 * logs["loss"], "single_loss": logs["loss"]}, rel=1e-5)


def test_a_subclass_replaces_the_loss_that_is_trained_and_reported():
    """It reports no loss of outputs, which it does not compute."""
    model, (images, labels) = compiled(single(OfLogits)), batch()
    start, twin = model.get_weights(), compiled(single(OfLogits), accumulation_steps=2)
    logits = model(images)["single"].numpy()
    measured = model.test_on_batch(images, labels, return_dict=True)
    assert set(measured) == {"loss", "single_mean_iou", "single_pixel_accuracy"}
    model.reset_metrics()
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(model(images, training=True)["single"]))
    by_hand = tape.gradient(loss, [weight.value for weight in model.trainable_weights])
    for network in (model, twin):
        network.set_weights(start)
        steps, logs = moved(network, images, labels)
        assert logs == {"loss": pytest.approx(np.mean(logits**2), rel=1e-4)}
        for step, gradient in zip(steps, by_hand, strict=True):
            np.testing.assert_allclose(step, -0.1 * (0 if gradient is None else gradient), rtol=1e-3, atol=1e-6)
    assert measured["loss"] == pytest.approx(np.mean(logits**2), rel=1e-4)


@pytest.mark.parametrize("of", ["images", "pixels"])
@pytest.mark.parametrize("accumulation_steps", [1, 2])
def test_sample_weights_are_keras(of, accumulation_steps):
    """In the loss, its gradient, and what evaluation reports; metrics know nothing of them, as Keras's."""
    images, labels = batch()
    weights = RNG.uniform(0, 2, (2,) if of == "images" else labels.shape).astype("float32")
    of_pixels = np.broadcast_to(weights if of == "pixels" else weights[:, None, None], labels.shape)
    model = compiled(single(), accumulation_steps=accumulation_steps)
    with tf.GradientTape() as tape:
        loss = KERAS(labels, model(images, training=True)["single"], of_pixels)
    by_hand = tape.gradient(loss, [weight.value for weight in model.trainable_weights])
    evaluated = [model.test_on_batch(images, labels, given, return_dict=True) for given in (weights, None)]
    model.reset_metrics()
    steps, logs = moved(model, images, labels, weights)
    assert [logs["loss"], evaluated[0]["loss"]] == pytest.approx([float(loss)] * 2, rel=1e-4)
    for step, gradient in zip(steps, by_hand, strict=True):
        np.testing.assert_allclose(step, -0.1 * gradient, rtol=1e-3, atol=1e-6)
    assert evaluated[0]["single_mean_iou"] == evaluated[1]["single_mean_iou"]


def test_fit_takes_sample_weights():
    """Of images: those of weight 0 teach nothing, so that the others' steps are those of a batch beside void."""
    images, labels = batch()
    model, twin = (compiled(single(), run_eagerly=False) for _ in range(2))
    history = model.fit(images, labels, sample_weight=np.array([1.0, 0.0]), batch_size=2, shuffle=False, verbose=0)
    expected = float(KERAS(labels, twin(images)["single"], np.array([1.0, 0.0])[:, None, None] * np.ones(labels.shape)))
    assert history.history["loss"] == pytest.approx([expected], rel=1e-4)


def test_dice_weighs_images():
    """By hand: the mean over images of their weighted losses."""
    labels, logits = batch()[1], RNG.normal(size=(2, 32, 32, 3)).astype("float32")
    losses = [float(Dice()(labels[i : i + 1], logits[i : i + 1])) for i in range(2)]
    weights = np.array([0.5, 3.0])
    assert float(Dice()(labels, logits, weights)) == pytest.approx(np.mean(weights * losses), rel=1e-5)
    both = WeightedSum([CrossEntropy(), Dice()], [1, 2])(labels, logits, weights)
    assert float(both) == pytest.approx(
        float(CrossEntropy()(labels, logits, weights)) + 2 * np.mean(weights * losses), rel=1e-5
    )


def test_sample_weights_that_mean_nothing_are_refused():
    labels, logits = batch()[1], np.zeros((2, 32, 32, 3), "float32")
    assert "whole images" in refused(Dice(), labels, logits, np.ones(labels.shape))
    assert "(B,), or per pixel, (B, H, W)" in refused(CrossEntropy(), labels, logits, np.ones((2, 32)))
    assert "(B,), or per pixel, (B, H, W)" in refused(CrossEntropy(), labels, logits, np.ones(3))
    for weights in ({"single": np.ones(2)}, {}):
        assert "the same for all outputs" in refused(compiled(single()).train_on_batch, *batch(), weights)
    model = compiled(single(), loss=KERAS)
    assert "keras_crosscoop.losses" in refused(model.train_on_batch, *batch(), np.ones(2))


def test_losses_are_means():
    """Keras's other reductions would be passed over."""
    for kind in (CrossEntropy, Dice):
        assert "Leave `reduction` out" in refused(kind, reduction="sum")
    assert CrossEntropy.from_config(CrossEntropy(focal_gamma=1.0).get_config()).focal_gamma == 1


def test_losses_of_layers_are_trained_and_reported():
    images, labels = batch()
    plain, regular = (compiled(single()) for _ in range(2))
    kernel = next(weight for weight in regular.trainable_weights if weight.path.endswith("classifier/kernel"))
    kernel.regularizer = keras.regularizers.L2(0.5)
    value = kernel.numpy()
    for accumulation_steps in (1, 2):
        twins = [compiled(model, accumulation_steps=accumulation_steps) for model in (plain, regular)]
        start = plain.get_weights()
        regular.set_weights(start)
        value = kernel.numpy()
        (expected, logs), (actual, of_regular) = (moved(model, images, labels) for model in twins)
        plain.set_weights(start)
        for weight, ours, theirs in zip(regular.trainable_weights, actual, expected, strict=True):
            pull = 0.1 * value if weight is kernel else 0
            np.testing.assert_allclose(ours, theirs - pull, rtol=1e-3, atol=1e-6)
        assert of_regular["loss"] == pytest.approx(logs["loss"] + 0.5 * np.sum(value**2), rel=1e-4)
        assert of_regular["single_loss"] == pytest.approx(logs["loss"], rel=1e-4)


def test_metrics_of_keras_are_measured_where_labels_are_valid():
    """Beside the built-in figures, which they repeat."""
    model = micro_pair()
    metrics = {
        "ensemble": [
            keras.metrics.SparseCategoricalAccuracy("accuracy"),
            keras.metrics.MeanIoU(3, "iou", sparse_y_pred=False),
        ],
        "top": keras.metrics.SparseCategoricalCrossentropy("entropy", from_logits=True),
    }
    model.compile(metrics=metrics)
    images, labels = batch(3)
    logs = model.evaluate(images, labels, batch_size=2, verbose=0, return_dict=True)
    assert logs["ensemble_accuracy"] == pytest.approx(logs["ensemble_pixel_accuracy"], rel=1e-5)
    assert logs["ensemble_iou"] == pytest.approx(logs["ensemble_mean_iou"], rel=1e-5)
    assert logs["top_entropy"] == pytest.approx(logs["top_loss"], rel=1e-4)


def test_a_file_keeps_metrics_of_keras(tmp_path):
    model, (images, labels) = networks.single(), batch(3)
    model.compile(metrics={"single": [keras.metrics.SparseCategoricalAccuracy("accuracy")]}, run_eagerly=True)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    logs, expected = (network.test_on_batch(images, labels, return_dict=True) for network in (loaded, model))
    assert "single_accuracy" in expected
    assert logs == pytest.approx(expected, rel=1e-5)


@pytest.fixture(scope="module")
def uncompiled():
    return single()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metrics": ["accuracy"]}, "must be Keras metrics by output"),
        ({"metrics": {"single": "accuracy"}}, "Received: 'accuracy'"),
        ({"metrics": {"ensemble": [keras.metrics.Mean()]}}, "There is no output of that name. Valid: single"),
        ({"metrics": {"single": [keras.metrics.Mean("mean_iou")]}}, "a `name` of its own"),
        ({"metrics": {"single": [keras.metrics.Mean(), keras.metrics.Mean()]}}, "'single_mean' twice"),
        ({"loss": "sparse_categorical_crossentropy"}, "Received: 'sparse_categorical_crossentropy'"),
        ({"loss": {"single": keras.losses.MeanSquaredError()}}, "must be a `keras.losses.Loss`"),
        ({"loss": keras.losses.mean_squared_error}, "must be a `keras.losses.Loss`"),
        ({"weighted_metrics": ["accuracy"]}, "Received: weighted_metrics"),
        ({"loss_weights": [1.0]}, "by output, such as"),
        ({"loss_weights": {"single": 0}}, "not all 0"),
        ({"loss_weights": {"single": -1}}, "finite, 0 or more"),
        ({"loss_weights": {"single": float("nan")}}, "finite, 0 or more"),
        ({"loss_weights": {"single": "1"}}, "finite, 0 or more"),
        ({"loss_weights": {"single": None}}, "finite, 0 or more"),
        ({"loss": {"single": CrossEntropy()}}, "must be a `keras.losses.Loss`"),
        ({"loss": [CrossEntropy()]}, "must be a `keras.losses.Loss`"),
        ({"loss": CrossEntropy}, "must be a `keras.losses.Loss`"),
        ({"accumulation_steps": 0}, "integer of 1 or more"),
        ({"accumulation_steps": 1.5}, "integer of 1 or more"),
        ({"loss_weights": {"top": 0}}, "There is no output of that name. Valid: single"),
    ],
)
def test_what_compile_cannot_use_is_refused(uncompiled, options, message):
    assert message in refused(uncompiled.compile, **options)


def test_class_weights_are_the_losss():
    """Keras would take label maps for one-hot classes."""
    model = compiled(single())
    for method in (model.fit, model.train_on_batch):
        assert "CrossEntropy(class_weights=" in refused(method, *batch(), class_weight={0: 2.0})
    assert "CrossEntropy(class_weights=" in refused(model.train_on_batch, *batch(), None, {0: 2.0})


def test_labels_of_another_shape_are_refused_in_training_and_evaluation():
    model, (images, labels) = compiled(single()), batch()
    for method in (model.train_on_batch, model.test_on_batch):
        assert "Take `labels[..., 0]`" in refused(method, images, labels[..., None])
        assert "class ids from 0 to 2" in refused(method, images, np.full_like(labels, 3))
        assert "Received: a mapping of single" in refused(method, images, {"single": labels})
        assert "Received: none" in refused(method, images)
    model = compiled(single(), run_eagerly=False)
    with pytest.raises(tf.errors.InvalidArgumentError, match="class ids from 0 to 2"):
        model.fit(images, np.full_like(labels, 3), verbose=0)


def test_recomputing_leaves_layers_as_they_were():
    model = networks.single()
    layers = list(model._flatten_layers())
    before = [(len(layer._inbound_nodes), len(layer._outbound_nodes)) for layer in layers]
    for _ in range(2):
        compiled(model, remat=True).train_on_batch(*batch())
        assert [(len(layer._inbound_nodes), len(layer._outbound_nodes)) for layer in layers] == before
    assert all(layer.output is not None for layer in model.layers)


ON_TWO_DEVICES = """
import sys
import keras, numpy as np, tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
sys.path.append(sys.argv[1])
from models.test_compute_loss import KERAS, OfLogits, batch, compiled, moved, single

data = batch()
for kind, options in ((OfLogits, {}), (OfLogits.__base__, {"loss": KERAS}), (OfLogits.__base__, {})):
    expected, logs = moved(compiled(single(kind), **options), *data)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"], tf.distribute.ReductionToOneDevice())
    with strategy.scope():
        found, of_two = moved(compiled(single(kind), **options), *data)  # both devices see the same batch
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-6)
    assert abs(of_two["loss"] - logs["loss"]) < 1e-4 * logs["loss"], (of_two, logs)
    assert max(np.abs(step).max() for step in expected) > 1e-3
"""


@pytest.mark.slow
def test_two_devices_take_the_step_of_one():
    """Of a loss that a subclass replaces, of one of Keras's, which divides by the number of devices, and of ours."""
    tests = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", ON_TWO_DEVICES, tests], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
