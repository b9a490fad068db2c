"""Predictions that a server makes, in the place of a `Predictor`'s."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import Protocol

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from keras_crosscoop.errors import InputError
from keras_crosscoop.evaluation.predictor import Prediction
from keras_crosscoop.evaluation.server import trouble
from keras_crosscoop.evaluation.server.address import Address, parse_address
from keras_crosscoop.evaluation.server.over_rest import Rest
from keras_crosscoop.models.memory import LARGE

PROBABILITIES = "probabilities"  # a signature, and its one output


class Connection(Protocol):
    """What `Rest` and `Grpc` are."""

    address: Address
    classes_signature: str  # the one that is asked for class ids

    def close(self) -> None:
        """Ends it."""

    def states(self) -> dict[int, str]:
        """The state of each version of the model."""

    def signatures(self) -> dict[str, meta_graph_pb2.SignatureDef]:
        """What the model can be asked, by name."""

    def predict(self, signature: str, images: np.ndarray, output: str) -> np.ndarray:
        """An output `(B, ...)` of a signature for images, uint8 `(B, H, W, 3)`."""


@contextmanager
def connected(
    url: str, model: str, num_classes: int, *, probabilities: bool = False, together: bool = False
) -> Iterator["ServerPredictor"]:
    """Gives what makes predictions by a TensorFlow Serving, once that has been asked whether it can.

    Args:
        url: see `parse_address`.
        model: the name under which the model is served, where the address names none.
        num_classes: the classes of the run.
        probabilities: whether they are wanted.
        together: whether images of one size are to be sent together.

    Raises:
        InputError: the address is none, the extra `serving` is missing, or what `ServerPredictor.check` raises.
    """
    with closing(_connect(parse_address(url, model))) as connection:
        predictor = ServerPredictor(connection, num_classes, probabilities=probabilities, together=together)
        predictor.check()
        yield predictor


def _connect(address: Address) -> Connection:
    if not address.is_grpc:
        return Rest(address)
    try:
        from keras_crosscoop.evaluation.server.over_grpc import Grpc
    except ModuleNotFoundError as error:
        raise InputError(
            'gRPC needs tensorflow-serving-api, which is not installed: pip install "keras-crosscoop[serving]". '
            f"Or give the server's REST address, http://HOST:8501. Received: no module {error.name}"
        ) from error
    return Grpc(address)


class ServerPredictor:
    """Makes predictions as a `Predictor` does, by a server that has the model.

    Args:
        connection: to the server.
        num_classes: the classes of the run.
        probabilities: whether they are wanted; class ids are then those that they are largest of.
        together: whether images of one size are to be sent together.
    """

    def __init__(
        self, connection: Connection, num_classes: int, *, probabilities: bool = False, together: bool = False
    ) -> None:
        self.connection = connection
        self.num_classes = num_classes
        self.probabilities = probabilities
        self.together = together
        self._patiently = trouble.Patience()

    def check(self) -> None:
        """Asks the server whether it has the model, and the model what is wanted of it.

        Raises:
            InputError: it cannot be reached, does not have the model or has not loaded it, or that is not of this run.
        """
        address = self.connection.address
        states = self._patiently(self.connection.states)
        if "AVAILABLE" not in states.values():
            told = "; ".join(f"version {version} is {state}" for version, state in sorted(states.items(), reverse=True))
            raise InputError(
                f'The server\'s model "{address.model}" is not available ({trouble.one_line(told)}). Wait until it is '
                f"loaded, or look into the server's log. Received: {address.shown}"
            )
        signatures = self._patiently(self.connection.signatures)
        wanted = PROBABILITIES if self.probabilities else self.connection.classes_signature
        if wanted not in signatures:
            raise InputError(
                f'The server\'s model "{address.model}" has no signature "{wanted}", but '
                f"{', '.join(sorted(signatures))}. Serve what crosscoop-tf export writes. Received: {address.shown}"
            )
        if PROBABILITIES in signatures:
            dimensions = signatures[PROBABILITIES].outputs[PROBABILITIES].tensor_shape.dim
            if dimensions and dimensions[-1].size not in (-1, self.num_classes):
                raise self._other_run(dimensions[-1].size)

    def takes_together(self, height: int, width: int) -> bool:
        """Whether images of this size are sent together."""
        return self.together and height * width <= LARGE

    def __call__(self, image: np.ndarray) -> Prediction:
        """Of an image, RGB, uint8 `(H, W, 3)`.

        Raises:
            InputError: the server cannot be reached, refuses the image, or answers what no model of this run does.
        """
        return self._predict(image[None])[0]

    def batch(self, images: np.ndarray) -> list[Prediction]:
        """Of images `(B, H, W, 3)`, together.

        Raises:
            tf.errors.ResourceExhaustedError: the server does not take them together. Of each alone, then, it shows
                whether that one is taken.
        """
        try:
            return self._predict(images)
        except InputError as error:
            raise tf.errors.ResourceExhaustedError(None, None, str(error)) from error

    def _predict(self, images: np.ndarray) -> list[Prediction]:
        connection = self.connection
        if not self.probabilities:
            classes = self._patiently(partial(connection.predict, connection.classes_signature, images, "classes"))
            self._require(classes.dtype.kind in "iu" and classes.shape == images.shape[:3], "classes", classes)
            if classes.min() < 0 or classes.max() >= self.num_classes:
                raise self._other_run(f"at least {classes.max() + 1}")
            return [Prediction(ids, None) for ids in classes.astype(np.uint8)]
        found = self._patiently(partial(connection.predict, PROBABILITIES, images, PROBABILITIES))
        self._require(found.dtype.kind == "f" and found.shape[:-1] == images.shape[:3], PROBABILITIES, found)
        if found.shape[-1] != self.num_classes:
            raise self._other_run(found.shape[-1])
        found = found.astype(np.float32)  # which REST writes so that nothing is lost
        return [Prediction(each.argmax(-1).astype(np.uint8), each.astype(np.float16)) for each in found]

    def _require(self, is_right: bool, output: str, answer: np.ndarray) -> None:
        if not is_right:
            reason = f"{output} are {answer.dtype} of shape {answer.shape}"
            raise trouble.malformed(self.connection.address, reason)

    def _other_run(self, classes: object) -> InputError:
        return InputError(
            f"The server's model has {classes} classes, and the run {self.num_classes}. Serve this run, or name the "
            f"one that is served. Received: {self.connection.address.shown}"
        )
