"""The throughput of training, in images per second."""

import math
import time

SMOOTHING = 10.0  # seconds of steps after which the weight of a step in the recent rate falls to 1/e


class Throughput:
    """Measures images per second of training steps. The first (traced) step and time between steps are left out.

    Args:
        images: The number of images per call of the train function.
    """

    def __init__(self, images: int) -> None:
        self._images = images
        self._traced = False
        self._sums = self._recent_sums = (0.0, 0.0)  # images, seconds

    def begin(self) -> None:
        """Starts the clock, before the train function."""
        self._start = time.perf_counter()

    def end(self) -> None:
        """Stops the clock, when the results of the train function are available."""
        seconds = time.perf_counter() - self._start
        if self._traced:
            keep = math.exp(-seconds / SMOOTHING)
            self._sums = self._sums[0] + self._images, self._sums[1] + seconds
            self._recent_sums = keep * self._recent_sums[0] + self._images, keep * self._recent_sums[1] + seconds
        self._traced = True

    @property
    def recent(self) -> float | None:
        """The rate, smoothed over some seconds; None before the second call."""
        return _rate(self._recent_sums)

    def take(self) -> float | None:
        """Returns the rate since the last call of this method; None if there was no step."""
        sums, self._sums = self._sums, (0.0, 0.0)
        return _rate(sums)


def _rate(sums: tuple[float, float]) -> float | None:
    images, seconds = sums
    return images / seconds if seconds else None
