"""SavedModels for TensorFlow Serving: three signatures over one network, and errors that name the problem."""

from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from keras_crosscoop.export.deployed import Size, fitted, probable, restored, told
from keras_crosscoop.export.fusing import fusable
from keras_crosscoop.export.upsampling import enlarged_last

_IMAGES = tf.TensorSpec([None, None, None, 3], tf.uint8, name="image")
_FILES = tf.TensorSpec([None], tf.string, name="image_bytes")


def write_saved_model(network: keras.Model, folder: Path, size: Size | None = None) -> None:
    """Writes a SavedModel that needs TensorFlow alone, with the signatures

    - `serving_default`: `image`, uint8 `(B, H, W, 3)` -> `classes`, uint8 `(B, H, W)`, and `confidence`, float32 alike;
    - `serve_bytes`: `image_bytes`, B encoded JPEGs or PNGs of one size -> the same;
    - `probabilities`: `image` -> `probabilities`, float32 `(B, H, W, C)`.

    Images may have any size. Other shapes, no images, and bytes that are none are answered by an `InvalidArgument`.

    Args:
        network: of `deployed`.
        folder: to be made.
        size: `(H, W)` that images are brought to for the network, and class maps back from; None for as they are.
    """
    network = fusable(enlarged_last(network))

    @tf.function(input_signature=[_IMAGES], autograph=False)
    def core(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return network(tf.cast(image, tf.float32), training=False)

    def segment(image: tf.Tensor) -> dict[str, tf.Tensor]:
        shape = tf.shape(image)[1:3]
        if size is None:
            return told(core(image), shape)
        return restored(told(core(fitted(image, size)), size), shape)

    @tf.function(input_signature=[_IMAGES], autograph=False)
    def serving_default(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return segment(_checked(image))

    @tf.function(input_signature=[_FILES], autograph=False)
    def serve_bytes(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        return segment(_decoded(image_bytes))

    @tf.function(input_signature=[_IMAGES], autograph=False)
    def probabilities(image: tf.Tensor) -> dict[str, tf.Tensor]:
        image = _checked(image)
        shape = tf.shape(image)[1:3]
        if size is None:
            return {"probabilities": probable(core(image), shape)}
        found = probable(core(fitted(image, size)), size)
        return {"probabilities": tf.image.resize(found, shape, "nearest")}

    signatures: dict[str, Any] = {
        "serving_default": serving_default,
        "serve_bytes": serve_bytes,
        "probabilities": probabilities,
    }
    module = tf.Module()
    # No constants: of these TensorFlow keeps a dozen copies a signature, and gains 15 % of speed by them.
    module.weights = [weight.value for weight in network.weights]
    tf.saved_model.save(module, str(folder), signatures=signatures)


def _checked(image: tf.Tensor) -> tf.Tensor:
    """The images, if they are some: servers do not compare what they are sent with a signature's shape."""
    image = tf.compat.v1.placeholder_with_default(image, shape=None)  # of which no shape is taken for granted
    shape = tf.shape(image)
    is_image = _require(
        tf.logical_and(tf.equal(tf.size(shape), 4), tf.reduce_all(tf.equal(shape[-1:], 3))),  # a number has no last
        ["`image` must be RGB, uint8 (B, H, W, 3). Received shape:", shape],
    )
    with tf.control_dependencies([is_image]):
        is_full = _require(
            tf.greater(tf.size(image), 0), ["`image` must hold one image or more. Received shape:", shape]
        )
    with tf.control_dependencies([is_full]):
        return tf.ensure_shape(tf.identity(image), _IMAGES.shape)


def _require(condition: tf.Tensor, told: list[Any]) -> tf.Operation:
    return tf.Assert(condition, told, summarize=8)  # numbers of a shape


def _decoded(image_bytes: tf.Tensor) -> tf.Tensor:
    """The images in files, `(B,) -> uint8 (B, H, W, 3)`."""
    some = _require(
        tf.greater(tf.size(image_bytes), 0),
        ["`image_bytes` must hold one file or more. Received shape:", tf.shape(image_bytes)],
    )
    with tf.control_dependencies([some]):
        first = tf.shape(_decode(image_bytes[0]))

    def decode(file: tf.Tensor) -> tf.Tensor:
        image = _decode(file)
        shape = tf.shape(image)
        alike = _require(
            tf.reduce_all(tf.equal(shape, first)),
            ["The images of a request must have one size. Send others apart. Received (H, W, 3):", first, shape],
        )
        with tf.control_dependencies([alike]):
            return tf.identity(image)

    return tf.map_fn(decode, image_bytes, fn_output_signature=tf.TensorSpec([None, None, 3], tf.uint8))


def _decode(file: tf.Tensor) -> tf.Tensor:
    """RGB, uint8 `(H, W, 3)`, the pixels that Pillow makes of a JPEG or PNG."""
    known = tf.logical_or(tf.io.is_jpeg(file), tf.equal(tf.strings.substr(file, 0, 4), b"\x89PNG"))
    is_image = _require(
        known, ["`image_bytes` must be JPEG or PNG files. Received bytes that begin:", tf.strings.substr(file, 0, 8)]
    )
    with tf.control_dependencies([is_image]):
        return tf.cond(
            tf.io.is_jpeg(file),
            lambda: tf.io.decode_jpeg(file, channels=3, dct_method="INTEGER_ACCURATE"),
            lambda: tf.io.decode_png(file, channels=3),
        )
