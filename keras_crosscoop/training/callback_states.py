"""What callbacks remember, as plain values: Keras saves none of it."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_crosscoop.errors import InputError

# What Keras sets anew in each training: for this run, and the sign of `min_delta`, at the end of the first epoch.
_GIVEN = ("_model", "params", "validation_data", "min_delta")


class CallbackStates:
    """The states of callbacks, taken and given back.

    A callback can say itself, by `get_state()` and `set_state(state)`, what it must not forget. Of every other, so of
    Keras's `EarlyStopping` or `ReduceLROnPlateau`, all attributes count that have changed since it was made and are
    plain: numbers, texts, None, arrays, and lists and dicts of them.

    Args:
        callbacks: in their order, new.
    """

    def __init__(self, callbacks: Sequence[keras.callbacks.Callback]) -> None:
        # By class and the number among its like: of several processes, the one that writes has others besides.
        like: dict[str, list[keras.callbacks.Callback]] = {}
        for each in callbacks:
            like.setdefault(type(each).__name__, []).append(each)
        self._callbacks = {f"{name} {number}": each for name, same in like.items() for number, each in enumerate(same)}
        self._new = {name: _attributes(each) for name, each in self._callbacks.items()}

    def get(self) -> dict[str, dict[str, Any]]:
        """The state of each, by class and number.

        Raises:
            InputError: a `get_state` gives what a checkpoint cannot hold.
        """
        return {name: self._state(name) for name in self._callbacks}

    def set(self, states: Mapping[str, Mapping[str, Any]]) -> None:
        """Gives callbacks the states that their like had; others stay as they are.

        Raises:
            InputError: a `set_state` does not take what its like, of another version maybe, gave.
        """
        for name in self._callbacks.keys() & states.keys():
            callback, state = self._callbacks[name], states[name]
            if hasattr(callback, "set_state"):
                try:
                    callback.set_state(state)
                except (LookupError, TypeError, ValueError, AttributeError) as error:
                    raise InputError(
                        f"What the checkpoint remembers for callback {type(callback).__name__} does not fit it "
                        f"({type(error).__name__}: {error}). Go on with the version that wrote it, or begin another "
                        f"run with this one's best weights by --init-from. Received: {', '.join(state)}"
                    ) from error
            else:
                vars(callback).update(state)

    def _state(self, name: str) -> dict[str, Any]:
        callback = self._callbacks[name]
        if hasattr(callback, "get_state"):
            state = callback.get_state()
            if not _plain(state):
                raise InputError(
                    "What a callback's `get_state` gives must be numbers, texts, None, arrays, and lists and dicts of "
                    f"them, with texts for keys. Received: {state!r} from {type(callback).__name__}"
                )
            return state
        new = self._new[name]
        return {key: value for key, value in _attributes(callback).items() if not _equal(new.get(key, _NOTHING), value)}


_NOTHING = object()


def _attributes(callback: keras.callbacks.Callback) -> dict[str, Any]:
    found = {name: value for name, value in vars(callback).items() if name not in _GIVEN and _plain(value)}
    return copy.deepcopy(found)


def _plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _plain(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return all(map(_plain, value))
    if isinstance(value, np.ndarray | np.generic):
        return not value.dtype.hasobject
    return value is None or isinstance(value, bool | int | float | str)


def _equal(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_equal, one, other))
    return one == other
