"""Two single networks as one model: what each sees, and their ensemble."""

import keras
import numpy as np
from export.networks import decided, photographs

from keras_crosscoop import DeepLabV3Plus
from keras_crosscoop.ablation.joining import late_ensemble


def single(backbone, seed):
    keras.utils.set_random_seed(seed)
    return decided(DeepLabV3Plus(3, backbone=backbone, decoder_channels=8, weights=None))


def test_outputs_are_both_networks_and_their_ensemble():
    top, bottom = single("tiny_xception", 1), single("tiny_resnet", 2)
    image = photographs(1, 40, 56, seed=3)[0]
    expected = [network.segment(image, probabilities=True)[1] for network in (top, bottom)]
    model = late_ensemble(top, bottom)
    assert model.output_choices == ("top", "bottom", "ensemble")
    assert (expected[0].argmax(-1) != expected[1].argmax(-1)).mean() > 0.2
    for output, of_output in zip(model.output_choices, [*expected, np.mean(expected, axis=0)], strict=True):
        np.testing.assert_allclose(model.segment(image, output, probabilities=True)[1], of_output, atol=1e-6)
