"""Layers of settings: nested mappings from files and command lines, each of which overrides the ones before it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from keras_crosscoop.config.sections import CHOICES, Settings, Train
from keras_crosscoop.errors import InputError, shorten
from keras_crosscoop.system import yaml_files

_BACKBONES = (".model.top", ".model.bottom")
_DEFAULT_CHOICES = {name: getattr(Train(), name) for name in CHOICES.values()}
_MAX_DOTS = 10  # in a setting's name; no name has as many


def read(path: Path) -> dict[str, Any]:
    """Reads a YAML file of settings, for `settings`.

    Raises:
        InputError: The file cannot be read, or does not hold a YAML mapping.
    """
    try:
        content = yaml_files.read(path)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The config cannot be read. Is the path right? Received: {path}") from error
    except ValueError as error:
        raise InputError(f"The config is not valid YAML ({error}). Received: {path}") from error
    if not isinstance(content, dict):
        raise InputError(f"A config must hold sections such as data, model and train. Received: {path}")
    return content


def parse(assignment: str) -> dict[str, Any]:
    """Returns an assignment such as "train.epochs=3" as a nested mapping; the value is read as YAML.

    Raises:
        InputError: There is no `=`, or the value is not valid YAML.
    """
    key, equals, value = assignment.partition("=")
    if not (key and equals) or key.count(".") > _MAX_DOTS:
        raise InputError(
            f"A setting must be section.key=value, such as train.epochs=3. Received: {shorten(assignment)}"
        )
    try:
        return nest(key, yaml_files.load(value))
    except ValueError as error:
        raise InputError(
            f"The value is not valid YAML ({error}). Quote text. Received: {shorten(assignment)}"
        ) from error


def nest(key: str, value: Any) -> dict[str, Any]:
    """Returns `{"train": {"epochs": 3}}` for "train.epochs" and 3."""
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def merge(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Merges nested mappings into one layer for `settings`, in which the last value of each setting remains.

    If a later layer names another backbone, optimizer or schedule, the values of earlier layers that belong to the
    replaced one are dropped, such as the learning rate of an optimizer.

    Raises:
        InputError: A section is not a mapping.

    Example:
        >>> from keras_crosscoop import config
        >>> recipe = {"train": {"optimizer": "sgd", "learning_rate": 0.1, "epochs": 20}}
        >>> config.merge(recipe, config.parse("train.optimizer=adamw"))
        {'train': {'optimizer': 'adamw', 'epochs': 20}}
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        for name, section in layer.items():
            if name in Settings.model_fields and not isinstance(section, Mapping | BaseModel):
                raise InputError(
                    f"Section {name} holds settings, such as {name}.NAME=VALUE. Received: {shorten(section)}"
                )
        merged = _merge(merged, layer)
    return merged


def _merge(lower: Any, upper: Any, name: str = "") -> Any:
    if name in _BACKBONES and isinstance(lower, str):
        lower = {"name": lower}
    if name == ".model.weights" and not isinstance(lower, Mapping):
        lower = dict.fromkeys(("top", "bottom"), lower)
    if not (isinstance(lower, Mapping) and isinstance(upper, Mapping)):
        return upper
    if name in _BACKBONES and upper.get("name", lower.get("name")) != lower.get("name"):
        return upper  # the lower layer's options belong to another backbone
    if name == ".train":  # the lower layer's rates may belong to another optimizer
        before = {**_DEFAULT_CHOICES, **lower}
        lower = {
            key: value
            for key, value in lower.items()
            if key not in CHOICES or upper.get(CHOICES[key], before[CHOICES[key]]) == before[CHOICES[key]]
        }
    merged = {
        key: _merge(lower[key], value, f"{name}.{key}") if key in lower else value for key, value in upper.items()
    }
    return {**lower, **merged}
