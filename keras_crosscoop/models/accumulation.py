"""A step's gradients from parts of a batch, one after another: the memory of a part, the step of the whole."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf


def accumulate(function: Callable[..., Any], batch: Sequence[tf.Tensor], parts: int, nothing: Any) -> Any:
    """The sum of what `function` gives for each of equal parts of a batch.

    Args:
        function: of the batch's tensors, to a structure of tensors.
        batch: tensors `(B, ...)`.
        parts: how many; B must be a multiple of it.
        nothing: what to add to, zeros in the same structure.

    Raises:
        tf.errors.InvalidArgumentError: B is no multiple of `parts`.
    """
    if parts == 1:
        return function(*batch)
    images = batch[0].shape[0] or tf.shape(batch[0])[0]
    divisible = tf.debugging.assert_equal(
        images % parts,
        0,
        f"A batch must hold a multiple of `accumulation_steps` ({parts}) images. Drop the last one if it is smaller. "
        f"Received: {batch[0].shape[0] or 'another number'}",
    )
    with tf.control_dependencies([divisible]):
        shares = [tf.reshape(tensor, [parts, images // parts, *tensor.shape[1:]]) for tensor in batch]

    def add(part: tf.Tensor, so_far: Any) -> tuple:
        more = function(*(share[part] for share in shares))
        return part + 1, tf.nest.map_structure(tf.add, so_far, more)

    # A loop of the graph's, not unrolled and never two parts at once: only so the memory of one part serves all.
    return tf.while_loop(lambda part, _: part < parts, add, (0, nothing), parallel_iterations=1)[1]
