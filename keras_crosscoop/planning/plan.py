"""Applies the rules to the facts."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from keras_crosscoop import config
from keras_crosscoop.errors import InputError
from keras_crosscoop.planning.facts import Data, Facts, Machine
from keras_crosscoop.planning.rules import RULES, warnings


@dataclass(frozen=True)
class Choice:
    """A setting, and why it has its value.

    Attributes:
        setting: Its dotted name, such as "data.crop_size".
        value: Its value.
        reason: One sentence.
        given: Whether the user set it.
    """

    setting: str
    value: Any
    reason: str
    given: bool = False


@dataclass(frozen=True)
class Plan:
    """A plan.

    Attributes:
        choices: The choices, in the order of the rules.
        settings: The user's settings with these choices.
        warnings: What to expect of few images, of settings without effect, and of a step that may exceed the memory.
    """

    choices: tuple[Choice, ...]
    settings: config.Settings
    warnings: tuple[str, ...] = ()

    def as_dict(self) -> list[dict[str, Any]]:
        """Returns the choices as JSON values."""
        return [vars(choice) for choice in self.choices]

    def lines(self) -> list[str]:
        """Returns a line for each choice."""
        return [f"{choice.setting} = {choice.value}: {choice.reason}" for choice in self.choices]

    def recipe(self) -> str:
        """Returns the chosen and the user's settings as a recipe in YAML, with the reasons as comments."""
        reasons = {choice.setting: f"  # {choice.reason}" for choice in self.choices if not choice.given}
        lines = []
        for section, values in self.settings.model_dump(mode="json", exclude_unset=True).items():
            if values:  # YAML would read an empty section as null
                lines.append(f"{section}:")
            for name, value in values.items():
                lines.append(f"  {name}: {json.dumps(value)}{reasons.get(f'{section}.{name}', '')}")  # JSON is YAML
        return "\n".join(lines) + "\n"


def plan(data: Data, machine: Machine, settings: config.Settings) -> Plan:
    """Chooses a value for each setting that has a rule, unless the user gave one.

    Args:
        data: The facts about the data set, from `describe_data`.
        machine: The facts about the machine, from `describe_machine`.
        settings: The user's settings. Those that were not set are the plan's to choose.

    Raises:
        InputError: The user's settings contradict the plan, or each other.

    Example:
        >>> from keras_crosscoop import config
        >>> from keras_crosscoop.planning import Data, Machine, plan
        >>> data = Data(train=367, val=101, height=360, width=480, frequencies={"road": 0.9, "pole": 0.1})
        >>> laptop = Machine(cores=2, memory=8 * 2**30)
        >>> choices = plan(data, laptop, config.settings({"train": {"time": "30min"}})).choices
        >>> {choice.setting: choice.value for choice in choices}["data.crop_size"]
        320
    """
    if settings.train.time and settings.train.steps_per_epoch:
        raise InputError(
            "train.time settles the number of steps. Leave out train.time or train.steps_per_epoch. "
            f"Received: {settings.train.time}, {settings.train.steps_per_epoch} steps"
        )
    given = settings.model_dump(exclude_unset=True)
    user = {f"{section}.{name}": value for section, values in given.items() for name, value in values.items()}
    chosen = dict(user)
    choices = []
    for rule in RULES:
        if rule.setting in user:
            choices.append(Choice(rule.setting, user[rule.setting], "given", given=True))
        elif (choice := rule.choose(Facts(data, machine, settings.train.seconds, chosen))) is not None:
            chosen[rule.setting], reason = choice
            choices.append(Choice(rule.setting, chosen[rule.setting], reason))
    facts = Facts(data, machine, settings.train.seconds, chosen)
    return Plan(tuple(choices), config.settings(_nest(choices), given), tuple(warnings(facts)))


def _nest(choices: Iterable[Choice]) -> dict[str, dict[str, Any]]:
    nested: dict[str, dict[str, Any]] = {}
    for choice in choices:
        section, name = choice.setting.split(".")
        nested.setdefault(section, {})[name] = choice.value
    return nested
