"""The states of callbacks as plain values; Keras does not save them."""

import copy
import pickle
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_crosscoop.errors import InputError, describe

# Keras sets these anew in each training; `min_delta` changes its sign at the end of the first epoch.
_SET_BY_KERAS = ("_model", "params", "validation_data", "min_delta")


class CallbackStates:
    """Gets and sets the states of callbacks.

    A callback may define its state by `get_state()` and `set_state(state)`. For every other callback, such as Keras's
    `EarlyStopping` and `ReduceLROnPlateau`, the state is all plain attributes that have changed since it was new.
    Plain are numbers, strings, None, arrays, and lists and dicts of these.

    Args:
        callbacks: New callbacks, in their order.
    """

    def __init__(self, callbacks: Sequence[keras.callbacks.Callback]) -> None:
        # By class and number within the class, because the process that writes files has additional callbacks.
        self._callbacks: dict[str, keras.callbacks.Callback] = {}
        for callback in callbacks:
            name = type(callback).__name__
            number = sum(type(other).__name__ == name for other in self._callbacks.values())
            self._callbacks[f"{name} {number}"] = callback
        self._initial = {name: _pickled_attributes(callback) for name, callback in self._callbacks.items()}

    def get(self) -> dict[str, dict[str, Any]]:
        """Returns the state of each callback, by class and number.

        Raises:
            InputError: A `get_state` returns a value that a checkpoint cannot hold.
        """
        return {name: self._state(name) for name in self._callbacks}

    def set(self, states: Mapping[str, Mapping[str, Any]]) -> None:
        """Sets the states of callbacks of the same class and number; other callbacks stay unchanged.

        Raises:
            InputError: A `set_state` fails, perhaps because another version wrote the state.
        """
        for name in self._callbacks.keys() & states.keys():
            callback, state = self._callbacks[name], states[name]
            if not hasattr(callback, "set_state"):
                vars(callback).update(state)
                continue
            try:
                callback.set_state(state)
            except (LookupError, TypeError, ValueError, AttributeError) as error:
                raise InputError(
                    f"Callback {type(callback).__name__} cannot be restored from the checkpoint ({describe(error)}). "
                    f"Continue with the version that wrote it, or begin another run from this run's best weights with "
                    f"--init-from. Received: {', '.join(state)}"
                ) from error

    def _state(self, name: str) -> dict[str, Any]:
        callback = self._callbacks[name]
        if hasattr(callback, "get_state"):
            state = callback.get_state()
            if not _is_plain(state):
                raise InputError(
                    "A callback's `get_state` must return numbers, strings, None, arrays, lists and dicts of these, "
                    f"with strings as keys. Received: {state!r} from {type(callback).__name__}"
                )
            return state
        changed = {key for key, value in _pickled_attributes(callback).items() if self._initial[name].get(key) != value}
        return {key: copy.deepcopy(value) for key, value in vars(callback).items() if key in changed}


def _pickled_attributes(callback: keras.callbacks.Callback) -> dict[str, bytes]:
    """Returns the plain attributes as bytes, which are equal only if types and values are; NaN equals NaN."""
    plain = {key: value for key, value in vars(callback).items() if key not in _SET_BY_KERAS and _is_plain(value)}
    return {key: pickle.dumps(value) for key, value in plain.items()}


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    if isinstance(value, np.ndarray | np.generic):
        return not value.dtype.hasobject
    return value is None or isinstance(value, bool | int | float | str)
