"""Downloads that are whole or absent."""

import os
from pathlib import Path
from urllib.error import HTTPError, URLError

import keras

from keras_crosscoop.errors import InputError
from keras_crosscoop.system.files import atomic_write

# What to do without a network, for who is at the command line and for who writes Python.
OTHERWISE = (
    "fetch it elsewhere and give its path (`--top-weights FILE` or `--bottom-weights FILE`, in Python "
    "weights=FILE), or start from random weights (`--weights none`, in Python weights=None)"
)


def fetched(url: str) -> Path:
    """The file at that address, from Keras's cache where it is there already.

    Raises:
        InputError: it cannot be fetched, or not be written; the cache is as before then.
    """
    name = url.rpartition("/")[2]
    cache = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser()
    file = cache / "models" / name
    if file.is_file():
        return file
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(file) as partial:
            partial.unlink(missing_ok=True)  # of a process that had this one's number and was killed
            keras.utils.get_file(partial.name, url, cache_dir=str(cache), cache_subdir="models")
    except Exception as error:  # Keras raises bare `Exception` where a download fails
        raise InputError(
            f"{name} cannot be fetched into {file.parent} ({reason(error)}). Try again, where need be with another "
            f"place in KERAS_HOME, or {OTHERWISE}. Received: {url}"
        ) from error
    return file


def reason(error: Exception) -> str:
    """Why Keras could not fetch a file, in a line; it puts "None" where an address has no error number."""
    behind = error.__context__
    if isinstance(behind, URLError) and not isinstance(behind, HTTPError):
        return str(behind.reason)
    return " ".join(str(error).split())
