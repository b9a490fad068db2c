"""Members of zip files that are read in place, and errors about damaged ones."""

import gc
import io
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from helpers import refused
from PIL import Image

from keras_crosscoop.data.archive import Archive, Member
from keras_crosscoop.errors import InputError
from keras_crosscoop.images.io import image_size


def write(path, contents, packing=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", packing) as target:
        for name, content in contents.items():
            target.writestr(name, content)
    return path


def noise(seed, size=20_000):
    return np.random.default_rng(seed).integers(0, 16, size, np.uint8).tobytes()  # of 16 values, so that it packs


def damage(path, content_at, by=0xFF):
    """Changes the byte at a place, counted from the first member's content on."""
    with path.open("r+b") as file:
        header = file.read(30)
        start = 30 + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
        file.seek(start + content_at)
        byte = file.read(1)[0]
        file.seek(start + content_at)
        file.write(bytes([byte ^ by]))


def descriptors(path):
    """How often this process has the file open."""
    gc.collect()
    folder = Path("/proc/self/fd")
    if not folder.is_dir():
        pytest.skip("only Linux tells")
    links = []
    for link in folder.iterdir():
        try:
            links.append(link.readlink())
        except OSError:  # the one that lists them
            continue
    return links.count(path)


def test_members_by_folder_and_ending(tmp_path):
    path = write(
        tmp_path / "a.zip",
        {
            "README": b"",
            "images/train/x/1_i.png": b"one",
            "images/train/x/1_j.png": b"other",
            "images/train/2_i.png": b"two",
            "images/training/3_i.png": b"three",
            "more/images/train/4_i.png": b"four",
        },
    )
    members = Archive(path).files("images/train", "_i.png")
    assert {key: member.read_bytes() for key, member in members.items()} == {"x/1": b"one", "2": b"two"}
    assert members["x/1"].name == "1_i.png"
    assert str(members["x/1"]) == f"{path}/images/train/x/1_i.png"


@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_stream_is_read_in_any_order(tmp_path, packing):
    content = noise(0)
    member = Archive(write(tmp_path / "a.zip", {"d/a": content}, packing)).files("d", "a")[""]
    with member.open("rb") as stream:
        assert stream.read(10) == content[:10]
        stream.seek(15_000)
        assert stream.read(7) == content[15_000:15_007]
        stream.seek(3)
        assert stream.tell() == 3
        assert stream.read() == content[3:]
    assert stream.closed


def test_headers_of_images_in_an_archive(tmp_path):
    content = io.BytesIO()
    Image.new("RGB", (7, 5)).save(content, "PNG")
    member = Archive(write(tmp_path / "a.zip", {"d/a.png": content.getvalue()})).files("d", ".png")["a"]
    assert image_size(member) == (5, 7)


def test_threads_share_an_archive(tmp_path):
    """Each gets its own member's bytes, at once or as a stream, whatever the others read."""
    contents = {f"d/{index}": noise(index, 5_000 + 100 * index) for index in range(40)}
    members = Archive(write(tmp_path / "a.zip", contents)).files("d", "")

    def read(index):
        member = members[str(index % 40)]
        if index % 2:
            return member.read_bytes()
        with member.open("rb") as stream:
            return b"".join(iter(lambda: stream.read(700), b""))

    with ThreadPoolExecutor(8) as pool:
        for index, content in enumerate(pool.map(read, range(41 * 5))):
            assert content == contents[f"d/{index % 40}"], index


@pytest.mark.parametrize("left", [0, 100, -1, -30])
def test_truncated_archive(tmp_path, left):
    path = write(tmp_path / "a.zip", {"d/a": noise(0), "d/b": noise(1)})
    path.write_bytes(path.read_bytes()[:left])
    message = refused(Archive, path)
    assert message.startswith("The archive cannot be opened (File is not a zip file). Is it fully downloaded? ")
    assert message.endswith(f"Get it again. Received: {path}")
    assert descriptors(path) == 0


@pytest.mark.parametrize(
    ("packing", "place", "reason"),
    [
        (zipfile.ZIP_STORED, 10_000, "Bad CRC-32"),
        (zipfile.ZIP_DEFLATED, 0, "Error -3 while decompressing"),
        (zipfile.ZIP_DEFLATED, 5_000, ""),
        (zipfile.ZIP_DEFLATED, -30 - 3, "Bad magic number for file header"),
        (zipfile.ZIP_DEFLATED, -2, "File name in directory"),
    ],
)
def test_damaged_member(tmp_path, packing, place, reason):
    """Whether its content or its header is damaged. Others can be read."""
    path = write(tmp_path / "a.zip", {"d/a": noise(0), "d/b": noise(1)}, packing)
    damage(path, place)
    members = Archive(path).files("d", "")
    message = refused(members["a"].read_bytes)
    assert message.startswith(f"A file in an archive cannot be unpacked ({reason}")
    assert message.endswith(f"The archive is damaged: get it again. Received: {path}/d/a")
    assert refused(image_size, members["a"]).endswith(f"Received: {path}/d/a")
    assert members["b"].read_bytes() == noise(1)


def test_folder_of_an_archives_name(tmp_path):
    (tmp_path / "a.zip").mkdir()
    assert "cannot be opened (Is a directory)" in refused(Archive, tmp_path / "a.zip")


def test_whatever_is_damaged(tmp_path):
    """An `InputError` says so, or the member is what it was: nothing else is raised, and no other bytes are read."""
    contents = {f"d/{name}": noise(ord(name), 200) for name in "abc"}
    good = write(tmp_path / "a.zip", contents).read_bytes()
    rng = np.random.default_rng(0)
    refusals = 0
    for _ in range(300):
        content = bytearray(good)
        for place in rng.integers(len(good), size=rng.integers(1, 4)):
            content[place] = rng.integers(256)
        (tmp_path / "a.zip").write_bytes(content)
        try:
            members = Archive(tmp_path / "a.zip").files("d", "").values()
            read = {member.path: member.read_bytes() for member in members}
        except InputError:
            refusals += 1
        else:
            assert read == {path: contents[path] for path in read}
    assert refusals > 225


def test_cut_off_after_it_was_opened(tmp_path):
    path = write(tmp_path / "a.zip", {name: noise(ord(name), 100_000) for name in ("a", "b")})
    archive = Archive(path)
    with path.open("r+b") as file:
        file.truncate(20_000)
    for name in ("a", "b"):
        assert "cannot be unpacked (" in refused(Member(archive, name).read_bytes)


def test_encrypted_member(tmp_path):
    path = write(tmp_path / "a.zip", {"d/a": noise(0)})
    content = bytearray(path.read_bytes())
    content[6] |= 1  # of the flags, once before the member and once in the list of members
    content[content.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(content)
    assert "is encrypted, password required" in refused(Archive(path).files("d", "")["a"].read_bytes)


def test_no_file_stays_open(tmp_path):
    path = write(tmp_path / "a.zip", {"d/a": noise(0)})
    archive = Archive(path)
    member = archive.files("d", "a")[""]
    stream = member.open("rb")
    stream.read(10)
    del archive
    assert descriptors(path) == 1  # a member keeps its archive open
    del stream, member
    assert descriptors(path) == 0


def test_closed_without_a_warning(tmp_path):
    """Also where errors hold each other, and with them the archive, until the garbage is collected."""
    path = write(tmp_path / "a.zip", {"d/a": noise(0)})
    for _ in range(20):
        circle = [Archive(path).files("d", "a")[""]]
        circle.append(circle)
        del circle
    assert descriptors(path) == 0
