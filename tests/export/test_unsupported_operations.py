"""Errors of converters name layers of the network."""

import keras

from keras_crosscoop.export.unsupported_operations import conversion_failure, unsupported_operations


def network():
    image = keras.Input((8, 8, 3))
    inner = keras.Sequential([keras.layers.ReLU(name="inner_relu")], name="backbone")
    return keras.Model(image, inner(keras.layers.Conv2D(2, 1, name="odd_one")(image)), name="top")


def test_operations_are_named_once_with_their_innermost_layer():
    operations = [
        ("Digamma", "top/backbone/inner_relu_1/Digamma@call"),
        ("Digamma", "top/backbone/inner_relu/Digamma"),
        ("Erf", "elsewhere"),
    ]
    assert str(unsupported_operations("ONNX", operations, network())) == (
        "ONNX does not support Digamma of layer inner_relu, Erf of layer elsewhere. Use other layers, or another "
        "--format. Received: output top"
    )


def test_other_failures_name_the_layers_in_the_message():
    error = conversion_failure("ONNX", ValueError("no kernel\n  for odd_one"), network())
    assert str(error) == (
        "ONNX's converter failed (layer odd_one): ValueError: no kernel for odd_one. Received: output top"
    )
