"""What label maps hold: class ids from 0 up, and void. Whatever takes labels from outside checks them here."""

from collections.abc import Mapping

import keras
from keras import KerasTensor, ops

from keras_crosscoop.errors import InputError

IGNORE_LABEL = 255  # pixels that count nowhere: not in the loss, not in a metric
INVALID_LABEL = 254  # what no class has for its id, so that there are at most this many

_ON_TENSORFLOW = keras.backend.backend() == "tensorflow"


def check_labels(labels: KerasTensor, num_classes: int, like: KerasTensor | None = None) -> KerasTensor:
    """Labels as int32 `(B, H, W)`, of which each is a class id or `IGNORE_LABEL`.

    Values are checked wherever they are known: at once outside of compiled functions, by an assertion within
    TensorFlow's. JAX's and XLA's compiled functions cannot raise; see `are_labels` for those.

    Args:
        labels: any integers `(B, H, W)`.
        num_classes: class ids are below it.
        like: what labels must be as large as, `(B, H, W, ...)`; None to leave that out.

    Raises:
        InputError: labels have another rank, size or type, or a value that is neither a class id nor `IGNORE_LABEL`.
        tf.errors.InvalidArgumentError: the same of values, within a compiled function.
    """
    if labels is None or isinstance(labels, Mapping):  # Keras's own models take labels by output
        raise InputError(f"Labels must be one array (B, H, W), the same for all outputs. Received: {_kind(labels)}")
    labels = ops.convert_to_tensor(labels)
    dtype, shape = keras.backend.standardize_dtype(labels.dtype), tuple(labels.shape)
    if len(shape) != 3:
        remedy = " Take `labels[..., 0]`." if len(shape) == 4 and shape[3] == 1 else ""
        raise InputError(f"Labels must be (B, H, W), one class id a pixel.{remedy} Received: shape {shape}")
    if "int" not in dtype and dtype != "bool":
        raise InputError(f"Labels must be integers, one class id a pixel. Received: {dtype}")
    size = tuple(like.shape[:3]) if like is not None else shape
    if any(None not in pair and pair[0] != pair[1] for pair in zip(shape, size, strict=True)):
        raise InputError(f"Labels must be as large as the predictions, {size}. Received: shape {shape}")
    if dtype.endswith(("int32", "int64")):  # larger values would become others in int32
        labels = (
            ops.minimum(labels, IGNORE_LABEL + 1) if dtype.startswith("u") else ops.clip(labels, -1, IGNORE_LABEL + 1)
        )
    labels = ops.cast(labels, "int32")
    _require(are_labels(labels, num_classes), labels, num_classes)
    return labels


def _kind(given: Mapping | None) -> str:
    return "none" if given is None else f"a mapping of {', '.join(map(str, given))}"


def are_labels(labels: KerasTensor, num_classes: int) -> KerasTensor:
    """Whether each of int32 labels is a class id or `IGNORE_LABEL`: `(B, H, W) -> ()` bool."""
    return ops.all((labels >= 0) & (labels < num_classes) | ops.equal(labels, IGNORE_LABEL))


def _require(valid: KerasTensor, labels: KerasTensor, num_classes: int) -> None:
    text = f"Labels must be class ids from 0 to {num_classes - 1}, or {IGNORE_LABEL} where nothing counts. Received: "
    if _ON_TENSORFLOW:
        import tensorflow as tf

        if not tf.executing_eagerly():
            wrong = ~((labels >= 0) & (labels < num_classes) | tf.equal(labels, IGNORE_LABEL))
            tf.debugging.Assert(valid, [text, tf.reduce_max(tf.where(wrong, labels, -1))])
            return
    try:
        known = bool(valid)
    except Exception:  # within a compiled function: JAX and PyTorch have an error of their own for it each
        return
    if not known:
        values = ops.convert_to_numpy(labels)
        wrong = values[((values < 0) | (values >= num_classes)) & (values != IGNORE_LABEL)]
        raise InputError(f"{text}{wrong[0]}")
