"""The settings of a run: reads YAML, and returns validated, immutable settings."""

from collections.abc import Mapping
from typing import Any

import yaml
from pydantic import ValidationError

from keras_crosscoop.config.layers import merge, nest, parse, read
from keras_crosscoop.config.sections import CHOICES, Model, Settings
from keras_crosscoop.errors import InputError, first_failure, shorten, unknown_name

__all__ = ["CHOICES", "Model", "Settings", "dump", "merge", "nest", "parse", "plain", "read", "settings"]


def settings(*layers: Mapping[str, Any]) -> Settings:
    """Returns validated settings from nested mappings, each of which overrides the ones before it.

    Args:
        *layers: Mappings of sections to settings, such as `{"train": {"epochs": 3}}`. Missing settings take their
            defaults.

    Raises:
        InputError: A setting does not exist, or its value is invalid.

    Example:
        >>> from keras_crosscoop import config
        >>> recipe = {"model": {"top": "resnet50"}, "train": {"epochs": 20}}
        >>> settings = config.settings(recipe, config.parse("train.epochs=3"))
        >>> settings.train.epochs, settings.model.top, settings.train.batch_size
        (3, 'resnet50', 6)
    """
    try:
        validated = Settings.model_validate(merge(*layers))
    except ValidationError as error:
        raise _invalid_setting(error) from error
    sides, weights = validated.model.sides, validated.loss.weights
    if unused := set(weights).difference(sides):
        raise unknown_name("output for setting loss.weights", min(unused), sides)
    if not any(weights.get(side, 1.0) for side in sides):
        raise InputError(f"Setting loss.weights must not be all 0: nothing would be learnt. Received: {weights}")
    return validated


def dump(settings: Settings) -> str:
    """Returns the settings of a run as YAML, for `read`."""
    return yaml.safe_dump(plain(settings), sort_keys=False)


def plain(settings: Settings) -> dict[str, Any]:
    """Returns the settings of a run as JSON values."""
    return settings.model_dump(mode="json", exclude={"ablation"})


def _invalid_setting(error: ValidationError) -> InputError:
    failure = error.errors()[0]
    if failure["type"] == "extra_forbidden":
        *parents, _ = failure["loc"]
        section: Any = Settings
        for parent in parents:
            section = section.model_fields[parent].annotation
        names = [".".join(map(str, (*parents, name))) for name in section.model_fields]
        return unknown_name("setting", ".".join(map(str, failure["loc"])), names)
    place, message, value = first_failure(error)
    return InputError(f"Setting {place}: {message}. Received: {shorten(value)}")
