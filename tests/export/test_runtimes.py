"""Exported networks behind one class, whatever their runtime."""

import sys

import numpy as np
import pytest
import tensorflow as tf
from export.networks import assert_predicts, probabilities_of
from helpers import refused

from keras_crosscoop.export import Exported, load_exported


@pytest.mark.parametrize("kind", ["savedmodel", "tflite", "onnx"])
def test_each_runtime_predicts_as_the_live_model(kind, saved_model, litert_files, onnx_file, network, images):
    path = {"savedmodel": saved_model, "tflite": litert_files["none"], "onnx": onnx_file}[kind]
    exported = load_exported(path)
    assert exported.size == ((40, 56) if kind == "tflite" else None)
    assert_predicts(exported(images[0]), probabilities_of(network, images[:1])[0])


def test_tensorflow_runs_litert_files_where_litert_is_missing(litert_files, images, monkeypatch):
    expected = load_exported(litert_files["none"])(images[0])
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    uses, interpreter = [], tf.lite.Interpreter
    monkeypatch.setattr(tf.lite, "Interpreter", lambda *args, **more: uses.append(1) or interpreter(*args, **more))
    predicted = load_exported(litert_files["none"])(images[0])
    assert uses
    np.testing.assert_array_equal(predicted["classes"], expected["classes"])
    np.testing.assert_allclose(predicted["confidence"], expected["confidence"], atol=1e-5)


def test_onnxruntime_is_asked_for_where_it_is_missing(onnx_file, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert refused(load_exported, onnx_file) == (
        f'ONNX files are run by onnxruntime: pip install "keras-crosscoop[onnx]". Received: {onnx_file}'
    )


@pytest.mark.parametrize("name", ["folder", "file.txt", "none.tflite", "none"])
def test_other_files_are_refused(tmp_path, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file.txt").touch()
    assert refused(load_exported, tmp_path / name) == (
        "An exported network is the folder of a SavedModel, a .tflite file or an .onnx file. "
        f"Received: {tmp_path / name}"
    )


def test_images_of_other_sizes_are_resized_in_and_class_maps_back():
    calls = []

    def run(images):
        calls.append(images)
        return {"classes": np.array([[[0, 1]]], np.uint8), "confidence": np.array([[[0.5, 0.75]]], np.float32)}

    image = np.array([[10, 20, 30, 40], [10, 20, 30, 40]], np.uint8)[..., None].repeat(3, -1)
    predicted = Exported(run, (1, 2))(image)
    np.testing.assert_array_equal(calls[0][0, :, :, 0], [[15, 35]])
    assert calls[0].dtype == np.uint8
    np.testing.assert_array_equal(predicted["classes"], [[0, 0, 1, 1]] * 2)
    np.testing.assert_array_equal(predicted["confidence"], [[0.5, 0.5, 0.75, 0.75]] * 2)
