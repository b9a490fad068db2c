"""The memory that a network needs for an image; Linux kills processes that take too much of it."""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from keras_crosscoop.system.resources import free_memory

LARGE = 2048 * 2048  # pixels; smaller images skip the check, which takes seconds
_SCRATCH = 2.0  # buffers of kernels, as a factor (measured: 1.5 for 2048x1024 pixels, 1.75 for 10000x10000)


def fits_in_memory(need: float) -> bool:
    """Whether this many bytes are free. Always true on GPUs, which raise an error when they run out of memory."""
    return bool(tf.config.list_logical_devices("GPU")) or need <= free_memory()


def required_memory(network: Callable[[tf.Tensor], Any], shape: tuple[int, ...]) -> float:
    """Estimates the memory of a network's forward pass over a float tensor of this shape, in bytes."""
    return _SCRATCH * _peak(tf.function(network).get_concrete_function(tf.TensorSpec(shape)).graph)


def _peak(graph: tf.Graph) -> int:
    """Returns the most bytes that tensors take at a time, if each is freed after its last use."""
    operations = graph.get_operations()
    last_use = {tensor.name: number for number, operation in enumerate(operations) for tensor in operation.inputs}
    freed: dict[int, int] = defaultdict(int)  # bytes, by the operation after which they are freed
    held = peak = 0
    for number, operation in enumerate(operations):
        if operation.type not in ("Placeholder", "ReadVariableOp", "Identity"):  # these copy nothing
            for tensor in operation.outputs:
                if tensor.name in last_use and tensor.shape.is_fully_defined():
                    size = tensor.shape.num_elements() * tensor.dtype.size
                    held += size
                    freed[last_use[tensor.name]] += size
        peak = max(peak, held)
        held -= freed.pop(number, 0)
    return peak
