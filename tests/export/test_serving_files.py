"""The files for TensorFlow Serving beside a SavedModel have its formats and the right content."""

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2
from helpers import photograph, refused
from tensorflow_serving.apis import prediction_log_pb2
from tensorflow_serving.config import model_server_config_pb2

from keras_crosscoop.export.serving_files import WARMUP, check_name, write_server_files, write_warmup

IMAGE = photograph(24, 32)[0].astype(np.uint8)


def test_the_model_answers_the_warmup_requests(tmp_path, saved_model):
    """One for each signature; TensorFlow Serving sends them to a new version before it serves it."""
    write_warmup(tmp_path, "cars", IMAGE)
    assert [path.name for path in tmp_path.iterdir()] == [WARMUP]
    logs = [
        prediction_log_pb2.PredictionLog.FromString(record.numpy())
        for record in tf.data.TFRecordDataset(str(tmp_path / "tf_serving_warmup_requests"))
    ]
    requests = {log.predict_log.request.model_spec.signature_name: log.predict_log.request for log in logs}
    assert list(requests) == ["serving_default", "serve_bytes", "probabilities"]
    assert {request.model_spec.name for request in requests.values()} == {"cars"}
    outputs, model = {}, tf.saved_model.load(saved_model)
    for signature, request in requests.items():
        inputs = {name: tf.constant(tf.make_ndarray(proto)) for name, proto in request.inputs.items()}
        outputs[signature] = model.signatures[signature](**inputs)
    classes = outputs["serving_default"]["classes"]
    assert classes.shape == (1, 24, 32)
    np.testing.assert_array_equal(outputs["serve_bytes"]["classes"], classes)
    np.testing.assert_array_equal(np.argmax(outputs["probabilities"]["probabilities"], -1), classes)


@pytest.mark.parametrize("name", ["street_scenes-1", "two cars", 'a "b" \\ {c}', "Straße"])
def test_models_config(tmp_path, name):
    write_server_files(tmp_path, name)
    content = (tmp_path / "models.config").read_bytes()
    assert content.isascii()
    (model,) = text_format.Parse(content, model_server_config_pb2.ModelServerConfig()).model_config_list.config
    assert (model.name, model.base_path, model.model_platform) == (name, f"/models/{name}", "tensorflow")


def test_the_policy_that_models_config_suggests(tmp_path):
    write_server_files(tmp_path, "cars")
    text = (tmp_path / "models.config").read_text()
    (policy,) = (line.strip("# ") for line in text.splitlines() if "versions: 1" in line)
    text = text.replace('platform: "tensorflow"', f'platform: "tensorflow" {policy}')
    (model,) = text_format.Parse(text, model_server_config_pb2.ModelServerConfig()).model_config_list.config
    assert list(model.model_version_policy.specific.versions) == [1]


def batching_parameters():
    """TensorFlow Serving's message, which tensorflow-serving-api lacks: session_bundle_config.proto."""
    file = descriptor_pb2.FileDescriptorProto(
        name="batching.proto", package="tensorflow.serving", syntax="proto3", dependency=[wrappers_pb2.DESCRIPTOR.name]
    )
    message = file.message_type.add(name="BatchingParameters")
    kind = descriptor_pb2.FieldDescriptorProto
    wrapped = ["max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads"]
    for number, name in enumerate(wrapped, 1):
        value = {"type": kind.TYPE_MESSAGE, "type_name": ".google.protobuf.Int64Value"}
        message.field.add(name=name, number=number, label=kind.LABEL_OPTIONAL, **value)
    message.field.add(name="allowed_batch_sizes", number=6, label=kind.LABEL_REPEATED, type=kind.TYPE_INT64)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.serving.BatchingParameters"))()


def test_batching_parameters(tmp_path):
    write_server_files(tmp_path, "cars")
    text = (tmp_path / "batching_parameters.txt").read_text()
    values = text_format.Parse(text, batching_parameters())
    assert list(values.allowed_batch_sizes) == sorted(set(values.allowed_batch_sizes))
    assert values.allowed_batch_sizes[-1] == values.max_batch_size.value > 1  # TensorFlow Serving requires it
    assert min(values.batch_timeout_micros.value, values.num_batch_threads.value, values.max_enqueued_batches.value) > 0
    assert "IMAGES OF THE SAME SIZE" in text


def test_files_that_a_user_changed_stay(tmp_path):
    write_server_files(tmp_path, "cars")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert before.keys() == {"models.config", "batching_parameters.txt"}
    (tmp_path / "batching_parameters.txt").write_text("max_batch_size { value: 2 }\n")
    write_server_files(tmp_path, "cars")
    assert (tmp_path / "batching_parameters.txt").read_text() == "max_batch_size { value: 2 }\n"
    assert (tmp_path / "models.config").read_bytes() == before["models.config"]
    (tmp_path / "batching_parameters.txt").unlink()
    write_server_files(tmp_path, "cars")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("name", ["", "a:b", "a/b"])
def test_impossible_model_names(name):
    assert f"Received: {name!r}" in refused(check_name, name)


def test_missing_folder(tmp_path):
    assert "cannot be written (No such file or directory)" in refused(write_server_files, tmp_path / "none", "cars")
