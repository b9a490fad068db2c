"""What goes wrong is told once for each cause."""

from keras_crosscoop.errors import InputError, describe, group_by_cause, join_names, summarize


def test_messages_of_one_cause_differ_in_numbers_paths_and_names_only():
    messages = [
        "The label of a1 is 9x2 and its image 8x2. Received: one/a1.png",
        "The file is empty. Received: one/b.png",
        "The label of b is 7x2 and its image 12x2. Received: two/b.png",
        "The label of a1 holds class id 3. Received: one/a1.png",
        "A split is empty.",
        "A split is empty.",
    ]
    assert summarize(messages) == [
        "2 times: The label of a1 is 9x2 and its image 8x2. Received: one/a1.png, two/b.png",
        *(messages[index] for index in (1, 3)),
        "2 times: A split is empty.",
    ]
    assert summarize([]) == []


def test_names_of_one_cause_are_together():
    messages = {"a": "No room. Received: x/1", "b": "No GPU.", "c": "No room. Received: x/2"}
    assert group_by_cause(messages.items()) == [(["a", "c"], messages["a"]), (["b"], messages["b"])]
    assert join_names(["a", "b", "c"]) == "a, b, c"
    assert join_names(list("abcde"), "; ") == "a; b; c and 2 more"


def test_any_error_has_a_reason_of_one_line():
    assert describe(InputError("As it says.")) == "As it says."
    assert describe(RuntimeError("first\nsecond")) == "RuntimeError: first"
    assert describe(MemoryError()) == "MemoryError"
