"""A file appears whole under its name, or what was there before stays."""

import pytest

from keras_crosscoop.files import written


@pytest.mark.parametrize("before", [None, "old"])
def test_appears_when_it_is_whole(tmp_path, before):
    file = tmp_path / "figures.json"
    if before:
        file.write_text(before)
    with written(file) as partial:
        partial.write_text("new")
        assert partial.parent == tmp_path
        assert partial.name.endswith("figures.json")  # some writers go by the ending
        assert (file.read_text() if file.exists() else None) == before
    assert file.read_text() == "new"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("before", [None, "old"])
@pytest.mark.parametrize("failure", [OSError, KeyboardInterrupt])
def test_a_failure_leaves_what_was_there(tmp_path, before, failure):
    file = tmp_path / "figures.json"
    if before:
        file.write_text(before)

    def fail():
        with written(file) as partial:
            partial.write_text("half")
            raise failure

    with pytest.raises(failure):
        fail()
    assert [(path, path.read_text()) for path in tmp_path.iterdir()] == ([(file, "old")] if before else [])
