"""How many images a second a training takes."""

import math
import time

SMOOTHING = 10.0  # seconds of steps after which one counts 1/e in a recent rate


class Throughput:
    """Images a second of training steps alone, without what happens between them, nor the first, which is traced.

    Args:
        images: of one call of the train function.
    """

    def __init__(self, images: int) -> None:
        self._images = images
        self._traced = False
        self._sums = self._recent_sums = (0.0, 0.0)  # images, seconds

    def begin(self) -> None:
        """To be called before the train function."""
        self._begun = time.perf_counter()

    def end(self) -> None:
        """To be called when its results are there."""
        seconds = time.perf_counter() - self._begun
        if self._traced:
            keep = math.exp(-seconds / SMOOTHING)
            images, recent_images = self._sums[0], self._recent_sums[0]
            self._sums = images + self._images, self._sums[1] + seconds
            self._recent_sums = keep * recent_images + self._images, keep * self._recent_sums[1] + seconds
        self._traced = True

    @property
    def recent(self) -> float | None:
        """Smoothed over some seconds; None before the second call."""
        return _rate(self._recent_sums)

    def take(self) -> float | None:
        """Since it was last taken; None where there was no step to count."""
        sums, self._sums = self._sums, (0.0, 0.0)
        return _rate(sums)


def _rate(sums: tuple[float, float]) -> float | None:
    images, seconds = sums
    return images / seconds if seconds else None
