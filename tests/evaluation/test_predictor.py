"""A prediction contains the class ids and probabilities of one output."""

import numpy as np
import pytest
from helpers import refused
from networks import LinearNetwork

from keras_crosscoop.evaluation import Inference
from keras_crosscoop.evaluation.predictor import LocalPredictor

IMAGE = np.random.default_rng(0).integers(0, 256, (16, 20, 3), np.uint8)


@pytest.mark.parametrize("output", ["top", "bottom", "ensemble"])
def test_a_prediction_is_that_of_the_output_also_in_batches(output):
    model = LinearNetwork()
    predict = LocalPredictor(Inference(model), output, probabilities=True)
    assert predict.can_batch
    expected = model.probabilities(IMAGE)[output]
    for prediction in (predict(IMAGE), *predict.batch(np.stack([IMAGE, IMAGE]))):
        assert (prediction.ids.dtype, prediction.probabilities.dtype) == (np.uint8, np.float16)
        np.testing.assert_allclose(prediction.probabilities, expected, atol=1e-3)
        np.testing.assert_array_equal(prediction.ids, expected.argmax(-1))


@pytest.mark.parametrize("options", [{"window": 12}, {"scales": (0.5, 1)}, {"flip": True}])
def test_options_of_the_inference_apply_and_prevent_batches(options):
    inference = Inference(LinearNetwork(), **options)
    predict = LocalPredictor(inference, probabilities=True)
    assert not predict.can_batch
    np.testing.assert_allclose(predict(IMAGE).probabilities, inference(IMAGE)["ensemble"], atol=1e-3)


def test_the_last_output_is_the_default():
    pair, single = LinearNetwork(), LinearNetwork(["single"])
    prediction = LocalPredictor(Inference(pair))(IMAGE)
    np.testing.assert_array_equal(prediction.ids, pair.classes(IMAGE)["ensemble"])
    assert prediction.probabilities is None
    np.testing.assert_array_equal(LocalPredictor(Inference(single))(IMAGE).ids, single.classes(IMAGE)["single"])
    assert "Valid: top, bottom, ensemble" in refused(LocalPredictor, Inference(pair), "single")
