"""TensorFlow as `tf` where it is Keras's backend; None on other backends."""

import keras

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf
else:
    tf = None
