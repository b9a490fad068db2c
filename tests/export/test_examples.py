"""The examples in docstrings run."""

import doctest
import importlib

import pytest


@pytest.mark.parametrize("name", ["export.runtimes", "export.run_export", "ablation.gains", "ablation.study"])
def test_examples_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = doctest.testmod(
        importlib.import_module(f"keras_crosscoop.{name}"),
        optionflags=doctest.NORMALIZE_WHITESPACE | doctest.IGNORE_EXCEPTION_DETAIL,
    )
    assert outcome.attempted > 0
    assert outcome.failed == 0
