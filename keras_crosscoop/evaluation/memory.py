"""How much memory a network takes for an image: asked before a large one, as Linux kills who takes too much of it."""

from collections import defaultdict

import psutil
import tensorflow as tf

LARGE = 2048 * 2048  # pixels; to ask takes seconds, which smaller images are not worth
_SCRATCH = 1.5  # times what tensors take: kernels' own (measured on whole images of 2048x1024)


def too_large(network: tf.types.experimental.PolymorphicFunction, image: tf.TensorSpec) -> bool:
    """Whether a network's pass over an image of this size takes more memory than is free; of a CPU, GPUs tell."""
    if tf.config.list_logical_devices("GPU"):
        return False
    return _SCRATCH * _peak(network.get_concrete_function(image).graph) > psutil.virtual_memory().available


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
