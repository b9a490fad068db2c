"""Records: how they are found, and what is reported about damaged ones."""

import json
import os
import shutil
import subprocess

import numpy as np
import pytest
import tensorflow as tf
from helpers import refused

from keras_crosscoop.data import dataset
from keras_crosscoop.data.records.checksums import changed_files
from keras_crosscoop.data.records.reader import find_records


def test_records_are_found_from_any_folder_above(written, records):
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
        assert message.startswith(f"A shard is damaged in record {number}. Copy it again, or prepare the data set")
        assert message.endswith(f"Received: {shard}")
    assert len(dataset("folder", records).pairs("val")) == 3
    shard.write_bytes(b"")
    assert "must hold 5 records, but holds 0" in refused(dataset("folder", records).pairs, "train")
    shard.unlink()
    assert "cannot be read (No such file or directory)" in refused(dataset("folder", records).pairs, "train")


def test_a_shard_that_shrinks_while_it_is_read(records, shard):
    data = dataset("folder", records)
    pairs = data.pairs("train")
    data.read(*pairs[0])
    os.truncate(shard, 1000)
    message = refused(data.read, *pairs[0])  # whose values it has found before
    assert message.startswith("A record is damaged (image does not match its shape). Copy it again, or prepare")
    assert message.endswith(f"Received: {shard}, record 0")
    assert refused(data.read, *pairs[4]).startswith("A record is damaged (its checksum")


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"image/shape", b"image/shapf", "image/shape is missing"),
        (b"label/value", b"\xff" * 11, "it is not a tf.train.Example"),
        (bytes([3, 26, 33, 3]), bytes([3, 26, 34, 3]), "image does not match its shape"),
        (bytes([3, 26, 33, 3]), bytes([3, 26, 33, 255]), "image does not match its shape"),
    ],
)
def test_a_damaged_record_is_named(records, shard, old, new, reason):
    contents = [content.numpy() for content in tf.data.TFRecordDataset(str(shard))]
    assert old in contents[2]
    with tf.io.TFRecordWriter(str(shard)) as file:  # with checksums that fit
        for content in contents:
            file.write(content.replace(old, new))
    data = dataset("folder", records)
    message = refused(data.read, *data.pairs("train")[2])
    assert message.startswith(f"A record is damaged ({reason}). Copy it again")
    assert message.endswith(f"Received: {shard}, record 2")


def test_any_changed_bit_is_found(records, shard):
    """By this reader as by TensorFlow's, when the split is opened or the record is read."""
    content = shard.read_bytes()
    bits = np.random.default_rng(0).integers(0, 8 * len(content), 30).tolist()
    for bit in [*range(0, 8 * 12, 11), *bits, 8 * len(content) - 1]:
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        shard.write_bytes(changed)
        if bit in bits[:3]:
            with pytest.raises(tf.errors.DataLossError):
                list(tf.data.TFRecordDataset(str(shard)))
        message = refused(read_all, dataset("folder", records))
        assert " is damaged " in message, bit
        assert f"Received: {shard}" in message, bit


def read_all(data):
    for pair in data.pairs("train"):
        data.read(*pair)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("dataset_info.json", '"name": "train"', '"name": 7'),
        ("dataset_info.json", '"name": "train"', '"name": "val"'),
        ("dataset_info.json", '[\n        "5"\n      ]', '["-5"]'),
        ("dataset_info.json", '[\n        "5"\n      ]', '["six"]'),
        ("dataset_info.json", '"splits": [', '"splits": 3, "others": ['),
        ("metadata.json", '"palette": [', '"palette": 3, "others": ['),
        ("metadata.json", '"classes": [', '"classes": [[], '),
    ],
)
def test_a_wrong_description_is_refused(records, written, file, old, new):
    text = (written / file).read_text()
    assert old in text
    (written / file).write_text(text.replace(old, new))

    def read():
        data = dataset("folder", records)
        for split in data.splits:
            data.pairs(split)

    assert str(written) in refused(read)


def test_checksums(written, shard):
    assert changed_files(written) == []
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "--strict", "-c", "SHA256SUMS"], cwd=written, check=True, capture_output=True)
    lines = (written / "SHA256SUMS").read_text().splitlines()
    assert {line.split()[1] for line in lines} >= {path.name for path in written.glob("*.tfrecord*")}
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    (written / "folder-val.tfrecord-00000-of-00001").unlink()
    assert changed_files(written) == [shard, written / "folder-val.tfrecord-00000-of-00001"]
    (written / "SHA256SUMS").write_text("")
    assert changed_files(written) == [shard]  # nothing tells how it was
    (written / "SHA256SUMS").unlink()
    assert refused(changed_files, written).endswith(f"Received: {written}/SHA256SUMS")
