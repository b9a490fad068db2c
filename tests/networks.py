"""A network for tests that are not about networks."""

import numpy as np
from keras import ops
from scipy.special import softmax

from keras_crosscoop.images.reading import DEFAULT_READING
from keras_crosscoop.models import Segmenter


class LinearNetwork:
    """A stand-in for a `Segmenter` that needs no training: its logits are linear in the colours of the image."""

    output_choices, sides_of = Segmenter.output_choices, Segmenter.sides_of
    resolve_output = Segmenter.resolve_output
    reading = DEFAULT_READING

    def __init__(self, sides=("top", "bottom"), num_classes=3, seed=0):
        self.sides, self.num_classes = tuple(sides), num_classes
        rng = np.random.default_rng(seed)
        self.matrices = [rng.normal(0, 0.01, (3, num_classes)).astype("float32") for _ in sides]
        self.bias = np.zeros(num_classes, "float32")

    def __call__(self, image, training):
        logits = (ops.tensordot(image, matrix, 1) + self.bias for matrix in self.matrices)
        return dict(zip(self.sides, logits, strict=True))

    def probabilities(self, image):
        """The probabilities of each output for an image, computed with NumPy: `(H, W, C)`."""
        outputs = [softmax(image.astype("float64") @ matrix + self.bias, axis=-1) for matrix in self.matrices]
        return dict(zip(self.output_choices, [*outputs, sum(outputs) / 2], strict=False))

    def classes(self, image):
        """The class ids of each output for an image: `(H, W)`."""
        return {output: values.argmax(-1) for output, values in self.probabilities(image).items()}


def brightness_network():
    """A pair of networks that predicts class 1 for bright pixels and class 0 for dark ones; top is less confident."""
    network = LinearNetwork(num_classes=2)
    network.matrices = [scale * np.array([[-1, 1]] * 3, "float32") for scale in (0.002, 0.01)]
    network.bias = np.array([1.2, -1.2], "float32")
    return network
