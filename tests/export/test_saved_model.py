"""A SavedModel sees what the live model sees, and answers what it cannot use with an error that names the problem."""

import io

import numpy as np
import pytest
import tensorflow as tf
from export.networks import assert_predicts, photographs, probabilities_of
from PIL import Image
from tensorflow.core.protobuf import saved_model_pb2

from keras_crosscoop.export.deployment import deployment_graph
from keras_crosscoop.export.saved_model import write_saved_model
from keras_crosscoop.images.io import read_image
from keras_crosscoop.images.reading import ImageReading

SMALL = photographs(1, 33, 41, seed=70)


@pytest.fixture(scope="module")
def loaded(saved_model):
    return tf.saved_model.load(str(saved_model))


@pytest.fixture(scope="module")
def ask(loaded):
    """Calls a signature: arrays by name."""

    def call(signature, **inputs):
        result = loaded.signatures[signature](**{name: tf.constant(value) for name, value in inputs.items()})
        return {name: value.numpy() for name, value in result.items()}

    return call


def encoded(image, kind="PNG", **options):
    stream = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(stream, kind, **options)
    return stream.getvalue()


def test_signatures_are_the_documented_ones(loaded):
    inputs = {
        name: {key: (tuple(spec.shape), spec.dtype) for key, spec in signature.structured_input_signature[1].items()}
        for name, signature in loaded.signatures.items()
    }
    outputs = {
        name: {key: (tuple(spec.shape), spec.dtype) for key, spec in signature.structured_outputs.items()}
        for name, signature in loaded.signatures.items()
    }
    image, outputs_of = {"image": ((None, None, None, 3), tf.uint8)}, ((None, None, None), tf.uint8, tf.float32)
    classes = {"classes": (outputs_of[0], tf.uint8), "confidence": (outputs_of[0], tf.float32)}
    assert inputs == {
        "serving_default": image,
        "serve_bytes": {"image_bytes": ((None,), tf.string)},
        "probabilities": image,
    }
    assert outputs == {
        "serving_default": classes,
        "serve_bytes": classes,
        "probabilities": {"probabilities": ((None, None, None, 3), tf.float32)},  # classes a client can count on
    }


@pytest.mark.parametrize(("count", "size"), [(3, (33, 47)), (1, (97, 130)), (2, (3, 1))])
def test_predictions_are_those_of_the_model(network, ask, count, size):
    images = photographs(count, *size, seed=30)
    expected = probabilities_of(network, images)
    assert_predicts(ask("serving_default", image=images), expected, tolerance=1e-5)
    np.testing.assert_allclose(ask("probabilities", image=images)["probabilities"], expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("output", ["top", "bottom"])
def test_one_output_is_that_one(network, tmp_path, output, images):
    write_saved_model(deployment_graph(network, output), tmp_path / "1")
    predicted = tf.saved_model.load(str(tmp_path / "1")).signatures["serving_default"](image=tf.constant(images))
    predicted = {name: tensor.numpy() for name, tensor in predicted.items()}
    assert_predicts(predicted, probabilities_of(network, images, output))


PIXELS = SMALL[0]
ALPHA = np.random.default_rng(0).integers(0, 256, (33, 41, 1), np.uint8)
PALETTE = Image.fromarray(PIXELS).quantize(31)
FILES = {
    "png": encoded(PIXELS),
    "jpeg": encoded(PIXELS, "JPEG", quality=92),
    "subsampled jpeg": encoded(PIXELS, "JPEG", quality=60, subsampling="4:2:0"),
    "progressive jpeg": encoded(PIXELS, "JPEG", progressive=True),
    "grey png": encoded(PIXELS[..., 0]),
    "grey jpeg": encoded(PIXELS[..., 0], "JPEG"),
    "palette png": encoded(PALETTE),
    "two colours png": encoded(Image.fromarray(PIXELS[..., 0]).convert("1")),
    "large png": encoded(PIXELS.repeat(3, 0)),
    "alpha png": encoded(np.concatenate([PIXELS, ALPHA], -1)),
    "grey alpha png": encoded(np.concatenate([PIXELS[..., :1], ALPHA], -1)),
    "palette with a transparent colour": encoded(PALETTE, transparency=3),
}


@pytest.mark.parametrize("kind", FILES)
def test_files_are_seen_as_pillow_decodes_them(ask, kind):
    """To the last bit. Of alpha that is what lies below it: it is left out, where `predict` lays it over white."""
    content = FILES[kind]
    pixels = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    by_file = ask("serve_bytes", image_bytes=np.array([content], object))
    by_pixels = ask("serving_default", image=pixels[None])
    for name in ("classes", "confidence"):
        np.testing.assert_array_equal(by_file[name], by_pixels[name])
    assert by_file["classes"].max() > 0


def test_a_cameras_orientation_is_left_alone(ask):
    """Unlike `predict`: an image has the size that its header tells, and clients turn theirs before."""
    exif = Image.Exif()
    exif[0x0112] = 6  # turn right to see it
    turned = encoded(PIXELS, "JPEG", exif=exif)
    plain = encoded(PIXELS, "JPEG")
    result = ask("serve_bytes", image_bytes=np.array([turned], object))
    np.testing.assert_array_equal(
        result["confidence"], ask("serve_bytes", image_bytes=np.array([plain], object))["confidence"]
    )


def test_files_of_one_size_go_together(ask):
    contents = [FILES["png"], FILES["jpeg"], FILES["grey png"]]
    together = ask("serve_bytes", image_bytes=np.array(contents, object))
    for number, content in enumerate(contents):
        alone = ask("serve_bytes", image_bytes=np.array([content], object))
        np.testing.assert_allclose(together["confidence"][number], alone["confidence"][0], atol=1e-5)


OTHER_SIZE = encoded(photographs(1, 33, 40)[0])
JPEG = FILES["jpeg"]
BAD_FILES = {
    "no files": ([], r"`image_bytes` must hold at least one file. Received shape:.*\[0\]"),
    "text": ([b"once upon a time"], r"`image_bytes` must be JPEG or PNG files. Received bytes that begin:.*once upo"),
    "nothing": ([b""], "`image_bytes` must be JPEG or PNG files"),
    "gif": ([encoded(PIXELS, "GIF")], r"must be JPEG or PNG files. Received bytes that begin:.*GIF8"),
    "one of two": ([FILES["png"], b"text"], "must be JPEG or PNG files"),
    "torn png": ([FILES["png"][:200]], "PNG"),
    "torn jpeg": ([JPEG[: len(JPEG) // 2]], "JPEG"),
    "two sizes": ([FILES["png"], OTHER_SIZE], r"have the same size. .*Received \(H, W, 3\):.*\[33 41 3\].*\[33 40 3\]"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_bad_files_are_named_and_the_next_request_is_answered(ask, kind):
    files, message = BAD_FILES[kind]
    expected = ask("serve_bytes", image_bytes=np.array([JPEG], object))
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        ask("serve_bytes", image_bytes=np.array(files, object) if files else np.zeros(0, object))
    result = ask("serve_bytes", image_bytes=np.array([JPEG], object))
    np.testing.assert_array_equal(result["confidence"], expected["confidence"])


@pytest.fixture(scope="module")
def session(saved_model):
    """Calls a signature as TensorFlow Serving does: by the names in the file, without a comparison of shapes."""
    graph = tf.compat.v1.Session(graph=tf.Graph())
    with graph.graph.as_default():
        signatures = tf.compat.v1.saved_model.load(graph, ["serve"], str(saved_model)).signature_def
    calls = {
        name: graph._make_callable_from_options(_options([definition.inputs["image"].name], definition))
        for name, definition in signatures.items()
        if "image" in definition.inputs
    }

    def run(signature, image):
        return dict(zip(sorted(signatures[signature].outputs), calls[signature](image), strict=True))

    yield run
    graph.close()


def _options(names, definition):
    from tensorflow.core.protobuf import config_pb2

    options = config_pb2.CallableOptions()
    options.feed.extend(names)
    options.fetch.extend(definition.outputs[name].name for name in sorted(definition.outputs))
    return options


BAD_SHAPES = {
    "one image without a batch": (33, 41, 3),
    "grey": (1, 33, 41, 1),
    "alpha": (1, 33, 41, 4),
    "video": (1, 1, 33, 41, 3),
    "a number": (),
    "an empty batch": (0, 33, 41, 3),
    "no rows": (1, 0, 41, 3),
    "no columns": (1, 33, 0, 3),
}


@pytest.mark.parametrize("signature", ["serving_default", "probabilities"])
@pytest.mark.parametrize("kind", BAD_SHAPES)
def test_bad_shapes_are_named_and_the_next_request_is_answered(session, signature, kind):
    """Servers do not compare them with the signature's."""
    shape = BAD_SHAPES[kind]
    expected = session(signature, image=SMALL)
    message = "must hold at least one image" if 0 in shape else r"must be RGB, uint8 \(B, H, W, 3\)"
    text = " ".join(map(str, shape))
    with pytest.raises(tf.errors.InvalidArgumentError, match=rf"`image` {message}\. Received shape:.*\[{text}\]"):
        session(signature, image=np.zeros(shape, np.uint8))
    for name, array in session(signature, image=SMALL).items():
        np.testing.assert_array_equal(array, expected[name])


def test_floats_are_refused(session):
    """The message is TensorFlow's own."""
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"actual float vs\. expect uint8"):
        session("serving_default", image=SMALL.astype("float32"))
    assert session("serving_default", image=SMALL)["classes"].shape == (1, 33, 41)


@pytest.fixture(scope="module")
def sized(tmp_path_factory, small_network):
    """The signatures of a SavedModel that brings each image to 48 x 32 pixels."""
    folder = tmp_path_factory.mktemp("sized") / "1"
    write_saved_model(deployment_graph(small_network, "ensemble"), folder, (48, 32))
    loaded = tf.saved_model.load(str(folder))
    yield loaded.signatures
    del loaded


def test_files_have_the_range_and_channels_of_the_training_images(tmp_path, network, ask):
    reading = ImageReading(range=(0, 4095), channels=(3, 2, 1))
    write_saved_model(deployment_graph(network, "ensemble"), tmp_path / "1", reading=reading)
    serve = tf.saved_model.load(str(tmp_path / "1")).signatures["serve_bytes"]
    deep = np.random.default_rng(0).integers(0, 5000, (33, 41, 3), np.uint16)
    (tmp_path / "deep.png").write_bytes(tf.io.encode_png(deep).numpy())
    Image.fromarray(PIXELS).save(tmp_path / "a.jpg")
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    for name in ("deep.png", "a.jpg", "a.png"):
        expected = ask("serving_default", image=read_image(tmp_path / name, reading=reading)[None])
        by_file = serve(image_bytes=tf.constant([(tmp_path / name).read_bytes()]))
        np.testing.assert_array_equal(by_file["confidence"], expected["confidence"])


def test_a_fourth_channel_is_read_or_refused(tmp_path, network, ask):
    reading = ImageReading(channels=(4, 1, 2))
    write_saved_model(deployment_graph(network, "ensemble"), tmp_path / "1", reading=reading)
    serve = tf.saved_model.load(str(tmp_path / "1")).signatures["serve_bytes"]
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (33, 41, 4), np.uint8)).save(tmp_path / "a.png")
    expected = ask("serving_default", image=read_image(tmp_path / "a.png", reading=reading)[None])
    by_file = serve(image_bytes=tf.constant([(tmp_path / "a.png").read_bytes()]))
    np.testing.assert_array_equal(by_file["confidence"], expected["confidence"])
    for name in ("b.png", "b.jpg"):
        Image.fromarray(PIXELS).save(tmp_path / name)
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"with the channels \[4, 1, 2\] of training"):
            serve(image_bytes=tf.constant([(tmp_path / name).read_bytes()]))


def nearest(small, size):
    """Each pixel's class is that of the small image's pixel that its middle lies in."""
    rows, columns = (((np.arange(n) + 0.5) * m / n).astype(int) for n, m in zip(size, small.shape[1:3], strict=True))
    return small[:, rows][:, :, columns]


@pytest.mark.parametrize("size", [(40, 56), (48, 32), (31, 77)])
def test_a_fixed_size_is_the_networks_alone(small_network, sized, size):
    images = photographs(2, *size, seed=40)
    resized = np.floor(tf.image.resize(images, (48, 32)).numpy() + 0.5 + 1e-3).astype(np.uint8)  # halves go up
    expected = nearest(probabilities_of(small_network, resized), size)
    predicted = sized["serving_default"](image=tf.constant(images))
    assert_predicts({name: tensor.numpy() for name, tensor in predicted.items()}, expected)
    probabilities = sized["probabilities"](image=tf.constant(images))["probabilities"]
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    assert sized["probabilities"].structured_outputs["probabilities"].shape[-1] == 3


def test_it_holds_the_weights_once(saved_model, graph_of):
    """As variables: TensorFlow would keep constants many times for each signature."""
    variables = tf.train.list_variables(str(saved_model / "variables" / "variables"))
    weights = [shape for name, shape in variables if name.startswith("weights/")]
    assert sum(map(np.prod, weights)) == graph_of("ensemble").count_params()
    graph = (
        saved_model_pb2.SavedModel.FromString((saved_model / "saved_model.pb").read_bytes()).meta_graphs[0].graph_def
    )
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    constants = [node.attr["value"].tensor.tensor_shape.dim for node in nodes if node.op == "Const"]
    assert max(np.prod([length.size for length in shape]) for shape in constants) < 100
