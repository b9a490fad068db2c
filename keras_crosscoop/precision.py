"""The precision of layers: Keras's dtype policies."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras


@contextmanager
def policy(name: str) -> Iterator[None]:
    """Gives layers that are built inside it the dtype policy of that name, "mixed_bfloat16" for example."""
    outside = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(outside)
