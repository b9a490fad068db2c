"""Members of zip files that are read in place, and errors about damaged ones."""

import gc
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from helpers import refused
from PIL import Image

from keras_crosscoop.data.cityscapes import list_files, open_archive
from keras_crosscoop.errors import InputError
from keras_crosscoop.images.decoding import label_reader
from keras_crosscoop.images.io import encode_pnm, image_size


def labels(count, size=(30, 40)):
    """Label files by name, which compress: ids 0 to 15."""
    rng = np.random.default_rng(0)
    return {f"d/{index}": encode_pnm(rng.integers(0, 16, size, np.uint8)) for index in range(count)}


def write(path, contents, packing=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", packing) as target:
        for name, content in contents.items():
            target.writestr(name, content)
    return path


def members_of(path):
    return list_files(zipfile.Path(open_archive(path), "d/"), "")


def descriptors(path):
    """How often this process has the file open."""
    gc.collect()
    folder = Path("/proc/self/fd")
    if not folder.is_dir():
        pytest.skip("only Linux lists them")
    links = []
    for link in folder.iterdir():
        try:
            links.append(link.readlink())
        except OSError:  # the descriptor of this listing
            continue
    return links.count(path)


def test_members_by_folder_and_suffix(tmp_path):
    names = ("README", "images/train/x/1_i.png", "images/train/x/1_j.png", "images/train/2_i.png")
    more = ("images/training/3_i.png", "more/images/train/4_i.png")
    path = write(tmp_path / "a.zip", {name: name.encode() for name in (*names, *more)})
    members = list_files(zipfile.Path(open_archive(path), "images/train/"), "_i.png")
    assert {key: member.read_bytes() for key, member in members.items()} == {
        "x/1": b"images/train/x/1_i.png",
        "2": b"images/train/2_i.png",
    }
    assert members["x/1"].name == "1_i.png"
    assert str(members["x/1"]) == f"{path}/images/train/x/1_i.png"


def test_headers_of_images_in_an_archive(tmp_path):
    Image.new("RGB", (7, 5)).save(tmp_path / "a.png")
    path = write(tmp_path / "a.zip", {"d/a.png": (tmp_path / "a.png").read_bytes()})
    assert image_size(members_of(path)["a.png"]) == (5, 7)


def test_threads_share_an_archive(tmp_path):
    contents = labels(20)
    members = members_of(write(tmp_path / "a.zip", contents))
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda index: members[str(index % 20)].read_bytes(), range(200)))
    assert results == [contents[f"d/{index % 20}"] for index in range(200)]


@pytest.mark.parametrize("left", [0, 100, -1])
def test_truncated_archive(tmp_path, left):
    path = write(tmp_path / "a.zip", labels(2))
    path.write_bytes(path.read_bytes()[:left])
    message = refused(open_archive, path)
    assert message.startswith("The archive cannot be opened (File is not a zip file). Is it complete? ")
    assert message.endswith(f"Download it again. Received: {path}")
    assert descriptors(path) == 0


def test_a_folder_with_the_name_of_an_archive(tmp_path):
    (tmp_path / "a.zip").mkdir()
    assert "cannot be opened (Is a directory)" in refused(open_archive, tmp_path / "a.zip")


@pytest.mark.parametrize(
    ("packing", "position", "reason"),
    [
        (zipfile.ZIP_STORED, 600, "Bad CRC-32"),
        (zipfile.ZIP_DEFLATED, 0, "Error -3 while decompressing"),
        (zipfile.ZIP_DEFLATED, 300, ""),
        (zipfile.ZIP_DEFLATED, -30 - 3, "Bad magic number for file header"),
        (zipfile.ZIP_DEFLATED, -2, "File name in directory"),
    ],
)
def test_damaged_member(tmp_path, packing, position, reason):
    """Damage in the content or in the header. Other members can be read."""
    path = write(tmp_path / "a.zip", labels(2), packing)
    content = bytearray(path.read_bytes())
    content[30 + len("d/0") + position] ^= 0xFF  # counted from the first member's content
    path.write_bytes(content)
    members = members_of(path)
    message = refused(label_reader, members["0"])
    assert message.startswith(f"The file cannot be read ({reason}")
    assert message.endswith(f"Is it complete, and may you read it? Received: {path}/d/0")
    assert label_reader(members["1"]).size == (30, 40)


def test_encrypted_member(tmp_path):
    path = write(tmp_path / "a.zip", labels(1))
    content = bytearray(path.read_bytes())
    content[6] |= 1  # the flag, once before the member and once in the list of members
    content[content.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(content)
    assert "is encrypted, password required" in refused(label_reader, members_of(path)["0"])


def test_an_archive_that_is_truncated_while_it_is_open(tmp_path):
    path = write(tmp_path / "a.zip", labels(2, (300, 400)))
    members = members_of(path)
    with path.open("r+b") as file:
        file.truncate(20_000)
    for member in members.values():
        assert refused(label_reader, member).endswith(f"Received: {member}")


def test_any_damage_is_an_error_or_harmless(tmp_path):
    contents = labels(3, (5, 40))
    good = write(tmp_path / "a.zip", contents).read_bytes()
    rng = np.random.default_rng(0)
    refusals = 0
    for _ in range(300):
        content = bytearray(good)
        for position in rng.integers(len(good), size=rng.integers(1, 4)):
            content[position] = rng.integers(256)
        (tmp_path / "a.zip").write_bytes(content)
        try:
            members = members_of(tmp_path / "a.zip")
            for member in members.values():
                label_reader(member)
        except InputError:
            refusals += 1
        else:
            assert {member.at: member.read_bytes() for member in members.values()}.items() <= contents.items()
    assert refusals > 200


def test_no_file_stays_open(tmp_path):
    path = write(tmp_path / "a.zip", labels(1))
    archive = open_archive(path)
    member = list_files(zipfile.Path(archive, "d/"), "")["0"]
    stream = member.open("rb")
    stream.read(10)
    del archive
    assert descriptors(path) == 1  # a member keeps its archive open
    del stream, member
    assert descriptors(path) == 0


def test_closed_without_a_warning(tmp_path):
    """Also as part of a reference cycle, such as the traceback of an error."""
    path = write(tmp_path / "a.zip", labels(1))
    for _ in range(20):
        cycle = [members_of(path)["0"]]
        cycle.append(cycle)
        del cycle
    assert descriptors(path) == 0
