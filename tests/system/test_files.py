"""A file appears whole under its name, or what was there before stays."""

import os
from pathlib import Path

import pytest
from helpers import refused

from keras_crosscoop.system.files import (
    atomic_folder,
    atomic_write,
    check_new_file,
    is_case_insensitive,
    max_name_length,
    walk_files,
)


@pytest.mark.parametrize("before", [None, "old"])
def test_appears_when_it_is_whole(tmp_path, before):
    file = tmp_path / "metrics.json"
    if before:
        file.write_text(before)
    with atomic_write(file) as partial:
        partial.write_text("new")
        assert partial.parent == tmp_path
        assert partial.name.endswith("metrics.json")  # some writers go by the ending
        assert (file.read_text() if file.exists() else None) == before
    assert file.read_text() == "new"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("before", [None, "old"])
@pytest.mark.parametrize("failure", [OSError, KeyboardInterrupt])
def test_a_failure_leaves_what_was_there(tmp_path, before, failure):
    file = tmp_path / "metrics.json"
    if before:
        file.write_text(before)

    def fail():
        with atomic_write(file) as partial:
            partial.write_text("half")
            raise failure

    with pytest.raises(failure):
        fail()
    assert [(path, path.read_text()) for path in tmp_path.iterdir()] == ([(file, "old")] if before else [])


def test_a_folder_appears_when_it_is_whole(tmp_path):
    """Its missing parents are made too."""
    folder = tmp_path / "a" / "b" / "1"
    with atomic_folder(folder) as partial:
        (partial / "file").write_text("new")
        assert not folder.exists()
        assert partial.parent == folder.parent
        assert partial.name.startswith(".")
    assert [path.relative_to(folder) for path in folder.parent.rglob("*") if path.is_file()] == [Path("file")]


@pytest.mark.parametrize("failure", [OSError, KeyboardInterrupt])
def test_a_folder_that_fails_leaves_nothing(tmp_path, failure):
    """Not even the parents that were made for it; those of others stay."""
    (tmp_path / "mine").mkdir()

    def fail(folder):
        with atomic_folder(folder) as partial:
            (partial / "file").write_text("half")
            raise failure

    for folder in (tmp_path / "a" / "b" / "1", tmp_path / "mine" / "1"):
        with pytest.raises(failure):
            fail(folder)
    assert list(tmp_path.rglob("*")) == [tmp_path / "mine"]


def test_a_folder_that_is_there_stays(tmp_path):
    folder = tmp_path / "1"
    folder.mkdir()
    blocks = []

    def write(before=lambda: None):
        with atomic_folder(folder) as partial:
            blocks.append(partial)
            before()

    assert refused(write) == f"The folder already exists. Remove it, or name another. Received: {folder}"
    assert blocks == [], "the block is not begun"
    folder.rmdir()
    assert "already exists" in refused(write, folder.mkdir)
    assert list(tmp_path.iterdir()) == [folder]
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "1"
    assert refused(write).startswith("The folder cannot be made (Not a directory).")


@pytest.mark.parametrize("name", ["a" * 251 + ".txt", "ü" * 125 + ".jpeg"])
def test_names_may_be_as_long_as_the_file_system_allows(tmp_path, name):
    assert max_name_length(tmp_path) == max_name_length(tmp_path / "not/there") == 255
    with atomic_write(tmp_path / name) as partial:
        partial.write_text("new")
        assert partial.suffix == (tmp_path / name).suffix
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_files_below_links_are_found_once(tmp_path):
    for file in ("a/1", "a/b/2", "other/3", "a/.hidden/4"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("")
    (tmp_path / "a/0").symlink_to("b")  # before it in order
    (tmp_path / "a/b/up").symlink_to("..")
    (tmp_path / "a/other").symlink_to("../other")
    names = [str(path.relative_to(tmp_path)) for path in walk_files([tmp_path / "a"])]
    assert sorted(names) == ["a/1", "a/b/2", "a/other/3"]
    assert tmp_path / "a/.hidden/4" in walk_files([tmp_path / "a"], hidden=True)


def test_files_below_a_folder_with_links_to_nowhere_and_pipes(tmp_path):
    """One such link must not hide all other files, and reading a pipe would never end."""
    (tmp_path / "a.png").write_text("")
    (tmp_path / "gone.png").symlink_to("nowhere")
    (tmp_path / "itself.png").symlink_to("itself.png")
    (tmp_path / "null.png").symlink_to(os.devnull)
    os.mkfifo(tmp_path / "pipe.png")
    assert [path.name for path in walk_files([tmp_path])] == ["a.png", "gone.png", "itself.png"]


def test_whether_case_is_ignored_is_asked_of_the_file_system(tmp_path):
    folder = tmp_path / "Folder"
    folder.mkdir()
    assert not is_case_insensitive(folder / "new")
    (tmp_path / "fOLDER").symlink_to("Folder")  # as it would seem where it is
    assert is_case_insensitive(folder / "new")


def test_paths_that_are_no_place_for_a_new_file_are_refused(tmp_path):
    assert "must end in .html" in refused(check_new_file, tmp_path / "a.pdf", ".html", ".htm")
    assert "folder of the file does not exist" in refused(check_new_file, tmp_path / "no/a.html", ".html")
    (tmp_path / "a.html").write_text("mine")
    assert "--force" in refused(check_new_file, tmp_path / "a.html", ".html")
    check_new_file(tmp_path / "a.html", ".html", force=True)
    check_new_file(tmp_path / "b.HTM", ".html", ".htm")
