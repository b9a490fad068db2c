"""Validation images drawn from training images."""

import random

import numpy as np
import pytest
from PIL import Image

from keras_crosscoop.data.own import splitting
from keras_crosscoop.data.own.description import Description
from keras_crosscoop.data.own.discovery import describe
from keras_crosscoop.data.own.splitting import split_by_groups
from tests.helpers import photograph, refused


def save(root, images):
    """Saves images by name; returns pairs without masks."""
    for name, pixels in images.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / name)
    return [(root / name, None) for name in images]


def photo(seed, size=(48, 64)):
    """A photograph without noise, as of a camera in daylight."""
    small = photograph(size[0] // 4, size[1] // 4, seed=seed)[0].astype(np.uint8)
    return np.asarray(Image.fromarray(small).resize(size[::-1], Image.Resampling.BICUBIC))


def names(pairs):
    return [image.name for image, _ in pairs]


@pytest.fixture(scope="module")
def different(tmp_path_factory):
    root = tmp_path_factory.mktemp("different")
    return save(root, {f"{number}.png": photo(number) for number in range(20)})


def test_share_and_order(different):
    train, val = split_by_groups(different, 0.25, seed=0)
    assert (len(train), len(val)) == (15, 5)
    assert sorted(train + val) == sorted(different)
    assert names(train) == sorted(names(train), key=lambda name: int(name.split(".")[0]))


def test_depends_on_the_seed_but_not_on_the_order_or_place(different, tmp_path):
    shuffled = different.copy()
    random.Random(0).shuffle(shuffled)
    expected = split_by_groups(different, 0.25, seed=0)
    assert split_by_groups(shuffled, 0.25, seed=0) == expected
    assert split_by_groups(different, 0.25, seed=1) != expected
    moved = save(tmp_path / "elsewhere", {image.name: np.asarray(Image.open(image)) for image, _ in different})
    assert names(split_by_groups(moved, 0.25, seed=0)[1]) == names(expected[1])


@pytest.mark.parametrize("seed", range(4))
def test_equal_and_near_equal_images_stay_together(tmp_path, seed):
    """Copies, brighter and smaller copies, and JPEG files of one picture."""
    images = {}
    for number in range(8):
        image = photo(number)
        images[f"{number}_a.png"] = images[f"{number}_b.png"] = image
        images[f"{number}_c.png"] = np.minimum(image.astype(int) + 4, 255).astype(np.uint8)
        images[f"{number}_d.png"] = np.asarray(Image.fromarray(image).resize((40, 30)))
        images[f"{number}_e.jpg"] = image
    _, val = split_by_groups(save(tmp_path, images), 0.25, seed=seed)
    numbers = [name[0] for name in names(val)]
    assert len(val) == 10
    assert {numbers.count(number) for number in numbers} == {5}


def test_frames_of_a_video_stay_together(tmp_path):
    images = {}
    for video in range(6):
        wide = photo(video, (64, 400))
        images |= {f"v{video}_{frame}.png": wide[:, 2 * frame : 2 * frame + 128] for frame in range(12)}
    _, val = split_by_groups(save(tmp_path, images), 0.34, seed=0)
    videos = [name[:2] for name in names(val)]
    assert len(set(videos)) == 2
    assert len(val) == 24


def test_one_video_is_cut_once(tmp_path):
    wide = photo(0, (64, 400))
    images = {f"{frame}.png": wide[:, 2 * frame : 2 * frame + 128] for frame in range(20)}
    train, val = split_by_groups(save(tmp_path, images), 0.2, seed=0)
    assert names(val) == ["16.png", "17.png", "18.png", "19.png"]
    assert len(train) == 16


def test_a_sample_of_large_images_is_compared(tmp_path, monkeypatch):
    """The sample shows that the images are frames; names tell the videos."""
    images = {}
    for video in range(6):
        wide = photo(video, (64, 400))
        images |= {f"v{video}_{frame}.png": wide[:, 2 * frame : 2 * frame + 128] for frame in range(12)}
    pairs = save(tmp_path, images)
    monkeypatch.setattr(splitting, "_MOST_BYTES", sum(image.stat().st_size for image, _ in pairs) // 3)
    _, val = split_by_groups(pairs, 0.34, seed=0)
    assert len({name[:2] for name in names(val)}) == 2


def test_plain_and_damaged_images_are_independent(tmp_path):
    pairs = save(tmp_path, {f"{number}.png": np.full((20, 20 + number), number, np.uint8) for number in range(10)})
    pairs[3][0].write_bytes(b"no image")
    train, val = split_by_groups(pairs, 0.3, seed=0)
    assert (len(train), len(val)) == (7, 3)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32, np.int32])
def test_deep_images(tmp_path, dtype):
    images = {}
    for number in range(6):
        image = photo(number)[..., 0].astype(dtype) * 7
        images[f"{number}_a.tif"], images[f"{number}_b.tif"] = image, image + dtype(3)
    _, val = split_by_groups(save(tmp_path, images), 0.34, seed=0)
    assert len(val) == 4
    assert len({name[0] for name in names(val)}) == 2


def test_two_images_at_least(tmp_path, different):
    assert [len(part) for part in split_by_groups(different[:2], 0.01, seed=0)] == [1, 1]
    assert [len(part) for part in split_by_groups(different[:3], 0.99, seed=0)] == [1, 2]
    assert "at least two images" in refused(split_by_groups, different[:1], 0.2, 0)


@pytest.mark.parametrize(
    ("val", "sentence"),
    [
        (None, "There is no validation split: 2 of 10 images become one, with equal and near-equal"),
        (0.5, "The validation split (`val: 0.5`) has 5 of 10 images, as equal and near-equal images"),
    ],
)
def test_a_share_is_told_as_what_it_is(tmp_path, val, sentence):
    save(tmp_path, {f"images/{number}.png": photo(number) for number in range(10)})
    save(tmp_path, {f"masks/{number}.png": np.uint8(photo(number)[..., 0] > 128) for number in range(10)})
    assert sentence in " ".join(describe(Description(path=tmp_path, val=val)).statements)
