"""Which files are predicted on, where the results go, and what is refused before anything is computed."""

from pathlib import Path

import pytest
from helpers import refused

from keras_crosscoop.evaluation.sources import check_targets, find_sources

BOTH = {"overlay": True, "probabilities": False}


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Makes files, whose content nobody looks at, in an empty working folder."""
    monkeypatch.chdir(tmp_path)

    def make(*names):
        for name in names:
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).write_text(name)

    return make


def targets(*paths, output="out"):
    return {str(source.path): str(source.target) for source in find_sources(map(Path, paths), Path(output))}


def test_a_folder_is_mirrored(make):
    make("in/b.jpg", "in/x/a.PNG", "in/y/a.v2.tif", "in/notes.txt", "in/.hidden.png", "in/.git/c.png", "in/clip.mp4")
    found = targets("in")
    assert found == {"in/b.jpg": "out/b", "in/x/a.PNG": "out/x/a", "in/y/a.v2.tif": "out/y/a.v2"}
    assert list(found) == sorted(found)


def test_a_folder_of_a_name_with_wildcards_is_a_folder(make):
    make("in[1]/a.png", "in1/b.png")
    assert targets("in[1]") == {"in[1]/a.png": "out/a"}


def test_a_glob_is_mirrored_below_its_fixed_part(make):
    make("in/x/a.jpg", "in/x/y/b.jpg", "in/x/y/b.png", "in/z/c.jpg", "in/x/clip.mp4")
    assert targets("in/x/**/*.jpg") == {"in/x/a.jpg": "out/a", "in/x/y/b.jpg": "out/y/b"}
    assert targets("in/?/*") == {"in/x/a.jpg": "out/x/a", "in/x/clip.mp4": "out/x/clip", "in/z/c.jpg": "out/z/c"}


def test_a_file_is_taken_whatever_its_ending_and_once(make):
    make("in/photo.dat", "photo [1].jpg")
    assert targets("in/photo.dat", "./in/photo.dat", "photo [1].jpg") == {
        "in/photo.dat": "out/photo",
        "photo [1].jpg": "out/photo [1]",
    }


def test_earlier_results_inside_of_a_folder_are_no_images(make):
    make("in/a.jpg", "in/out/a.png", "in/output.png")
    assert targets("in", output="in/out") == {"in/a.jpg": "in/out/a", "in/output.png": "in/out/output"}
    assert "in/out/a.png" in targets("in/out", output="in")  # asked for


@pytest.mark.parametrize("path", ["nowhere.jpg", "empty", "in/*.gif"])
def test_nothing_found_is_refused(make, path):
    make("in/a.png")
    Path("empty").mkdir()
    assert path in refused(find_sources, [Path("in/a.png"), Path(path)], Path("out"))


def test_what_an_image_and_a_video_get(make):
    make("a.b.jpg", "clip.mov")
    image, video = find_sources([Path("a.b.jpg"), Path("clip.mov")], Path("out"))
    assert image.results(overlay=True, probabilities=True) == [
        Path("out/a.b.png"),
        Path("out/a.b_overlay.png"),
        Path("out/a.b.npz"),
    ]
    assert image.results(overlay=False, probabilities=False) == [Path("out/a.b.png")]
    assert video.results(overlay=True, probabilities=True) == [Path("out/clip"), Path("out/clip.mp4")]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x/a.jpg", "y/a.png"),
        ("a.jpg", "a_overlay.jpg"),
        ("clip.mp4", "y/clip.avi"),
        ("y/clip.mp4", "in"),  # whose clip/000001.jpg may be the first frame
    ],
)
def test_two_sources_never_share_a_result(make, one, other):
    make("x/a.jpg", "y/a.png", "a.jpg", "a_overlay.jpg", "clip.mp4", "y/clip.avi", "y/clip.mp4", "in/clip/000001.jpg")
    for paths in ((one, other), (other, one)):
        sources = find_sources(map(Path, paths), Path("out"))
        assert "Two sources would be written to out/" in refused(check_targets, sources, **BOTH, force=True)
    assert not Path("out").exists()


def test_what_is_there_is_not_written_over(make):
    make("in/a.jpg", "in/clip.mp4", "out/a.npz")
    Path("out/clip").mkdir()
    sources = find_sources([Path("in/a.jpg"), Path("in/clip.mp4")], Path("out"))
    check_targets(sources, **BOTH)  # which writes no .npz, and may use an empty folder
    options = {"overlay": True, "probabilities": True}
    assert "--force. Received: out/a.npz" in refused(check_targets, sources, **options)
    check_targets(sources, **options, force=True)
    make("out/clip/000001.png")
    assert "--force. Received: out/clip" in refused(check_targets, sources, **BOTH)
    check_targets(sources, **BOTH, force=True)


@pytest.mark.parametrize("paths", [["a.png"], ["a.jpg", "a_overlay.png"], ["clip.mp4"]])
def test_no_source_is_written_over(make, paths):
    make("a.png", "a.jpg", "a_overlay.png", "clip.mp4")
    sources = find_sources(map(Path, paths), Path())
    assert "A source would be overwritten" in refused(check_targets, sources, **BOTH, force=True)
