"""The examples in docstrings of networks, layers, losses and metrics run, with NumPy as `np` and Keras.

Those of other packages need data and are run by these packages' tests.
"""

import doctest
from importlib import import_module
from pathlib import Path

import keras
import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
FILES = [ROOT / "keras_crosscoop" / f"{name}.py" for name in ("labels", "losses", "metrics")]
FILES += [file for package in ("layers", "models") for file in (ROOT / "keras_crosscoop" / package).rglob("*.py")]
MODULES = {
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for file in FILES
    if ">>> " in file.read_text(encoding="utf-8")
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
