"""Layers that Keras lacks, and faster versions of Keras layers. All other layers of the networks are Keras's own.

On TensorFlow some of them use its kernels directly. On other backends they use Keras's operations, with equal results.
"""

from keras_crosscoop.layers.atrous import AtrousConv2D, AtrousMaxPooling2D
from keras_crosscoop.layers.batch_normalization import BatchNormalization, batch_norms
from keras_crosscoop.layers.dropout import Dropout
from keras_crosscoop.layers.resizing import CropLike, PadToMultiple, ResizeLike

__all__ = [
    "AtrousConv2D",
    "AtrousMaxPooling2D",
    "BatchNormalization",
    "CropLike",
    "Dropout",
    "PadToMultiple",
    "ResizeLike",
    "batch_norms",
]
