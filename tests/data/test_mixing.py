"""Mixed samples: which pixels are pasted, and each pixel's image and label from the same sample."""

import numpy as np
import pytest
import tensorflow as tf

from keras_crosscoop.data.mixing import mix_samples

RNG = np.random.default_rng(0)
SIZE = 24


def sample(classes, low, high):
    """A random image of values from `low` to `high`, and a label of blocks of the given classes."""
    label = RNG.choice(np.array(classes, np.uint8), (6, 6)).repeat(4, 0).repeat(4, 1)
    return RNG.integers(low, high, (SIZE, SIZE, 3), np.uint8), label


def mixed(kind, first, second, seed):
    """The mixed sample, and the mask of pasted pixels; all other pixels are those of the first sample."""
    image, label = (part.numpy() for part in mix_samples(kind, *map(tensors, (first, second)), tf.constant(seed)))
    pasted = image[..., 0] >= 128
    for actual, kept, new in zip((image, label), first, second, strict=True):
        np.testing.assert_array_equal(actual[~pasted], kept[~pasted])
        np.testing.assert_array_equal(actual[pasted], new[pasted])
    return pasted


def tensors(pair):
    return tuple(map(tf.constant, pair))


@pytest.mark.parametrize("kind", ["cutmix", "classmix"])
def test_void_is_never_pasted(kind):
    first, second = sample([0, 1, 255], 0, 128), sample([3, 4, 255], 128, 256)
    masks = [mixed(kind, first, second, [0, number]) for number in range(50)]
    assert not np.any(masks, axis=0)[second[1] == 255].any()
    assert np.any(masks, axis=0)[(second[1] != 255) & (first[1] == 255)].all()  # but void may be covered
    assert len({mask.tobytes() for mask in masks}) > (40 if kind == "cutmix" else 1)
    np.testing.assert_array_equal(masks[0], mixed(kind, first, second, [0, 0]))


def test_an_entirely_void_sample_adds_nothing():
    for kind in ("cutmix", "classmix"):
        assert not mixed(kind, sample([0, 1], 0, 128), sample([255], 128, 256), [0, 1]).any()


@pytest.mark.parametrize("classes", [[7], [7, 254], [0, 3, 9], [0, 1, 2, 3, 4, 255]])
def test_classmix_pastes_half_of_the_classes_entirely(classes):
    first, second = sample([0, 1, 2, 3, 4, 5], 0, 128), sample(classes, 128, 256)
    present = sorted(set(classes) - {255})
    assert set(present) <= set(np.unique(second[1]))
    counts = dict.fromkeys(present, 0)
    for number in range(200):
        pasted = mixed("classmix", first, second, [5, number])
        chosen = np.unique(second[1][pasted])
        assert len(chosen) == (len(present) + 1) // 2
        np.testing.assert_array_equal(pasted, np.isin(second[1], chosen))
        for class_id in chosen:
            counts[class_id] += 1
    share = (len(present) + 1) // 2 / len(present)
    np.testing.assert_allclose(np.array(list(counts.values())) / 200, share, atol=0.12)


def test_cutmix_pastes_boxes_like_the_papers():
    """Their areas and centres have the distribution of boxes drawn by NumPy."""
    first, second = sample([0, 1], 0, 128), sample([2, 3], 128, 256)
    areas, centres = [], []
    for number in range(400):
        pasted = mixed("cutmix", first, second, [9, number])
        rows, columns = pasted.any(1), pasted.any(0)
        np.testing.assert_array_equal(pasted, rows[:, None] & columns)  # a box, if ...
        for side in (rows, columns):
            assert np.count_nonzero(np.diff(np.flatnonzero(side)) > 1) == 0  # ... its sides have no gaps
        areas.append(pasted.mean())
        if pasted.any():
            centres.append([np.flatnonzero(side).mean() for side in (rows, columns)])

    half = np.sqrt(RNG.uniform(size=(20_000, 1))) / 2
    middle = RNG.uniform(size=(20_000, 2))
    sides = np.minimum(middle + half, 1) - np.maximum(middle - half, 0)
    quantiles = [0.1, 0.25, 0.5, 0.75, 0.9]
    np.testing.assert_allclose(np.quantile(areas, quantiles), np.quantile(sides.prod(1), quantiles), atol=0.06)
    np.testing.assert_allclose(np.mean(centres, axis=0), (SIZE - 1) / 2, atol=1)
    assert np.corrcoef(np.transpose(centres))[0, 1] == pytest.approx(0, abs=0.15)
