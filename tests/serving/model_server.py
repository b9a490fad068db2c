"""A stand-in for TensorFlow Serving: one version of a model behind a REST or a gRPC port.

Its answers follow the source of TensorFlow Serving 2.x. Tests can replace answers by faults.
"""

import base64
import json
import re
import socket
import struct
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

HTTP_STATUS = {"OK": 200, "MOVED": 301, "INVALID_ARGUMENT": 400, "NOT_FOUND": 404, "UNAVAILABLE": 503}


class Refusal(Exception):  # noqa: N818 - an answer
    """An answer with an error status, named as in gRPC."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


class ServedModel:
    """An exported model under a name.

    Attributes:
        requests: the signature, input shape and selected outputs of every request.
        faults: what happens instead of the next predictions: an error to raise, a function to call, or outputs by
            name; None for the prediction itself.
    """

    def __init__(self, folder, name):
        self.name, self.version = name, int(folder.name)
        self.model = tf.saved_model.load(folder)
        self.requests, self.faults = [], deque()

    def answer(self, name, version, signature, inputs, outputs=()):
        """Returns arrays by name for tensors by name, or a fault."""
        self.requests.append((signature, *(tuple(tensor.shape) for tensor in inputs.values()), tuple(outputs)))
        fault = self.faults.popleft() if self.faults else None
        if isinstance(fault, Exception):
            raise fault
        if fault is not None:
            return fault() if callable(fault) else fault
        if name != self.name or version not in (None, self.version):
            servable = f"Latest({name})" if version is None else f"Specific({name}, {version})"
            raise Refusal("NOT_FOUND", f"Servable not found for request: {servable}")
        arrays = {name: tensor.numpy() for name, tensor in self.model.signatures[signature](**inputs).items()}
        return {name: array for name, array in arrays.items() if name in (outputs or arrays)}


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, model):
        self.model = model

    def Predict(self, request, context):  # noqa: N802 - the protocol's name
        spec, response = request.model_spec, predict_pb2.PredictResponse()
        version = spec.version.value if spec.HasField("version") else None
        inputs = {name: tf.constant(tf.make_ndarray(proto)) for name, proto in request.inputs.items()}
        try:
            outputs = self.model.answer(spec.name, version, spec.signature_name, inputs, request.output_filter)
        except Refusal as refusal:
            context.abort(grpc.StatusCode[refusal.status], str(refusal))
        for name, array in outputs.items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(array))
        return response


class RestHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        try:
            predictions = self.predict(request["signature_name"], request["instances"])
            self.send(200, json.dumps({"predictions": predictions}))
        except Refusal as refusal:
            self.send(HTTP_STATUS[refusal.status], str(refusal))
        except ConnectionError:  # a fault, like a machine that restarts, or the client is gone
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True

    def predict(self, signature, rows):
        match = re.fullmatch(r"(?:/prefix)?/v1/models/([^/:]+)(?:/versions/(\d+))?:predict", self.path)
        if not match:
            raise Refusal("INVALID_ARGUMENT", f"Malformed request: {self.path}")
        if signature == "serve_bytes":
            files = [base64.b64decode(row["image_bytes"]["b64"], validate=True) for row in rows]
            inputs = {"image_bytes": tf.constant(files)}
        else:
            inputs = {"image": tf.constant([row["image"] for row in rows], tf.uint8)}
        outputs = self.server.model.answer(unquote(match[1]), match[2] and int(match[2]), signature, inputs)
        columns = [np.asarray(array).tolist() for array in outputs.values()]
        if len(columns) == 1:  # without its name
            return columns[0]
        return [dict(zip(outputs, row, strict=True)) for row in zip(*columns, strict=True)]

    def send(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if status == HTTP_STATUS["MOVED"]:
            self.send_header("Location", "/elsewhere")
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
