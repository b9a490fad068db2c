"""The REST API of `model_server`."""

import base64
import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from serving.model_server import Refused

PREDICT = re.compile(r"/v1/models/([^/:]+)(?:/versions/(\d+))?:predict")
ABOUT = re.compile(r"/v1/models/([^/:]+)(?:/versions/(\d+))?(/metadata)?")
HTTP = {grpc.StatusCode.NOT_FOUND: 404, grpc.StatusCode.INVALID_ARGUMENT: 400}


@contextmanager
def rest_port(served, prefix):
    """Serves, and gives the port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            self.answer(lambda path: _about(served, path))

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.answer(lambda path: _predict(served, path, body))

        def answer(self, make):
            if fault := served.fault():
                fault(self)
                return
            try:
                if not self.path.startswith(f"{prefix}/v1/"):
                    self.send(404, b"<HTML><BODY>Not Found</BODY></HTML>", "text/html")
                    return
                self.send(200, json.dumps(make(self.path.removeprefix(prefix)), indent=1).encode())
            except Refused as error:
                self.send(HTTP[error.code], json.dumps({"error": str(error)}, indent=4).encode())

        def send(self, status, body, kind="application/json", **headers):
            self.send_response(status)
            for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield http.server_address[1]
    finally:
        http.shutdown()
        http.server_close()


def _asked(path, pattern):
    match = pattern.fullmatch(path)
    if not match:
        raise Refused(grpc.StatusCode.INVALID_ARGUMENT, f"Malformed request: {path}")
    name, version, *rest = match.groups()
    return unquote(name), version and int(version), *rest


def _about(served, path):
    name, version, metadata = _asked(path, ABOUT)
    if not metadata:
        return {
            "model_version_status": [
                {"version": str(each), "state": state, "status": {"error_code": "OK", "error_message": message}}
                for each, state, message in served.status(name, version)
            ]
        }
    version = served.version(name, version)
    found = {
        key: json_format.MessageToDict(
            definition, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        for key, definition in served.definitions[version].items()
    }
    return {
        "model_spec": {"name": name, "signature_name": "", "version": str(version)},
        "metadata": {"signature_def": {"signature_def": found}},
    }


def _predict(served, path, body):
    name, version = _asked(path, PREDICT)
    version = served.version(name, version)
    content = json.loads(body)
    signature = content.get("signature_name", "serving_default")
    if signature not in served.definitions[version]:
        message = f'Serving signature name: "{signature}" not found in signature def'
        raise Refused(grpc.StatusCode.INVALID_ARGUMENT, message)
    inputs = served.definitions[version][signature].inputs
    if "instances" in content:
        columns = _columns(content["instances"], list(inputs))
    elif "inputs" in content:
        plain = not isinstance(content["inputs"], dict) or "b64" in content["inputs"]
        columns = {next(iter(inputs)): content["inputs"]} if plain else content["inputs"]
    else:
        raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "Missing 'inputs' or 'instances' key")
    tensors = {key: _tensor(value, inputs[key].dtype) for key, value in columns.items() if key in inputs}
    found = {key: _plain(array) for key, array in served.predict(version, signature, tensors).items()}
    if "instances" not in content:
        return {"outputs": found if len(found) > 1 else next(iter(found.values()))}
    if len(found) == 1:
        return {"predictions": next(iter(found.values()))}
    return {"predictions": [dict(zip(found, row, strict=True)) for row in zip(*found.values(), strict=True)]}


def _columns(instances, names):
    if not instances:
        raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "JSON Value: No values in 'instances' array")
    if not isinstance(instances[0], dict) or instances[0].keys() == {"b64"}:
        return {names[0]: instances}
    for number, instance in enumerate(instances):
        if instance.keys() != set(names):
            message = f"Failed to process element: {number} of 'instances' list. keys must be equal to: {names[0]}"
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, message)
    return {name: [instance[name] for instance in instances] for name in names}


def _tensor(value, dtype):
    try:
        return tf.constant(_decoded(value), tf.as_dtype(dtype))
    except (TypeError, ValueError) as error:  # ragged, or of another type
        raise Refused(grpc.StatusCode.INVALID_ARGUMENT, f"JSON Value: {error}") from None


def _decoded(value):
    if isinstance(value, list):
        return [_decoded(each) for each in value]
    return base64.b64decode(value["b64"], validate=True) if isinstance(value, dict) else value


def _plain(array):
    """Numbers of which none is lost: TensorFlow Serving writes nine digits where six are too few."""
    return array.astype(float if array.dtype == np.float32 else int).tolist()
