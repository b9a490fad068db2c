"""The precision of layers: Keras's dtype policies."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras


@contextmanager
def policy(name: str) -> Iterator[None]:
    """Sets the dtype policy, "mixed_bfloat16" for example, of layers that are built inside the `with` block."""
    outside = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(outside)
