"""A SavedModel that keeps what an exported one promises, around a network of this package."""

import tensorflow as tf

IMAGE = tf.TensorSpec((None, None, None, 3), tf.uint8, "image")
BYTES = tf.TensorSpec((None,), tf.string, "image_bytes")


def checked(image):
    """It, if it is images. What the signature says of its shape is hidden: asserting what is known would do nothing."""
    hidden = tf.raw_ops.PlaceholderWithDefault(input=image, shape=None)
    image = tf.ensure_shape(hidden, IMAGE.shape)
    filled = tf.debugging.assert_positive(tf.size(image), "image: an empty batch, or images without pixels")
    with tf.control_dependencies([filled]):
        return tf.identity(image)


class Exported(tf.Module):
    """`serving_default`, `serve_bytes` and `probabilities`."""

    def __init__(self, model):
        super().__init__()
        self.model = model
        self.kept = [variable._value for variable in model.variables]

    @tf.function(input_signature=[IMAGE])
    def probabilities(self, image):
        logits = self.model(tf.cast(checked(image), "float32"), training=False)
        return {"probabilities": sum(map(tf.nn.softmax, logits.values())) / len(logits)}

    @tf.function(input_signature=[IMAGE])
    def serving_default(self, image):
        found = self.probabilities(image)["probabilities"]
        classes = tf.cast(tf.argmax(found, -1, output_type="int32"), "uint8")
        return {"classes": classes, "confidence": tf.reduce_max(found, -1)}

    @tf.function(input_signature=[BYTES])
    def serve_bytes(self, image_bytes):
        filled = tf.debugging.assert_positive(tf.size(image_bytes), "image_bytes: an empty batch")
        with tf.control_dependencies([filled]):
            image = tf.map_fn(
                lambda each: tf.io.decode_image(each, channels=3, expand_animations=False),
                image_bytes,
                fn_output_signature=tf.TensorSpec((None, None, 3), tf.uint8),
            )
        return self.serving_default(image)


def export(model, folder):
    """Writes it."""
    module = Exported(model)
    names = ("serving_default", "serve_bytes", "probabilities")
    tf.saved_model.save(module, folder, {name: getattr(module, name) for name in names})
