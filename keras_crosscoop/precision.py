"""In which numbers layers compute: Keras's policies."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras


@contextmanager
def policy(name: str) -> Iterator[None]:
    """Layers made inside compute as the policy of that name says, "mixed_bfloat16" for example."""
    outside = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(outside)
