"""Checkpoints are read from whatever holds them; what is damaged or unsafe is refused, and leaves nothing behind."""

import errno
import gzip
import io
import tarfile
import tempfile
import zipfile

import numpy as np
import pytest
from helpers import assert_equal, refused

from keras_crosscoop.models.weights import open_checkpoint

ARRAYS = {
    "net/kernel": np.random.default_rng(0).normal(size=(30, 50)).astype("float32"),
    "net/bias": np.arange(50, dtype="float32"),
    "step": np.int64(7),
}
INDEX, DATA = ".index", ".data-00000-of-00001"


pytestmark = pytest.mark.usefixtures("unpacked_in")


@pytest.fixture(scope="module")
def files(save_checkpoint, tmp_path_factory):
    """Of a small checkpoint: their contents by name."""
    return save_checkpoint(tmp_path_factory.mktemp("checkpoint") / "model.ckpt", ARRAYS)


def read(path):
    with open_checkpoint(path) as source:
        assert source.shapes == {name: np.shape(source.read(name)) for name in source.shapes}
        return {name: source.read(name) for name in source.shapes}


@pytest.mark.parametrize("mode", ["w:gz", "w", "w:xz"])
def test_an_archive_is_read(tmp_path, files, packed, mode):
    """Among other files, in a folder, and with what macOS adds."""
    path = tmp_path / "released"
    members = {f"xception/{name}": content for name, content in files.items()}
    others = {"xception": None, "xception/graph.pb": b"graph", f"xception/._model.ckpt{INDEX}": b"attributes"}
    path.write_bytes(packed(others | members, mode))
    assert_equal(read(path), ARRAYS)


def test_a_checkpoint_is_read_where_it_lies(tmp_path, files):
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    for path in (tmp_path, *(tmp_path / f"model.ckpt{ending}" for ending in ("", INDEX, DATA))):
        assert_equal(read(path), ARRAYS)


def test_what_holds_no_checkpoint_is_refused(tmp_path, files, packed):
    for path in (tmp_path / "nowhere", tmp_path / "nowhere.ckpt.index"):
        assert refused(read, path) == (
            f"There is no such checkpoint. Give the archive, the folder, or the path without '.index'. Received: {path}"
        )
    (tmp_path / "empty").mkdir()
    assert "but this one has 0. Give another one" in refused(read, tmp_path / "empty")
    archive = tmp_path / "graph.tar.gz"
    archive.write_bytes(packed({"graph.pb": b"graph", f"model.ckpt{DATA}": files[f"model.ckpt{DATA}"]}))
    assert refused(read, archive).endswith(
        f"but this one has 0. Give another one, or a checkpoint's path without '.index'. Received: {archive}"
    )


def test_of_several_checkpoints_one_must_be_named(tmp_path, files, packed):
    both = {name.replace("ckpt", "ckpt-9"): content for name, content in files.items()} | files
    (tmp_path / "training").mkdir()
    for name, content in both.items():
        (tmp_path / "training" / name).write_bytes(content)
    (tmp_path / "both.tar").write_bytes(packed(both, "w"))
    for path in (tmp_path / "training", tmp_path / "both.tar"):
        assert "but this one has 2 (model.ckpt-9.index, model.ckpt.index). Give" in refused(read, path)
    assert_equal(read(tmp_path / "training" / "model.ckpt-9"), ARRAYS)


@pytest.mark.parametrize("name", ["{folder}/{}", "../{}", "xception/../../{}", "..\\{}", "C:\\{}", "\\{}"])
def test_an_archive_that_reaches_out_of_its_folder_is_refused(tmp_path, files, packed, name):
    """Also by what would not be unpacked."""
    path = tmp_path / "archive.tar.gz"
    for evil in (name.format("evil.index", folder=tmp_path), name.format("evil.txt", folder=tmp_path)):
        path.write_bytes(packed(files | {evil: b"evil"}))
        message = refused(read, path)
        assert message.startswith(f"The archive is unsafe: {evil!r} would be written outside of the folder.")
        assert message.endswith(f"Received: {path}")
    assert not list(tmp_path.parent.rglob("evil*"))


def test_links_in_an_archive_are_never_followed(tmp_path, files, packed):
    """Neither written through nor read."""
    outside, path = tmp_path / "outside", tmp_path / "archive.tar.gz"
    outside.mkdir()
    for name, content in files.items():
        (outside / name).write_bytes(content)
    path.write_bytes(packed({"xception": outside} | {f"xception/evil{INDEX}": files[f"model.ckpt{INDEX}"]}))
    assert "is damaged" in refused(read, path)  # for it has no data
    assert {file.name for file in outside.iterdir()} == files.keys()
    path.write_bytes(packed({name: outside / name for name in files}))
    assert "but this one has 0" in refused(read, path)


@pytest.mark.parametrize("kept", [0.0, 0.001, 0.3, 0.6, 0.9, 0.99])
@pytest.mark.parametrize("mode", ["w:gz", "w"])
def test_an_archive_that_was_cut_short_is_refused(tmp_path, files, packed, mode, kept):
    path = tmp_path / "archive.tar.gz"
    whole = packed(files, mode)
    whole = whole if mode == "w:gz" else whole.rstrip(b"\0")  # what ends an archive
    path.write_bytes(whole[: int(kept * len(whole))])
    message = refused(read, path)
    assert "damaged" in message or "this one has 0" in message  # where nothing tells that there was more
    assert message.endswith(f"Received: {path}")


def zipped(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["zip", "page", "noise", "wrong checksum"])
def test_what_is_no_sound_archive_is_refused(tmp_path, files, packed, kind):
    path = tmp_path / "archive.tar.gz"
    whole = gzip.compress(packed(files, "w").rstrip(b"\0"))
    contents = {
        "zip": zipped(files),
        "page": b"<html>Not found</html>",
        "noise": bytes(range(256)) * 9,
        "wrong checksum": whole[:-8] + bytes(4) + whole[-4:],
    }
    path.write_bytes(contents[kind])
    message = refused(read, path)
    assert message.startswith("The archive is damaged or incomplete. ")
    assert message.endswith(f"). Received: {path}")


@pytest.mark.parametrize(("kind", "size"), [(tarfile.XHDTYPE, 2**30), (tarfile.XHDTYPE, -1), (tarfile.REGTYPE, 2**40)])
def test_an_archive_cannot_fill_the_memory_or_the_disk(tmp_path, kind, size):
    member = tarfile.TarInfo(f"model.ckpt{DATA}")
    member.type, member.size = kind, size
    path = tmp_path / "archive.tar.gz"
    path.write_bytes(gzip.compress(member.tobuf(tarfile.GNU_FORMAT) + bytes(2**12)))
    message = refused(read, path)
    assert "headers are too large" in message or "larger than any checkpoint" in message


def flipped(content):
    half = len(content) // 2
    return content[:half] + bytes([content[half] ^ 1]) + content[half + 1 :]


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        *(
            (file, damage)
            for file in (INDEX, DATA)
            for damage in (flipped, lambda content: content[:-20], lambda _: b"")
        ),
        (DATA, None),  # lost
    ],
)
@pytest.mark.parametrize("kind", ["archive", "folder"])
def test_a_damaged_checkpoint_is_refused(tmp_path, files, packed, file, damage, kind):
    """One bit suffices; the archive around it is sound."""
    damaged = {name: content for name, content in files.items() if damage or not name.endswith(file)}
    if damage:
        damaged[f"model.ckpt{file}"] = damage(files[f"model.ckpt{file}"])
    path = tmp_path / kind
    if kind == "archive":
        path.write_bytes(packed(damaged))
    else:
        path.mkdir()
        for name, content in damaged.items():
            (path / name).write_bytes(content)
    message = refused(read, path)
    assert message.startswith("The checkpoint model.ckpt is damaged: fetch it again (")
    assert message.endswith(f"). Received: {path}")


def full_disk(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_without_room_to_unpack_the_place_is_named(tmp_path, files, packed, unpacked_in, monkeypatch):
    path = tmp_path / "archive.tar.gz"
    path.write_bytes(packed(files))
    with monkeypatch.context() as patch:
        patch.setattr("shutil.copyfileobj", full_disk)
        assert refused(read, path) == (
            f"The archive cannot be unpacked in {unpacked_in} ([Errno 28] No space left on device). Make room there, "
            f"or name another place with TMPDIR. Received: {path}"
        )
    with monkeypatch.context() as patch:  # so full that Python finds no place at all
        patch.setattr(tempfile, "tempdir", None)
        patch.setattr(tempfile, "_candidate_tempdir_list", lambda: [str(tmp_path / "nowhere")])
        assert refused(read, path).startswith(
            "The archive cannot be unpacked in any folder for temporary files ([Errno 2"
        )
    assert_equal(read(path), ARRAYS)
