"""Records hold the same samples as the files, for this package and for TFDS."""

import gc
import pickle
import subprocess
import sys

import numpy as np
import pytest
from data.recorded import assert_same_samples, stream
from helpers import refused, settle

from keras_crosscoop.data import dataset, load_dataset, prepare
from keras_crosscoop.data.prepare import plan
from keras_crosscoop.images.reading import ImageReading


def test_records_hold_the_samples_of_the_files(root, records, written):
    assert written == records / "folder" / "1.0.0"
    recorded = assert_same_samples("folder", root, records, ("train", "val"))
    assert (recorded.name, recorded.splits, recorded.unlabelled) == ("folder", ("train", "val"), ())
    files = dataset("folder", root)
    assert (recorded.classes, recorded.palette) == (files.classes, files.palette)
    image, label = recorded.pairs("train")[3]
    assert str(image) == f"{written}/folder-train.tfrecord-00000-of-00001, record 3, image"
    assert image.open("rb").read() == image.read_bytes()
    assert {0, 1, 2, 255} == set(np.unique(recorded.read(image, label)[1]))


def test_records_remember_how_their_images_were_read(make_folder, records):
    """So that a run of them reads files as its training images were read."""
    root = settle(make_folder({"train": 1, "val": 1}), range=[0, 4095], channels=[3, 2, 1])
    prepare.write(plan("folder", root, records))
    recorded = assert_same_samples("folder", root, records, ("train", "val"))
    assert recorded.reading == ImageReading(range=(0, 4095), channels=(3, 2, 1))


@pytest.mark.parametrize(
    "settings",
    [{"training": True, "crop_size": 24, "repeat": True, "seed": 3}, {}, {"center_crop": 24, "batch_size": 2}],
)
def test_streams_are_the_same_bits(root, records, written, settings):
    of_files = stream("folder", "train", data_dir=root, **settings)
    assert stream("folder", "train", data_dir=records, **settings) == of_files
    assert len(set(of_files)) == len(of_files) >= 3


def test_whole_images_of_different_sizes_share_no_batch(records, written):
    message = refused(load_dataset, "folder", "val", data_dir=records, batch_size=2)
    assert "Use batch_size=1" in message
    assert "record 0, image" in message


@pytest.mark.slow
def test_real_camvid(shared, records):
    """JPEGs, and a label value that is void."""
    files = shared / "data/CamVid"
    planned = plan("camvid", files, records)
    assert list(planned.shards) == ["train", "val"]
    assert planned.missing == ("test",)
    prepare.write(plan("camvid", files, records, splits=("val",)))
    assert dataset("camvid", records).splits == ("val",)
    assert_same_samples("camvid", files, records, ("val",))
    settings = {"training": True, "crop_size": 200, "repeat": True}
    assert stream("camvid", "val", data_dir=records, **settings) == stream("camvid", "val", data_dir=files, **settings)


TFDS_ALONE = """
import sys
sys.modules["keras_crosscoop"] = None  # importing it fails
import numpy as np, tensorflow_datasets as tfds
folder, records, output = sys.argv[1:]
builder = tfds.builder_from_directory(folder)
samples = {"license": builder.info.redistribution_info.license, "classes": builder.info.metadata["classes"]}
for split in builder.info.splits:
    for index, sample in enumerate(tfds.as_numpy(builder.as_dataset(split=split))):
        samples |= {f"{split}/{index}/{key}": value for key, value in sample.items()}
    samples[f"{split}/count"] = builder.info.splits[split].num_examples
slice = tfds.load("folder", split="train[2:4]", data_dir=records, as_supervised=True)
for index, (image, label) in enumerate(tfds.as_numpy(slice)):
    samples |= {f"slice/{index}/image": image, f"slice/{index}/label": label}
np.savez(output, **samples)
"""


@pytest.mark.slow
@pytest.mark.parametrize("shard_size", [128 << 20, 1], ids=["a shard for all", "a shard for each"])
def test_tfds_reads_them_without_this_package(root, records, tmp_path, monkeypatch, shard_size):
    monkeypatch.setattr(prepare, "_SHARD_SIZE", shard_size)
    folder = prepare.write(plan("folder", root, records))
    shards = sorted(path.name for path in folder.glob("*train.tfrecord*"))
    assert shards[-1] == ("folder-train.tfrecord-00004-of-00005" if shard_size == 1 else shards[0])
    output = tmp_path / "samples.npz"
    subprocess.run([sys.executable, "-c", TFDS_ALONE, folder, records, output], check=True, capture_output=True)
    samples = dict(np.load(output))
    files = dataset("folder", root)
    assert samples["classes"].tolist() == ["road", "sky", "car"]
    assert samples["license"] == "yours"
    for split, count in {"train": 5, "val": 3}.items():
        assert samples[f"{split}/count"] == count
        for index, pair in enumerate(files.pairs(split)):
            image, label = files.read(*pair)
            np.testing.assert_array_equal(samples[f"{split}/{index}/image"], image)
            np.testing.assert_array_equal(samples[f"{split}/{index}/label"], label)
            assert samples[f"{split}/{index}/name"].item().decode() == pair[0].name
    assert "slice/2/image" not in samples
    for index in range(2):
        for key in ("image", "label"):
            np.testing.assert_array_equal(samples[f"slice/{index}/{key}"], samples[f"train/{index + 2}/{key}"])


def test_a_copy_of_a_pair_reads_for_itself(written, root):
    """Through pickling, as other processes get it: closing one leaves the other's file open."""
    data = dataset("folder", written)
    pairs = data.pairs("val")
    copies = pickle.loads(pickle.dumps(pairs))
    for pair, copy in zip(pairs, copies, strict=True):
        for expected, actual in zip(data.read(*pair), data.read(*copy), strict=True):
            np.testing.assert_array_equal(actual, expected)
    expected = data.read(*pairs[0])[0]
    del copies, copy
    gc.collect()
    with (root / "classes.txt").open():  # would get the number of a descriptor that was closed
        np.testing.assert_array_equal(data.read(*pairs[0])[0], expected)
