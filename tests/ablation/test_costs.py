"""What rows cost, of each that can be measured."""

from keras_crosscoop import DeepLabV3Plus
from keras_crosscoop.ablation import costs


def test_rows_whose_costs_fail_are_told_and_the_others_measured(monkeypatch):
    """One cannot be built, one is not of that size, one runs out of memory when it has been traced."""

    def tiny(size=32):
        return [DeepLabV3Plus(2, backbone="tiny_resnet", decoder_channels=8, weights=None, input_shape=(size, size, 3))]

    def unbuilt():
        raise ValueError("no such layer\nand more")

    def short_of_memory():
        raise MemoryError

    runner = costs._runner
    monkeypatch.setattr(
        costs, "_runner", lambda networks, image: runner(networks, image) if networks else short_of_memory
    )
    builders = {"first": tiny, "unbuilt": unbuilt, "size": lambda: tiny(64), "memory": lambda: [], "last": tiny}
    measured, failed = costs.row_costs(builders, (32, 32))
    assert list(measured) == ["first", "last"]
    assert measured["first"][:2] == measured["last"][:2]
    assert measured["first"].seconds > 0
    assert failed.pop("size")
    assert failed == {"unbuilt": "ValueError: no such layer", "memory": "MemoryError"}
