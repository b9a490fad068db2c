"""Where a model is served: what `--server` may be, taken apart."""

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from keras_crosscoop.errors import InputError

GRPC_PORT = 8500  # TensorFlow Serving's

_REST_PATH = re.compile(
    r"(?P<prefix>(?:(?!/v1(?:/models|$)).)*)"
    r"(?:/v1/models/(?P<model>[^/:]+)(?:/versions/(?P<version>\d+))?(?::predict)?)?"
)
_GRPC_PATH = re.compile(r"(?P<prefix>)(?:/(?P<model>[^/]+)(?:/(?P<version>\d+))?)?")


@dataclass(frozen=True)
class Address:
    """Of a model on a server.

    Attributes:
        base: of REST what comes before `/v1/models`; of gRPC host and port.
        model: the name under which the model is served.
        version: which one, or None for the one that the server takes itself, the latest.
        is_grpc: whether gRPC is spoken there, or REST.
        shown: for messages, without what a person would keep secret.
    """

    base: str
    model: str
    version: int | None
    is_grpc: bool
    shown: str


def parse_address(url: str, model: str) -> Address:
    """Takes an address apart: `http(s)://HOST:8501[/PREFIX][/v1/models/NAME[/versions/N]]` or
    `grpc://HOST[:8500][/NAME[/N]]`.

    Args:
        url: the address.
        model: the name of the model where the address has none.

    Raises:
        InputError: it is not of this form.
    """
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError:  # a port that is no number, say
        raise _malformed(url) from None
    is_grpc = parts.scheme == "grpc"
    path = (_GRPC_PATH if is_grpc else _REST_PATH).fullmatch(parts.path.rstrip("/"))
    if parts.scheme not in ("http", "https", "grpc") or not parts.hostname or not path or parts.query or parts.fragment:
        raise _malformed(url)
    if is_grpc:
        host = parts.netloc.rpartition("@")[2]
        base = host if port else f"{host}:{GRPC_PORT}"
    else:
        base = f"{parts.scheme}://{parts.netloc}{path['prefix']}"
    return Address(
        base=base,
        model=unquote(path["model"]) if path["model"] else model,
        version=int(path["version"]) if path["version"] else None,
        is_grpc=is_grpc,
        shown=_shown(url),
    )


def _shown(url: str) -> str:
    return re.sub("//[^/]*@", "//", url.strip())


def _malformed(url: str) -> InputError:
    return InputError(
        "A server's address is http://HOST:8501, or http://HOST:8501/v1/models/NAME/versions/N, or for gRPC "
        f"grpc://HOST:8500 or grpc://HOST:8500/NAME/N. Received: {_shown(url)}"
    )
