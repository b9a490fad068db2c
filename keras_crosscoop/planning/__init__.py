"""A plan: settings for whatever the user did not set, from the data, the machine and the time."""

from keras_crosscoop.planning.facts import Data, Facts, Machine, describe_data, describe_machine
from keras_crosscoop.planning.plan import Choice, Plan, plan
from keras_crosscoop.planning.rules import RULES

__all__ = ["RULES", "Choice", "Data", "Facts", "Machine", "Plan", "describe_data", "describe_machine", "plan"]
