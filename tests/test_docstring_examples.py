"""The examples in docstrings run, with NumPy as `np` and Keras, and print what they say."""

import doctest
from importlib import import_module
from pathlib import Path

import keras
import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in (ROOT / "keras_crosscoop").rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
}
EXPECTED = {"layers.atrous", "losses", "metrics", "models.backbones", "models.crosscoop", "models.segmenter"}


def test_the_public_functions_have_examples():
    assert {f"keras_crosscoop.{name}" for name in EXPECTED} <= MODULES


@pytest.mark.parametrize("name", sorted(MODULES))
def test_examples_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results = doctest.testmod(import_module(name), extraglobs={"np": np, "keras": keras})
    assert results.attempted > 0
    assert results.failed == 0
