"""Downloads that are whole or absent."""

import os
from pathlib import Path

import keras

from keras_crosscoop.errors import InputError
from keras_crosscoop.files import written


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
        with written(file) as partial:
            partial.unlink(missing_ok=True)  # of a process that had this one's number and was killed
            keras.utils.get_file(partial.name, url, cache_dir=str(cache), cache_subdir="models")
    except Exception as error:  # Keras raises bare `Exception` where a download fails
        raise InputError(
            f"{name} cannot be fetched into {file.parent} ({error}). Try again, where need be with another place in "
            f"KERAS_HOME, or fetch it yourself and give its path for weights. Received: {url}"
        ) from error
    return file
