"""Downloads into Keras's cache; a file in it is complete or missing."""

from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import keras

from keras_crosscoop.errors import InputError
from keras_crosscoop.keras_internals import download_reason
from keras_crosscoop.system.files import atomic_write, keras_home

# The remedy without a network, for the command line and for Python.
OFFLINE_REMEDY = (
    "fetch it elsewhere and give its path (`--top-weights FILE` or `--bottom-weights FILE`, in Python "
    "weights=FILE), or start from random weights (`--weights none`, in Python weights=None)"
)

_APPLICATIONS = "https://storage.googleapis.com/tensorflow/keras-applications/"
_SECONDS = 5  # to answer


def imagenet_is_available(*paths: str) -> bool:
    """Returns whether files of Keras Applications are in Keras's cache, or their server answers.

    Args:
        *paths: The files, relative to the folder of Keras Applications on the server.
    """
    cache = keras_home() / "models"
    if all((cache / path.rpartition("/")[2]).is_file() for path in paths):
        return True
    try:
        with urlopen(Request(_APPLICATIONS + paths[0], method="HEAD"), timeout=_SECONDS):
            return True
    except HTTPError:
        return True
    except OSError:
        return False


def fetch(url: str) -> Path:
    """Downloads a file into Keras's cache, unless it is there, and returns its path.

    Raises:
        InputError: It cannot be fetched or written. The cache is unchanged.
    """
    name = url.rpartition("/")[2]
    cache = keras_home()
    file = cache / "models" / name
    if file.is_file():
        return file
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(file) as partial:
            keras.utils.get_file(partial.name, url, cache_dir=str(cache), cache_subdir="models")
    except Exception as error:  # Keras raises bare `Exception` when a download fails
        raise InputError(
            f"{name} cannot be fetched into {file.parent} ({download_reason(error)}). Try again, if necessary "
            f"with another folder in KERAS_HOME, or {OFFLINE_REMEDY}. Received: {url}"
        ) from error
    return file
