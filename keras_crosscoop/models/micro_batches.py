"""Steps that compute a batch in micro-batches: on several devices, or one after another (gradient accumulation)."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from keras import KerasTensor


@dataclass
class Step:
    """The current step. Its labels have been checked.

    Attributes:
        denominators: The mean of the micro-batches' loss denominators, see `SegmentationLoss`; None if the step
            computes the batch as a whole.
        numerators: The loss numerators of each output for the latest micro-batch; None before the first one.
    """

    denominators: KerasTensor | None = None
    numerators: list[KerasTensor] | None = None


current_step: ContextVar[Step | None] = ContextVar("step", default=None)  # each replica is traced by its own thread


@contextmanager
def run_step(denominators: KerasTensor | None = None) -> Iterator[Step]:
    """Sets the current step, which `compute_loss` reads."""
    step = Step(denominators)
    token = current_step.set(step)
    try:
        yield step
    finally:
        current_step.reset(token)


def accumulate(function: Callable[..., Any], batch: Sequence[KerasTensor], count: int, zeros: Any) -> Any:
    """Sums a function's results over `count` micro-batches of a batch, which reuse the same memory. TensorFlow only.

    The function takes the tensors of a micro-batch and returns a structure of tensors, which is added to `zeros`.

    Raises:
        tf.errors.InvalidArgumentError: B is not a multiple of `count`.
    """
    import tensorflow as tf

    if count == 1:
        return function(*batch)
    images = batch[0].shape[0] or tf.shape(batch[0])[0]
    divisible = tf.debugging.assert_equal(
        images % count,
        0,
        f"A batch must hold a multiple of `accumulation_steps` ({count}) images. Drop the last one if it is smaller. "
        f"Received: {batch[0].shape[0] or 'another number'}",
    )
    with tf.control_dependencies([divisible]):
        micro_batches = [tf.reshape(tensor, [count, images // count, *tensor.shape[1:]]) for tensor in batch]

    def add(index: tf.Tensor, total: Any) -> tuple:
        result = function(*(tensor[index] for tensor in micro_batches))
        return index + 1, tf.nest.map_structure(tf.add, total, result)

    # Memory is reused only by a loop in the graph that runs one iteration at a time.
    return tf.while_loop(lambda index, _: index < count, add, (0, zeros), parallel_iterations=1)[1]
