"""Small networks, what they see, and what they tell of it."""

import keras
import numpy as np

from keras_crosscoop import DeepLabV3Plus

UNTRAINED = {"weights": None, "decoder_channels": 8}


def images(*size, batch=1, seed=0):
    return np.random.default_rng(seed).uniform(0, 255, (batch, *size, 3)).astype("float32")


def logits(model, image):
    return {side: np.asarray(values) for side, values in model(image).items()}


def single(**arguments):
    keras.utils.set_random_seed(0)
    return DeepLabV3Plus(3, **{"backbone": "micro_3x3", **UNTRAINED, **arguments})
