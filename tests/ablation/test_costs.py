"""The costs of rows that can be measured, and the reasons of the others."""

from types import SimpleNamespace

import keras

from keras_crosscoop.ablation import costs


class Network(keras.Model):
    """A network with a cost that is counted elsewhere."""

    def call(self, image, training=False):
        return {"single": image}


def test_rows_whose_costs_fail_are_named_and_the_others_measured(monkeypatch):
    """One cannot be built, one cannot be traced, one runs out of memory later."""

    def build_error():
        raise ValueError("no such layer\nand more")

    def short_of_memory(_):
        raise MemoryError

    timer = costs._timer
    monkeypatch.setattr(
        costs, "_timer", lambda networks, image: timer(networks, image) if networks else short_of_memory
    )
    cost = costs.Cost(parameters=3, flops=7)
    monkeypatch.setattr(costs.costs, "components", lambda network: [SimpleNamespace(cost=cost)] * 2)
    builders = {
        "first": lambda: [Network()],
        "unbuilt": build_error,
        "untraced": lambda: ["no network"],
        "memory": lambda: [],
        "pair": lambda: [Network(), Network()],
    }
    measured, failed = costs.row_costs(builders, (4, 4))
    assert {name: cost[:2] for name, cost in measured.items()} == {"first": (6, 14), "pair": (12, 28)}
    assert measured["first"].seconds > 0
    assert failed.pop("untraced")
    assert failed == {"unbuilt": "ValueError: no such layer", "memory": "MemoryError"}
