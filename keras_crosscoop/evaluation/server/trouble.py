"""What goes wrong between here and a server, told in one line; and what of it is tried again."""

import time
from collections.abc import Callable
from typing import TypeVar

from keras_crosscoop.errors import InputError
from keras_crosscoop.evaluation.server.address import Address

PAUSES = (0.25, 0.5, 1.0)  # seconds before what failed is tried again
CONNECT_TIMEOUT = 10.0  # seconds
ANSWER_TIMEOUT = 600.0  # seconds: a large image on a CPU takes minutes
LONGEST = 300  # characters of a server's own message: TensorFlow's may name every node of a graph
OF_AN_IMAGE = "Does its model take images of this size?"  # what is left to ask: they are images

T = TypeVar("T")


class PassingError(InputError):
    """What may go well the next time: no connection, or a server that is busy or starting."""


class Patience:
    """Makes calls, and those again that fail in passing, a few times, and later each time.

    Where that was in vain, calls are made but once until one succeeds: of a thousand images that a server which went
    away does not get, not each takes as long as the first.
    """

    def __init__(self) -> None:
        self.lost = False

    def __call__(self, call: Callable[[], T]) -> T:
        """What the call gives.

        Raises:
            PassingError: it fails in passing each time.
        """
        for pause in () if self.lost else PAUSES:
            try:
                return call()
            except PassingError:
                time.sleep(pause)
        self.lost = True
        answer = call()
        self.lost = False
        return answer


def unreachable(address: Address, reason: object) -> PassingError:
    """The error for a server that nothing is heard of."""
    return PassingError(
        f"The server cannot be reached ({one_line(reason)}). Is TensorFlow Serving running there? "
        f"Received: {address.shown}"
    )


def timed_out(address: Address, seconds: float) -> InputError:
    """The error for an answer that does not come."""
    return InputError(
        f"The server did not answer within {seconds:g} seconds. Is it overloaded, or the image too large for it? "
        f"Received: {address.shown}"
    )


def no_model(address: Address, reason: object) -> InputError:
    """The error for a model that the server does not know."""
    remedy = "grpc://HOST:8500/NAME" if address.is_grpc else "http://HOST:8501/v1/models/NAME"
    version = "" if address.version is None else f" in version {address.version}"
    return InputError(
        f'The server has no model "{address.model}"{version} ({one_line(reason)}). Say what it is called there: '
        f"{remedy}. Received: {address.shown}"
    )


def busy(address: Address, reason: object) -> PassingError:
    """The error for a server that says so."""
    return PassingError(
        f"The server is not ready ({one_line(reason)}). Is it starting, or overloaded? Received: {address.shown}"
    )


def refusal(address: Address, reason: object, remedy: str = "Its log may tell more.") -> InputError:
    """The error for a request that the server does not fulfil."""
    return InputError(f"The server answers with an error ({one_line(reason)}). {remedy} Received: {address.shown}")


def malformed(address: Address, reason: object) -> InputError:
    """The error for an answer that no exported model gives."""
    return InputError(
        f"The server's answer is not that of a model that crosscoop-tf exports ({one_line(reason)}). Is TensorFlow "
        f"Serving there, and such a model? Received: {address.shown}"
    )


def one_line(text: object) -> str:
    """A message without line breaks, and no longer than one reads."""
    line = " ".join(str(text).split())
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}..."
