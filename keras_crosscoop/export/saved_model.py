"""SavedModels for TensorFlow Serving: one network with three signatures, which check their inputs."""

from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from keras import KerasTensor, layers

from keras_crosscoop.export.deployment import Size, probabilities, resize_in, segment
from keras_crosscoop.export.rewriting import copy_of, rewrite
from keras_crosscoop.export.upsampling import conv_before_upsample
from keras_crosscoop.images.reading import DEFAULT_READING, ImageReading

_IMAGES = tf.TensorSpec([None, None, None, 3], tf.uint8, name="image")
_FILES = tf.TensorSpec([None], tf.string, name="image_bytes")


def write_saved_model(
    network: keras.Model, folder: Path, size: Size | None = None, reading: ImageReading = DEFAULT_READING
) -> None:
    """Writes a SavedModel that needs only TensorFlow, with the signatures

    - `serving_default`: `image`, uint8 `(B, H, W, 3)` -> `classes`, uint8, and `confidence`, float32, both `(B, H, W)`;
    - `serve_bytes`: `image_bytes`, B encoded JPEGs or PNGs of one size -> the same;
    - `probabilities`: `image` -> `probabilities`, float32 `(B, H, W, C)`.

    Images may have any size. Other shapes, empty batches and other files raise an `InvalidArgument` error. With a
    `size`, `(H, W)`, images are resized to it for the network, a `deployment_graph`, and class maps back from it.
    `reading` is the range of 16-bit PNGs and the order of the channels, as in training.
    """
    network = with_fused_bias(conv_before_upsample(network))

    @tf.function(input_signature=[_IMAGES], autograph=False)
    def core(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return network(tf.cast(image, tf.float32), training=False)

    @tf.function(input_signature=[_IMAGES], autograph=False)
    def serving_default(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return segment(core, _checked(image), size)

    @tf.function(input_signature=[_FILES], autograph=False)
    def serve_bytes(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        return segment(core, _decode_all(image_bytes, reading), size)

    @tf.function(input_signature=[_IMAGES], autograph=False)
    def serve_probabilities(image: tf.Tensor) -> dict[str, tf.Tensor]:
        image = _checked(image)
        shape = tf.shape(image)[1:3]
        if size is None:
            return {"probabilities": probabilities(core(image), shape)}
        resized = probabilities(core(resize_in(image, size)), size)
        return {"probabilities": tf.image.resize(resized, shape, "nearest")}

    module = tf.Module()
    # Weights stay variables: as constants they would be 15 % faster, but TensorFlow keeps a dozen copies per signature.
    module.weights = [weight.value for weight in network.weights]
    signatures = {
        "serving_default": serving_default,
        "serve_bytes": serve_bytes,
        "probabilities": serve_probabilities,
    }
    tf.saved_model.save(module, str(folder), signatures=signatures)


def with_fused_bias(model: keras.Model) -> keras.Model:
    """Returns a copy of a model in which TensorFlow can fuse convolutions with their biases and activations.

    TensorFlow's remapper also tries to fuse a sum into the convolution before it. If two such sums follow each other,
    it fails ("fanout exist for missing node", 2.21), and fuses nothing in the whole graph. Therefore each term of a sum
    passes through an identity operation, which the remapper keeps.
    """

    def replace(operation: keras.Operation, *arguments: Any) -> KerasTensor | None:
        if isinstance(operation, layers.Add):
            return copy_of(operation)([_Barrier()(term) for term in arguments[0]])
        return None

    return rewrite(model, replace)


class _Barrier(layers.Layer):
    def call(self, features: KerasTensor) -> KerasTensor:
        return tf.ensure_shape(features, features.shape)


def _checked(image: tf.Tensor) -> tf.Tensor:
    """Checks the images' shape at run time, because servers do not compare it with the signature."""
    image = tf.compat.v1.placeholder_with_default(image, shape=None)  # forgets the static shape
    shape = tf.shape(image)
    # `shape[-1:]` is empty for a scalar.
    is_rgb = tf.logical_and(tf.equal(tf.size(shape), 4), tf.reduce_all(tf.equal(shape[-1:], 3)))
    with _require(is_rgb, "`image` must be RGB, uint8 (B, H, W, 3). Received shape:", shape):
        some = tf.greater(tf.size(image), 0)
    with _require(some, "`image` must hold at least one image. Received shape:", shape):
        return tf.ensure_shape(tf.identity(image), _IMAGES.shape)


def _require(condition: tf.Tensor, *message: Any) -> Any:
    """Returns a context whose operations run only if the condition holds."""
    return tf.control_dependencies([tf.Assert(condition, message, summarize=8)])  # numbers of a shape


def _decode_all(image_bytes: tf.Tensor, reading: ImageReading) -> tf.Tensor:
    """Decodes images of the same size: `(B,) -> uint8 (B, H, W, 3)`."""
    some, count = tf.greater(tf.size(image_bytes), 0), tf.shape(image_bytes)
    with _require(some, "`image_bytes` must hold at least one file. Received shape:", count):
        first = tf.shape(_decode(image_bytes[0], reading))

    def decode(file: tf.Tensor) -> tf.Tensor:
        image = _decode(file, reading)
        shape = tf.shape(image)
        message = "The images of a request must have the same size. Send others separately. Received (H, W, 3):"
        with _require(tf.reduce_all(tf.equal(shape, first)), message, first, shape):
            return tf.identity(image)

    return tf.map_fn(decode, image_bytes, fn_output_signature=tf.TensorSpec([None, None, 3], tf.uint8))


def _decode(file: tf.Tensor, reading: ImageReading) -> tf.Tensor:
    """Decodes a JPEG or PNG to the same pixels as Pillow: RGB, uint8 `(H, W, 3)`."""
    channels = reading.channels or (1, 2, 3)
    is_png = tf.equal(tf.strings.substr(file, 0, 4), b"\x89PNG")
    if max(channels) <= 3:
        known, received = tf.logical_or(tf.io.is_jpeg(file), is_png), tf.strings.substr(file, 0, 8)
        message = "`image_bytes` must be JPEG or PNG files. Received bytes that begin:"
    else:  # other files have too few channels
        is_rgba = tf.equal(tf.strings.substr(file, 25, 1), b"\x06")  # the colour type in the header
        known = tf.logical_and(tf.logical_and(is_png, is_rgba), max(channels) <= 4)
        message = f"`image_bytes` must be PNG files with the channels {[*channels]} of training. Send `image` instead. "
        message, received = message + "Received a file of this many bytes:", tf.strings.length(file)
    with _require(known, message, received):
        image = tf.cond(
            tf.io.is_jpeg(file),
            lambda: tf.io.decode_jpeg(file, channels=3, dct_method="INTEGER_ACCURATE"),
            lambda: _decode_png(file, reading, 3 if max(channels) <= 3 else 4),
        )
        return image if channels == (1, 2, 3) else tf.gather(image, [number - 1 for number in channels], axis=-1)


def _decode_png(file: tf.Tensor, reading: ImageReading, channels: int) -> tf.Tensor:
    if reading.range is None:
        return tf.io.decode_png(file, channels=channels)
    low, high = reading.range

    def decode_16_bit() -> tf.Tensor:
        values = tf.cast(tf.io.decode_png(file, channels=channels, dtype=tf.uint16), tf.float32)
        return tf.cast(tf.round(tf.clip_by_value((values - low) * (255 / (high - low)), 0, 255)), tf.uint8)

    is_deep = tf.equal(tf.strings.substr(file, 24, 1), b"\x10")  # the bit depth in the header
    return tf.cond(is_deep, decode_16_bit, lambda: tf.io.decode_png(file, channels=channels))
