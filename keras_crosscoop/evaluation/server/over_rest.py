"""TensorFlow Serving's REST API: https://www.tensorflow.org/tfx/serving/api_rest"""

import base64
import http
import re
from typing import Any
from urllib.parse import quote

import numpy as np
import requests
import tensorflow as tf
from google.protobuf import json_format
from tensorflow.core.protobuf import meta_graph_pb2

from keras_crosscoop.evaluation.server import trouble
from keras_crosscoop.evaluation.server.address import Address

_ERROR = re.compile(r'\{\s*"error":\s*"(.*)"\s*\}\s*', re.DOTALL)
_REMEDIES = {
    http.HTTPStatus.BAD_REQUEST: (trouble.OF_AN_IMAGE,),
    http.HTTPStatus.GATEWAY_TIMEOUT: (  # of TensorFlow Serving itself, after 30 seconds by default
        "Start it with a larger --rest_api_timeout_in_ms, or use grpc://HOST:8500.",
    ),
}


class Rest:
    """A connection, to be closed."""

    classes_signature = "serve_bytes"  # a PNG is a fraction of an image's numbers as text

    def __init__(self, address: Address) -> None:
        self.address = address
        self.session = requests.Session()
        version = "" if address.version is None else f"/versions/{address.version}"
        self.url = f"{address.base}/v1/models/{quote(address.model, safe='')}{version}"

    def close(self) -> None:
        """Ends it."""
        self.session.close()

    def states(self) -> dict[int, str]:
        """The state of each version of the model: "AVAILABLE", or another, with its reason if there is one.

        Raises:
            InputError: see `trouble`.
        """
        answer = self._json("GET", "")
        try:
            return {
                int(status["version"]): " ".join(
                    filter(None, (status["state"], status.get("status", {}).get("error_message")))
                )
                for status in answer["model_version_status"]
            }
        except (KeyError, TypeError, ValueError, AttributeError):
            raise trouble.malformed(self.address, "no model_version_status") from None

    def signatures(self) -> dict[str, meta_graph_pb2.SignatureDef]:
        """What the model can be asked, by name.

        Raises:
            InputError: see `trouble`.
        """
        answer = self._json("GET", "/metadata")
        try:
            found = answer["metadata"]["signature_def"]["signature_def"]
            return {
                name: json_format.ParseDict(fields, meta_graph_pb2.SignatureDef(), ignore_unknown_fields=True)
                for name, fields in found.items()
            }
        except (KeyError, TypeError, AttributeError, json_format.ParseError):
            raise trouble.malformed(self.address, "no signature_def") from None

    def predict(self, signature: str, images: np.ndarray, output: str) -> np.ndarray:
        """An output `(B, ...)` of a signature for images, uint8 `(B, H, W, 3)`.

        Raises:
            InputError: see `trouble`.
        """
        if signature == self.classes_signature:
            instances = [{"image_bytes": {"b64": _png(image)}} for image in images]
        else:
            instances = [{"image": image.tolist()} for image in images]
        answer = self._json("POST", ":predict", {"signature_name": signature, "instances": instances})
        try:
            rows = answer["predictions"]  # of a single output itself, of several by their names
            return np.asarray([row[output] if isinstance(row, dict) else row for row in rows])
        except (KeyError, TypeError, ValueError):
            raise trouble.malformed(self.address, f"no {output} among its predictions") from None

    def _json(self, method: str, path: str, content: dict[str, Any] | None = None) -> Any:
        timeout = (trouble.CONNECT_TIMEOUT, trouble.ANSWER_TIMEOUT)
        try:
            # No redirections: they turn a POST into a GET.
            response = self.session.request(
                method, self.url + path, json=content, timeout=timeout, allow_redirects=False
            )
        except requests.ConnectTimeout:
            raise trouble.timed_out(self.address, trouble.CONNECT_TIMEOUT) from None
        except requests.Timeout:
            raise trouble.timed_out(self.address, trouble.ANSWER_TIMEOUT) from None
        except requests.RequestException as error:
            raise trouble.unreachable(self.address, _innermost(error)) from error
        if response.status_code != http.HTTPStatus.OK:
            raise self._refusal(response)
        try:
            return response.json()
        except ValueError:
            raise trouble.malformed(self.address, "it is no JSON") from None

    def _refusal(self, response: requests.Response) -> Exception:
        reason = " ".join(filter(None, (f"{response.status_code} {response.reason}:", _message(response)))).rstrip(":")
        match response.status_code:
            case http.HTTPStatus.SERVICE_UNAVAILABLE:
                return trouble.busy(self.address, reason)
            case http.HTTPStatus.NOT_FOUND:
                return trouble.no_model(self.address, reason)
            case status if status in range(300, 400):
                reason += f" to {response.headers.get('Location')}"
                return trouble.refusal(self.address, reason, "Give the address that it names.")
        return trouble.refusal(self.address, reason, *_REMEDIES.get(response.status_code, ()))


def _png(image: np.ndarray) -> str:
    """Base64 of a PNG, which has the same pixels; compressed little, as that takes longer than sending."""
    return base64.b64encode(tf.io.encode_png(image, compression=1).numpy()).decode()


def _message(response: requests.Response) -> str:
    """The server's own; older ones write it with escapes that JSON does not know, proxies send pages instead."""
    try:
        return str(response.json()["error"])
    except (ValueError, KeyError, TypeError):
        found = _ERROR.fullmatch(response.text)
        return re.sub(r"\\n|\\(.)", lambda escape: escape[1] or " ", found[1]) if found else ""


def _innermost(error: Exception) -> str:
    """The system's message, which `requests` wraps in layers of its own."""
    while isinstance(inner := getattr(error, "reason", None) or next(iter(error.args[::-1]), None), Exception):
        error = inner
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return reason.rpartition(": ")[2]
