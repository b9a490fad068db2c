"""Predictions by an exported model on TensorFlow Serving, over REST or gRPC.

Reference: https://www.tensorflow.org/tfx/serving/api_rest; gRPC has the same requests as protocol buffers.
"""

import base64
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import SplitResult, quote, unquote, urlsplit

import numpy as np
import requests
import tensorflow as tf
from urllib3.exceptions import ReadTimeoutError
from urllib3.util import Retry

from keras_crosscoop.errors import InputError
from keras_crosscoop.evaluation.predictor import Prediction
from keras_crosscoop.models.inference import check_numbers

try:
    import grpc
    from tensorflow_serving.apis import model_pb2, predict_pb2, prediction_service_pb2_grpc
except ModuleNotFoundError:  # the extra `serving`; REST does not need it
    grpc = None

TIMEOUT = 600.0  # seconds: a large image takes minutes on a CPU


# Both protocols retry a request three times if the connection breaks or the server is not ready. If all retries fail,
# later requests are not retried until one succeeds, so that a lost server does not delay every image of a folder.
class _Retry(Retry):
    def increment(self, *args: Any, error: Exception | None = None, **options: Any) -> Retry:
        if isinstance(error, ReadTimeoutError):  # another attempt would take equally long
            raise error
        return super().increment(*args, error=error, **options)


_RETRIES = _Retry(total=3, backoff_factor=0.25, status_forcelist=[503], allowed_methods=None)  # None: also POST
_SERVICE_CONFIG = """{
  "methodConfig": [{"name": [{}], "retryPolicy": {"maxAttempts": 4, "initialBackoff": "0.25s", "maxBackoff": "1s",
                                                  "backoffMultiplier": 2, "retryableStatusCodes": ["UNAVAILABLE"]}}],
  "retryThrottling": {"maxTokens": 7, "tokenRatio": 1.0}
}"""  # A failure takes a token, a success returns one. gRPC retries with more than half of them.
_CHANNEL_OPTIONS = [
    ("grpc.service_config", _SERVICE_CONFIG),
    ("grpc.per_rpc_retry_buffer_size", 2**31 - 1),  # gRPC does not retry larger requests
    ("grpc.max_send_message_length", -1),  # unlimited
    ("grpc.max_receive_message_length", -1),
]


@contextmanager
def connect(url: str, model: str, num_classes: int, *, probabilities: bool = False) -> Iterator["ServerPredictor"]:
    """Connects to a server and checks with one black pixel that its model has the run's number of classes.

    Args:
        url: `http(s)://HOST[:PORT][/PREFIX][/v1/models/NAME[/versions/N]]` or `grpc://HOST[:8500][/NAME[/N]]`.
        model: The name of the model on the server, if the address has none.
        num_classes: The number of classes of the run.
        probabilities: Whether predictions contain probabilities.

    Raises:
        InputError: The address is malformed, or the server does not answer like an export of the run.
    """
    address = re.sub("//[^/]*@", "//", url.strip())  # without a password
    clients = {"http": _Rest, "https": _Rest, **({"grpc": _Grpc} if grpc else {})}
    try:
        parts = urlsplit(url.strip())
        if not parts.hostname or parts.port == 0 or parts.query or parts.fragment:
            raise ValueError
        client = clients[parts.scheme](parts, model)
    except (KeyError, ValueError):
        raise InputError(
            "A server's address must be http://HOST:8501 or http://HOST:8501/v1/models/NAME/versions/N, or, after "
            'pip install "keras-crosscoop[serving]", grpc://HOST:8500 or grpc://HOST:8500/NAME/N. '
            f"Received: {address}"
        ) from None
    with closing(client):
        ServerPredictor(client, address, num_classes, probabilities=True)(np.zeros((1, 1, 3), np.uint8))
        yield ServerPredictor(client, address, num_classes, probabilities)


@dataclass
class ServerPredictor:
    """A `Predictor` whose model is on a server."""

    client: "_Rest | _Grpc"
    address: str  # for messages
    num_classes: int
    probabilities: bool
    can_batch: ClassVar[bool] = True

    def __call__(self, image: np.ndarray) -> Prediction:
        """Predicts for an image, RGB uint8 `(H, W, 3)`."""
        return self.batch(image[None])[0]

    def batch(self, images: np.ndarray) -> list[Prediction]:
        """Predicts for images, RGB uint8 `(B, H, W, 3)`, in one request.

        Raises:
            InputError: The server cannot be reached, refuses the request, or its model is not an export of the run.
                Or the probabilities are not finite.
        """
        output, shape = "classes", images.shape[:3]
        if self.probabilities:
            output, shape = "probabilities", (*shape, self.num_classes)
        try:
            answer = self.client.predict(images, output)
            ids = answer.argmax(-1) if self.probabilities else answer
            if answer.shape != shape or not np.isin(ids, range(self.num_classes)).all():
                raise ValueError(f"{output} of shape {answer.shape} for a run of {self.num_classes} classes")
            probabilities = answer.astype(np.float16) if self.probabilities else [None] * len(ids)
        except (OSError, LookupError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())[:300]  # TensorFlow's messages may name every node of a graph
            raise InputError(
                f"The prediction by the server failed ({reason}). Check that TensorFlow Serving runs there, is not "
                "overloaded, and has loaded an export of this run. If the model has another name than the run, add "
                f"/v1/models/NAME to the address, or /NAME for gRPC. Received: {self.address}"
            ) from error
        if self.probabilities:
            check_numbers(answer)
        return list(map(Prediction, ids.astype(np.uint8), probabilities))


class _Rest:
    def __init__(self, parts: SplitResult, model: str) -> None:
        path = parts.path.rstrip("/").removesuffix(":predict").removesuffix("/v1/models")
        if "/v1/models/" not in path:
            path += f"/v1/models/{quote(model)}"
        self.url = f"{parts.scheme}://{parts.netloc}{path}"
        self.session = requests.Session()
        self.adapter = self.session.get_adapter(self.url)
        self.adapter.max_retries = _RETRIES
        self.close = self.session.close

    def predict(self, images: np.ndarray, output: str) -> np.ndarray:
        if output == "probabilities":
            return np.asarray(self._post("probabilities", [{"image": image.tolist()} for image in images]))
        files = [tf.io.encode_png(image, compression=1).numpy() for image in images]  # smaller than numbers as text
        rows = self._post("serve_bytes", [{"image_bytes": {"b64": base64.b64encode(file).decode()}} for file in files])
        return np.asarray([row["classes"] for row in rows])

    def _post(self, signature: str, instances: list[dict[str, Any]]) -> Any:
        request = {"signature_name": signature, "instances": instances}
        options = {"timeout": (10.0, TIMEOUT), "allow_redirects": False}  # after a redirect, requests would send GET
        try:
            response = self.session.post(f"{self.url}:predict", json=request, **options)
        except requests.RequestException as error:
            self.adapter.max_retries = _RETRIES.new(total=0)
            raise ConnectionError(getattr(error.args[0], "reason", error)) from error  # without the retries
        self.adapter.max_retries = _RETRIES
        if response.status_code != requests.codes.ok:
            details = response.headers.get("Location") or response.text
            raise ConnectionError(f"{response.status_code} {response.reason} {details}")
        return response.json()["predictions"]


class _Grpc:
    def __init__(self, parts: SplitResult, model: str) -> None:
        name, _, version = parts.path.strip("/").partition("/")
        self.model_spec = model_pb2.ModelSpec(name=unquote(name) or model)
        if version:
            self.model_spec.version.value = int(version)
        target = parts.netloc.rpartition("@")[2] + ("" if parts.port else ":8500")
        channel = grpc.insecure_channel(target, options=_CHANNEL_OPTIONS)
        self.stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        self.close = channel.close

    def predict(self, images: np.ndarray, output: str) -> np.ndarray:
        request = predict_pb2.PredictRequest(model_spec=self.model_spec, output_filter=[output])
        request.model_spec.signature_name = "probabilities" if output == "probabilities" else "serving_default"
        request.inputs["image"].CopyFrom(tf.make_tensor_proto(images))
        try:
            response = self.stub.Predict(request, timeout=TIMEOUT)
        except grpc.RpcError as error:
            raise ConnectionError(f"{error.code().name} {error.details()}") from error
        return tf.make_ndarray(response.outputs[output])
