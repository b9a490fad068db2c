"""The examples in docstrings, run in a folder with a small data set `MY_DATA`."""

import doctest
from importlib import import_module

import numpy as np
import pytest
from helpers import write_folder


@pytest.mark.parametrize("name", ["boundaries", "evaluator", "metrics"])
def test_the_examples_run(name, tmp_path, monkeypatch):
    write_folder(tmp_path / "MY_DATA", {"train": 1, "val": 2})
    monkeypatch.chdir(tmp_path)
    module = import_module(f"keras_crosscoop.evaluation.{name}")
    outcome = doctest.testmod(module, extraglobs={"np": np})
    assert outcome.attempted > 0
    assert outcome.failed == 0
