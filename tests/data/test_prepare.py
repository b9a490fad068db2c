"""Writing of records: complete or not at all, however it ends."""

import importlib.util
import itertools
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from data.layouts import voc_name, write_cityscapes, write_voc, zip_cityscapes
from data.recorded import assert_same_samples, break_image, tfds_on_protobuf_6
from helpers import refused
from PIL import Image

from keras_crosscoop.data import prepare
from keras_crosscoop.data.prepare import plan
from keras_crosscoop.data.records.checksums import changed_files
from keras_crosscoop.data.records.reader import find_records


@tfds_on_protobuf_6
def test_samples_are_spread_over_shards(make_folder, records, monkeypatch):
    """In order, for TFDS too, complete, and in a limited number of shards."""
    root = make_folder({"train": 11, "val": 1})
    size = plan("folder", root, records).size
    monkeypatch.setattr(prepare, "_SHARD_SIZE", size // 2)
    folder = prepare.write(planned := plan("folder", root, records))
    assert planned.shards == {"train": [5, 6], "val": [1]}
    assert len(list(folder.glob("*train*"))) == 2
    assert all(path.is_file() for path in folder.iterdir())
    recorded = assert_same_samples("folder", root, records, ("train", "val"))

    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(folder)
    samples = list(tfds.as_numpy(builder.as_dataset(split="train")))
    pairs = recorded.pairs("train")
    assert [sample["name"].decode() for sample in samples] == [image.name for image, _ in pairs]
    for sample, pair in zip(samples, pairs, strict=True):
        image, label = recorded.read(*pair)
        np.testing.assert_array_equal(sample["image"], image)
        np.testing.assert_array_equal(sample["label"], label)
    assert builder.info.redistribution_info.license == "yours"
    assert builder.info.supervised_keys == ("image", "label")


def test_the_size_is_known_before(root, records):
    planned = plan("folder", root, records)
    assert not records.exists()
    assert planned.samples == 8
    folder = prepare.write(planned)
    size = sum(path.stat().st_size for path in folder.glob("*.tfrecord*"))
    assert size <= planned.size <= 1.1 * size


def test_a_disk_without_room_is_refused(root, records, monkeypatch):
    free = plan("folder", root, records).size
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
    plan("folder", root, records)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free - 1))
    message = refused(plan, "folder", root, records)
    assert message.startswith("The records take 0.00 GB, and the disk has 0.00 GB left. Make room")


def files_of(folder):
    return {str(path.relative_to(folder)): path.is_file() and path.read_bytes() for path in folder.rglob("*")}


def test_nothing_is_overwritten(root, records, written):
    before = files_of(records)
    message = refused(plan, "folder", root, records)
    assert message.startswith('Records of "folder" exist, and are never overwritten.')
    assert message.endswith(f"Received: {written}")
    assert files_of(records) == before


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError("something")])
def test_an_interruption_leaves_nothing(root, records, tmp_path, error):
    before = files_of(tmp_path)
    samples = itertools.count(1)

    def interrupt():
        if next(samples) == 6:  # in the second split
            assert list(records.rglob("*train.tfrecord*")), "or there is nothing to leave"
            raise error

    with pytest.raises(type(error) if isinstance(error, Exception) else error):
        prepare.write(plan("folder", root, records), on_sample=interrupt)
    assert files_of(tmp_path) == before


def test_what_was_there_before_an_interruption_stays(root, records):
    other = records / "folder" / "0.9.0"
    other.mkdir(parents=True)

    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare.write(plan("folder", root, records), on_sample=interrupt)
    assert list(records.rglob("*")) == [records / "folder", other]


def test_a_broken_file_is_named_and_leaves_nothing(root, records):
    broken = root / "images/val/001.png"
    break_image(broken)
    planned = plan("folder", root, records)
    assert refused(prepare.write, planned).endswith(f"Replace or remove it. Received: {broken}")
    assert not records.parent.exists()


def test_a_folder_that_cannot_be_written(root, tmp_path):
    (tmp_path / "file").write_text("no folder")
    planned = plan("folder", root, tmp_path / "file" / "records")
    assert "cannot be made (Not a directory)" in refused(prepare.write, planned)


@pytest.fixture
def camvid(root, tmp_path):
    """The same files in the layout of CamVid."""
    folder = tmp_path / "camvid"
    folder.mkdir()
    for split in ("train", "val"):
        shutil.copytree(root / "images" / split, folder / split)
        shutil.copytree(root / "masks" / split, folder / f"{split}annot")
    return folder


def test_missing_splits_are_left_out_and_damaged_ones_are_not(camvid, records):
    planned = plan("camvid", camvid, records)
    assert (list(planned.shards), planned.missing) == (["train", "val"], ("test",))
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
    assert (list(planned.shards), planned.missing) == (["train", "val", "test"], ("train_extra", "train_coarse"))
    write_cityscapes(tmp_path / "less")
    (label,) = (tmp_path / "less/gtFine/val/munster").glob("*labelIds.png")
    label.unlink()
    if zipped:
        zip_cityscapes(tmp_path / "less")
    assert "An image has no label" in refused(plan, "cityscapes", tmp_path / "less", records)


def test_a_split_of_voc_that_lost_a_file_is_not_left_out(tmp_path, records):
    voc = write_voc(tmp_path / "data", sbd="aug")
    assert plan("voc2012", tmp_path / "data", records).missing == ()
    (voc / "JPEGImages" / f"{voc_name('sbd', 1)}.jpg").unlink()
    assert "A sample has no image" in refused(plan, "voc2012", tmp_path / "data", records)
    shutil.rmtree(voc / "SegmentationClassAug")
    assert plan("voc2012", tmp_path / "data", records).missing == ("trainaug",)


def test_a_folder_without_any_split(tmp_path, records):
    (tmp_path / "empty").mkdir()
    assert refused(plan, "camvid", tmp_path / "empty", records).endswith(f"Received: {tmp_path}/empty/train")
    assert 'Did you mean "val"?' in refused(plan, "camvid", tmp_path / "empty", records, ["vall"])


def test_records_are_copied_from_records(root, records, written, tmp_path):
    prepare.write(plan("folder", records, tmp_path / "copy", splits=["val"]))
    recorded = assert_same_samples("folder", root, tmp_path / "copy", ("val",))
    assert recorded.splits == ("val",)


def test_files_that_changed_since_are_read_anew(root, written, tmp_path):
    path = root / "images/val/002.png"
    Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
    (root / "images/val/000.png").unlink()
    (root / "masks/val/000.png").unlink()
    prepare.write(plan("folder", root, tmp_path / "again"))
    assert_same_samples("folder", root, tmp_path / "again", ("train", "val"))


def test_files_that_change_between_planning_and_writing(root, records):
    planned = plan("folder", root, records)
    (root / "images/val/000.png").unlink()
    (root / "masks/val/000.png").unlink()
    message = refused(prepare.write, planned)
    assert message.startswith('Split "val" had 3 samples when writing began, but now has 2.')
    assert not records.exists()


def test_beam_is_asked_for_by_name(root, records, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "apache_beam" else find_spec(name))
    message = refused(prepare.write, plan("folder", root, records), beam_options="runner=DirectRunner")
    assert message.startswith('Apache Beam is not installed. Install it: pip install "keras-crosscoop[beam]".')
    assert not records.exists()


WITH_BEAM = """
import sys
from pathlib import Path
from keras_crosscoop.data import prepare
from keras_crosscoop.errors import InputError
root, records, options = sys.argv[1:]
prepare._SHARD_SIZE = prepare.plan("folder", Path(root), Path(records)).size * 2 // 23  # 11 shards of "train"
try:
    prepare.write(prepare.plan("folder", Path(root), Path(records)), beam_options=options)
except InputError as error:
    sys.exit(f"InputError: {error}")
"""


@pytest.mark.skipif(importlib.util.find_spec("apache_beam") is None, reason="no Apache Beam here")
def test_beam_writes_the_same(make_folder, records):
    """With more than ten shards, whose lengths TFDS mixes up; in a separate process, as Beam emits warnings."""
    root = make_folder({"train": 23, "val": 2})

    def write(options):
        return subprocess.run(
            [sys.executable, "-c", WITH_BEAM, root, records, options], capture_output=True, text=True, check=False
        )

    assert write("runner=DirectRunner").returncode == 0
    folder = find_records("folder", records)
    assert len(list(folder.glob("*train.tfrecord*"))) == 11
    assert_same_samples("folder", root, records, ("train", "val"))
    assert changed_files(folder) == []
    assert not list(folder.glob("*infos*"))

    shutil.rmtree(records)
    assert "no such runner (Unexpected pipeline runner: Nowhere" in write("runner=Nowhere").stderr
    broken = root / "images/val/001.png"
    break_image(broken)
    done = write("runner=DirectRunner")
    assert done.stderr.splitlines()[-1].startswith("InputError: The image cannot be read (")
    assert done.stderr.splitlines()[-1].endswith(f"Replace or remove it. Received: {broken}")
    assert not records.exists()
