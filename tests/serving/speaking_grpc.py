"""The gRPC API of `model_server`."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import tensorflow as tf
from serving.model_server import Refused
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)


@contextmanager
def grpc_port(served):
    """Serves, and gives the port."""
    unlimited = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    server = grpc.server(ThreadPoolExecutor(2), options=unlimited)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Predictions(served), server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(Models(served), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()


@contextmanager
def answering(served, context):
    """Meets a fault, or turns a refusal into its status."""
    if fault := served.fault():
        fault(context)
    try:
        yield
    except Refused as error:
        context.abort(error.code, str(error))


def asked(spec):
    return spec.name, spec.version.value if spec.HasField("version") else None


class Models(model_service_pb2_grpc.ModelServiceServicer):
    def __init__(self, served):
        self.served = served

    def GetModelStatus(self, request, context):  # noqa: N802 - the protocol's
        answer = get_model_status_pb2.GetModelStatusResponse()
        with answering(self.served, context):
            for version, state, message in self.served.status(*asked(request.model_spec)):
                status = answer.model_version_status.add(version=version, state=state)
                status.status.error_message = message
        return answer


class Predictions(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, served):
        self.served = served

    def GetModelMetadata(self, request, context):  # noqa: N802
        answer = get_model_metadata_pb2.GetModelMetadataResponse()
        with answering(self.served, context):
            version = self.served.version(*asked(request.model_spec))
            found = get_model_metadata_pb2.SignatureDefMap()
            for name, definition in self.served.definitions[version].items():
                found.signature_def[name].CopyFrom(definition)
            answer.metadata["signature_def"].Pack(found)
        return answer

    def Predict(self, request, context):  # noqa: N802
        answer = predict_pb2.PredictResponse()
        with answering(self.served, context):
            version = self.served.version(*asked(request.model_spec))
            signature = request.model_spec.signature_name or "serving_default"
            if signature not in self.served.definitions[version]:
                raise Refused(grpc.StatusCode.FAILED_PRECONDITION, f'Serving signature key "{signature}" not found.')
            inputs = {name: tf.constant(tf.make_ndarray(proto)) for name, proto in request.inputs.items()}
            for name, array in self.served.predict(version, signature, inputs, request.output_filter).items():
                answer.outputs[name].CopyFrom(tf.make_tensor_proto(array))
        return answer
