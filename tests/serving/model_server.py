"""A stand-in for TensorFlow Serving: the models of a folder of versions behind its REST and gRPC addresses.

What it answers, to errors too, is what TensorFlow Serving 2.x does by its source. It computes with
`tf.saved_model.load`, and can be told to misbehave.
"""

from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2


class Refused(Exception):  # noqa: N818 - an answer
    """An error answer."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


@dataclass
class Served:
    """A model under a name.

    Attributes:
        name: its name.
        base: the folder of its versions.
        states: of each version its state and message.
        faults: what becomes of the next requests instead of an answer, each a function that gets the handler of REST or
            the context of gRPC; None leaves one as it is.
        refuses: given a signature and its inputs, why these are refused, or None.
        log: of each prediction its signature, the shape of its input, and which outputs were asked for, if not all.
        requests: how many came, of any kind.
    """

    name: str
    base: Path
    states: dict = field(default_factory=dict)
    faults: deque = field(default_factory=deque)
    refuses: object = lambda signature, inputs: None
    log: list = field(default_factory=list)
    requests: int = 0

    def __post_init__(self):
        folders = [
            folder for folder in self.base.iterdir() if folder.name.isdigit()
        ]  # as TensorFlow Serving: no others
        self.models = {int(folder.name): tf.saved_model.load(folder) for folder in folders}
        self.definitions = {int(folder.name): _signatures(folder) for folder in folders}
        self.states = self.states or dict.fromkeys(self.models, ("AVAILABLE", ""))

    def fault(self):
        """What the next request meets, or None."""
        self.requests += 1
        return self.faults.popleft() if self.faults else None

    def status(self, name, version):
        """`(version, state, message)` of one or all versions."""
        if name != self.name or not self.states:
            raise Refused(grpc.StatusCode.NOT_FOUND, f"Could not find any versions of model {name}")
        if version is not None and version not in self.states:
            raise Refused(grpc.StatusCode.NOT_FOUND, f"Could not find version {version} of model {name}")
        return [(each, *state) for each, state in self.states.items() if version in (None, each)]

    def version(self, name, version):
        """The version that such a request goes to."""
        loaded = [each for each, (state, _) in self.states.items() if state == "AVAILABLE"]
        if name != self.name or not loaded or version not in (None, *loaded):
            asked = f"Latest({name})" if version is None else f"Specific({name}, {version})"
            raise Refused(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {asked}")
        return max(loaded) if version is None else version

    def predict(self, version, signature, inputs, outputs=()):
        """Outputs by name, as arrays, of inputs that are tensors by name."""
        definition = self.definitions[version][signature]
        sent, wanted = ("{" + ",".join(sorted(names)) + "}" for names in (inputs, definition.inputs))
        if len(inputs) != len(definition.inputs):
            counts = f"{len(inputs)}!={len(definition.inputs)} len({sent}) != len({wanted})"
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, f"input size does not match signature: {counts}")
        if unknown := set(inputs) - set(definition.inputs):
            wanted = f"Inputs expected to be in the set {wanted}."
            message = f"input tensor alias not found in signature: {min(unknown)}. {wanted}"
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, message)
        self.log.append((signature, *(tuple(tensor.shape) for tensor in inputs.values()), tuple(outputs)))
        if why := self.refuses(signature, inputs):
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, why)
        if unknown := set(outputs) - set(definition.outputs):
            message = f"output tensor alias not found in signature: {min(unknown)}"
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, message)
        try:
            found = self.models[version].signatures[signature](**inputs)
        except tf.errors.InvalidArgumentError as error:
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, error.message) from None
        except (TypeError, ValueError) as error:  # of a shape that the signature excludes
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from None
        return {name: tensor.numpy() for name, tensor in found.items() if name in (outputs or found)}


def _signatures(folder):
    saved = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    return dict(saved.meta_graphs[0].signature_def)


@dataclass
class Running:
    """A server that runs.

    Attributes:
        served: its model.
        rest: the URL of its REST API.
        grpc: that of gRPC.
    """

    served: Served
    rest: str
    grpc: str


@contextmanager
def running(base, name, prefix=""):
    """Serves the versions in a folder under a name while the block runs; REST behind a prefix, as proxies have them."""
    from serving.speaking_grpc import grpc_port
    from serving.speaking_rest import rest_port

    served = Served(name, base)
    with rest_port(served, prefix) as rest, grpc_port(served) as port:
        yield Running(served, f"http://127.0.0.1:{rest}{prefix}", f"grpc://127.0.0.1:{port}")
