"""A batch whose loss is computed in parts, on several devices or one after another, as that of the whole."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from keras import KerasTensor


@dataclass
class WholeBatch:
    """What `compute_loss` learns of the batch that it sees a part of, and what it tells of the part.

    Attributes:
        denominators: of the loss, see `SegmentationLoss`: the mean over the parts.
        numerators: of each output's loss, of the latest part; None before there was one.
    """

    denominators: KerasTensor
    numerators: list[KerasTensor] | None = None


_whole: ContextVar[WholeBatch | None] = ContextVar("whole", default=None)  # replicas are traced by threads of their own


def whole_batch() -> WholeBatch | None:
    """The batch of the step that runs now, if it computes parts."""
    return _whole.get()


@contextmanager
def in_parts(denominators: KerasTensor) -> Iterator[WholeBatch]:
    """Inside, `compute_loss` sees parts of a batch with such `denominators` on average."""
    token = _whole.set(WholeBatch(denominators))
    try:
        yield _whole.get()
    finally:
        _whole.reset(token)
