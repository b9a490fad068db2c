"""The examples in docstrings run."""

import doctest
import importlib

import pytest


def run_examples(name):
    module = importlib.import_module(f"keras_crosscoop.{name}")
    outcome = doctest.testmod(module)
    assert outcome.attempted > 0
    assert outcome.failed == 0


@pytest.mark.parametrize(
    "name",
    [
        *("config", "config.layers", "errors", "runs", "planning.facts", "planning.plan"),
        *("training.budget", "training.optimizer", "training.schedule"),
    ],
)
def test_examples_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_examples(name)


@pytest.mark.slow
def test_the_examples_of_fit_and_resume_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_examples("training.trainer")
