"""Networks that nobody trained, but whose features are alive to the last layer, so that errors show."""

import keras
import numpy as np
from helpers import photograph


def photographs(count, height, width, seed=0):
    """As clients send them: uint8 `(count, height, width, 3)`."""
    found = [photograph(height, width, seed=seed + number)[0] for number in range(count)]
    return np.stack(found).astype(np.uint8)


def lively(model, size=(64, 64)):
    """The model, each of its batch normalisations with random weights and the statistics of some photographs."""
    rng = np.random.default_rng(1)
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.gamma.assign(rng.uniform(0.5, 1.5, layer.gamma.shape))
            layer.beta.assign(rng.normal(0, 0.3, layer.beta.shape))
            layer.momentum = 0.0
    model(photographs(4, *size).astype("float32"), training=True)
    return model


def decided(model, size=(64, 64)):
    """A lively segmenter whose outputs find each class about as often, some pixels surely and some hardly."""
    images = photographs(4, *size)
    lively(model, size)
    for seed, side in enumerate(model.sides):
        classifier = model.get_layer(f"{side}_classifier")
        kernel = np.random.default_rng(seed).normal(size=classifier.kernel.shape)
        classifier.kernel.assign(kernel)
        logits = np.asarray(model(images, training=False)[side])
        classifier.kernel.assign(kernel * 2 / logits.std())
        classifier.bias.assign(-logits.mean((0, 1, 2)) * 2 / logits.std())
    return model


def kinds(model):
    """The names of the classes of its layers, nested ones too."""
    return [type(layer).__name__ for layer in model._flatten_layers(include_self=False)]


def values(model, image):
    """A model's outputs, by name if they have some, as arrays."""
    return keras.tree.map_structure(np.asarray, model(image, training=False))


def assert_near(found, expected, tolerance=1e-5):
    """The same structure of arrays, to `tolerance` of the largest number of each: what float32 keeps."""
    keras.tree.assert_same_structure(found, expected)
    for ours, theirs in zip(keras.tree.flatten(found), keras.tree.flatten(expected), strict=True):
        assert np.std(theirs) > 0
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * np.abs(theirs).max())
