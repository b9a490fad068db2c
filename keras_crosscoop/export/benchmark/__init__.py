"""Benchmark of all formats of one network on this machine: time, memory, file size and agreement."""

from keras_crosscoop.export.benchmark.comparison import benchmark

__all__ = ["benchmark"]
