"""Xception-65 with a DeepLab checkpoint's weights gives the features of DeepLab's own network, here in plain NumPy.

Written from Chen et al., "Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation",
ECCV 2018, figure 4, and from how the checkpoint was released. It shares nothing with the package: no Keras, no
TensorFlow, and it finds its weights by the names that they have in the checkpoint.
"""

import hashlib
import json
import shutil
import tarfile
from dataclasses import replace
from typing import NamedTuple

import keras
import numpy as np
import pytest
from helpers import photograph

from keras_crosscoop import backbones
from keras_crosscoop.errors import InputError
from keras_crosscoop.models.backbones import deeplab
from keras_crosscoop.models.backbones.xception import XCEPTION_65, xception

EPSILON = 1e-3


class Block(NamedTuple):
    """A row of the paper's figure 4: modules of three separable convolutions, the third one strided."""

    scope: str
    depths: tuple[int, int, int]
    beside: str | None  # what is added to them: a strided 1x1 "conv", the input itself ("sum") or nothing
    stride: int = 1
    units: int = 1

    def modules(self):
        return [f"xception_65/{self.scope}/unit_{number}/xception_module" for number in range(1, self.units + 1)]


BLOCKS = (
    Block("entry_flow/block1", (128, 128, 128), "conv", stride=2),
    Block("entry_flow/block2", (256, 256, 256), "conv", stride=2),
    Block("entry_flow/block3", (728, 728, 728), "conv", stride=2),
    Block("middle_flow/block1", (728, 728, 728), "sum", units=16),
    Block("exit_flow/block1", (728, 1024, 1024), "conv", stride=2),
    Block("exit_flow/block2", (1536, 1536, 2048), None),
)
SMALL = tuple(
    block._replace(depths=tuple(d // 64 for d in block.depths), units=min(block.units, 2)) for block in BLOCKS
)
STEM = (32, 64)
LOW = "xception_65/entry_flow/block2/unit_1/xception_module/separable_conv2_pointwise"  # the decoder's tap


def checkpoint_shapes(blocks=BLOCKS, stem=STEM):
    """The shape of every variable in the checkpoint, by name."""
    shapes = {}

    def add(scope, *kernel, depthwise=False):
        shapes[f"{scope}/{'depthwise_weights' if depthwise else 'weights'}"] = kernel
        for variable in ("beta", "gamma", "moving_mean", "moving_variance"):
            shapes[f"{scope}/BatchNorm/{variable}"] = (kernel[2 if depthwise else 3],)

    add("xception_65/entry_flow/conv1_1", 3, 3, 3, stem[0])
    add("xception_65/entry_flow/conv1_2", 3, 3, *stem)
    channels = stem[1]
    for block in blocks:
        for module in block.modules():
            if block.beside == "conv":
                add(f"{module}/shortcut", 1, 1, channels, block.depths[-1])
            for number, depth in enumerate(block.depths, 1):
                add(f"{module}/separable_conv{number}_depthwise", 3, 3, channels, 1, depthwise=True)
                add(f"{module}/separable_conv{number}_pointwise", 1, 1, channels, depth)
                channels = depth
    return shapes


class Reference:
    """The network as it was released, in float64: RGB in [0, 255] `(B, H, W, 3)` to `(low, high)`."""

    def __init__(self, arrays, output_stride, blocks=BLOCKS):
        self.arrays = arrays
        self.blocks = blocks
        self.output_stride = output_stride

    def __call__(self, image):
        x = (2 / 255) * image.astype("float64") - 1
        x = relu(self.convolution(x, "xception_65/entry_flow/conv1_1", stride=2))
        x = relu(self.convolution(x, "xception_65/entry_flow/conv1_2"))
        reached, rate = 2, 1
        for block in self.blocks:
            if reached < self.output_stride:
                x, second = self.block(x, block, block.stride, rate)
                reached *= block.stride
            else:  # instead of striding further, whatever comes after is dilated
                x, second = self.block(x, block, 1, rate)
                rate *= block.stride
            if block.scope == "entry_flow/block2":
                low = second
        return low, x

    def block(self, x, block, stride, rate):
        for module in block.modules():
            residual, outputs = x, []
            for number in (1, 2, 3):
                scope, step = f"{module}/separable_conv{number}", stride if number == 3 else 1
                if block is self.blocks[-1]:
                    residual = relu(self.depthwise(residual, f"{scope}_depthwise", step, rate))
                    residual = relu(self.convolution(residual, f"{scope}_pointwise"))
                else:
                    residual = self.depthwise(relu(residual), f"{scope}_depthwise", step, rate)
                    residual = self.convolution(residual, f"{scope}_pointwise")
                outputs.append(residual)
            if block.beside == "conv":
                x = self.convolution(x, f"{module}/shortcut", stride)
            x = residual if block.beside is None else residual + x
        return x, outputs[1]

    def convolution(self, x, scope, stride=1):
        kernel = self.arrays[f"{scope}/weights"].astype("float64")
        return self.normalised(sum(part @ kernel[at] for at, part in taps(x, len(kernel), stride)), scope)

    def depthwise(self, x, scope, stride, rate):
        kernel = self.arrays[f"{scope}/depthwise_weights"].astype("float64")[..., 0]
        return self.normalised(sum(part * kernel[at] for at, part in taps(x, len(kernel), stride, rate)), scope)

    def normalised(self, x, scope):
        beta, gamma, mean, variance = (
            self.arrays[f"{scope}/BatchNorm/{name}"].astype("float64")
            for name in ("beta", "gamma", "moving_mean", "moving_variance")
        )
        return gamma * (x - mean) / np.sqrt(variance + EPSILON) + beta


class Calibrated(Reference):
    """Gives every normalisation the statistics of what it sees."""

    def normalised(self, x, scope):
        self.arrays[f"{scope}/BatchNorm/moving_mean"] = x.mean(axis=(0, 1, 2))
        self.arrays[f"{scope}/BatchNorm/moving_variance"] = x.var(axis=(0, 1, 2))
        return super().normalised(x, scope)


def random_arrays(blocks=BLOCKS, stem=STEM):
    """Weights with which features keep their scale and contrast down to the last layer; no two arrays are alike."""
    rng = np.random.default_rng(0)
    arrays = {}
    for name, shape in checkpoint_shapes(blocks, stem).items():
        match name.rpartition("/")[2]:
            case "weights" | "depthwise_weights":
                seen = shape[0] * shape[1] * (1 if "depthwise" in name else shape[2])  # by a neuron
                arrays[name] = rng.normal(0, 0.3 / np.sqrt(seen), shape)  # so little that epsilon counts
            case "gamma":
                arrays[name] = rng.uniform(0.5, 1.5, shape)
            case "beta":
                arrays[name] = rng.normal(0, 0.3, shape)
    Calibrated(arrays, 8, blocks)(photograph(64, 64, seed=1))
    return {name: array.astype("float32") for name, array in arrays.items()}


def relu(x):
    return np.maximum(x, 0)


def taps(x, size, stride, rate=1):
    """What each element of a kernel sees of `(B, H, W, C)`, zeros around it: as many on either side, strided or not."""
    edge = rate * (size // 2)
    height, width = x.shape[1:3]
    padded = np.pad(x, ((0, 0), (edge, edge), (edge, edge), (0, 0)))
    for i in range(size):
        for j in range(size):
            yield (i, j), padded[:, i * rate : i * rate + height : stride, j * rate : j * rate + width : stride]


@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_features_of_a_narrow_network_are_those_of_the_released_one(output_stride, save_checkpoint, tmp_path):
    """With a 64th of the channels, and two units in the middle flow."""
    arrays, image = random_arrays(SMALL, (4, 8)), keras.Input((None, None, 3))
    save_checkpoint(tmp_path / "model.ckpt", arrays)
    blocks = tuple(
        replace(block, widths=tuple(width // 64 for width in block.widths), units=min(block.units, 2))
        for block in XCEPTION_65
    )
    model = keras.Model(image, xception(image, output_stride, blocks=blocks, stem=(4, 8)), name="narrow")
    assert len(deeplab.load_checkpoint(model, tmp_path / "model.ckpt").loaded) == len(arrays)
    low, high = Reference(arrays, output_stride, SMALL)(photograph(33, 65))
    features = model(photograph(33, 65))
    for tap, expected in (("low", low), ("high", high)):
        assert expected.std() > 0.05
        np.testing.assert_allclose(features[tap], expected, atol=1e-4 * np.abs(expected).max())


# The network in full.


@pytest.fixture(scope="module")
def arrays():
    return random_arrays()


@pytest.fixture(scope="module")
def checkpoint(arrays, save_checkpoint, tmp_path_factory):
    """The prefix of the backbone's checkpoint, alone in its folder."""
    prefix = tmp_path_factory.mktemp("checkpoint") / "xception" / "model.ckpt"
    save_checkpoint(prefix, arrays)
    yield prefix
    shutil.rmtree(prefix.parents[1])  # 150 MB


@pytest.fixture(scope="module", params=[8, 16, 32])
def network(request, checkpoint):
    """An output stride, and the backbone with the checkpoint's weights."""
    return request.param, backbones.build("xception65", output_stride=request.param, weights=checkpoint)


@pytest.fixture(scope="module")
def blank():
    return backbones.build("xception65", weights=None)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(64, 48), (33, 65)])
def test_features_are_those_of_the_released_network(network, arrays, size):
    output_stride, model = network
    image = photograph(*size)
    features = model(image)
    low, high = Reference(arrays, output_stride)(image)
    for tap, stride, expected in (("low", 4, low), ("high", output_stride, high)):
        assert expected.shape[1:3] == tuple(-(-pixels // stride) for pixels in size)
        contrast = expected.std(axis=(1, 2)).mean()  # from place to place
        assert contrast > 0.25 * expected.std() > 0.05
        errors = np.asarray(features[tap]) - expected
        assert np.abs(errors).max() < 1e-4 * np.abs(expected).max()
        assert np.sqrt(np.mean(errors**2)) < 1e-4 * contrast


def digests(arrays):
    """What tells one array from another: its shape and values."""
    return [(array.shape, hashlib.sha256(array.tobytes()).digest()) for array in arrays]


@pytest.mark.slow
def test_all_660_variables_are_loaded_one_to_one(network, arrays):
    """Each array is unlike all others, and is the value of exactly one variable."""
    in_model = digests(network[1].get_weights())
    assert len(set(in_model)) == len(in_model) == 660
    assert set(in_model) == set(digests(arrays.values()))


def test_these_are_the_variables_of_the_released_checkpoint(shared):
    listed = json.loads((shared / "reference" / "xception_65_checkpoint_variables.json").read_text())
    assert {name: list(shape) for name, shape in checkpoint_shapes().items()} == listed


@pytest.mark.slow
@pytest.mark.parametrize("form", ["folder", "index", "data"])
def test_the_checkpoint_is_found_in_whatever_form_it_has(blank, arrays, checkpoint, form):
    path = {
        "folder": checkpoint.parents[1],
        "index": checkpoint.with_name("model.ckpt.index"),
        "data": checkpoint.with_name("model.ckpt.data-00000-of-00001"),
    }[form]
    blank.set_weights([np.zeros_like(array) for array in blank.get_weights()])
    report = deeplab.load_checkpoint(blank, path)
    assert (len(report.loaded), report.skipped) == (660, [])
    assert set(digests(blank.get_weights())) == set(digests(arrays.values()))


@pytest.mark.slow
def test_imagenet_weights_are_those_of_the_released_archive(arrays, checkpoint, tmp_path, monkeypatch):
    """Which Keras's cache holds already, here."""
    (tmp_path / "models").mkdir()
    with tarfile.open(tmp_path / "models/deeplabv3_xception_2018_01_04.tar.gz", "w:gz", compresslevel=1) as archive:
        archive.add(checkpoint.parent, "xception")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    model = backbones.build("xception65", weights="imagenet")
    shutil.rmtree(tmp_path)  # 140 MB
    assert set(digests(model.get_weights())) == set(digests(arrays.values()))


@pytest.mark.slow
def test_what_else_a_whole_deeplab_checkpoint_holds_is_listed_as_unused(blank, arrays, save_checkpoint, tmp_path):
    rest = {
        "aspp0/weights": np.ones((1, 1, 8, 8), "float32"),
        "aspp1_depthwise/depthwise_weights": np.ones((3, 3, 8, 1), "float32"),
        "decoder/feature_projection0/BatchNorm/moving_mean": np.ones(8, "float32"),
        "global_step": np.int64(30_000),
        "logits/semantic/biases": np.ones(21, "float32"),
        "logits/semantic/weights": np.ones((1, 1, 8, 21), "float32"),
        "xception_65/entry_flow/conv1_1/weights/Momentum": np.ones((3, 3, 3, 32), "float32"),
        "xception_65/logits/biases": np.ones(1001, "float32"),
    }
    save_checkpoint(tmp_path / "model.ckpt", arrays | rest)
    report = deeplab.load_checkpoint(blank, tmp_path / "model.ckpt")
    shutil.rmtree(tmp_path)  # 150 MB
    assert {entry.name: entry.in_file for entry in report.unused} == {name: np.shape(rest[name]) for name in rest}
    assert {entry.in_model for entry in report.unused} == {None}
    assert report.skipped == report.unused
    assert len(report.loaded) == 660
    assert set(digests(blank.get_weights())) == set(digests(arrays.values()))
    assert str(report).splitlines() == [
        "660 variables loaded from model.ckpt; skipped: 8 not in the model",
        *(f"  {name}: {np.shape(rest[name])} in the file, not in the model" for name in rest),
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arrays_of", "message"),
    [
        (
            lambda: dict.fromkeys(checkpoint_shapes(), np.ones(7, "float32")),
            r'The weights do not fit "xception65": xception65/entry_flow_conv1_1/kernel is \(7,\) in the file, '
            r"\(3, 3, 3, 32\) in the model \(659 more do not fit\)\. ",
        ),
        (
            lambda: {"resnet_v1_101/conv1/weights": np.ones((7, 7, 3, 64), "float32")},
            r'do not fit "xception65": xception65/entry_flow_conv1_1/kernel is not in the file, \(3, 3, 3, 32\) in ',
        ),
    ],
)
def test_a_checkpoint_of_another_network_is_refused(blank, save_checkpoint, tmp_path, arrays_of, message):
    before = digests(blank.get_weights())
    save_checkpoint(tmp_path / "model.ckpt", arrays_of())
    with pytest.raises(InputError, match=message) as error:
        deeplab.load_checkpoint(blank, tmp_path / "model.ckpt")
    assert str(error.value).endswith(f"Received: {tmp_path / 'model.ckpt'}")
    assert "\n" not in str(error.value)
    assert digests(blank.get_weights()) == before
