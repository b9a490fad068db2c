"""A stand-in for TensorFlow Serving: one version of a model behind a REST and a gRPC port.

Its answers follow the source of TensorFlow Serving 2.x. Tests can replace answers by faults.
"""

import base64
import json
import re
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import grpc
import tensorflow as tf
from google.protobuf import json_format
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2, prediction_service_pb2_grpc

HTTP_STATUS = {"INVALID_ARGUMENT": 400, "NOT_FOUND": 404, "INTERNAL": 500, "UNAVAILABLE": 503, "DEADLINE_EXCEEDED": 504}


class Refusal(Exception):  # noqa: N818 - an answer
    """An answer with an error status, named as in gRPC."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


class ServedModel:
    """An exported model under a name.

    Attributes:
        name: the name of the model.
        signatures: its `SignatureDef`s by name.
        faults: what happens instead of the next answers: a `Refusal`, None for the answer itself, or a function of the
            handler of the REST request or of the context of the gRPC request, which answers.
        requests: the number of requests.
        predictions: signature, input shape and requested outputs of every prediction.
    """

    def __init__(self, folder, name):
        saved = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
        self.name, self.version = name, int(folder.name)
        self.signatures = dict(saved.meta_graphs[0].signature_def)
        self.model = tf.saved_model.load(folder)
        self.faults, self.requests, self.predictions = deque(), 0, []

    def check(self, name, version):
        """Refuses another name or version."""
        if name != self.name or version not in (None, self.version):
            asked = f"Latest({name})" if version is None else f"Specific({name}, {version})"
            raise Refusal("NOT_FOUND", f"Servable not found for request: {asked}")

    def predict(self, signature, inputs, outputs=()):
        """Returns arrays by name for tensors by name."""
        self.predictions.append((signature, *(tuple(tensor.shape) for tensor in inputs.values()), tuple(outputs)))
        try:
            arrays = {name: tensor.numpy() for name, tensor in self.model.signatures[signature](**inputs).items()}
        except tf.errors.InvalidArgumentError as error:
            raise Refusal("INVALID_ARGUMENT", error.message) from None
        return {name: array for name, array in arrays.items() if name in (outputs or arrays)}

    def answer(self, call, refuse, channel):
        """Answers a request by `call` or, if it is due, by a fault."""
        self.requests += 1
        fault = self.faults.popleft() if self.faults else None
        try:
            if isinstance(fault, Refusal):
                raise fault
            return fault(channel) if fault else call()
        except Refusal as error:
            return refuse(error)


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, model):
        self.model = model

    def GetModelMetadata(self, request, context):  # noqa: N802 - the protocol's name
        return self.answer(request, context, self.metadata)

    def Predict(self, request, context):  # noqa: N802
        return self.answer(request, context, self.predict)

    def answer(self, request, context, method):
        def call():
            spec = request.model_spec
            self.model.check(spec.name, spec.version.value if spec.HasField("version") else None)
            return method(request)

        def refuse(refusal):
            context.abort(grpc.StatusCode[refusal.status], str(refusal))

        return self.model.answer(call, refuse, context)

    def metadata(self, request):
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        signatures = get_model_metadata_pb2.SignatureDefMap(signature_def=self.model.signatures)
        response.metadata["signature_def"].Pack(signatures)
        return response

    def predict(self, request):
        response = predict_pb2.PredictResponse()
        inputs = {name: tf.constant(tf.make_ndarray(proto)) for name, proto in request.inputs.items()}
        outputs = self.model.predict(request.model_spec.signature_name, inputs, request.output_filter)
        for name, array in outputs.items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(array))
        return response


class RestHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.answer()

    def do_POST(self):
        self.answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def answer(self, content=None):
        model = self.server.model

        def call():
            match = re.fullmatch(r"(?:/prefix)?/v1/models/([^/:]+)(?:/versions/(\d+))?(/metadata|:predict)", self.path)
            if not match:
                raise Refusal("INVALID_ARGUMENT", f"Malformed request: {self.path}")
            name, version, method = match.groups()
            model.check(unquote(name), version and int(version))
            self.send(200, json.dumps(self.metadata(model) if method == "/metadata" else self.predict(model, content)))

        def refuse(refusal):
            self.send(HTTP_STATUS[refusal.status], json.dumps({"error": str(refusal)}))

        model.answer(call, refuse, channel=self)

    def metadata(self, model):
        options = {"preserving_proto_field_name": True, "always_print_fields_with_no_presence": True}
        signatures = {name: json_format.MessageToDict(value, **options) for name, value in model.signatures.items()}
        return {"metadata": {"signature_def": {"signature_def": signatures}}}

    def predict(self, model, content):
        rows, signature = content["instances"], content["signature_name"]
        if signature == "serve_bytes":
            files = [base64.b64decode(row["image_bytes"]["b64"], validate=True) for row in rows]
            inputs = {"image_bytes": tf.constant(files)}
        else:
            inputs = {"image": tf.constant([row["image"] for row in rows], tf.uint8)}
        outputs = {name: array.tolist() for name, array in model.predict(signature, inputs).items()}
        if len(outputs) == 1:  # without its name
            return {"predictions": next(iter(outputs.values()))}
        return {"predictions": [dict(zip(outputs, row, strict=True)) for row in zip(*outputs.values(), strict=True)]}

    def send(self, status, body, **headers):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *arguments):
        pass


@contextmanager
def serve_rest(model, port=0):
    """Serves a model over REST while the block runs; yields the URL."""
    http = ThreadingHTTPServer(("127.0.0.1", port), RestHandler)
    http.model = model
    threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{http.server_port}"
    finally:
        http.shutdown()
        http.server_close()


@contextmanager
def serve_grpc(model, port=0):
    """Serves a model over gRPC while the block runs; yields the URL."""
    unlimited = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    server = grpc.server(ThreadPoolExecutor(2), options=unlimited)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(PredictionService(model), server)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    try:
        yield f"grpc://127.0.0.1:{port}"
    finally:
        server.stop(None).wait()
