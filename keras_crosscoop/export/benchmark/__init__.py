"""The formats of one network side by side on one machine: time, memory, size, and what they still see."""

from keras_crosscoop.export.benchmark.comparing import benchmark

__all__ = ["benchmark"]
