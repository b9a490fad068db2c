"""Recipes by name or path, and the default run folder."""

import re
from importlib.resources import files
from pathlib import Path
from typing import Any


def names() -> list[str]:
    """Lists the recipes of the package."""
    return sorted(
        file.name.removesuffix(".yaml")
        for file in files("crosscoop_tf.configs").iterdir()
        if file.name.endswith(".yaml")
    )


def read(name: str) -> dict[str, Any]:
    """Reads a recipe of the package by name, or a YAML file by path.

    Raises:
        InputError: No such recipe or file exists, or it is invalid.
    """
    from keras_crosscoop import config
    from keras_crosscoop.errors import InputError, unknown_name

    if name in names():
        return config.read(Path(str(files("crosscoop_tf.configs") / f"{name}.yaml")))
    if not Path(name).exists():
        if Path(name).suffix in (".yaml", ".yml"):
            raise InputError(f"There is no such YAML file. Is the path right? Received: {name}")
        raise unknown_name("config", name, names())
    return config.read(Path(name))


def file_name(name: str) -> str:
    """Returns the name of a data set as that of a file: "tfds-a-b" for "tfds:a/b"."""
    return re.sub(r"[^\w.-]+", "-", name)


def new_folder(name: str) -> Path:
    """Returns the first of `saved_models/{name}-1`, `-2`, ... that does not exist."""
    number, name = 1, file_name(name)
    while Path("saved_models", f"{name}-{number}").exists():
        number += 1
    return Path("saved_models", f"{name}-{number}")
