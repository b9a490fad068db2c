"""Label maps: class ids from 0 up, and void pixels."""

from collections.abc import Mapping

import keras
from keras import KerasTensor, ops

from keras_crosscoop.backend import tf
from keras_crosscoop.errors import InputError

IGNORE_LABEL = 255  # void pixels, which no loss and no metric counts
INVALID_LABEL = 254  # never a class id, so there are at most this many classes


def check_labels(labels: KerasTensor, num_classes: int, like: KerasTensor | None = None) -> KerasTensor:
    """Checks labels and converts them to int32.

    Outside of compiled functions, values are checked immediately; inside a `tf.function`, by an assertion in the graph.
    Functions that JAX or XLA compiles cannot raise errors; see `are_labels`.

    Args:
        labels: Class ids below `num_classes`, or 255 for void; integers `(B, H, W)`.
        num_classes: The number of classes.
        like: A tensor `(B, H, W, ...)` whose size the labels must have; None for any size.

    Returns:
        The labels, int32 `(B, H, W)`.

    Raises:
        InputError: The labels have the wrong rank, size or type, or a value is neither a class id nor 255.
        tf.errors.InvalidArgumentError: Inside a `tf.function`, a value is neither a class id nor 255.

    Example:
        >>> int(check_labels(np.array([[[0, 2, 255]]], "uint8"), 3)[0, 0, 1])
        2
        >>> check_labels(np.array([[[0, 3]]]), 3)
        Traceback (most recent call last):
            ...
        keras_crosscoop.errors.InputError: Labels must be class ids from 0 to 2, or 255 for void pixels. Received: 3
    """
    if labels is None or isinstance(labels, Mapping):  # Keras's models take labels by output
        received = "none" if labels is None else f"a mapping of {', '.join(map(str, labels))}"
        raise InputError(f"Labels must be one array (B, H, W), the same for all outputs. Received: {received}")
    labels = ops.convert_to_tensor(labels)
    dtype, shape = keras.backend.standardize_dtype(labels.dtype), tuple(labels.shape)
    if len(shape) != 3:
        remedy = " Take `labels[..., 0]`." if len(shape) == 4 and shape[3] == 1 else ""
        raise InputError(f"Labels must be (B, H, W), one class id per pixel.{remedy} Received: shape {shape}")
    if "int" not in dtype and dtype != "bool":
        raise InputError(f"Labels must be integers, one class id per pixel. Received: {dtype}")
    size = tuple(like.shape[:3]) if like is not None else shape
    if any(None not in lengths and len(set(lengths)) > 1 for lengths in zip(shape, size, strict=True)):
        raise InputError(f"Labels must be as large as the predictions, {size}. Received: shape {shape}")
    if dtype.endswith(("int32", "int64")):  # the cast to int32 would wrap larger values
        labels = ops.minimum(labels, 256) if dtype.startswith("u") else ops.clip(labels, -1, 256)
    labels = ops.cast(labels, "int32")
    _check_values(labels, num_classes)
    return labels


def are_labels(labels: KerasTensor, num_classes: int) -> KerasTensor:
    """Returns whether all int32 labels are class ids or 255: `(B, H, W) -> ()` bool."""
    return ops.all(_is_label(labels, num_classes))


def _is_label(labels: KerasTensor, num_classes: int) -> KerasTensor:
    return (labels >= 0) & (labels < num_classes) | ops.equal(labels, IGNORE_LABEL)


def _check_values(labels: KerasTensor, num_classes: int) -> None:
    text = f"Labels must be class ids from 0 to {num_classes - 1}, or {IGNORE_LABEL} for void pixels. Received: "
    valid = _is_label(labels, num_classes)
    if tf and not tf.executing_eagerly():
        tf.debugging.Assert(tf.reduce_all(valid), [text, tf.reduce_max(tf.where(valid, -1, labels))])
        return
    try:
        if bool(ops.all(valid)):
            return
    except Exception:  # inside a compiled function, where JAX and PyTorch raise different errors
        return
    raise InputError(f"{text}{ops.convert_to_numpy(labels)[~ops.convert_to_numpy(valid)][0]}")
