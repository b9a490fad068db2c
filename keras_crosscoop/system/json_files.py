"""JSON files, written atomically, and validated against a pydantic model when they are read."""

import json
from pathlib import Path
from typing import Any, TypeVar

import pydantic

from keras_crosscoop.errors import InputError, describe
from keras_crosscoop.system.files import atomic_write

_MAX_BYTES = 1 << 26  # the metrics of 100,000 images take 30 million

T = TypeVar("T", bound=pydantic.BaseModel)


def write_json(content: Any, path: Path) -> None:
    """Writes a JSON file atomically."""
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read_json(path: Path, structure: type[T], subject: str, remedy: str) -> T:
    """Reads a JSON file.

    Args:
        path: The file.
        structure: The pydantic model of its content.
        subject: The subject of an error, such as "The run's classes".
        remedy: A sentence of the error that says what to do.

    Raises:
        InputError: The file cannot be read, or has another structure.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise InputError(f"it has over {_MAX_BYTES:,} bytes")
        return structure.model_validate_json(content)
    except (OSError, ValueError) as error:
        raise InputError(f"{subject} cannot be read ({describe(error)}). {remedy} Received: {path}") from error
