"""What a model reports is what NumPy makes of what it predicts, and a training step is what is written in the paper."""

import subprocess
import sys
from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import refused
from micro import micro_pair
from PIL import Image

from keras_crosscoop import DeepLabV3Plus
from keras_crosscoop.errors import InputError
from keras_crosscoop.training import SGD

PAIR_FIGURES = {
    "loss",
    *("top_loss", "bottom_loss"),
    *("top_mean_iou", "bottom_mean_iou", "ensemble_mean_iou"),
    *("top_pixel_accuracy", "bottom_pixel_accuracy", "ensemble_pixel_accuracy"),
}
SINGLE_FIGURES = {"loss", "single_loss", "single_mean_iou", "single_pixel_accuracy"}


def batch(size, seed=0, void=0.2):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, (size, 32, 32), np.uint8)
    labels[rng.random(labels.shape) < void] = 255
    return rng.integers(0, 256, (size, 32, 32, 3), np.uint8), labels


def eager(model, optimizer=None):
    """Compiled without a graph to trace: fast for a few steps."""
    model.compile(optimizer or SGD(0.01), run_eagerly=True)
    return model


single = partial(micro_pair, sides=("single",))


@pytest.fixture(scope="module")
def model():
    """A pair that no test changes."""
    return micro_pair()


def softmax(logits):
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def cross_entropy(labels, logits):
    valid = labels != 255
    return -np.log(softmax(logits.astype("float64"))[valid, labels[valid]]).mean()


def figures_by_hand(labels, logits):
    """Of each output and their ensemble, from predictions `(N, H, W, C)`: confusion matrix, mean IoU, accuracy."""
    scores = {**logits, "ensemble": sum(softmax(values) for values in logits.values())} if len(logits) == 2 else logits
    valid, matrices, figures = labels != 255, {}, {}
    for name, values in scores.items():
        truth, classes = labels[valid], values.argmax(axis=-1)[valid]
        ious = [np.sum((truth == c) & (classes == c)) / np.sum((truth == c) | (classes == c)) for c in range(3)]
        figures |= {f"{name}_mean_iou": np.mean(ious), f"{name}_pixel_accuracy": np.mean(truth == classes)}
        matrices[name] = np.array([[np.sum((truth == i) & (classes == j)) for j in range(3)] for i in range(3)])
    return matrices, figures


@pytest.mark.parametrize("kind", ["pair", "single"])
def test_evaluate_reports_what_numpy_makes_of_predict(kind):
    """Over three batches, the last one smaller: the loss is the mean over all valid pixels of all."""
    model = micro_pair() if kind == "pair" else single()
    model.compile()
    batches = [batch(2, 1), batch(2, 2, void=0.7), batch(1, 3)]

    def samples():
        yield from batches

    signature = tf.TensorSpec((None, 32, 32, 3), tf.uint8), tf.TensorSpec((None, 32, 32), tf.uint8)
    dataset = tf.data.Dataset.from_generator(samples, output_signature=signature)
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(3))
    logits = model.predict(np.concatenate([images for images, _ in batches]), batch_size=5, verbose=0)
    for _ in range(2):  # the second time starts anew
        actual = model.evaluate(dataset, return_dict=True, verbose=0)

    assert set(actual) == (PAIR_FIGURES if kind == "pair" else SINGLE_FIGURES)
    matrices, expected = figures_by_hand(np.concatenate([labels for _, labels in batches]), logits)
    for side, values in logits.items():
        expected[f"{side}_loss"] = cross_entropy(np.concatenate([labels for _, labels in batches]), values)
    expected["loss"] = sum(expected[f"{side}_loss"] for side in logits)
    assert actual == pytest.approx(expected, rel=1e-4)
    assert list(model.confusions) == list(model.output_choices) == list(matrices)
    for name, matrix in matrices.items():
        np.testing.assert_array_equal(model.confusions[name], matrix)


def test_loss_is_the_sum_of_both_outputs_losses():
    model, (images, labels) = micro_pair(), batch(2)
    model.compile()
    logits = model(images)
    by_hand = [cross_entropy(labels, logits[side].numpy()) for side in ("top", "bottom")]
    np.testing.assert_allclose(model.compute_loss(images, labels, logits), sum(by_hand), rtol=1e-5)
    assert [float(figure.result()) for figure in model.metrics[1:3]] == pytest.approx(by_hand, rel=1e-5)
    assert abs(by_hand[0] - by_hand[1]) > 1e-3  # or swapped sides would not show


def test_networks_without_paths_learn_as_each_by_itself(pair):
    """With all that the recipe has: nobody's loss, statistics or weight decay reaches the other network."""
    recipe = {"momentum": 0.9, "head_lr_multiplier": 10, "weight_decay": 5e-4}
    both = eager(pair(topology="none", dropout=(0, 0, 0)), SGD(0.01, **recipe))
    alone = {
        side: DeepLabV3Plus(3, backbone=backbone, weights=None, decoder_channels=8, dropout=(0, 0, 0))
        for side, backbone in (("top", "micro_3x3"), ("bottom", "micro_5x5"))
    }
    own = {side: [w for w in both.weights if w.path.startswith(side)] for side in alone}
    for side, model in alone.items():
        model.set_weights([weight.numpy() for weight in own[side]])
        eager(model, SGD(0.01, **recipe))
    start = {weight.path: weight.numpy() for weight in both.weights}
    for model in (both, *alone.values()):
        model.train_on_batch(*batch(4))
    for side, model in alone.items():
        for ours, theirs in zip(own[side], model.get_weights(), strict=True):
            np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-5, atol=1e-6, err_msg=ours.path)
            if "conv/kernel" in ours.path:
                assert np.abs(theirs - start[ours.path]).max() > 1e-4, ours.path


def test_another_loss_can_be_given(tmp_path):
    """And comes back from a file."""
    model = DeepLabV3Plus(3, backbone="micro_3x3", weights=None, decoder_channels=8)
    images, labels = batch(1)
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=255, name="mine"))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert (type(loaded.loss.loss).__name__, loaded.loss.loss.name) == ("SparseCategoricalCrossentropy", "mine")
    labels[:] = 1
    expected = cross_entropy(labels, model(images)["single"].numpy())
    np.testing.assert_allclose(loaded.compute_loss(images, labels, loaded(images)), expected, rtol=1e-5)


def test_fit_reports_the_losses():
    """And measures the classes on the validation data only."""
    model = micro_pair()
    model.compile(SGD(0.01))
    history = model.fit(*batch(4), batch_size=2, epochs=2, validation_data=batch(2, 5), verbose=0).history
    assert set(history) == {"loss", "top_loss", "bottom_loss", *(f"val_{name}" for name in PAIR_FIGURES)}
    np.testing.assert_allclose(history["loss"], np.add(history["top_loss"], history["bottom_loss"]), rtol=1e-5)
    np.testing.assert_allclose(
        history["val_loss"], np.add(history["val_top_loss"], history["val_bottom_loss"]), rtol=1e-5
    )
    assert history["loss"][1] < history["loss"][0]


@pytest.mark.parametrize("kind", ["ours", "keras"])
def test_a_training_step_is_one_pass_forward_and_one_back(kind):
    """Beside the same step written by hand, twice: equal weights, moving averages and optimizer."""
    optimizer = SGD(0.01, weight_decay=0.1) if kind == "ours" else keras.optimizers.SGD(0.01, momentum=0.9)
    model, twin = (eager(micro_pair(dropout=0), type(optimizer).from_config(optimizer.get_config())) for _ in range(2))
    for seed in (1, 2):
        images, labels = batch(2, seed)
        logs = model.train_on_batch(images, labels, return_dict=True)
        valid = tf.constant(labels != 255)
        with tf.GradientTape() as tape:
            logits = twin(images, training=True)
            losses = [
                tf.reduce_mean(
                    tf.nn.sparse_softmax_cross_entropy_with_logits(
                        tf.cast(labels[labels != 255], "int32"), tf.boolean_mask(logits[side], valid)
                    )
                )
                for side in ("top", "bottom")
            ]
            loss = sum(losses)
        gradients = tape.gradient(loss, [w.value for w in twin.trainable_weights])
        twin.optimizer.apply(gradients, twin.trainable_weights)
        assert set(logs) == {"loss", "top_loss", "bottom_loss"}
        np.testing.assert_allclose([logs["loss"], logs["top_loss"]], [loss, losses[0]], rtol=1e-4)
        model.reset_metrics()
    for ours, by_hand in zip(model.weights, twin.weights, strict=True):
        if ours.name != "seed_generator_state":
            np.testing.assert_allclose(ours.numpy(), by_hand.numpy(), rtol=1e-3, atol=1e-4)


def test_a_batch_of_void_teaches_nothing():
    """No loss, no NaN, and without weight decay the weights are what they were, all but the moving averages."""
    model = eager(micro_pair(), SGD(0.1, weight_decay=0))
    before = [w.numpy() for w in model.trainable_weights]
    images, labels = batch(2, void=1)
    logs = model.train_on_batch(images, labels, return_dict=True)
    assert logs == {"loss": 0, "top_loss": 0, "bottom_loss": 0}
    for weight, value in zip(model.trainable_weights, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), value)
    assert all(np.isfinite(w).all() for w in model.get_weights())
    evaluated = model.test_on_batch(images, labels, return_dict=True)
    losses = {name for name in evaluated if name.endswith("loss")}
    assert {evaluated.pop(name) for name in losses} == {0.0}
    assert np.isnan(list(evaluated.values())).all()  # no class occurs


def test_the_ensemble_sums_probabilities(model):
    """Top is sure of class 1; bottom, by larger logits but less sure, of class 2: summed logits would say 2."""
    logits = {"top": np.log([[[[0.04, 0.9, 0.06]]]]), "bottom": 50 + np.log([[[[0.1, 0.3, 0.6]]]])}
    np.testing.assert_allclose(model.scores(logits, "ensemble")[0, 0, 0], [0.14, 1.2, 0.66], atol=1e-6)
    assert model.scores(logits, "top") is logits["top"]
    assert model.output_choices == ("top", "bottom", "ensemble")
    assert single().output_choices == ("single",)


def test_the_last_output_is_taken_unless_another_is_asked_for(model):
    outputs = model.resolve_output(None), model.resolve_output("bottom"), single().resolve_output(None)
    assert outputs == ("ensemble", "bottom", "single")
    assert model.sides_of("ensemble") == ("top", "bottom")
    assert model.sides_of("bottom") == ("bottom",)
    assert "no output" in refused(model.resolve_output, "single")
    assert "no output" in refused(single().resolve_output, "ensemble")
    assert "no output" in refused(model.resolve_output, "")


def test_segment_gives_the_class_of_each_pixel(model, tmp_path):
    """From a path, a Pillow image or an array."""
    image = batch(1)[0][0, :19, :27]
    Image.fromarray(image).save(tmp_path / "image.png")
    logits = {side: values.numpy()[0] for side, values in model(image[None].astype("float32")).items()}
    classes = {side: values.argmax(axis=-1) for side, values in logits.items()}
    classes["ensemble"] = sum(softmax(values) for values in logits.values()).argmax(axis=-1)
    assert not np.array_equal(classes["top"], classes["bottom"])
    forms = (
        image,
        image.astype("float32"),
        Image.fromarray(image),
        tmp_path / "image.png",
        str(tmp_path / "image.png"),
    )
    for form in forms:
        actual = model.segment(form)
        assert (actual.dtype, actual.shape) == ("uint8", (19, 27))
        np.testing.assert_array_equal(actual, classes["ensemble"])
    for output, expected in classes.items():
        np.testing.assert_array_equal(model.segment(image, output), expected)
        np.testing.assert_array_equal(model.segment(image, output=output), expected)


def test_segment_gives_probabilities(model):
    image = batch(1)[0][0]
    logits = model(image[None].astype("float32"))
    top, bottom = (keras.ops.convert_to_numpy(keras.ops.softmax(logits[side][0])) for side in ("top", "bottom"))
    for output, expected in (("top", top), ("bottom", bottom), ("ensemble", (top + bottom) / 2)):
        classes, actual = model.segment(image, output, probabilities=True)
        np.testing.assert_allclose(actual, expected, atol=1e-6)
        np.testing.assert_array_equal(classes, expected.argmax(axis=-1))


def test_segment_by_a_single_network():
    model, image = single(), batch(1)[0][0]
    expected = model(image[None].astype("float32"))["single"].numpy()[0].argmax(axis=-1)
    np.testing.assert_array_equal(model.segment(image), expected)


@pytest.mark.parametrize(
    ("image", "output", "message"),
    [
        (
            np.zeros((4, 4, 3)),
            "esemble",
            "There is no output of that name. Did you mean \"ensemble\"? Received: 'esemble'",
        ),
        (np.zeros((4, 4)), None, r"An image array must be (H, W, 3), RGB. Received: an array of shape (4, 4)"),
        ("nowhere.png", None, "nowhere.png"),
    ],
)
def test_what_cannot_be_segmented_is_refused_in_one_line(model, image, output, message):
    with pytest.raises(InputError) as error:
        model.segment(image, output)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_a_model_that_xla_trains_is_measured_without_it():
    """It has no kernel for confusion matrices. In a process of its own: where another test asked for determinism, Keras
    leaves XLA out.
    """
    program = """
import numpy as np
from keras_crosscoop import DeepLabV3Plus
model = DeepLabV3Plus(3, backbone="tiny_resnet", decoder_channels=8, weights=None)
model.compile(jit_compile=True)
batch = np.zeros((1, 32, 32, 3), "uint8"), np.zeros((1, 32, 32), "uint8")
figures = model.evaluate(*batch, verbose=0, return_dict=True)
assert model.jit_compile
accuracy = (model.segment(batch[0][0]) == 0).mean()
assert abs(figures["single_pixel_accuracy"] - accuracy) < 1e-6, (figures, accuracy)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
