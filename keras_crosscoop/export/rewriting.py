"""A functional graph, built again with some of its operations replaced."""

from collections.abc import Callable, Sequence
from typing import Any

import keras

# (operation, its inputs in the new graph) -> its outputs there, or None where it is to be copied as it is
Replace = Callable[..., Any]


def rewritten(model: keras.Model, replace: Replace, input_shape: Sequence[int | None] = (None, None, 3)) -> keras.Model:
    """A copy of a model in which some operations are replaced; layers and weights are its own, and float32.

    Args:
        model: a functional one of one input, whose layers are called once each. Models that are nested in it are
            rewritten alike.
        replace: is asked about each operation.
        input_shape: of the copy, `(H, W, C)`.
    """
    graph = keras.Model(model.input, model.output)  # of Keras's own class, and only what the outputs need

    def call(operation: keras.Operation, *arguments: Any, **options: Any) -> Any:
        if isinstance(operation, keras.Model):
            return rewritten(operation, replace, arguments[0].shape[1:])(*arguments)
        replaced = replace(operation, *arguments)
        return copied(operation)(*arguments, **options) if replaced is None else replaced

    image = keras.Input(input_shape, name="image")
    copy = keras.models.clone_model(
        graph, input_tensors=image, clone_function=lambda operation: operation, call_function=call
    )
    return keras.Model(image, copy.output, name=model.name)


def copied(operation: keras.Operation, **changes: Any) -> Callable[..., Any]:
    """What calls a copy of the operation, whose configuration is changed so, and gives it weights.

    They are the operation's own, or those called `weights` among the changes.
    """
    weights = changes.pop("weights", None)
    config = operation.get_config() | changes
    if not isinstance(operation, keras.Layer):
        return type(operation).from_config(config)
    copy = type(operation).from_config(config | {"dtype": "float32"})

    def call(*arguments: Any, **options: Any) -> Any:
        outputs = copy(*arguments, **options)  # which builds it
        copy.set_weights(operation.get_weights() if weights is None else weights)
        return outputs

    return call
