"""Fixtures for the tests of training."""

import pytest
from micro import micro_pair

from keras_crosscoop.training import builders


@pytest.fixture
def trains_micro_pairs(monkeypatch):
    """Makes `fit` and `resume` train micro pairs, whatever network the settings describe."""

    def build(model, num_classes, **options):
        return micro_pair(classes=num_classes)

    monkeypatch.setattr(builders, "build", build)
