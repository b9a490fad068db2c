"""Each hook into Keras and TensorFlow works with the installed versions: a test fails by name when its hook goes."""

import random
import re
import resource
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from keras_crosscoop import keras_internals as internals


def nested_model():
    """A model of one dense layer inside another one."""
    inner_input = keras.Input((3,))
    inner = keras.Model(inner_input, keras.layers.Dense(2, name="dense")(inner_input), name="inner")
    inputs = keras.Input((3,), name="outer_input")
    return keras.Model(inputs, inner(inputs))


@pytest.fixture
def mirrored():
    return tf.distribute.MirroredStrategy(["CPU:0"])


def test_loss_tracker():
    inputs = keras.Input((3,))
    model = internals.TrainableModel(inputs, keras.layers.Dense(1)(inputs))
    model.compile("sgd", "mse")
    assert isinstance(model.loss_tracker, keras.metrics.Mean)
    model.loss_tracker.update_state(3.0)
    assert float(model.loss_tracker.result()) == 3


def test_symbolic_build_is_skipped(monkeypatch):
    """Keras still calls the method that the hook overrides."""
    calls = []
    monkeypatch.setattr(internals.TrainableModel, "_maybe_symbolic_build", lambda self, **_: calls.append(self))
    inputs = keras.Input((3,))
    model = internals.TrainableModel(inputs, keras.layers.Dense(1)(inputs))
    model.compile("sgd", "mse", run_eagerly=True)
    model.test_on_batch(np.ones((1, 3)), np.ones((1, 1)))
    assert calls == [model]


def test_train_function():
    model = nested_model()
    model.compile("sgd", "mse")
    batches = iter(tf.data.Dataset.from_tensors((np.ones((2, 3)), np.ones((2, 2)))).repeat())
    assert "loss" in internals.train_function(model)(batches)
    assert int(model.optimizer.iterations) == 1


@keras.saving.register_keras_serializable("tests")
class SharedRate(internals.OptimizerWithSharedStep):
    ended = None

    def begin_step(self, learning_rate):
        return learning_rate, "shared"

    def update_step(self, gradient, variable, learning_rate):
        rate, shared = learning_rate
        assert shared == "shared"
        self.assign_sub(variable, (self.index_of(variable) + 1) * rate * gradient)

    def end_step(self, shared):
        self.ended = shared


def test_optimizer_with_shared_step():
    """The first variable moves by the learning rate, the second by twice as much."""
    optimizer, variables = SharedRate(0.5), [keras.Variable([1.0]), keras.Variable([1.0])]
    optimizer.build(variables)
    optimizer.apply([tf.constant([1.0]), tf.constant([1.0])], variables)
    assert [float(variable[0]) for variable in variables] == [0.5, 0]
    assert optimizer.ended[1] == "shared"


def test_expect_reduced_gradients(mirrored):
    """The attribute that is replaced exists, and `apply` uses the replacement."""
    optimizer = keras.optimizers.SGD(1.0)
    assert callable(optimizer._all_reduce_sum_gradients)
    internals.expect_reduced_gradients(keras.optimizers.LossScaleOptimizer(optimizer))
    pairs = [(tf.constant(1.0), None)]
    assert optimizer._all_reduce_sum_gradients(pairs) is pairs
    source = Path(keras.src.backend.tensorflow.optimizer.__file__).read_text(encoding="utf-8")
    assert "self._all_reduce_sum_gradients(grads_and_vars)" in source


def test_momentum_step():
    weight, velocity = keras.Variable([1.0]), keras.Variable([2.0])
    internals.momentum_step(weight, velocity, tf.constant([4.0]), tf.constant(0.5), 0.25)
    assert (float(velocity[0]), float(weight[0])) == (4.5, 1 - 0.5 * 4.5)


@pytest.mark.parametrize("excluded", [False, True])
def test_weight_decay_is_left_to_the_step(excluded):
    """Keras itself would decay the variable, unless it is excluded."""
    variable = keras.Variable([1.0])
    optimizer = SharedRate(0.5, weight_decay=0.5)
    optimizer.exclude_from_weight_decay([variable] if excluded else [])
    optimizer.build([variable])
    optimizer.apply([tf.constant([1.0])], [variable])
    assert float(variable[0]) == 0.5
    assert optimizer.has_weight_decay(variable) is not excluded


def test_adam_step():
    """Two steps of Keras's own, which rounds 1 - beta_2 in another way."""
    weight, twin = keras.Variable([1.0]), keras.Variable([1.0])
    own, keras_own = keras.optimizers.Adam(0.5), keras.optimizers.Adam(0.5)
    own.build([weight])
    for number, gradient in enumerate((4.0, -1.0), 1):
        powers = (tf.constant(beta**number) for beta in (0.9, 0.999))
        internals.adam_step(own, weight, tf.constant([gradient]), tf.constant(0.5), *powers)
        keras_own.apply([tf.constant([gradient])], [twin])
    np.testing.assert_allclose(weight.numpy(), twin.numpy(), rtol=1e-4)
    assert float(weight[0]) < 0.6


def test_subtract_scaled():
    weight = keras.Variable([1.0])
    internals.subtract_scaled(weight, 0.5, tf.constant([4.0]))
    assert float(weight[0]) == -1


def test_spans_machines(mirrored):
    assert not internals.spans_machines(mirrored)
    strategy = tf.distribute.MultiWorkerMirroredStrategy  # one of a single machine starts no server
    assert callable(tf.distribute.MirroredStrategy(["CPU:0"]).extended._in_multi_worker_mode)
    assert not internals.spans_machines(strategy())


def test_synchronizes_in_loops(mirrored):
    assert not internals.synchronizes_in_loops(mirrored)


def test_lost_machine():
    """See also tests/training/test_distribution.py, where a machine is killed."""
    text = "Additional GRPC error information from remote target /job:worker/replica:0/task:1 while calling /RecvBuf:"
    assert internals.lost_machine(tf.errors.UnavailableError(None, None, text)) == "worker 1"
    assert internals.lost_machine(tf.errors.UnavailableError(None, None, "something else")) is None


def test_fused_batch_norm():
    features = np.reshape([1, 2, 3, 6], (1, 2, 2, 1)).astype("float32")
    outputs, mean, variance = internals.fused_batch_norm(features, [2.0], [1.0], 0.5)
    np.testing.assert_allclose((mean, variance), [[3], [3.5 * 4 / 3]], rtol=1e-6)
    np.testing.assert_allclose(np.ravel(outputs), 1 + 2 * (np.ravel(features) - 3) / 2, rtol=1e-6)
    outputs, *_ = internals.fused_batch_norm(features, [2.0], [1.0], 0.0, ([1.0], [4.0]))
    np.testing.assert_allclose(np.ravel(outputs), np.ravel(features), rtol=1e-6)


def test_fused_batch_norm_gradient():
    """Of constant statistics: gamma / deviation for features, sums for gamma and beta."""
    features = np.reshape([1, 2, 3, 6], (1, 2, 2, 1)).astype("float32")
    upstream = np.ones_like(features)
    gradients = internals.fused_batch_norm_gradient(upstream, features, [2.0], [1.0], [4.0], 0.0)
    np.testing.assert_allclose(np.ravel(gradients[0]), [1] * 4, rtol=1e-6)
    np.testing.assert_allclose(gradients[1:], [[8 / 2], [4]], rtol=1e-6)


def test_producer():
    model = nested_model()
    assert internals.producer(model.output) is model.get_layer("inner")


def test_call_tensors():
    model = nested_model()
    (inputs,), (outputs,) = internals.call_tensors(model.get_layer("inner"))
    assert inputs is model.input
    assert outputs is model.output
    assert model.get_layer("inner").input is not inputs


def test_flatten_layers():
    assert "dense" in {layer.name for layer in internals.flatten_layers(nested_model())}


def test_unchanged_graph():
    """A model that begins in the middle of another one adds calls to its layers, and makes a tensor an input."""
    model = nested_model()
    inner, dense = model.get_layer("inner"), model.get_layer("inner").get_layer("dense")
    with internals.unchanged_graph(model):
        keras.Model(inner.input, inner.output)(keras.Input((3,)))
        inner(keras.Input((3,)))
        dense(keras.Input((3,)))
        assert [len(operation._inbound_nodes) for operation in (inner, dense)] == [2, 2]
    assert [len(operation._inbound_nodes) for operation in (inner, dense)] == [1, 1]
    assert internals.producer(model.output) is inner


def test_restored_random_state():
    def draw():
        layer = keras.layers.Dropout(0.5)
        keras_draw = np.asarray(layer(np.ones((1, 30)), training=True)).tobytes()
        return random.random(), np.random.random(), float(tf.random.uniform(())), keras_draw

    keras.utils.set_random_seed(1)
    expected = draw()
    keras.utils.set_random_seed(1)
    with internals.restored_random_state():
        keras.utils.set_random_seed(2)
        tf.config.experimental.enable_op_determinism()
        assert draw() != expected
    assert draw() == expected
    from tensorflow.python.framework import config

    assert not config.is_op_determinism_enabled()


def test_write_event(tmp_path):
    writer = tf.summary.create_file_writer(str(tmp_path))
    start = tf.compat.v1.SessionLog(status=tf.compat.v1.SessionLog.START)
    internals.write_event(writer, tf.compat.v1.Event(step=7, session_log=start))
    writer.close()
    events = tf.compat.v1.train.summary_iterator(str(next(tmp_path.iterdir())))
    assert [event.step for event in events if event.HasField("session_log")] == [7]


def test_saved_model_outputs(tmp_path):
    module = tf.Module()
    module.weight = tf.Variable(1.0)
    signature = tf.function(lambda x: {"a": x * module.weight, "b": x}, input_signature=[tf.TensorSpec(())])
    tf.saved_model.save(module, str(tmp_path), signatures={"serving_default": signature})
    saved = saved_model_pb2.SavedModel.FromString((tmp_path / "saved_model.pb").read_bytes())
    outputs = saved.meta_graphs[0].signature_def["serving_default"].outputs
    assert sorted(output.name for output in outputs.values()) == internals.saved_model_outputs(2)


def test_unwritable_file(tmp_path):
    """The error of a file that may not grow."""
    writer, limits = tf.summary.create_file_writer(str(tmp_path / "logs")), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, limits[1]))
    try:
        with pytest.raises(tf.errors.OpError) as error, writer.as_default(0):  # noqa: PT012
            tf.summary.scalar("a", 1.0)
            writer.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    (file,) = (tmp_path / "logs").iterdir()
    assert internals.unwritable_file(error.value, str(tmp_path / "logs")) == ("File too large", str(file))


@pytest.mark.parametrize("text", ["Mine: plain", "Mine: 'quoted' and \\ and \""])
def test_failed_assertion(text):
    @tf.function
    def check(text):
        with tf.control_dependencies([tf.debugging.Assert(tf.equal(text, ""), [text])]):
            return tf.identity(text)

    with pytest.raises(tf.errors.InvalidArgumentError) as error:
        check(tf.constant(text))
    assert internals.failed_assertion(error.value, "Mine: ") == text
    assert internals.failed_assertion(error.value, "Other: ") is None


def test_is_download_error(tmp_path, monkeypatch):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "file").write_bytes(b"damaged")
    with pytest.raises(ValueError, match="corrupted") as error:
        keras.utils.get_file(
            "other", (tmp_path / "models" / "file").as_uri(), file_hash="0" * 64, cache_dir=tmp_path, cache_subdir="x"
        )
    assert internals.is_download_error(error.value)
    assert internals.is_download_error(Exception("URL fetch failure"))
    with pytest.raises(TypeError) as error:
        keras.applications.MobileNet(no_option=1)
    assert not internals.is_download_error(error.value)


def test_download_reason(tmp_path):
    with pytest.raises(Exception, match="URL fetch failure") as error:
        keras.utils.get_file("file", (tmp_path / "missing").as_uri(), cache_dir=tmp_path)
    assert re.search("No such file|missing", internals.download_reason(error.value))
    assert "None" not in internals.download_reason(error.value)
    assert internals.download_reason(ValueError("two\nlines")) == "two lines"
