"""The examples in docstrings, run as they stand in a folder with a small data set `MY_DATA`."""

import doctest

import pytest

from keras_crosscoop.data import catalogue, graph_calls, pipeline, skipping, spec
from keras_crosscoop.images import overlays, palettes

EXAMPLES = {
    example.name: example
    for module in (catalogue, graph_calls, pipeline, skipping, spec, overlays, palettes)
    for example in doctest.DocTestFinder().find(module)
    if example.examples
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_example(name, make_folder, monkeypatch):
    root = make_folder()
    root.rename(root.with_name("MY_DATA"))
    monkeypatch.chdir(root.parent)
    failures, _ = doctest.DocTestRunner().run(EXAMPLES[name])
    assert failures == 0


def test_public_functions_have_examples():
    expected = ("catalogue.dataset", "pipeline.load_dataset", "spec.Dataset.pairs", "spec.Dataset.read")
    assert {f"keras_crosscoop.data.{name}" for name in expected} <= EXAMPLES.keys()
