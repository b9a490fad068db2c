"""Records: the same samples as the files, for this package and for TFDS alone; whole or not there."""

import gc
import importlib.util
import itertools
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from data.layouts import voc_name, write_cityscapes, write_voc, zip_cityscapes
from helpers import refused
from PIL import Image

from keras_crosscoop.data import dataset, load_dataset
from keras_crosscoop.data.records import planning, writing
from keras_crosscoop.data.records.checksums import verify
from keras_crosscoop.data.records.planning import plan
from keras_crosscoop.data.records.reading import find_records

# TFDS asks protobuf 6 for what protobuf 7 has under other names
tfds_on_protobuf_6 = pytest.mark.filterwarnings(r"ignore:label\(\) is deprecated:DeprecationWarning")


@pytest.fixture
def root(make_folder):
    """Five and three images, each of another size."""
    root = make_folder({"train": 5, "val": 3})
    rng = np.random.default_rng(1)
    for split, count in {"train": 5, "val": 3}.items():
        for index in range(count):
            size = (20 + 3 * index, 31 + index)
            Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(root / f"images/{split}/{index:03}.png")
            ids = rng.choice(np.array([0, 1, 2, 255], np.uint8), size)
            Image.fromarray(ids).save(root / f"masks/{split}/{index:03}.png")
    return root


@pytest.fixture
def records(tmp_path):
    return tmp_path / "deep" / "records"


@pytest.fixture
def written(root, records):
    return writing.write(plan("folder", root, records))


def assert_same_samples(name, files, records, splits):
    """Pixels, labels, names and order."""
    expected, found = dataset(name, files), dataset(name, records)
    for split in splits:
        for pair, recorded in zip(expected.pairs(split), found.pairs(split), strict=True):
            for actual, wanted in zip(found.read(*recorded), expected.read(*pair), strict=True):
                np.testing.assert_array_equal(actual, wanted)
            assert recorded[0].name == pair[0].name
            assert (recorded[1] is None) == (pair[1] is None)
    return found


def stream(*arguments, **settings):
    samples = itertools.islice(load_dataset(*arguments, **settings).as_numpy_iterator(), 12)
    return [(image.shape, image.tobytes(), label.tobytes()) for image, label in samples]


def test_they_hold_what_the_files_hold(root, records, written):
    assert written == records / "folder" / "1.0.0"
    found = assert_same_samples("folder", root, records, ("train", "val"))
    assert (found.name, found.splits, found.unlabelled) == ("folder", ("train", "val"), ())
    files = dataset("folder", root)
    assert (found.classes, found.palette) == (files.classes, files.palette)
    image, label = found.pairs("train")[3]
    assert str(image) == f"{written}/folder-train.tfrecord-00000-of-00001, record 3, image"
    assert image.open("rb").read() == image.read_bytes()
    assert {0, 1, 2, 255} == set(np.unique(found.read(image, label)[1]))


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


def test_real_camvid(shared, records):
    """JPEGs, and a label id that is void."""
    files = shared / "data/CamVid"
    planned = plan("camvid", files, records)
    assert list(planned.shards) == ["train", "val"]
    assert planned.left_out == ("test",)
    writing.write(plan("camvid", files, records, splits=("val",)))
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
found = {"license": builder.info.redistribution_info.license, "classes": builder.info.metadata["classes"]}
for split in builder.info.splits:
    for index, sample in enumerate(tfds.as_numpy(builder.as_dataset(split=split))):
        found |= {f"{split}/{index}/{key}": value for key, value in sample.items()}
    found[f"{split}/count"] = builder.info.splits[split].num_examples
slice = tfds.load("folder", split="train[2:4]", data_dir=records, as_supervised=True)
for index, (image, label) in enumerate(tfds.as_numpy(slice)):
    found |= {f"slice/{index}/image": image, f"slice/{index}/label": label}
np.savez(output, **found)
"""


@pytest.mark.parametrize("shard_size", [128 << 20, 1], ids=["a shard for all", "a shard for each"])
def test_tfds_reads_them_without_this_package(root, records, tmp_path, monkeypatch, shard_size):
    monkeypatch.setattr(planning, "_SHARD_SIZE", shard_size)
    folder = writing.write(plan("folder", root, records))
    shards = sorted(path.name for path in folder.glob("*train.tfrecord*"))
    assert shards[-1] == ("folder-train.tfrecord-00004-of-00005" if shard_size == 1 else shards[0])
    output = tmp_path / "found.npz"
    subprocess.run([sys.executable, "-c", TFDS_ALONE, folder, records, output], check=True, capture_output=True)
    found = dict(np.load(output))
    files = dataset("folder", root)
    assert found["classes"].tolist() == ["road", "sky", "car"]
    assert found["license"] == "yours"
    for split, count in {"train": 5, "val": 3}.items():
        assert found[f"{split}/count"] == count
        for index, pair in enumerate(files.pairs(split)):
            image, label = files.read(*pair)
            np.testing.assert_array_equal(found[f"{split}/{index}/image"], image)
            np.testing.assert_array_equal(found[f"{split}/{index}/label"], label)
            assert found[f"{split}/{index}/name"].item().decode() == pair[0].name
    assert "slice/2/image" not in found
    for index in range(2):
        for key in ("image", "label"):
            np.testing.assert_array_equal(found[f"slice/{index}/{key}"], found[f"train/{index + 2}/{key}"])


@tfds_on_protobuf_6
def test_samples_are_spread_over_shards(make_folder, records, monkeypatch):
    """In order, for TFDS too, none left out, and in no more shards than may be open."""
    monkeypatch.setattr(planning, "_MOST_SHARDS", 2)
    monkeypatch.setattr(planning, "_SHARD_SIZE", 1)
    root = make_folder({"train": 41, "val": 1})
    folder = writing.write(planned := plan("folder", root, records))
    assert planned.shards == {"train": [20, 21], "val": [1]}
    assert len(list(folder.glob("*train*"))) == 2
    found = assert_same_samples("folder", root, records, ("train", "val"))

    import tensorflow_datasets as tfds

    samples = tfds.as_numpy(tfds.builder_from_directory(folder).as_dataset(split="train"))
    assert [sample["name"].decode() for sample in samples] == [image.name for image, _ in found.pairs("train")]


def test_the_size_is_known_before(root, records):
    planned = plan("folder", root, records)
    assert not records.exists()
    assert planned.samples == 8
    folder = writing.write(planned)
    size = sum(path.stat().st_size for path in folder.glob("*.tfrecord*"))
    assert size <= planned.size <= 1.1 * size


def test_a_disk_without_room_is_refused(root, records, monkeypatch):
    free = plan("folder", root, records).size
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
    plan("folder", root, records)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free - 1))
    message = refused(plan, "folder", root, records)
    assert message.startswith("The records take 0.00 GB, and the disk has 0.00 GB left. Make room")


def everything(folder):
    return {str(path.relative_to(folder)): path.is_file() and path.read_bytes() for path in folder.rglob("*")}


def test_nothing_is_overwritten(root, records, written):
    before = everything(records)
    message = refused(plan, "folder", root, records)
    assert message.startswith('Records are never overwritten, and those of "folder" are there.')
    assert message.endswith(f"Received: {written}")
    assert everything(records) == before


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError("something")])
def test_an_interruption_leaves_nothing(root, records, tmp_path, error):
    before = everything(tmp_path)
    samples = itertools.count(1)

    def interrupt():
        if next(samples) == 6:  # in the second split
            assert list(records.rglob("*train.tfrecord*")), "or there is nothing to leave"
            raise error

    with pytest.raises(type(error) if isinstance(error, Exception) else error):
        writing.write(plan("folder", root, records), on_sample=interrupt)
    assert everything(tmp_path) == before


def test_what_was_there_before_an_interruption_stays(root, records):
    other = records / "folder" / "0.9.0"
    other.mkdir(parents=True)

    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        writing.write(plan("folder", root, records), on_sample=interrupt)
    assert list(records.rglob("*")) == [records / "folder", other]


def break_image(path):
    """So that its header is fine."""
    path.write_bytes(path.read_bytes()[:-400])


def test_a_broken_file_is_named_and_leaves_nothing(root, records):
    broken = root / "images/val/001.png"
    break_image(broken)
    planned = plan("folder", root, records)
    assert refused(writing.write, planned).endswith(f"Replace or remove it. Received: {broken}")
    assert not records.parent.exists()


def test_a_folder_that_cannot_be_written(root, tmp_path):
    (tmp_path / "file").write_text("no folder")
    planned = plan("folder", root, tmp_path / "file" / "records")
    message = refused(writing.write, planned)
    assert message.startswith("The records cannot be written (Not a directory). Is there room, and permission?")


@pytest.fixture
def camvid(root, tmp_path):
    """The same files, laid out as CamVid."""
    folder = tmp_path / "camvid"
    folder.mkdir()
    for split in ("train", "val"):
        shutil.copytree(root / "images" / split, folder / split)
        shutil.copytree(root / "masks" / split, folder / f"{split}annot")
    return folder


def test_absent_splits_are_left_out_and_broken_ones_are_not(camvid, records):
    planned = plan("camvid", camvid, records)
    assert (list(planned.shards), planned.left_out) == (["train", "val"], ("test",))
    assert refused(plan, "camvid", camvid, records, ("val", "test")).endswith(f"Received: {camvid}/test")
    (camvid / "testannot").mkdir()
    assert refused(plan, "camvid", camvid, records).endswith(f"Received: {camvid}/test")
    (camvid / "testannot").rmdir()
    (camvid / "valannot/001.png").unlink()
    assert refused(plan, "camvid", camvid, records).endswith(f"Received: {camvid}/val/001.png")
    shutil.rmtree(camvid / "train")
    assert refused(plan, "camvid", camvid, records, ["train"]).endswith(f"Received: {camvid}/train")


@pytest.mark.parametrize("zipped", [False, True])
def test_a_split_of_cityscapes_that_lost_a_file_is_not_left_out(tmp_path, records, zipped):
    write_cityscapes(tmp_path / "whole", zipped=zipped)
    planned = plan("cityscapes", tmp_path / "whole", records)
    assert (list(planned.shards), planned.left_out) == (["train", "val", "test"], ("train_extra", "train_coarse"))
    write_cityscapes(tmp_path / "less")
    (label,) = (tmp_path / "less/gtFine/val/munster").glob("*labelIds.png")
    label.unlink()
    if zipped:
        zip_cityscapes(tmp_path / "less")
    assert "An image has no label" in refused(plan, "cityscapes", tmp_path / "less", records)


def test_a_split_of_voc_that_lost_a_file_is_not_left_out(tmp_path, records):
    voc = write_voc(tmp_path / "data", sbd="aug")
    assert plan("voc2012", tmp_path / "data", records).left_out == ()
    (voc / "JPEGImages" / f"{voc_name('sbd', 1)}.jpg").unlink()
    assert "A label has no image" in refused(plan, "voc2012", tmp_path / "data", records)
    shutil.rmtree(voc / "SegmentationClassAug")
    assert plan("voc2012", tmp_path / "data", records).left_out == ("trainaug",)


def test_a_copy_of_a_pair_reads_for_itself(written, root):
    """Through pickling, as other processes get it: closing one leaves the other's file open."""
    data = dataset("folder", written)
    pairs = data.pairs("val")
    copies = pickle.loads(pickle.dumps(pairs))
    for pair, copy in zip(pairs, copies, strict=True):
        for expected, found in zip(data.read(*pair), data.read(*copy), strict=True):
            np.testing.assert_array_equal(found, expected)
    expected = data.read(*pairs[0])[0]
    del copies, copy
    gc.collect()
    with (root / "classes.txt").open():  # would get the number of a descriptor that was closed
        np.testing.assert_array_equal(data.read(*pairs[0])[0], expected)


def test_a_folder_without_any_split(tmp_path, records):
    (tmp_path / "empty").mkdir()
    assert refused(plan, "camvid", tmp_path / "empty", records).endswith(f"Received: {tmp_path}/empty/train")
    assert 'Did you mean "val"?' in refused(plan, "camvid", tmp_path / "empty", records, ["vall"])


@pytest.fixture
def cityscapes(tmp_path):
    """Of each split an image or two: all 34 ids and void, and a test split with dummy labels."""
    folder = tmp_path / "cityscapes"
    rng = np.random.default_rng(2)
    ids = np.concatenate([np.arange(34), [255, 255]]).astype(np.uint8).reshape(4, 9)
    for split, city, count in (("train", "aachen", 2), ("val", "munster", 1), ("test", "berlin", 1)):
        for kind in ("leftImg8bit", "gtFine"):
            (folder / kind / split / city).mkdir(parents=True)
        for number in range(count):
            name = f"{city}_{number:06}_000019"
            image = Image.fromarray(rng.integers(0, 256, (4, 9, 3), np.uint8))
            image.save(folder / f"leftImg8bit/{split}/{city}/{name}_leftImg8bit.png")
            Image.fromarray(rng.permutation(ids)).save(folder / f"gtFine/{split}/{city}/{name}_gtFine_labelIds.png")
    return folder


@tfds_on_protobuf_6
def test_cityscapes_keeps_its_classes_and_what_has_no_labels(cityscapes, records):
    folder = writing.write(plan("cityscapes", cityscapes, records))
    found = assert_same_samples("cityscapes", cityscapes, records, ("train", "val", "test"))
    assert found.splits == ("train", "val", "test")
    assert found.unlabelled == ("test",)
    assert len(found.classes) == 19
    (pair,) = found.pairs("test")
    assert pair[1] is None
    assert "kept by its makers" in refused(found.check_labelled, "test")
    ids = found.read(*found.pairs("train")[1])[1]
    assert sorted(set(ids.flat)) == [*range(19), 255]

    import tensorflow_datasets as tfds

    (sample,) = tfds.as_numpy(tfds.builder_from_directory(folder).as_dataset(split="test"))
    np.testing.assert_array_equal(sample["label"], np.full((4, 9), 255))
    assert "Splits without labels: test." in json.loads((folder / "dataset_info.json").read_text())["description"]


@pytest.fixture
def tfds_cityscapes(cityscapes, tmp_path, monkeypatch):
    """What TFDS's own builder writes, but for the size of the images."""
    if importlib.util.find_spec("importlib_resources") is None:  # TFDS needs it, and does not install it
        monkeypatch.setitem(sys.modules, "importlib_resources", importlib.import_module("importlib.resources"))
        importlib.import_module("importlib.resources.abc" if sys.version_info >= (3, 11) else "importlib.abc")
    import tensorflow_datasets as tfds

    manual = tmp_path / "manual"
    for kind in ("leftImg8bit", "gtFine"):
        shutil.make_archive(manual / f"{kind}_trainvaltest", "zip", cityscapes, kind)
    monkeypatch.setattr(tfds.features.Image, "encode_example", lambda self, path: Path(path).read_bytes())
    builder = tfds.builder("cityscapes/semantic_segmentation", data_dir=tmp_path / "tfds")
    config = tfds.download.DownloadConfig(manual_dir=manual, try_download_gcs=False)
    builder.download_and_prepare(download_config=config)
    return tmp_path / "tfds"


def test_cityscapes_as_tfds_itself_prepares_it(cityscapes, tfds_cityscapes):
    files, found = dataset("cityscapes", cityscapes), dataset("cityscapes", tfds_cityscapes)
    assert (found.splits, found.unlabelled, found.classes) == (("train", "val", "test"), ("test",), files.classes)
    for split, count in (("train", 2), ("val", 1), ("test", 1)):
        expected = {image.name: files.read(image, label) for image, label in files.pairs(split)}
        pairs = found.pairs(split)
        assert len(pairs) == count
        for image, label in pairs:  # in TFDS's order
            wanted = expected.pop(f"{image.name}_leftImg8bit.png")
            for actual, array in zip(found.read(image, label), wanted, strict=True):
                np.testing.assert_array_equal(actual, array)
        assert not expected
    assert stream("cityscapes", "val", data_dir=tfds_cityscapes) == stream("cityscapes", "val", data_dir=cityscapes)
    version = tfds_cityscapes / "cityscapes/semantic_segmentation/1.0.0"
    for folder in (tfds_cityscapes, tfds_cityscapes / "cityscapes", version.parent, version):
        assert find_records("cityscapes", folder) == version


def test_they_are_found_from_any_folder_above(written, records):
    for folder in (records, records / "folder", written):
        assert find_records("folder", folder) == written
        assert len(dataset("folder", folder).pairs("val")) == 3
    assert find_records("folder", records.parent) is None
    newer = written.with_name("1.0.10")
    shutil.copytree(written, written.with_name("1.0.9"))
    shutil.copytree(written, newer)
    written.with_name("2.0.0").mkdir()
    assert find_records("folder", records) == newer


def test_records_of_something_else_are_refused(written, records):
    assert 'records of data set "folder", not of "camvid"' in refused(dataset, "camvid", written)
    (written / "metadata.json").unlink()
    message = refused(dataset, "folder", records)
    assert message.startswith("The folder holds records of another program.")
    info = json.loads((written / "dataset_info.json").read_text())
    (written / "dataset_info.json").write_text(json.dumps({**info, "fileFormat": "array_record"}))
    assert "must be TFRecord files, not array_record" in refused(dataset, "folder", records)
    (written / "dataset_info.json").write_text("{")
    assert refused(dataset, "folder", records).endswith(f"Received: {written}/dataset_info.json")


@pytest.fixture
def shard(written):
    return written / "folder-train.tfrecord-00000-of-00001"


def test_a_truncated_shard_is_named(records, shard):
    content = shard.read_bytes()
    for size, number in ((5, 0), (2000, 0), (3000, 1), (len(content) - 1, 4)):
        shard.write_bytes(content[:size])
        message = refused(dataset("folder", records).pairs, "train")
        assert message.startswith(f"A shard breaks off in its record {number}. Copy it again, or prepare the data set")
        assert message.endswith(f"Received: {shard}")
    assert len(dataset("folder", records).pairs("val")) == 3
    shard.write_bytes(b"")
    assert "must hold 5 records, and this one holds 0" in refused(dataset("folder", records).pairs, "train")
    shard.unlink()
    assert "cannot be opened (No such file or directory)" in refused(dataset("folder", records).pairs, "train")


def test_a_shard_that_shrinks_while_it_is_read(records, shard):
    data = dataset("folder", records)
    pairs = data.pairs("train")
    data.read(*pairs[0])
    os.truncate(shard, 1000)
    message = refused(data.read, *pairs[0])  # whose values it has found before
    assert " breaks off). Copy its shard again" in message
    assert message.endswith(f"Received: {shard}, record 0")
    assert refused(data.read, *pairs[4]).startswith("A record is damaged (it is no tf.train.Example). Copy its shard")


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"image/shape", b"image/shapf", "image/shape is missing"),
        (b"label/value", b"\xff" * 11, "it is no tf.train.Example"),
        (bytes([3, 26, 33, 3]), bytes([3, 26, 34, 3]), "image is not of its shape"),
        (bytes([3, 26, 33, 3]), bytes([3, 26, 33, 255]), "image/shape breaks off"),
    ],
)
def test_a_damaged_record_is_named(records, shard, old, new, reason):
    content = shard.read_bytes()
    assert old in content
    shard.write_bytes(content.replace(old, new))
    data = dataset("folder", records)
    message = refused(data.read, *data.pairs("train")[2])
    assert message.startswith(f"A record is damaged ({reason}). Copy its shard again")
    assert message.endswith(f"Received: {shard}, record 2")


def test_shards_are_closed_with_the_data_set(records, shard):
    def open_shards():
        gc.collect()
        return [link for link in map(os.path.realpath, Path("/proc/self/fd").iterdir()) if link == str(shard)]

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("no list of open files here")
    pairs = dataset("folder", records).pairs("train")
    assert len(open_shards()) == 1
    del pairs
    assert open_shards() == []


def test_checksums(written, shard):
    assert verify(written) == []
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "--strict", "-c", "SHA256SUMS"], cwd=written, check=True, capture_output=True)
    lines = (written / "SHA256SUMS").read_text().splitlines()
    assert {line.split()[1] for line in lines} >= {path.name for path in written.glob("*.tfrecord*")}
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    (written / "folder-val.tfrecord-00000-of-00001").unlink()
    assert verify(written) == [shard, written / "folder-val.tfrecord-00000-of-00001"]
    (written / "SHA256SUMS").unlink()
    assert refused(verify, written).endswith(f"Received: {written}/SHA256SUMS")


def test_records_are_copied_from_records(root, records, written, tmp_path):
    writing.write(plan("folder", records, tmp_path / "copy", splits=["val"]))
    found = assert_same_samples("folder", root, tmp_path / "copy", ("val",))
    assert found.splits == ("val",)


def test_files_that_changed_since_are_read_anew(root, written, tmp_path):
    path = root / "images/val/002.png"
    Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
    (root / "images/val/000.png").unlink()
    (root / "masks/val/000.png").unlink()
    writing.write(plan("folder", root, tmp_path / "again"))
    assert_same_samples("folder", root, tmp_path / "again", ("train", "val"))


def test_files_that_change_between_planning_and_writing(root, records):
    planned = plan("folder", root, records)
    (root / "images/val/000.png").unlink()
    (root / "masks/val/000.png").unlink()
    message = refused(writing.write, planned)
    assert message.startswith('Split "val" had 3 samples when writing began, and now has 2.')
    assert not records.exists()


def test_beam_is_asked_for_by_name(root, records, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "apache_beam" else find_spec(name))
    message = refused(writing.write, plan("folder", root, records), beam_options="runner=DirectRunner")
    assert message.startswith('Apache Beam is not installed. Install it: pip install "keras-crosscoop[beam]".')
    assert not records.exists()


WITH_BEAM = """
import sys
from pathlib import Path
from keras_crosscoop.data.records import planning, writing
from keras_crosscoop.errors import InputError
root, records, options = sys.argv[1:]
planning._SHARD_SIZE, planning._MOST_SHARDS = 1, 11
try:
    writing.write(planning.plan("folder", Path(root), Path(records)), beam_options=options)
except InputError as error:
    sys.exit(f"InputError: {error}")
"""


@pytest.mark.skipif(importlib.util.find_spec("apache_beam") is None, reason="no Apache Beam here")
def test_beam_writes_the_same(make_folder, records):
    """With more than ten shards, whose lengths TFDS mixes up; in a process of its own, since Beam warns of itself."""
    root = make_folder({"train": 23, "val": 2})

    def write(options):
        return subprocess.run(
            [sys.executable, "-c", WITH_BEAM, root, records, options], capture_output=True, text=True, check=False
        )

    assert write("runner=DirectRunner").returncode == 0
    folder = find_records("folder", records)
    assert len(list(folder.glob("*train.tfrecord*"))) == 11
    assert_same_samples("folder", root, records, ("train", "val"))
    assert verify(folder) == []
    assert not list(folder.glob("*infos*"))

    shutil.rmtree(records)
    assert "no such runner (Unexpected pipeline runner: Nowhere" in write("runner=Nowhere").stderr
    broken = root / "images/val/001.png"
    break_image(broken)
    done = write("runner=DirectRunner")
    assert done.stderr.splitlines()[-1].startswith("InputError: The image cannot be read (")
    assert done.stderr.splitlines()[-1].endswith(f"Replace or remove it. Received: {broken}")
    assert not records.exists()
