"""What TensorFlow Serving reads besides a SavedModel: requests to warm up with, and how it is to serve."""

from pathlib import Path

import numpy as np
import tensorflow as tf
from google.protobuf.text_encoding import CEscape

from keras_crosscoop.errors import InputError
from keras_crosscoop.system.files import atomic_write

WARMUP = "tf_serving_warmup_requests"  # the name that TensorFlow Serving looks for
MODELS, BATCHING = "models.config", "batching_parameters.txt"

_MODELS = """\
# For tensorflow_model_server --model_config_file. A version is a folder beside this file, of a number.
# Without a policy the highest is served; to go back to another, or to serve several at once, say
#   model_version_policy {{ specific {{ versions: 1 }} }}
# in `config`. With --model_config_file_poll_wait_seconds=60 the server notices when this file changes.
model_config_list {{
  config {{
    name: "{name}"
    base_path: "/models/{name}"
    model_platform: "tensorflow"
  }}
}}
"""

_BATCHING = """\
# For tensorflow_model_server --enable_batching --batching_parameters_file: images of several requests go through the
# network together, which on a GPU takes less time. ONLY WHERE ALL CLIENTS SEND IMAGES OF ONE SIZE: requests that come
# together in different sizes are all refused. (pad_variable_length_inputs is no way out: the network sees the padding.)
max_batch_size { value: 8 }
batch_timeout_micros { value: 5000 }  # how long an image waits for others
num_batch_threads { value: 2 }        # batches at a time: while one computes, the next is decoded
max_enqueued_batches { value: 64 }    # more are told to come again (503, UNAVAILABLE)
allowed_batch_sizes: [1, 2, 4, 8]     # others are filled up to the next: the network is set up for few sizes
"""


def write_warmup(extra: Path, name: str, image: np.ndarray, encoded: bytes) -> None:
    """Writes the requests that TensorFlow Serving makes of a new version before it serves it, one for each signature.

    Otherwise the first request of clients would wait until TensorFlow has set itself up. A request that the model
    refuses would keep TensorFlow Serving from loading it.

    Args:
        extra: the folder `assets.extra` of a SavedModel; it exists.
        name: the name of the model on the server.
        image: RGB, uint8 `(H, W, 3)`, of the size that clients will send, if that is known.
        encoded: an image as JPEG or PNG.

    Raises:
        InputError: the extra `serving` is missing, or the file cannot be written.
    """
    try:
        from tensorflow_serving.apis import predict_pb2, prediction_log_pb2
    except ModuleNotFoundError as error:
        raise InputError(
            "Requests to warm up TensorFlow Serving need tensorflow-serving-api, which is not installed: "
            f'pip install "keras-crosscoop[serving]". Received: no module {error.name}'
        ) from error
    of_signatures = {
        "serving_default": {"image": image[None]},
        "serve_bytes": {"image_bytes": np.array([encoded], object)},
        "probabilities": {"image": image[None]},
    }
    path = extra / WARMUP
    try:
        with atomic_write(path) as partial, tf.io.TFRecordWriter(str(partial)) as writer:
            for signature, inputs in of_signatures.items():
                request = predict_pb2.PredictRequest()
                request.model_spec.name = name
                request.model_spec.signature_name = signature
                for key, value in inputs.items():
                    request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
                log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
                writer.write(log.SerializeToString())
    except (OSError, tf.errors.OpError) as error:
        raise _unwritable(path, error) from error


def check_name(name: str) -> None:
    """Refuses what TensorFlow Serving's addresses do not allow as the name of a model.

    Raises:
        InputError: it is such a name.
    """
    if not name or ":" in name or "/" in name:
        raise InputError(
            f"A model's name on a server has no colon or slash. Rename the run's folder. Received: {name!r}"
        )


def write_server_files(folder: Path, name: str) -> list[Path]:
    """Writes `models.config` and `batching_parameters.txt`, for the container's path `/models/{name}`.

    They may lie beside the versions: TensorFlow Serving looks at names that are numbers alone.

    Args:
        folder: where to write; it exists.
        name: the name of the model on the server.

    Returns:
        Those of the two files that were there with other content, such as a user's, and stayed as they were.

    Raises:
        InputError: the name can be none of a model, or a file cannot be read or written.
    """
    check_name(name)
    kept = []
    for file, content in ((MODELS, _MODELS.format(name=CEscape(name.encode(), as_utf8=False))), (BATCHING, _BATCHING)):
        path = folder / file
        try:
            if not path.exists():
                with atomic_write(path) as partial:
                    partial.write_text(content, encoding="utf-8")
            elif path.read_bytes() != content.encode():
                kept.append(path)
        except OSError as error:
            raise _unwritable(path, error) from error
    return kept


def _unwritable(path: Path, error: Exception) -> InputError:
    reason = getattr(error, "strerror", None) or getattr(error, "message", None) or error
    return InputError(
        f"The file for TensorFlow Serving cannot be written ({reason}). Is there room, and permission? Received: {path}"
    )
