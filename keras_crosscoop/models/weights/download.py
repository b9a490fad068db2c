"""Downloads into Keras's cache, which are whole or absent."""

from pathlib import Path

import keras

from keras_crosscoop.errors import InputError
from keras_crosscoop.keras_internals import download_reason
from keras_crosscoop.system.files import atomic_write, keras_home

# The remedy without a network, for the command line and for Python.
OTHERWISE = (
    "fetch it elsewhere and give its path (`--top-weights FILE` or `--bottom-weights FILE`, in Python "
    "weights=FILE), or start from random weights (`--weights none`, in Python weights=None)"
)


def fetched(url: str) -> Path:
    """Returns the file at an address, from Keras's cache if it is there.

    Raises:
        InputError: It cannot be fetched or written; the cache is unchanged then.
    """
    name = url.rpartition("/")[2]
    cache = keras_home()
    file = cache / "models" / name
    if file.is_file():
        return file
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(file) as partial:
            partial.unlink(missing_ok=True)  # left by a process of the same number that was killed
            keras.utils.get_file(partial.name, url, cache_dir=str(cache), cache_subdir="models")
    except Exception as error:  # Keras raises bare `Exception` where a download fails
        raise InputError(
            f"{name} cannot be fetched into {file.parent} ({download_reason(error)}). Try again, if necessary "
            f"with another folder in KERAS_HOME, or {OTHERWISE}. Received: {url}"
        ) from error
    return file
