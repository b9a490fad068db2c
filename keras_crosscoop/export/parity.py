"""Parity: the agreement of an exported network with the live one on the same images."""

import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from keras_crosscoop.export.deployment import Size, resize_in
from keras_crosscoop.export.runtimes import Exported
from keras_crosscoop.metrics import Confusion, mean_iou
from keras_crosscoop.models import Segmenter

Live = Callable[[np.ndarray], np.ndarray]  # an image, uint8 (H, W, 3) -> probabilities (H, W, C)


class DisagreementError(Exception):
    """An exported network disagrees with the live one; the message is one line."""


def live(model: Segmenter, output: str, size: Size | None = None) -> Live:
    """Returns the function that computes class probabilities with the model itself, at the exported input size."""

    @tf.function(reduce_retracing=True)
    def probabilities(image: tf.Tensor) -> tf.Tensor:
        resized = image if size is None else resize_in(image, size)
        scores = model.scores(model(tf.cast(resized, tf.float32), training=False), output)
        class_probabilities = model.probabilities(scores, output)
        if size is None:
            return class_probabilities
        return tf.image.resize(class_probabilities, tf.shape(image)[1:3], "nearest")

    return lambda image: probabilities(tf.constant(image[None]))[0].numpy()


def parity(
    exported: Exported,
    live: Live,
    samples: Iterable[tuple[np.ndarray, np.ndarray]],
    num_classes: int,
    progress: Callable[[int], object] = lambda done: None,
) -> dict[str, Any]:
    """Compares an exported network with the live one on images, uint8 `(H, W, 3)`, and labels, uint8 `(H, W)`.

    Returns:
        `images`; `agreement`, the share of pixels with the same class; `largest_probability_difference`, over the
        classes that the exported network predicts; `mean_iou` of both; `latency`: `median` and `p90` of the exported
        network's seconds per image.
    """
    confusions = [Confusion(num_classes, name=name) for name in ("live", "exported")]
    equal, differences, seconds = [], [], []
    for image, labels in samples:
        if not seconds:
            exported(image)  # the first call initialises the runtime
        start = time.perf_counter()
        predicted = exported(image)
        seconds.append(time.perf_counter() - start)
        probabilities = live(image)
        classes, expected = predicted["classes"], probabilities.argmax(axis=-1)
        equal.append((classes == expected) & np.isfinite(predicted["confidence"]))  # NaN agrees with nothing
        live_confidence = np.take_along_axis(probabilities, classes[..., None].astype(np.intp), axis=-1)[..., 0]
        differences.append(float(np.abs(live_confidence - np.nan_to_num(predicted["confidence"])).max()))
        for confusion, ids in zip(confusions, (expected, classes), strict=True):
            confusion.update_state(labels[None], ids[None])
        progress(len(seconds))
    return {
        "images": len(seconds),
        "agreement": sum(int(pixels.sum()) for pixels in equal) / sum(pixels.size for pixels in equal),
        "largest_probability_difference": max(differences),
        "mean_iou": {confusion.name: mean_iou_of(confusion) for confusion in confusions},
        "latency": {"median": float(np.median(seconds)), "p90": float(np.quantile(seconds, 0.9))},
    }


def mean_iou_of(confusion: Confusion) -> float | None:
    """Returns the mean IoU of the counted pixels; None if no pixel is labelled, as in test splits."""
    value = float(mean_iou(np.asarray(confusion.matrix)))
    return None if np.isnan(value) else value
