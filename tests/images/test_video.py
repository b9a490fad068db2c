"""Videos: written frames are read back, and predictions are made frame by frame."""

import gc
import sys

import numpy as np
import pytest
from helpers import refused

from keras_crosscoop.errors import InputError
from keras_crosscoop.evaluation.file_predictor import FilePredictor
from keras_crosscoop.evaluation.predictor import Prediction
from keras_crosscoop.evaluation.sources import find_sources, make_folders
from keras_crosscoop.images import video
from keras_crosscoop.images.io import read_label
from keras_crosscoop.images.overlays import blend

imageio = pytest.importorskip("imageio")
pytest.importorskip("imageio_ffmpeg")
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # imageio-ffmpeg leaves pipes so

CLASSES = ("road", "sky", "car")
PALETTE = ((10, 20, 30), (0, 0, 250), (200, 0, 0))
LEVELS = (20, 90, 160, 230, 125)  # of grey, a frame each


class BrightnessPredictor:
    """A predictor without a network: the class of a pixel is its brightness in thirds."""

    can_batch = True

    def __init__(self, probabilities=False):
        self.probabilities = probabilities

    def __call__(self, image):
        return self.batch(image[None])[0]

    def batch(self, images):
        ids = (images.mean(-1) / 86).astype(np.uint8)
        probabilities = np.eye(3, dtype=np.float16)[ids] if self.probabilities else [None] * len(ids)
        return [Prediction(*pair) for pair in zip(ids, probabilities, strict=True)]


PREDICTOR = BrightnessPredictor()


@pytest.fixture(scope="module", autouse=True)
def collected():
    """Closes the pipes of imageio-ffmpeg while the warnings about them are ignored."""
    yield
    gc.collect()


@pytest.fixture
def clip(tmp_path):
    """Five frames of flat grey, 64x48, 7.5 a second."""
    path = tmp_path / "clip.mp4"
    with video.open_writer(path, 7.5) as append:
        for level in LEVELS:
            append(np.full((48, 64, 3), level, np.uint8))
    return path


def test_frames_come_back(clip):
    assert video.read_header(clip) == (7.5, 5)
    frames = list(video.read_frames(clip))
    assert [frame.shape for frame in frames] == [(48, 64, 3)] * 5
    np.testing.assert_allclose([frame.mean() for frame in frames], LEVELS, atol=3)  # H.264 is lossy


def test_odd_sizes_are_padded_by_repeated_edges(tmp_path):
    with video.open_writer(tmp_path / "odd.mp4", 5) as append:
        append(np.full((47, 63, 3), 200, np.uint8))
    [frame] = video.read_frames(tmp_path / "odd.mp4")
    assert frame.shape == (48, 64, 3)
    np.testing.assert_allclose(frame, 200, atol=4)


def test_a_video_is_written_complete_or_not_at_all(tmp_path):
    def fail():
        with video.open_writer(tmp_path / "film.mp4", 5) as append:
            append(np.zeros((48, 64, 3), np.uint8))
            raise InputError("A frame cannot be read. Received: frame 2")

    refused(fail)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"", b"no video", None])
def test_a_broken_video_is_named(clip, content):
    whole = clip.read_bytes()
    clip.write_bytes(whole[: len(whole) // 2] if content is None else content)
    assert str(clip) in refused(video.read_header, clip)
    assert str(clip) in refused(list, video.read_frames(clip))
    [source] = find_sources([clip], clip.parent / "out")
    assert source.count_images() == 1


def test_without_the_extra_the_error_names_it(clip, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    [source] = find_sources([clip], clip.parent / "out")
    assert 'pip install "keras-crosscoop[video]"' in refused(source.count_images)


@pytest.mark.parametrize("batch_size", [1, 2])
def test_predictions_on_a_video(clip, batch_size):
    sources = find_sources([clip], clip.parent / "out")
    assert sources[0].count_images() == 5
    make_folders(sources)
    predict = FilePredictor(BrightnessPredictor(True), CLASSES, PALETTE, batch_size=batch_size)
    assert list(predict(sources)) == [None] * 5
    names = [f"{number:06}{ending}" for number in range(1, 6) for ending in (".npz", ".png")]
    assert sorted(path.name for path in sources[0].target.iterdir()) == names
    film = clip.parent / "out/clip.mp4"
    assert video.read_header(film) == (7.5, 5)
    drawn = list(video.read_frames(film))
    for number, frame in enumerate(video.read_frames(clip)):
        ids = read_label(sources[0].target / f"{number + 1:06}.png")
        np.testing.assert_array_equal(ids, PREDICTOR.batch(frame[None])[0].ids)
        expected = blend(frame, ids, PALETTE)
        assert np.abs(drawn[number][:48].astype(float) - expected).mean() < 8  # H.264 halves the colours' resolution


def test_a_video_that_breaks_off_leaves_no_film_and_the_next_goes_on(clip, monkeypatch):
    def broken(path):
        for number, frame in enumerate(read_frames(path)):
            if number == 3 and path == clip:
                raise InputError(f"The video cannot be read. Received: {path}")
            yield frame

    read_frames = video.read_frames
    monkeypatch.setattr(video, "read_frames", broken)
    other = clip.with_name("other.mp4")
    other.write_bytes(clip.read_bytes())
    sources = find_sources([clip, other], clip.parent / "out")
    make_folders(sources)
    outcomes = list(FilePredictor(PREDICTOR, CLASSES, PALETTE)(sources))
    assert [str(outcome)[:9] for outcome in outcomes] == ["None"] * 3 + ["The video"] + ["None"] * 5
    assert not (clip.parent / "out/clip.mp4").exists()
    assert video.read_header(clip.parent / "out/other.mp4").frames == 5


def test_frames_of_a_truncated_video_are_kept(tmp_path):
    """A truncated Matroska file is read by ffmpeg as far as it goes, and reported as success."""
    whole = tmp_path / "whole.mkv"
    with imageio.v2.get_writer(whole, format="FFMPEG", fps=5, macro_block_size=1) as writer:
        for picture in np.random.default_rng(0).integers(0, 256, (20, 48, 64, 3), np.uint8):
            writer.append_data(picture)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    sources = find_sources([cut], tmp_path / "out")
    make_folders(sources)
    *frames, error = FilePredictor(PREDICTOR, CLASSES, PALETTE)(sources)
    assert frames == [None] * len(frames)
    assert 5 < len(frames) < 15
    assert str(error) == f"The video ends after {len(frames)} of 20 frames. Is the file complete? Received: {cut}"
    assert len(list((tmp_path / "out/cut").iterdir())) == len(frames)
    assert not (tmp_path / "out/cut.mp4").exists()


def test_no_empty_folder_of_a_video_that_fails_and_no_frames_of_a_longer_one(clip):
    bad = clip.with_name("bad.mp4")
    bad.write_bytes(b"no video")
    (clip.parent / "out/clip").mkdir(parents=True)
    mine = [clip.parent / "out/clip" / name for name in ("notes.png", "000003.txt")]
    old = [clip.parent / "out/clip" / name for name in ("000005.png", "000006.png", "000007.npz", "1000000.png")]
    for file in (*mine, *old):
        file.write_text("old")
    sources = find_sources([clip, bad], clip.parent / "out")
    make_folders(sources)
    outcomes = list(FilePredictor(PREDICTOR, CLASSES, PALETTE)(sources))
    assert [isinstance(outcome, InputError) for outcome in outcomes] == [False] * 5 + [True]
    assert {path.name for path in (clip.parent / "out").iterdir()} == {"clip", "clip.mp4"}
    left = {path.name for path in (clip.parent / "out/clip").iterdir()}
    assert left == {*(f"{number:06}.png" for number in range(1, 6)), "notes.png", "000003.txt"}
