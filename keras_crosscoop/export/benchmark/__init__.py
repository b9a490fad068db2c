"""The formats of one network side by side on one machine: time, memory, file size and agreement."""

from keras_crosscoop.export.benchmark.comparison import benchmark

__all__ = ["benchmark"]
