"""Predictions by TensorFlow Serving over REST or gRPC, instead of by a model in this process.

Reference: https://www.tensorflow.org/tfx/serving/api_rest; gRPC has the same requests as protocol buffers.
"""

import base64
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, quote, unquote, urlsplit

import numpy as np
import requests
import tensorflow as tf
from google.protobuf import json_format
from requests.adapters import HTTPAdapter
from urllib3.exceptions import ReadTimeoutError
from urllib3.util import Retry

from keras_crosscoop.errors import InputError
from keras_crosscoop.evaluation.predictor import Prediction
from keras_crosscoop.models.memory import LARGE

try:
    import grpc
    from tensorflow_serving.apis import get_model_metadata_pb2, model_pb2, predict_pb2, prediction_service_pb2_grpc
except ModuleNotFoundError:  # the extra `serving`; REST does not need it
    grpc = None

CONNECT_TIMEOUT, TIMEOUT = 10.0, 600.0  # seconds: a large image takes minutes on a CPU

# Both protocols retry a request three times if the connection breaks or the server is not ready. If all retries fail,
# later requests are not retried until one succeeds, so that a lost server does not delay every image of a folder.
_SERVICE_CONFIG = """{
  "methodConfig": [{"name": [{}], "retryPolicy": {"maxAttempts": 4, "initialBackoff": "0.25s", "maxBackoff": "1s",
                                                  "backoffMultiplier": 2, "retryableStatusCodes": ["UNAVAILABLE"]}}],
  "retryThrottling": {"maxTokens": 7, "tokenRatio": 1.0}
}"""  # A failure takes a token, a success returns one (1 would mean 0.001). gRPC retries with more than half of them.
_CHANNEL_OPTIONS = [
    ("grpc.service_config", _SERVICE_CONFIG),
    ("grpc.per_rpc_retry_buffer_size", 2**31 - 1),  # gRPC does not retry larger requests
    ("grpc.max_send_message_length", -1),  # unlimited
    ("grpc.max_receive_message_length", -1),
]


class _Retry(Retry):
    def increment(self, *args: Any, error: Exception | None = None, **options: Any) -> Retry:
        if isinstance(error, ReadTimeoutError):  # another attempt would take equally long
            raise error
        return super().increment(*args, error=error, **options)


_RETRIES = _Retry(total=3, backoff_factor=0.25, status_forcelist=[503], allowed_methods=None)  # None: also POST

_GRPC_STATUS = {"INVALID_ARGUMENT": 400, "NOT_FOUND": 404, "UNAVAILABLE": 503, "DEADLINE_EXCEEDED": 504}
_REMEDIES = {
    400: "Is the address right, and does the model accept images of this size?",
    404: "Is the model loaded? The address can name another: http://HOST:8501/v1/models/NAME or grpc://HOST:8500/NAME.",
    503: "Is TensorFlow Serving running there, and not overloaded?",
    504: "Is it overloaded, or the image too large? See TensorFlow Serving's option --rest_api_timeout_in_ms.",
}


@contextmanager
def connect(url: str, model: str, num_classes: int, **options: bool) -> Iterator["ServerPredictor"]:
    """Connects to a server and checks that its model fits the run.

    Args:
        url: The address; see `open_connection`.
        model: The name of the model on the server, if the address has none.
        num_classes: The number of classes of the run.
        options: `probabilities` and `batched` of `ServerPredictor`.

    Raises:
        InputError: The address is malformed, the extra `serving` is missing, or the server has no such model.
    """
    with closing(open_connection(url, model)) as connection:
        predictor = ServerPredictor(connection, num_classes, **options)
        predictor.check_model()
        yield predictor


def open_connection(url: str, model: str) -> "_Rest | _Grpc":
    """Opens `http(s)://HOST[:PORT][/PREFIX][/v1/models/NAME[/versions/N]]` or `grpc://HOST[:8500][/NAME[/N]]`."""
    shown = re.sub("//[^/]*@", "//", url.strip())  # without passwords, for messages
    if shown.startswith("grpc:") and grpc is None:
        raise InputError(
            'gRPC needs tensorflow-serving-api, which is not installed: pip install "keras-crosscoop[serving]". '
            f"Or use the server's REST address, http://HOST:8501. Received: {shown}"
        )
    try:
        parts = urlsplit(url.strip())
        if not parts.hostname or parts.port == 0 or parts.query or parts.fragment:
            raise ValueError
        return {"http": _Rest, "https": _Rest, "grpc": _Grpc}[parts.scheme](parts, model)
    except (KeyError, ValueError):
        raise InputError(
            "A server's address must be http://HOST:8501 or http://HOST:8501/v1/models/NAME/versions/N, or for gRPC "
            f"grpc://HOST:8500 or grpc://HOST:8500/NAME/N. Received: {shown}"
        ) from None


@dataclass
class ServerPredictor:
    """Predicts like `Predictor`, with a model on a server."""

    connection: "_Rest | _Grpc"
    num_classes: int
    probabilities: bool = False  # whether predictions contain them
    batched: bool = False  # whether images of one size may be sent in one request

    def check_model(self) -> None:
        """Raises an `InputError` if the model lacks a signature or has another number of classes."""
        with self._checked():
            signatures = self.connection.signatures()
            if missing := {self.connection.class_signature, "probabilities"} - signatures.keys():
                raise self._mismatch(f"no signature {', '.join(missing)}")
            shape = signatures["probabilities"]["outputs"]["probabilities"]["tensor_shape"]
            if (classes := int(shape["dim"][-1]["size"])) not in (-1, self.num_classes):  # -1: unknown
                raise self._mismatch(f"{classes} classes instead of {self.num_classes}")

    def can_batch(self, height: int, width: int) -> bool:
        """Whether images of this size are sent in one request."""
        return self.batched and height * width <= LARGE

    def __call__(self, image: np.ndarray) -> Prediction:
        """Predicts on an RGB image, uint8 `(H, W, 3)`."""
        return self.batch(image[None])[0]

    def batch(self, images: np.ndarray) -> list[Prediction]:
        """Predicts on RGB images, uint8 `(B, H, W, 3)`, in one request; an `InputError` if it fails."""
        size, classes = images.shape[:3], self.num_classes
        with self._checked():
            if self.probabilities:
                answer = self.connection.predict("probabilities", images, "probabilities")
                fits = answer.dtype.kind == "f" and answer.shape == (*size, classes)
            else:
                answer = self.connection.predict(self.connection.class_signature, images, "classes")
                fits = answer.dtype.kind in "iu" and answer.shape == size and np.isin(answer, range(classes)).all()
            if not fits:
                raise self._mismatch(f"values of type {answer.dtype} and shape {answer.shape} for {classes} classes")
        if self.probabilities:
            return [Prediction(image.argmax(-1).astype(np.uint8), image.astype(np.float16)) for image in answer]
        return [Prediction(ids, None) for ids in answer.astype(np.uint8)]

    @contextmanager
    def _checked(self) -> Iterator[None]:
        """Turns errors in the content of an answer into an `InputError`."""
        try:
            yield
        except InputError:
            raise
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise self._mismatch(f"unexpected content, {error!r}") from error

    def _mismatch(self, reason: str) -> InputError:
        return InputError(
            f"The server's model is not an export of this run ({reason}). Serve the folder that crosscoop-tf export "
            f"wrote for the run. Received: {self.connection.address}"
        )


class _Rest:
    class_signature = "serve_bytes"  # PNGs are much smaller than pixels as text

    def __init__(self, parts: SplitResult, model: str) -> None:
        self.url = parts.geturl().rstrip("/").removesuffix(":predict").removesuffix("/v1/models")
        if "/v1/models/" not in self.url:
            self.url += f"/v1/models/{quote(model, safe='')}"
        self.address = self.url.replace(f"//{parts.netloc}", f"//{parts.netloc.rpartition('@')[2]}")
        self.adapter = HTTPAdapter(max_retries=_RETRIES)
        self.session = requests.Session()
        self.session.mount(f"{parts.scheme}://", self.adapter)
        self.close = self.session.close

    def signatures(self) -> dict[str, Any]:
        return self._request("GET", "/metadata")["metadata"]["signature_def"]["signature_def"]

    def predict(self, signature: str, images: np.ndarray, output: str) -> np.ndarray:
        if signature == self.class_signature:
            files = [tf.io.encode_png(image, compression=1).numpy() for image in images]
            instances = [{"image_bytes": {"b64": base64.b64encode(file).decode()}} for file in files]
        else:
            instances = [{"image": image.tolist()} for image in images]
        answer = self._request("POST", ":predict", json={"signature_name": signature, "instances": instances})
        # For a signature of one output, the server sends its values; for others, mappings.
        return np.asarray([row[output] if isinstance(row, dict) else row for row in answer["predictions"]])

    def _request(self, method: str, path: str, **content: Any) -> Any:
        limits = {"timeout": (CONNECT_TIMEOUT, TIMEOUT), "allow_redirects": False}  # redirects turn POST into GET
        try:
            response = self.session.request(method, self.url + path, **limits, **content)
        except requests.RequestException as error:
            self.adapter.max_retries = _RETRIES.new(total=0)
            reason = getattr(next(iter(error.args), None), "reason", error)  # without urllib3's description of retries
            raise _failure(self.address, 504 if isinstance(error, requests.Timeout) else 503, reason) from error
        self.adapter.max_retries = _RETRIES
        if response.status_code != requests.codes.ok:
            reason = f"{response.status_code} {response.reason} {response.headers.get('Location') or response.text}"
            raise _failure(self.address, response.status_code, reason)
        return response.json()


class _Grpc:
    class_signature = "serving_default"

    def __init__(self, parts: SplitResult, model: str) -> None:
        name, _, version = parts.path.strip("/").partition("/")
        self.model_spec = model_pb2.ModelSpec(name=unquote(name) or model)
        if version:
            self.model_spec.version.value = int(version)
        target = parts.netloc.rpartition("@")[2] + ("" if parts.port else ":8500")
        self.address = f"grpc://{target}/{quote(self.model_spec.name)}" + (f"/{version}" if version else "")
        channel = grpc.insecure_channel(target, options=_CHANNEL_OPTIONS)
        self.stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        self.close = channel.close

    def signatures(self) -> dict[str, Any]:
        request = get_model_metadata_pb2.GetModelMetadataRequest(model_spec=self.model_spec)
        request.metadata_field.append("signature_def")
        answer = self._request(self.stub.GetModelMetadata, request)
        signatures = get_model_metadata_pb2.SignatureDefMap.FromString(answer.metadata["signature_def"].value)
        return json_format.MessageToDict(signatures, preserving_proto_field_name=True)["signature_def"]

    def predict(self, signature: str, images: np.ndarray, output: str) -> np.ndarray:
        request = predict_pb2.PredictRequest(model_spec=self.model_spec, output_filter=[output])
        request.model_spec.signature_name = signature
        request.inputs["image"].CopyFrom(tf.make_tensor_proto(images))
        return tf.make_ndarray(self._request(self.stub.Predict, request).outputs[output])

    def _request(self, method: Any, request: Any) -> Any:
        try:
            return method(request, timeout=TIMEOUT)
        except grpc.RpcError as error:
            status = error.code().name
            raise _failure(self.address, _GRPC_STATUS.get(status, 500), f"{status} {error.details()}") from error


def _failure(address: str, status: int, reason: object) -> InputError:
    reason = " ".join(str(reason).split())[:300]  # TensorFlow's messages may name every node of a graph
    remedy = _REMEDIES.get(status, "See the server's log.")
    return InputError(f"The prediction by the server failed ({reason}). {remedy} Received: {address}")
