"""What a network costs, and which backbones there are, as tables and as JSON."""

import json

import pytest

from keras_crosscoop import config, dataset, runs
from keras_crosscoop.models import backbones, costs
from keras_crosscoop.runs import Run


def once(function):
    """Returns a function that is called once, which takes a second, and then repeats its result."""
    results = []

    def repeat(*arguments, **options):
        results[:] = results or [function(*arguments, **options)]
        return results[0]

    return repeat


def test_summary_of_a_run_is_that_of_its_settings(crosscoop, halves, tmp_path, monkeypatch):
    """At the size of its crops and with its classes; the table prints the content of the JSON."""
    model = {"top": "micro_3x3", "bottom": "micro_5x5", "decoder_channels": 8}
    data = {"name": "folder", "dir": halves, "crop_size": 32}
    run = Run.create(
        tmp_path / "run", config.settings({"model": model, "data": data}), dataset("folder", halves)
    ).folder
    for module, name in ((runs, "build"), (costs, "site_costs")):
        monkeypatch.setattr(module, name, once(getattr(module, name)))
    result = crosscoop("summary", run, "--json")
    assert (result.code, result.err) == (0, "")
    summary = json.loads(result.out)
    assert summary["input_shape"] == [32, 32, 3]
    assert [part["output"][-1] for part in summary["parts"] if part["name"] == "decoder"] == [2, 2]
    assert list(summary["sites"]) == ["backbone", "aspp", "aspp_output", "decoder"]

    lines = crosscoop("summary", run).out.splitlines()
    assert "micro_3x3 + micro_5x5, output stride 16, cross, one image of 32x32" in lines[0]
    [total] = [line for line in lines if line.startswith("│ total")]
    assert f"{sum(part['cost']['parameters'] for part in summary['parts']) / 1e6:.2f} M" in total
    assert f"{sum(part['cost']['flops'] for part in summary['parts']) / 1e9:.2f}" in total
    assert f"{sum(part['cost']['activations'] for part in summary['parts']) / 2**20:.1f} MiB" in total
    sites = [line for line in lines if line.startswith("│ connections")]
    assert [line.split()[3] for line in sites] == list(summary["sites"])
    assert f"{summary['sites']['backbone']['parameters'] / 1e6:.2f} M" in sites[0]


def test_summary_of_options_is_of_what_fit_would_train(crosscoop):
    """The recipe of street_scenes: 32 channels wide; three kernels of ASPP more than 128 channels, 1x1 and pooling."""
    arguments = "--top=tiny_resnet", "--topology=none", "--size=64x96", "--classes=5", "--set=model.output_stride=8"
    summary = json.loads(crosscoop("summary", *arguments, "--json").out)
    parts = {(part["side"], part["name"]): part for part in summary["parts"]}
    assert parts["top", "aspp"]["cost"]["parameters"] == 128 * 32 * (1 + 3 * 9 + 1) + 5 * 32 * 32 + 6 * 2 * 32
    assert parts["top", "decoder"]["output"] == [64, 96, 5]
    assert parts["top", "backbone"]["output"] == [8, 12, 128]
    assert parts["top", "backbone"]["cost"] == parts["bottom", "backbone"]["cost"]
    assert summary["sites"] == {}
    for figure, value in summary["total"].items():
        assert value == sum(part["cost"][figure] for part in summary["parts"])


def test_summary_of_a_single_network_has_no_connections(crosscoop):
    result = crosscoop("summary", "--bottom=none", "--size=64")
    assert "tiny_xception, output stride 16, one image of 64x64" in result.out
    assert "connections" not in result.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--size=64x"], "A size must be HEIGHTxWIDTH, such as 360x480, or one number for both. Received: '64x'"),
        (["--size=0"], "Received: '0'"),
        (["--classes=0", "--size=32"], "Invalid value for '--classes': 0 is not in the range 1<=x<=255."),
        (["nowhere"], "This is not a run"),
        (["nowhere", "--top=resnet50"], "A run cannot be combined with options that describe a network."),
        (["--config=cityscape"], 'Did you mean "cityscapes"?'),
    ],
)
def test_what_cannot_be_summed_up_is_refused_in_one_line(crosscoop, arguments, message):
    result = crosscoop("summary", *arguments)
    assert (result.code, result.out) == (2, "")
    assert message in result.err.splitlines()[-1]
    assert "Traceback" not in result.err


def test_backbones_are_listed(crosscoop):
    listed = {backbone["name"]: backbone for backbone in json.loads(crosscoop("info", "--backbones", "--json").out)}
    assert tuple(listed) == backbones.NAMES
    tiny, mobilenet = listed["tiny_resnet"], listed["mobilenet"]
    assert tiny["low"] == ["block1_add", 32, [4]]
    assert tiny["origin"] is None
    assert mobilenet == {
        "name": "mobilenet",
        "parameters": 3_206_976,  # as published: 4.2 M with the classifier's 1,025,000, less those not trained
        "low": ["conv_pw_3_relu", 128, [4]],
        "high": ["conv_pw_13_relu", 1024, [8, 16, 32]],
        "origin": "Keras",
    }
    lines = crosscoop("info", "--backbones").out.splitlines()
    [line] = [line for line in lines if "mobilenet " in line]
    assert line.split() == ["mobilenet", "3.21", "M", "Keras", "low", "128", "4", "conv_pw_3_relu"]
    [line] = [line for line in lines if "conv_pw_13_relu" in line]
    assert line.split() == ["high", "1024", "8,", "16,", "32", "conv_pw_13_relu"]


def test_only_backbones_are_printed_as_json(crosscoop):
    result = crosscoop("info", "--json")
    assert result.code == 2
    assert "--json needs --backbones" in result.err
