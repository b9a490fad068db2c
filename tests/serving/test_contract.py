"""What a served model promises to clients that know nothing of this package: signatures, values, errors."""

import base64
import io
import re

import grpc
import numpy as np
import pytest
import requests
import tensorflow as tf
from helpers import photograph
from PIL import Image
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

IMAGES = np.stack([photograph(33, 41, seed=seed)[0] for seed in (1, 2)]).astype(np.uint8)

SHAPE = r"`image` must be RGB|expected shape \[\?,\?,\?,3\]"


def encoded(image, kind="PNG"):
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, kind)
    return stream.getvalue()


def in_base64(content):
    return {"b64": base64.b64encode(content).decode()}


@pytest.fixture(scope="module")
def expected(run):
    """Probabilities of the ensemble `(B, H, W, C)`."""
    return np.stack([run.load().segment(image, probabilities=True)[1] for image in IMAGES])


@pytest.fixture
def post(server):
    """Asks over REST: the status and the answer."""

    def ask(**content):
        response = requests.post(f"{server.rest}/v1/models/a%20street-1:predict", json=content, timeout=60)
        return response.status_code, response.json()

    return ask


@pytest.fixture
def call(server):
    """Asks over gRPC."""
    with grpc.insecure_channel(server.grpc.removeprefix("grpc://")) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)

        def ask(signature, **inputs):
            request = predict_pb2.PredictRequest()
            request.model_spec.name = "a street-1"
            request.model_spec.signature_name = signature
            for name, value in inputs.items():
                request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
            return {name: tf.make_ndarray(proto) for name, proto in stub.Predict(request, 60).outputs.items()}

        yield ask


def by_name(rows):
    return {name: [row[name] for row in rows] for name in rows[0]}


def assert_segmented(found, expected):
    np.testing.assert_array_equal(found["classes"], expected.argmax(-1))
    np.testing.assert_allclose(found["confidence"], expected.max(-1), atol=1e-5)


def test_encoded_images_in_rows_and_in_columns(post, expected):
    contents = [in_base64(encoded(image)) for image in IMAGES]
    for instances in ([{"image_bytes": content} for content in contents], contents):
        status, answer = post(signature_name="serve_bytes", instances=instances)
        assert status == 200
        assert_segmented(
            {name: [row[name] for row in answer["predictions"]] for name in answer["predictions"][0]}, expected
        )
    for inputs in ({"image_bytes": contents}, contents):
        status, answer = post(signature_name="serve_bytes", inputs=inputs)
        assert status == 200
        assert_segmented(answer["outputs"], expected)


def test_jpegs(post, run):
    content = encoded(IMAGES[0], "JPEG")
    status, answer = post(signature_name="serve_bytes", instances=[{"image_bytes": in_base64(content)}])
    decoded = np.asarray(Image.open(io.BytesIO(content)))  # to the bit: TensorFlow's own default rounds otherwise
    assert status == 200
    np.testing.assert_array_equal(answer["predictions"][0]["classes"], run.load().segment(decoded))


def test_pixels_of_the_default_signature_and_probabilities(post, expected):
    status, answer = post(instances=IMAGES.tolist())
    assert status == 200
    assert_segmented(
        {name: [row[name] for row in answer["predictions"]] for name in answer["predictions"][0]}, expected
    )
    status, answer = post(signature_name="probabilities", instances=[{"image": image.tolist()} for image in IMAGES])
    assert status == 200
    np.testing.assert_allclose(answer["predictions"], expected, atol=1e-5)


def test_tensors(call, expected):
    found = call("serving_default", image=IMAGES)
    assert {name: array.dtype for name, array in found.items()} == {"classes": "uint8", "confidence": "float32"}
    assert_segmented(found, expected)
    assert_segmented(call("serve_bytes", image_bytes=[encoded(image) for image in IMAGES]), expected)
    np.testing.assert_allclose(call("probabilities", image=IMAGES)["probabilities"], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("signature", "inputs", "names"),
    [
        ("serving_default", {"image": IMAGES[0]}, SHAPE),
        ("serving_default", {"image": IMAGES[..., :2]}, SHAPE),
        ("probabilities", {"image": IMAGES[:, 0]}, SHAPE),
        ("serving_default", {"image": IMAGES[:0]}, "image"),
        ("serving_default", {"image": IMAGES.astype("float32")}, "uint8"),
        ("probabilities", {"image": IMAGES[:, :0]}, "image"),
        ("serve_bytes", {"image_bytes": np.array([], "S1")}, "image_bytes"),
        ("serve_bytes", {"image_bytes": [b"no image"]}, "image"),
        ("serve_bytes", {"image_bytes": [encoded(IMAGES[0]), encoded(IMAGES[0, :9])]}, "must have one size"),
        ("serve_bytes", {"image": IMAGES}, "image_bytes"),
    ],
)
def test_what_cannot_be_segmented_is_an_invalid_argument(call, signature, inputs, names):
    with pytest.raises(grpc.RpcError) as error:
        call(signature, **inputs)
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert re.search(names, error.value.details())


def test_errors_over_rest_are_json(post):
    for content in (
        {"instances": []},
        {"instances": [[1, 2], [3]]},
        {"images": [1]},
        {"signature_name": "other", "instances": [1]},
        {"signature_name": "serve_bytes", "instances": [{"image_bytes": in_base64(b"no image")}]},
        {"signature_name": "serve_bytes", "instances": [{"picture": 1}]},
    ):
        status, answer = post(**content)
        assert status == 400
        assert list(answer) == ["error"]
        assert answer["error"]
