"""Rewrites functional graphs: builds a model again, with some of its operations replaced."""

from collections.abc import Callable, Sequence
from typing import Any

import keras

# (operation, its inputs in the new graph) -> its outputs there, or None to copy the operation unchanged
Replace = Callable[..., Any]


def rewrite(model: keras.Model, replace: Replace, input_shape: Sequence[int | None] | None = None) -> keras.Model:
    """Returns a copy of a model in which some operations are replaced; its layers and weights are new, and float32.

    The model is functional, has one input and calls each layer once. Nested models are rewritten, too. The copy has
    inputs `(H, W, C)`, by default the model's.
    """
    graph = keras.Model(model.input, model.output)  # a plain Keras model, with only the operations for the outputs

    def call(operation: keras.Operation, *arguments: Any, **options: Any) -> Any:
        if isinstance(operation, keras.Model):
            return rewrite(operation, replace, arguments[0].shape[1:])(*arguments)
        replacement = replace(operation, *arguments)
        return copy_of(operation)(*arguments, **options) if replacement is None else replacement

    image = keras.Input(input_shape or model.input_shape[1:], name="image")
    copy = keras.models.clone_model(
        graph, input_tensors=image, clone_function=lambda operation: operation, call_function=call
    )
    return keras.Model(image, copy.output, name=model.name)


def copy_of(operation: keras.Operation, *, weights: Any = None, **changes: Any) -> Callable[..., Any]:
    """Returns a function that calls a copy of an operation with changes of its configuration, and sets its weights."""
    config = operation.get_config() | changes
    if not isinstance(operation, keras.Layer):
        return type(operation).from_config(config)
    copy = type(operation).from_config(config | {"dtype": "float32"})

    def call(*arguments: Any, **options: Any) -> Any:
        outputs = copy(*arguments, **options)  # builds the copy
        copy.set_weights(operation.get_weights() if weights is None else weights)
        return outputs

    return call
