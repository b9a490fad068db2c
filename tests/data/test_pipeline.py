"""The input pipeline: its samples, their order, and the same bits on every run."""

import itertools
import shutil
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import settle
from PIL import Image

from keras_crosscoop.data import ReplicaRange, Skipped, dataset, indices, load_dataset, readable_errors
from keras_crosscoop.errors import InputError


@pytest.fixture
def root(make_folder):
    return settle(make_folder({"train": 7, "val": 3}))


def first(stream, count):
    return [tuple(part.tobytes() for part in sample) for sample in itertools.islice(stream.as_numpy_iterator(), count)]


def test_evaluation_gives_whole_images_in_order(root):
    stream = load_dataset("folder", "val", data_dir=root)
    data = dataset("folder", root)
    samples = list(stream.as_numpy_iterator())
    assert len(samples) == len(stream) == 3
    for (image, label), pair in zip(samples, data.pairs("val"), strict=True):
        for actual, expected in zip((image, label), data.read(*pair), strict=True):
            np.testing.assert_array_equal(actual, expected)
            assert actual.dtype == np.uint8
    assert [spec.shape.as_list() for spec in stream.element_spec] == [[None, None, 3], [None, None]]


def test_an_opened_data_set_serves_too(root):
    by_name, opened = load_dataset("folder", "val", data_dir=root), load_dataset(dataset("folder", root), "val")
    assert first(by_name, 3) == first(opened, 3)


def test_evaluation_in_batches(root):
    images = [image.shape for image, _ in load_dataset("folder", "val", data_dir=root, batch_size=2)]
    assert images == [(2, 24, 32, 3), (1, 24, 32, 3)]


def test_whole_images_of_different_sizes_share_no_batch(root):
    Image.new("RGB", (40, 40)).save(root / "images/val/001.png")
    Image.new("L", (40, 40)).save(root / "masks/val/001.png")
    with pytest.raises(InputError, match=r"Use batch_size=1\. Received: .*val/000\.png, .*val/001\.png$"):
        load_dataset("folder", "val", data_dir=root, batch_size=2)
    shapes = [image.shape for image, _ in load_dataset("folder", "val", data_dir=root, batch_size=1)]
    assert shapes == [(1, 24, 32, 3), (1, 40, 40, 3), (1, 24, 32, 3)]
    cropped = load_dataset("folder", "val", data_dir=root, batch_size=3, training=True, crop_size=16)
    assert next(iter(cropped))[0].shape == (3, 16, 16, 3)


def test_static_shapes_for_training(root):
    settings = {"data_dir": root, "training": True, "crop_size": 16}
    image, label = load_dataset("folder", "train", batch_size=4, repeat=True, **settings).element_spec
    assert image == tf.TensorSpec((4, 16, 16, 3), tf.uint8)
    assert label == tf.TensorSpec((4, 16, 16), tf.uint8)
    image, label = load_dataset("folder", "train", **settings).element_spec
    assert (image.shape, label.shape) == ((16, 16, 3), (16, 16))


def test_every_epoch_shuffles_anew(root):
    """File i is painted with colour i."""
    for index in range(7):
        Image.new("RGB", (32, 24), (index, 0, 0)).save(root / f"images/train/{index:03}.png")
    settings = {"training": True, "crop_size": 8, "scale": (2, 2), "photometric": "none", "repeat": True}
    stream = load_dataset("folder", "train", data_dir=root, **settings)
    order = [int(image[0, 0, 0]) for image, _ in itertools.islice(stream.as_numpy_iterator(), 28)]
    epochs = [order[n : n + 7] for n in range(0, 28, 7)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert len(set(map(tuple, epochs))) == 4
    assert order == indices(range(28), 7, seed=0)


def test_all_orders_are_equally_likely():
    epochs = np.reshape(indices(range(350), 7, seed=0), (50, 7))
    assert len({tuple(epoch) for epoch in epochs}) > 45  # of 5,040 orders
    assert np.abs(epochs.mean(0) - 3).max() < 1  # every file comes at every position
    assert np.mean(epochs[:9].ravel() == indices(range(63), 7, seed=1)) < 0.4


def test_a_sample_depends_on_seed_and_number_alone(root):
    """Threads, batches, repetition and where the stream starts change nothing."""
    settings = {"data_dir": root, "training": True, "crop_size": 20, "seed": 5}
    stream = load_dataset("folder", "train", repeat=True, **settings)
    samples = first(stream, 20)
    assert len(set(samples)) == 20  # augmented anew in every epoch

    assert first(load_dataset("folder", "train", **settings), 99) == samples[:7]
    assert first(load_dataset("folder", "train", repeat=True, start=9, **settings), 11) == samples[9:]
    assert first(load_dataset("folder", "train", start=9, **settings), 99) == samples[9:14]
    assert first(load_dataset("folder", "train", repeat=True, batch_size=4, **settings).unbatch(), 20) == samples
    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    options.autotune.enabled = False
    assert first(stream.with_options(options), 20) == samples
    assert first(load_dataset("folder", "train", repeat=True, **settings | {"seed": 6}), 20) != samples


def test_a_sample_with_every_augmentation_depends_on_seed_and_number_alone(root):
    settings = {"rotation": 30, "orientation": "any", "photometric": "strong", "mix": "classmix"}
    settings |= {"data_dir": root, "training": True, "crop_size": 20, "repeat": True}
    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    samples = first(load_dataset("folder", "train", **settings), 20)
    later = load_dataset("folder", "train", start=6, batch_size=7, **settings).with_options(options)
    assert first(later.unbatch(), 14) == samples[6:]
    assert len(set(samples)) == 20


@pytest.mark.parametrize("mix", ["cutmix", "classmix"])
def test_half_of_the_samples_are_mixed_with_an_independent_one(make_folder, mix):
    """File i is painted with colour i and has one class: ClassMix replaces it wholly, CutMix a box of it."""
    root = settle(make_folder({"train": 7, "val": 1}))
    for index in range(7):
        Image.new("RGB", (32, 24), (index, 0, 0)).save(root / f"images/train/{index:03}.png")
        Image.new("L", (32, 24), index % 3).save(root / f"masks/train/{index:03}.png")
    settings = {"training": True, "crop_size": 8, "scale": (2, 2), "photometric": "none", "repeat": True}
    mixed, plain = (load_dataset("folder", "train", data_dir=root, mix=kind, **settings) for kind in (mix, "none"))
    samples = list(zip(mixed.take(210).as_numpy_iterator(), plain.take(210).as_numpy_iterator(), strict=True))
    pairs = []
    for number, ((image, label), (plain_image, plain_label)) in enumerate(samples):
        shown = indices([number], 7, 0, mix=mix)
        assert shown[0] == plain_image[0, 0, 0]
        np.testing.assert_array_equal(label, image[..., 0] % 3)
        if len(shown) == 1:
            np.testing.assert_array_equal(image, plain_image)
            np.testing.assert_array_equal(label, plain_label)
        else:
            assert set(np.unique(image[..., 0])) <= ({shown[1]} if mix == "classmix" else set(shown))
            pairs.append(shown)
    assert 85 < len(pairs) < 125
    assert np.bincount([second for _, second in pairs], minlength=7).min() > 5
    assert 5 < sum(first == second for first, second in pairs) < 28  # a seventh
    boxes = [set(np.unique(image[..., 0])) for (image, _), _ in samples]
    assert mix == "classmix" or sum(len(shown) == 2 for shown in boxes) > 50
    each = [index for number in range(210) for index in indices([number], 7, 0, mix=mix)]
    assert indices(range(210), 7, 0, mix=mix) == each


def test_the_seed_also_changes_the_crops(make_folder):
    """Shown with a single file, whose order cannot differ."""
    data = dataset("folder", make_folder({"train": 1, "val": 1}))
    samples = [first(load_dataset(data, "train", training=True, crop_size=20, seed=seed), 2) for seed in range(3)]
    assert {len(epoch) for epoch in samples} == {1}
    assert len({epoch[0] for epoch in samples}) == 3


def test_batches_run_on_across_epochs(root):
    settings = {"data_dir": root, "training": True, "crop_size": 8, "batch_size": 4}
    endless = load_dataset("folder", "train", repeat=True, **settings)
    assert endless.cardinality() == tf.data.INFINITE_CARDINALITY
    assert [len(image) for image, _ in endless.take(5)] == [4] * 5
    once = load_dataset("folder", "train", **settings)
    assert [len(image) for image, _ in once] == [4, 3]
    assert len(once) == 2


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"crop_size": 0}, r"`crop_size` must be at least 1 pixel\. Received: crop_size=0"),
        ({"scale": (2, 0.5)}, r"`scale` must be two positive factors, .* Received: scale=\(2, 0\.5\)"),
        ({"scale": (0, 1)}, r"`scale` must be two positive factors, .* Received: scale=\(0, 1\)"),
        ({"center_crop": 0}, r"`center_crop` must be at least 1 pixel, .* Received: center_crop=0"),
        ({"rare_classes": 1.5}, r"`rare_classes` must be a share between 0 and 1\. Received: rare_classes=1\.5"),
        ({"batch_size": 0}, r"`batch_size` must be at least 1, .* Received: batch_size=0"),
        ({"scale": (1, float("inf"))}, r"`scale` must be two positive factors, .* Received: scale=\(1, inf\)"),
        ({"on_error": "skpi"}, r'`on_error` must be "fail", "skip" or a `Skipped`\. Received: on_error=.skpi.'),
        ({"rotation": 46}, r"`rotation` must be 0 to 45 degrees\. Received: rotation=46"),
        ({"orientation": "down"}, r'`orientation` must be one of "upright", "any"\. Received: orientation=.down.'),
        ({"photometric": True}, r'`photometric` must be one of "none", "weak", "strong"\. Received: photometric=True'),
        ({"mix": "mixup"}, r'`mix` must be one of "none", "cutmix", "classmix"\. Received: mix=.mixup.'),
        ({"start": -1}, r"`start` must be the number of a sample, .* Received: start=-1"),
    ],
)
def test_invalid_settings(root, setting, message):
    with pytest.raises(InputError, match=message):
        load_dataset("folder", "train", data_dir=root, training=True, **setting)


def test_real_camvid_trains(shared):
    stream = load_dataset(
        "camvid", "train", data_dir=shared / "data/CamVid", training=True, crop_size=256, batch_size=8
    )
    image, label = next(iter(stream))
    assert image.shape == (8, 256, 256, 3)
    assert set(np.unique(label)) <= {*range(11), 255}
    assert np.mean(label == 255) < 0.5


@pytest.fixture
def broken(root):
    """Good headers, so that only decoding shows that one file in the middle breaks off; its name needs escaping."""
    for kind, suffix in (("images", "png"), ("masks", "png")):
        (root / kind / f"train/003.{suffix}").rename(root / kind / f"train/003 'ö' \\.{suffix}")
    path = root / "images/train/003 'ö' \\.png"
    image = Image.open(path)
    image.load()
    path.unlink()
    path = path.with_suffix(".jpg")
    image.save(path)
    path.write_bytes(path.read_bytes()[:-200])
    return path


def test_a_truncated_file_in_the_middle_of_an_epoch_is_named(root, broken):
    stream = iter(load_dataset("folder", "train", data_dir=root))
    for _ in range(3):
        next(stream)
    with pytest.raises(InputError) as caught, readable_errors():
        next(stream)
    message = str(caught.value)
    assert message.startswith("The image cannot be read (image file is truncated")
    assert message.endswith(f"Replace or remove it. Received: {broken}")
    assert "\n" not in message


def test_fit_names_a_truncated_file(root, broken):
    model = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Conv2D(3, 1)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=255))
    stream = load_dataset("folder", "train", data_dir=root, training=True, crop_size=16, batch_size=2, repeat=True)
    with pytest.raises(InputError) as caught, readable_errors():
        model.fit(stream, steps_per_epoch=4, verbose=0, shuffle=False)
    assert str(caught.value).endswith(f"Replace or remove it. Received: {broken}")


def test_an_id_outside_the_classes_is_named_in_full(root):
    Image.new("L", (32, 24), 9).save(root / "masks/val/001.png")
    data = dataset("folder", root)
    with pytest.raises(InputError) as direct:
        data.read(*data.pairs("val")[1])
    with pytest.raises(InputError) as through_the_graph, readable_errors():
        list(load_dataset(data, "val"))
    assert str(through_the_graph.value) == str(direct.value)


@pytest.mark.parametrize("size", [(24, 32), (5, 7)])
def test_center_crop_shows_the_middle(make_folder, size):
    """An image of 24x32 is cut to its middle 20x20; an image of 5x7 is padded with mid-grey and void."""
    data = dataset("folder", make_folder(size=size))
    image, label = data.read(*data.pairs("val")[0])
    rows, columns = ((length - 20) / 2 for length in size)  # negative where there is padding
    batches = list(load_dataset(data, "val", center_crop=20, batch_size=2).as_numpy_iterator())
    assert len(batches) == 1
    crop, crop_label = batches[0][0][0], batches[0][1][0]
    top, left = (
        range(20) + (np.ceil(start) if start > 0 else np.floor(start)).astype(int) for start in (rows, columns)
    )
    seen = np.ix_((top >= 0) & (top < size[0]), (left >= 0) & (left < size[1]))
    source = np.ix_(top[(top >= 0) & (top < size[0])], left[(left >= 0) & (left < size[1])])
    expected, expected_label = np.full((20, 20, 3), 128), np.full((20, 20), 255)
    expected[seen], expected_label[seen] = image[source], label[source]
    np.testing.assert_array_equal(crop, expected)
    np.testing.assert_array_equal(crop_label, expected_label)


def test_skipping_takes_the_next_sample(make_folder):
    root = settle(make_folder({"train": 9, "val": 9}))
    data = dataset("folder", root)
    for split, index in (("train", 5), ("val", 5), ("val", 6)):
        Image.new("L", (32, 24), 9).save(root / f"masks/{split}/{index:03}.png")

    skipped = Skipped(limit=0.3)
    samples = list(load_dataset(data, "val", on_error=skipped).as_numpy_iterator())
    pairs = [data.read(*pair) for index, pair in enumerate(data.pairs("val")) if index not in (5, 6)]
    assert len(samples) == 9
    for (image, label), (expected, expected_label) in zip(samples[:5] + samples[7:], pairs, strict=True):
        np.testing.assert_array_equal(image, expected)
        np.testing.assert_array_equal(label, expected_label)
    for image, label in samples[5:7]:  # counts nowhere
        np.testing.assert_array_equal(image, pairs[5][0])
        assert (label == 255).all()
    assert sorted(reason.rpartition("/")[2] for reason in skipped.reasons) == ["005.png", "006.png"]
    assert all(reason.startswith("A label holds value 9, ") for reason in skipped.reasons)

    settings = {"training": True, "crop_size": 16, "repeat": True}
    stream = list(load_dataset(data, "train", on_error=Skipped(limit=0.3), **settings).take(27).as_numpy_iterator())
    assert all((label != 255).any() for _, label in stream)
    shutil.copy(root / "masks/train/000.png", root / "masks/train/005.png")
    whole = list(load_dataset(data, "train", **settings).take(27).as_numpy_iterator())
    differ = [not np.array_equal(a[0], b[0]) for a, b in zip(stream, whole, strict=True)]
    assert sum(differ) == 3  # once an epoch; all others are the same bits as without the bad file


def test_one_bad_file_counts_once(make_folder):
    """Whatever the crop shows of it, and although its header alone tells, as of an empty file."""
    root = settle(make_folder({"train": 4}))
    ids = np.tile(np.arange(100, 132, dtype=np.uint8), (24, 1))  # another id in each column
    Image.fromarray(ids).save(root / "masks/train/003.png")
    skipped = Skipped(limit=0.25)
    settings = {"training": True, "crop_size": 8, "repeat": True, "on_error": skipped}
    list(load_dataset(dataset("folder", root), "train", **settings).take(40))
    assert len(skipped.reasons) == 1
    assert skipped.reasons[0].startswith("A label holds value 1")


@pytest.mark.parametrize(
    "spoil", [lambda path: path.write_bytes(b""), lambda path: Image.new("RGB", (32, 24)).save(path)]
)
def test_bad_headers_are_skipped_too(make_folder, spoil):
    root = settle(make_folder({"val": 2}))
    spoil(root / "masks/val/001.png")
    skipped = Skipped(limit=0.5)
    assert len(list(load_dataset(dataset("folder", root), "val", on_error=skipped))) == 2
    assert [reason.rpartition("/")[2] for reason in skipped.reasons] == ["001.png"]
    with pytest.raises(InputError):
        load_dataset(dataset("folder", root), "val")


def truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def test_too_many_files_to_skip(root):
    truncate(root / "images/train/003.png")
    stream = load_dataset("folder", "train", data_dir=root, training=True, crop_size=8, on_error="skip")
    with pytest.raises(InputError) as caught, readable_errors():
        list(stream)
    message = str(caught.value)
    assert message.startswith("1 of 7 images cannot be used, more than the 1% that may be skipped.")
    assert "The last one: The image cannot be read" in message


def test_one_percent_may_be_skipped():
    skipped = Skipped()
    skipped.images = 200
    skipped.add("a", InputError("bad"))
    skipped.add("b", InputError("bad"))
    skipped.add("b", InputError("bad again"))
    with pytest.raises(InputError, match="3 of 200 images cannot be used"):
        skipped.add("c", InputError("bad"))


def test_files_skipped_in_a_part_count_against_the_whole_split(root):
    truncate(root / "images/train/001.png")
    data, skipped = dataset("folder", root), Skipped(limit=1 / 7)
    load_dataset(data, "train", on_error=skipped)
    part = replace(data, find=lambda split: data.find(split)[:2])
    assert len(list(load_dataset(part, "train", on_error=skipped))) == 2
    assert len(skipped.reasons) == 1


def test_devices_with_an_image_each_may_see_different_sizes(make_folder):
    """Only what shares a batch on one device must agree in size."""
    folder = settle(make_folder({"train": 2}, (24, 32)))
    for kind in ("images", "masks"):
        path = folder / kind / "train" / "001.png"
        Image.open(path).crop((0, 0, 20, 16)).save(path)
    batches = load_dataset("folder", "train", data_dir=folder, batch_size=2, replicas=ReplicaRange(0, 2, 2))
    assert [tuple(image.shape) for image, _ in batches] == [(1, 24, 32, 3), (1, 16, 20, 3)]
    with pytest.raises(InputError, match="different sizes cannot share a batch"):
        load_dataset("folder", "train", data_dir=folder, batch_size=4, replicas=ReplicaRange(0, 1, 2))


def test_replicas_share_every_batch(root):
    settings = {"data_dir": root, "training": True, "crop_size": 8, "repeat": True, "batch_size": 4}
    whole = [image for image, _ in load_dataset("folder", "train", **settings).take(2).as_numpy_iterator()]
    shares = [
        list(load_dataset("folder", "train", **settings, replicas=ReplicaRange(number, number + 1, 2)).take(2))
        for number in range(2)
    ]
    for batch, first_share, second_share in zip(whole, *shares, strict=True):
        np.testing.assert_array_equal(batch, np.concatenate([first_share[0], second_share[0]]))


def test_void_labels_fill_the_last_batch_of_replicas(root):
    """Seven samples in batches of four: the last share of the second replica has one sample and one to ignore."""
    stream = load_dataset("folder", "train", data_dir=root, batch_size=4, replicas=ReplicaRange(1, 2, 2))
    labels = [label for _, label in stream.as_numpy_iterator()]
    data = dataset("folder", root)
    expected = [data.read(*data.pairs("train")[index])[1] for index in (2, 3, 6)]
    np.testing.assert_array_equal(np.concatenate(labels)[:3], expected)
    assert [len(label) for label in labels] == [2, 2]
    assert (labels[1][1] == 255).all()
