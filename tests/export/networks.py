"""Networks that nobody trained, but whose features are alive to the last layer, so that errors show."""

import keras
import numpy as np
from helpers import photograph

from keras_crosscoop.export.litert import write_litert
from keras_crosscoop.layers import CropLike, PadToMultiple, ResizeLike
from keras_crosscoop.models import Segmenter
from keras_crosscoop.models.blocks import conv_bn_relu

SIZE = (40, 56)  # of the images: no multiple of 16, so that padding and cropping count
METADATA = {"classes": ["sky", "road", "traffic light"], "palette": ["#000000"], "format": "a", "size": None}


def micro(image, output_stride):
    """A backbone of three convolutions."""
    x = keras.layers.Rescaling(1 / 127.5, offset=-1, name="rescale")(image)
    x = conv_bn_relu(x, 6, 3, stride=2, name="conv1")
    x = low = conv_bn_relu(x, 8, 3, stride=2, name="conv2")
    x = conv_bn_relu(x, 10, 3, stride=2, name="conv3")
    return {"low": low, "high": keras.layers.MaxPooling2D(output_stride // 8, padding="same", name="pool")(x)}


def small_pair():
    """A pair of two convolutions a side. Its logits have a quarter of the padded image's size, like a decoder's."""
    keras.utils.set_random_seed(0)
    image = keras.Input((None, None, 3), name="image")
    padded = PadToMultiple(16, name="pad")(image)
    outputs = {}
    for side in ("top", "bottom"):
        x = keras.layers.Rescaling(1 / 127.5, offset=-1)(padded)
        x = conv_bn_relu(x, 8, 3, stride=4, name=side)
        logits = keras.layers.Conv2D(3, 1, name=f"{side}_classifier")(x)
        outputs[side] = CropLike(name=side)(ResizeLike(name=f"{side}_upsample")(logits, padded), image)
    return Segmenter(image, outputs, {}, name="small")


def photographs(count, height, width, seed=0):
    """As clients send them: uint8 `(count, height, width, 3)`."""
    images = [photograph(height, width, seed=seed + number)[0] for number in range(count)]
    return np.stack(images).astype(np.uint8)


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
    """A lively segmenter that predicts each class about as often, some pixels surely and some hardly."""
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


class LiteRTFiles(dict):
    """A LiteRT file of a network in each quantisation, written when it is first asked for."""

    def __init__(self, made_once, prefix, graph):
        super().__init__()
        self.made_once, self.prefix, self.graph = made_once, prefix, graph

    def __missing__(self, quantize):
        def write(path):
            write_litert(self.graph(), path, SIZE, quantize, lambda: photographs(8, *SIZE, seed=60), METADATA)

        self[quantize] = self.made_once(f"{self.prefix}-{quantize}.tflite", write)
        return self[quantize]


def kinds(model):
    """The names of the classes of its layers, nested ones too."""
    return [type(layer).__name__ for layer in model._flatten_layers(include_self=False)]


def values(model, image):
    """A model's outputs, by name if they have some, as arrays."""
    return keras.tree.map_structure(np.asarray, model(image, training=False))


def assert_near(ours, theirs, tolerance=1e-5):
    """The same structure of arrays, to `tolerance` of the largest number of each: what float32 keeps."""
    keras.tree.assert_same_structure(ours, theirs)
    for array, expected in zip(keras.tree.flatten(ours), keras.tree.flatten(theirs), strict=True):
        assert np.std(expected) > 0
        np.testing.assert_allclose(array, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def assert_predicts(predicted, probabilities, tolerance=1e-4):
    """Classes and confidence are those of the probabilities, but where two classes are as good as equal."""
    first, second = np.moveaxis(np.sort(probabilities, axis=-1)[..., :-3:-1], -1, 0)
    assert {name: (array.dtype, array.shape) for name, array in predicted.items()} == {
        "classes": (np.uint8, first.shape),
        "confidence": (np.float32, first.shape),
    }
    sure = first - second > 1e-4
    assert sure.mean() > 0.9
    np.testing.assert_array_equal(predicted["classes"][sure], probabilities.argmax(-1)[sure])
    np.testing.assert_allclose(predicted["confidence"], first, atol=tolerance)


def probabilities_of(network, images, output="ensemble"):
    """What the live model computes, an image at a time."""
    return np.stack([network.segment(image, output, probabilities=True)[1] for image in images])
