"""Contenders take turns, and a failing one stops nobody else."""

from keras_crosscoop.system.processes import WorkerError
from keras_crosscoop.system.turns import take_turns


def test_each_contender_has_its_turn_before_any_has_another():
    calls, failed = [], {}

    def contender(name, error=None):
        def measure(number):
            calls.append((name, number))
            if number == 1 and error:
                raise error
            return 10 * number

        return measure

    contenders = {
        "a": contender("a"),
        "b": contender("b", WorkerError("It is broken.")),
        "c": contender("c", KeyError(3)),
    }
    assert take_turns(contenders, [0, 1, 2], failed) == {"a": [0, 10, 20]}
    assert calls == [("a", 0), ("b", 0), ("c", 0), ("a", 1), ("b", 1), ("c", 1), ("a", 2)]
    assert failed == {"b": "It is broken.", "c": "KeyError: 3"}
