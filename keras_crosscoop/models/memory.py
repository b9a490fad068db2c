"""How much memory a network takes for an image: asked before a large one, as Linux kills who takes too much of it."""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from keras_crosscoop.system.resources import free_memory

LARGE = 2048 * 2048  # pixels; to ask takes seconds, which smaller images are not worth
_SCRATCH = 2.0  # times what tensors take: kernels' own (measured: 1.5 of 2048x1024 pixels, 1.75 of 10000x10000)


def fits(need: float) -> bool:
    """Whether so many bytes are free; of a CPU: GPUs tell when they are not."""
    return bool(tf.config.list_logical_devices("GPU")) or need <= free_memory()


def needed(network: Callable[[tf.Tensor], Any], shape: tuple[int, ...]) -> float:
    """Bytes that a network's pass over floats of this shape takes, about."""
    return _SCRATCH * _peak(tf.function(network).get_concrete_function(tf.TensorSpec(shape)).graph)


def _peak(graph: tf.Graph) -> int:
    """The most bytes that tensors take at a time, if each goes after its last use."""
    operations = graph.get_operations()
    last_use = {tensor.name: number for number, operation in enumerate(operations) for tensor in operation.inputs}
    ending: dict[int, int] = defaultdict(int)  # bytes that go after an operation
    held = peak = 0
    for number, operation in enumerate(operations):
        if operation.type not in ("Placeholder", "ReadVariableOp", "Identity"):  # which copy nothing
            for tensor in operation.outputs:
                if tensor.name in last_use and tensor.shape.is_fully_defined():
                    size = tensor.shape.num_elements() * tensor.dtype.size
                    held += size
                    ending[last_use[tensor.name]] += size
        peak = max(peak, held)
        held -= ending.pop(number, 0)
    return peak
