"""TensorFlow Serving's gRPC API. Importing this needs the extra `serving`."""

from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from keras_crosscoop.errors import InputError
from keras_crosscoop.evaluation.server import trouble
from keras_crosscoop.evaluation.server.address import Address

_UNLIMITED = -1
_OPTIONS = [("grpc.max_send_message_length", _UNLIMITED), ("grpc.max_receive_message_length", _UNLIMITED)]


class Grpc:
    """A connection, to be closed; see `Rest`, which has the same methods."""

    classes_signature = "serving_default"

    def __init__(self, address: Address) -> None:
        self.address = address
        self.channel = grpc.insecure_channel(address.base, options=_OPTIONS)
        self.models = model_service_pb2_grpc.ModelServiceStub(self.channel)
        self.predictions = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)

    def close(self) -> None:
        """Ends it."""
        self.channel.close()

    def states(self) -> dict[int, str]:
        """The state of each version of the model: "AVAILABLE", or another, with its reason if there is one.

        Raises:
            InputError: see `trouble`.
        """
        request = self._about_model(get_model_status_pb2.GetModelStatusRequest())
        answer = self._call(self.models.GetModelStatus, request)
        state_name = get_model_status_pb2.ModelVersionStatus.State.Name
        return {
            status.version: " ".join(filter(None, (state_name(status.state), status.status.error_message)))
            for status in answer.model_version_status
        }

    def signatures(self) -> dict[str, meta_graph_pb2.SignatureDef]:
        """What the model can be asked, by name.

        Raises:
            InputError: see `trouble`.
        """
        request = self._about_model(get_model_metadata_pb2.GetModelMetadataRequest())
        request.metadata_field.append("signature_def")
        answer = self._call(self.predictions.GetModelMetadata, request)
        found = get_model_metadata_pb2.SignatureDefMap()
        if not answer.metadata["signature_def"].Unpack(found):
            raise trouble.malformed(self.address, "no signature_def")
        return dict(found.signature_def)

    def predict(self, signature: str, images: np.ndarray, output: str) -> np.ndarray:
        """An output `(B, ...)` of a signature for images, uint8 `(B, H, W, 3)`.

        Raises:
            InputError: see `trouble`.
        """
        request = self._about_model(predict_pb2.PredictRequest())
        request.model_spec.signature_name = signature
        request.output_filter.append(output)
        try:
            request.inputs["image"].CopyFrom(tf.make_tensor_proto(images))
        except ValueError:  # of 2 GiB and more
            raise trouble.refusal(self.address, "a request holds 2 GiB", "Predict on smaller images.") from None
        answer = self._call(self.predictions.Predict, request)
        try:
            return tf.make_ndarray(answer.outputs[output])
        except (TypeError, ValueError):
            raise trouble.malformed(self.address, f"no {output} among its outputs") from None

    def _about_model(self, request: Any) -> Any:
        request.model_spec.name = self.address.model
        if self.address.version is not None:
            request.model_spec.version.value = self.address.version
        return request

    def _call(self, method: Callable[..., Any], request: Any) -> Any:
        try:
            return method(request, timeout=trouble.ANSWER_TIMEOUT)
        except grpc.RpcError as error:
            raise self._told(error) from error

    def _told(self, error: grpc.RpcError) -> InputError:
        reason = error.details()
        match error.code():
            case grpc.StatusCode.UNAVAILABLE:
                return trouble.unreachable(self.address, reason)
            case grpc.StatusCode.DEADLINE_EXCEEDED:
                return trouble.timed_out(self.address, trouble.ANSWER_TIMEOUT)
            case grpc.StatusCode.NOT_FOUND:
                return trouble.no_model(self.address, reason)
            case grpc.StatusCode.UNIMPLEMENTED:
                return trouble.malformed(self.address, reason)
            case grpc.StatusCode.INVALID_ARGUMENT:
                return trouble.refusal(self.address, f"INVALID_ARGUMENT: {reason}", trouble.OF_AN_IMAGE)
        return trouble.refusal(self.address, f"{error.code().name}: {reason}")
