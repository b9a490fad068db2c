"""Two separate networks as one model: its outputs are theirs, and their ensemble."""

import keras
import numpy as np

from keras_crosscoop.ablation.worker import late_ensemble
from keras_crosscoop.models import Segmenter


def single(seed):
    """A network of one convolution."""
    image = keras.Input((None, None, 3), name="image")
    kernel = keras.initializers.RandomNormal(0, 0.02, seed)
    return Segmenter(image, {"single": keras.layers.Conv2D(3, 1, kernel_initializer=kernel)(image)}, {}, name="net")


def test_outputs_are_both_networks_and_their_ensemble():
    top, bottom = single(1), single(2)
    image = np.random.default_rng(0).integers(0, 256, (8, 9, 3), np.uint8)
    expected = [network.segment(image, probabilities=True)[1] for network in (top, bottom)]
    model = late_ensemble(top, bottom)
    assert model.output_choices == ("top", "bottom", "ensemble")
    assert (expected[0].argmax(-1) != expected[1].argmax(-1)).mean() > 0.2
    for output, of_output in zip(model.output_choices, [*expected, np.mean(expected, axis=0)], strict=True):
        np.testing.assert_allclose(model.segment(image, output, probabilities=True)[1], of_output, atol=1e-6)
