"""An exported network beside the live one, on the same images: is it the same?"""

import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from keras_crosscoop.export.deployed import Size, fitted
from keras_crosscoop.export.running import Exported
from keras_crosscoop.labels import IGNORE_LABEL
from keras_crosscoop.metrics import mean_iou
from keras_crosscoop.models import Segmenter

Live = Callable[[np.ndarray], np.ndarray]  # an image, uint8 (H, W, 3) -> probabilities (H, W, C)


class DisagreementError(Exception):
    """An exported network sees other things than the live one; the message is one line."""


def live(model: Segmenter, output: str, size: Size | None = None) -> Live:
    """What the model itself makes of an image, where the exported one sees it at `size`."""

    @tf.function(reduce_retracing=True)
    def probabilities(image: tf.Tensor) -> tf.Tensor:
        seen = image if size is None else fitted(image, size)
        scores = model.scores(model(tf.cast(seen, tf.float32), training=False), output)
        found = model.probabilities(scores, output)
        return found if size is None else tf.image.resize(found, tf.shape(image)[1:3], "nearest")

    return lambda image: probabilities(tf.constant(image[None]))[0].numpy()


def parity(
    exported: Exported,
    live: Live,
    samples: Iterable[tuple[np.ndarray, np.ndarray]],
    num_classes: int,
    watch: Callable[[int], object] = lambda done: None,
) -> dict[str, Any]:
    """How far an exported network agrees with the live one.

    Args:
        exported: the one.
        live: the other, of the function of that name.
        samples: images, uint8 `(H, W, 3)`, and labels with 255 for void, uint8 `(H, W)`.
        num_classes: of both.
        watch: is told of progress.

    Returns:
        `images`; `agreement`, the share of pixels of one class; `largest_probability_difference`, of the class that
        was told; `mean_iou` of both; `latency`: `median` and `p90` of the exported one's seconds an image.
    """
    confusion = np.zeros((2, num_classes, num_classes), np.int64)
    pixels = equal = images = 0
    largest, seconds = 0.0, []
    for image, labels in samples:
        if not images:
            exported(image)  # it sets itself up
        start = time.perf_counter()
        found = exported(image)
        seconds.append(time.perf_counter() - start)
        probabilities = live(image)
        classes, expected = found["classes"], probabilities.argmax(axis=-1)
        same = (classes == expected) & np.isfinite(found["confidence"])  # no class is the likeliest of none
        images, pixels, equal = images + 1, pixels + classes.size, equal + int(same.sum())
        of_told = np.take_along_axis(probabilities, classes[..., None].astype(np.intp), axis=-1)[..., 0]
        largest = max(largest, float(np.abs(of_told - np.nan_to_num(found["confidence"])).max()))
        valid = labels != IGNORE_LABEL
        for matrix, predicted in zip(confusion, (expected, classes), strict=True):
            cells = labels[valid].astype(np.int64) * num_classes + predicted[valid]
            matrix += np.bincount(cells, minlength=num_classes**2).reshape(matrix.shape)
        watch(images)
    of_live, of_exported = mean_iou(confusion).tolist() if confusion.any() else (None, None)  # labels may be kept back
    return {
        "images": images,
        "agreement": equal / pixels,
        "largest_probability_difference": largest,
        "mean_iou": {"live": of_live, "exported": of_exported},
        "latency": {"median": float(np.median(seconds)), "p90": float(np.quantile(seconds, 0.9))},
    }
