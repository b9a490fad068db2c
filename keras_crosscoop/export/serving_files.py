"""The files beside a SavedModel that TensorFlow Serving reads: warm-up requests and its own configuration."""

from pathlib import Path

import numpy as np
import tensorflow as tf
from google.protobuf.text_encoding import CEscape

from keras_crosscoop.errors import InputError
from keras_crosscoop.system.files import write_text

WARMUP = "tf_serving_warmup_requests"  # the name that TensorFlow Serving looks for

_FILES = {
    "models.config": """\
# For tensorflow_model_server --model_config_file. Each version is a numbered folder beside this file.
# By default the highest version is served. To go back to another, or to serve several, add to `config`:
#   model_version_policy {{ specific {{ versions: 1 }} }}
# With --model_config_file_poll_wait_seconds=60 the server notices changes of this file.
model_config_list {{
  config {{
    name: "{name}"
    base_path: "/models/{name}"
    model_platform: "tensorflow"
  }}
}}
""",
    "batching_parameters.txt": """\
# For tensorflow_model_server --enable_batching --batching_parameters_file: images of several requests go through the
# network together, which takes less time on a GPU. ONLY IF ALL CLIENTS SEND IMAGES OF THE SAME SIZE: the server refuses
# simultaneous requests of different sizes. (pad_variable_length_inputs does not help: the network sees the padding.)
max_batch_size {{ value: 8 }}
batch_timeout_micros {{ value: 5000 }}  # how long an image waits for others
num_batch_threads {{ value: 2 }}        # batches at a time: while one computes, the next is decoded
max_enqueued_batches {{ value: 64 }}    # beyond these the server answers 503, UNAVAILABLE
allowed_batch_sizes: [1, 2, 4, 8]     # batches are padded to one of these, so the network is traced for few sizes
""",
}


def write_warmup(extra: Path, name: str, image: np.ndarray) -> None:
    """Writes one request for each signature; TensorFlow Serving runs them before it serves a new version.

    Without them, a client's first request waits until TensorFlow is initialised. The folder is `assets.extra` of a
    SavedModel. The image, uint8 `(H, W, 3)`, should have the size that clients will send.
    """
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2  # from the extra

    inputs = {"image": image[None]}
    requests = {
        "serving_default": inputs,
        "serve_bytes": {"image_bytes": np.array([tf.io.encode_png(image).numpy()], object)},
        "probabilities": inputs,
    }
    with tf.io.TFRecordWriter(str(extra / WARMUP)) as writer:
        for signature, arrays in requests.items():
            request = predict_pb2.PredictRequest()
            request.model_spec.name, request.model_spec.signature_name = name, signature
            for key, array in arrays.items():
                request.inputs[key].CopyFrom(tf.make_tensor_proto(array))
            log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
            writer.write(log.SerializeToString())


def check_name(name: str) -> None:
    """Refuses a model name that the addresses of TensorFlow Serving cannot contain.

    Raises:
        InputError: The name has a colon or slash, or is empty.
    """
    if not name or ":" in name or "/" in name:
        raise InputError(
            f"A model's name on a server cannot contain a colon or slash. Rename the run's folder. Received: {name!r}"
        )


def write_server_files(folder: Path, name: str) -> None:
    """Writes `models.config` and `batching_parameters.txt` beside the numbered folders of a model's versions.

    Existing files, which a user may have changed, stay unchanged.

    Raises:
        InputError: A file cannot be written.
    """
    for file, template in _FILES.items():
        if not (folder / file).exists():
            content = template.format(name=CEscape(name.encode(), as_utf8=False))
            write_text(folder / file, content, "file for TensorFlow Serving")
