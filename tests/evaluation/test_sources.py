"""Sources and the places of their results; conflicts are refused before anything is computed."""

import glob
from pathlib import Path

import pytest
from helpers import refused

from keras_crosscoop.errors import InputError
from keras_crosscoop.evaluation import sources as sources_module
from keras_crosscoop.evaluation.sources import check_targets, find_sources


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
    mirrored = targets("in")
    assert mirrored == {"in/b.jpg": "out/b", "in/x/a.PNG": "out/x/a", "in/y/a.v2.tif": "out/y/a.v2"}
    assert list(mirrored) == sorted(mirrored)


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


def test_earlier_results_inside_a_folder_are_not_sources(make):
    make("in/a.jpg", "in/out/a.png", "in/output.png")
    assert targets("in", output="in/out") == {"in/a.jpg": "in/out/a", "in/output.png": "in/out/output"}
    assert "in/out/a.png" in targets("in/out", output="in")  # asked for


@pytest.mark.parametrize("path", ["nowhere.jpg", "empty", "in/*.gif"])
def test_paths_without_images_are_refused(make, path):
    make("in/a.png")
    Path("empty").mkdir()
    assert path in refused(find_sources, [Path("in/a.png"), Path(path)], Path("out"))


def test_images_and_videos_have_their_results(make):
    make("a.b.jpg", "clip.mov")
    paths = Path("a.b.jpg"), Path("clip.mov")
    image, video = find_sources(paths, Path("out"), probabilities=True)
    assert image.results == [Path("out/a.b.png"), Path("out/a.b_overlay.png"), Path("out/a.b.npz")]
    assert video.results == [Path("out/clip"), Path("out/clip.mp4")]
    image, video = find_sources(paths, Path("out"), overlay=False)
    assert image.results == [Path("out/a.b.png")]
    assert video.results == [Path("out/clip")]


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["in"], {"in/x.jpg": "x_jpg", "in/x.png": "x_png", "in/y.png": "y", "in/z/x.png": "z/x"}),
        (["x/a.jpg", "y/a.png"], {"x/a.jpg": "a_jpg", "y/a.png": "a_png"}),
        (["a.jpg", "a_overlay.jpg"], {"a.jpg": "a_jpg", "a_overlay.jpg": "a_overlay_jpg"}),
        (["clip.mp4", "y/clip.avi"], {"clip.mp4": "clip_mp4", "y/clip.avi": "clip_avi"}),
        (["photo", "photo.jpg"], {"photo": "photo", "photo.jpg": "photo_jpg"}),
        # A name that is there already gives way too:
        (["b"], {"b/x.jpg": "x_jpg", "b/x.png": "x_png", "b/x_jpg.png": "x_jpg_png"}),
        # The folder of a video's frames, which might hold those of a folder of images:
        (["y/clip.mp4", "f"], {"y/clip.mp4": "clip_mp4", "f/clip/000001.jpg": "clip/000001"}),
        (["g"], {"g/a.jpg": "a_jpg", "g/a.png/b.jpg": "a.png/b"}),
    ],
)
def test_results_of_one_name_get_the_endings_of_their_sources(make, paths, expected):
    make("in/x.jpg", "in/x.png", "in/y.png", "in/z/x.png", "x/a.jpg", "y/a.png", "a.jpg", "a_overlay.jpg", "clip.mp4")
    make("y/clip.avi", "photo", "photo.jpg", "b/x.jpg", "b/x.png", "b/x_jpg.png", "y/clip.mp4", "f/clip/000001.jpg")
    make("g/a.jpg", "g/a.png/b.jpg")
    for order in (paths, paths[::-1]):
        assert targets(*order) == {path: f"out/{target}" for path, target in expected.items()}
        sources = find_sources(map(Path, order), Path("out"))
        check_targets(sources)
        results = [file for source in sources for file in source.results]
        assert len(results) == len(set(results))


def test_names_clash_only_by_results_that_are_written(make):
    make("a.jpg", "a_overlay.jpg")
    sources = find_sources([Path("a.jpg"), Path("a_overlay.jpg")], Path("out"), overlay=False)
    assert [source.target.name for source in sources] == ["a", "a_overlay"]


def test_names_that_differ_in_case_are_one_where_the_file_system_says_so(make, monkeypatch):
    make("in/x.jpg", "in/X.png")
    assert targets("in") == {"in/x.jpg": "out/x", "in/X.png": "out/X"}
    monkeypatch.setattr(sources_module, "is_case_insensitive", lambda folder: True)
    assert targets("in") == {"in/x.jpg": "out/x_jpg", "in/X.png": "out/X_png"}
    make("in/X.jpg")
    with pytest.raises(InputError, match=r"have the same result, out/[xX]_jpg\.png\. Predict for them separately\."):
        check_targets(find_sources([Path("in")], Path("out")))


def test_two_sources_never_share_a_result(make):
    make("x/a.jpg", "y/a.jpg")
    sources = find_sources([Path("x/a.jpg"), Path("y/a.jpg")], Path("out"))
    assert "have the same result, out/a_jpg.png. Predict for them separately." in refused(
        check_targets, sources, force=True
    )
    assert not Path("out").exists()


def test_stems_that_are_not_file_names_are_replaced(make):
    make("in/..png", "in/...png", "in/a..png")
    files = ["in/..png", "in/...png", "in/a..png"]
    assert targets(*files) == {"in/..png": "out/..png", "in/...png": "out/...png", "in/a..png": "out/a."}


def test_names_too_long_are_refused_before_anything_is_written(make):
    """A name may have 255 bytes: a stem of 246 bytes leaves room for `.png`, but not for `_overlay.png`."""
    make(name := "ü" * 123 + ".png")  # of 2 bytes each
    sources = find_sources([Path(name)], Path("out"))
    check_targets(find_sources([Path(name)], Path("out"), overlay=False))
    assert refused(check_targets, sources).endswith(f"Rename its source. Received: {name}")


@pytest.mark.parametrize("path", ["in", "in/*.png", "in/**/*.png"])
@pytest.mark.parametrize("output", ["out", "in/out"])
def test_broken_links_are_sources_whose_prediction_fails(make, path, output):
    make("in/a.png", "in/x.png/b.txt")
    Path("in/gone.png").symlink_to("nowhere.png")
    Path("in/itself.png").symlink_to("itself.png")
    sources = find_sources([Path(path)], Path(output))
    assert [source.path.name for source in sources] == ["a.png", "gone.png", "itself.png"]
    check_targets(sources)


def test_a_link_to_a_folder_above_is_no_loop_and_other_links_are_followed(make):
    make("in/a.png", "elsewhere/b.png", "elsewhere/c/d.png", "in/z/e.png")
    for link, to in {"self": ".", "up": "..", "0": "../in/z", "other": "../elsewhere"}.items():
        (Path("in") / link).symlink_to(to)
    Path("in/z/back").symlink_to("..")
    Path("elsewhere/again").symlink_to("../in")
    expected = {name: f"out/{name.removeprefix('in/').removesuffix('.png')}" for name in ("in/a.png", "in/z/e.png")}
    expected |= {"in/other/b.png": "out/other/b", "in/other/c/d.png": "out/other/c/d"}
    Path("in/up").unlink()
    assert targets("in") == targets("in/**/*.png") == expected
    assert targets("in/*/e.png") == {"in/0/e.png": "out/0/e", "in/z/e.png": "out/z/e"}  # asked for
    assert targets("in/**/c/*") == {"in/other/c/d.png": "out/other/c/d"}


def test_a_glob_never_leads_out_of_the_folder_of_results(make):
    make("g/a/x.png", "b2/up.png", "b2/c/up.png")
    for pattern in ("g/*/../../b2/*.png", "g/**/../../b2/*.png"):
        assert refused(targets, pattern) == (
            f"No `..` may follow a wildcard. Give the path without it. Received: {pattern}"
        )
    assert targets("g/../b2/*.png") == {"g/../b2/up.png": "out/up"}


def test_globs_match_the_files_that_the_glob_of_python_matches(make):
    make("a.png", "x/a.png", "x/y/a.png", "x/y/b.jpg", "x/.h/a.png", ".h/a.png", "x/y/.a.png", "z/x/y/c.png")
    for pattern in ("**/*.png", "**", "x/**", "x/**/y/*", "**/y/**/*.png", "*/**/a.*", "**/.h/*.png", "**/.*.png"):
        expected = {name for name in glob.glob(pattern, recursive=True) if Path(name).is_file()}  # noqa: PTH207
        assert set(targets(pattern)) == expected


def test_existing_results_are_overwritten_only_by_force(make):
    make("in/a.jpg", "in/clip.mp4", "out/a.npz")
    Path("out/clip").mkdir()
    sources = find_sources([Path("in/a.jpg"), Path("in/clip.mp4")], Path("out"))
    check_targets(sources)  # which writes no .npz, and may use an empty folder
    with_probabilities = find_sources([Path("in/a.jpg"), Path("in/clip.mp4")], Path("out"), probabilities=True)
    assert "--force. Received: out/a.npz" in refused(check_targets, with_probabilities)
    check_targets(with_probabilities, force=True)
    make("out/clip/000001.png")
    assert "--force. Received: out/clip" in refused(check_targets, sources)
    check_targets(sources, force=True)


@pytest.mark.parametrize("paths", [["a.png"], ["clip.mp4"]])
def test_sources_are_never_overwritten(make, paths):
    make("a.png", "clip.mp4")
    sources = find_sources(map(Path, paths), Path())
    assert "would overwrite a source" in refused(check_targets, sources, force=True)
