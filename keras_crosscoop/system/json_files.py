"""Files of JSON, each checked against a declared structure where it is read."""

from pathlib import Path
from typing import TypeVar

import pydantic

from keras_crosscoop.errors import InputError

_LARGEST = 1 << 26  # bytes; the figures of 100,000 images take 30 million

T = TypeVar("T", bound=pydantic.BaseModel)


def read_json(path: Path, structure: type[T], what: str, remedy: str) -> T:
    """The content of a JSON file.

    Args:
        path: the file.
        structure: what it must hold.
        what: the subject of an error, such as "The run's classes".
        remedy: what to do about it, a sentence.

    Raises:
        InputError: it cannot be read, or does not hold that.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise ValueError(f"it has over {_LARGEST:,} bytes")
        return structure.model_validate_json(content)
    except (OSError, ValueError) as error:
        raise InputError(f"{what} cannot be read ({describe(error)}). {remedy} Received: {path}") from error


def describe(error: Exception) -> str:
    """Why something cannot be read, in a few words: of a failed validation, where it failed first."""
    if isinstance(error, pydantic.ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        told = first["msg"].removeprefix("Value error, ")
        return f"{place}: {told}" if place else told
    return getattr(error, "strerror", None) or str(error)
