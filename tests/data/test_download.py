"""Downloads from a local server: complete, interrupted, refused, damaged."""

import hashlib
import io
import shutil
import tarfile
import threading
from collections import namedtuple
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from helpers import refused

from keras_crosscoop.data import download
from keras_crosscoop.data.download import RemoteArchive, download_voc2012, fetch

VOC = {
    "VOCdevkit/VOC2012/JPEGImages/2007_000032.jpg": np.random.default_rng(0).bytes(300_000),
    "VOCdevkit/VOC2012/ImageSets/Segmentation/train.txt": b"2007_000032\n",
}
SBD = {
    "benchmark_RELEASE/dataset/cls/2008_000002.mat": b"a class map",
    "benchmark_RELEASE/dataset/img/2008_000002.jpg": b"an image",
    "benchmark_RELEASE/dataset/train.txt": b"2008_000002\n",
    "benchmark_RELEASE/benchmark_code_RELEASE/config.m": b"not wanted",
}


def packed(files, mode="w"):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def unpacked(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Server:
    """Serves `files`; what it was asked for stands in `requests`: names, and ranges or None.

    `breaks` counts the answers that end in their middle; `status` replaces all answers.
    """

    def __init__(self):
        self.files, self.requests = {}, []
        self.ranges, self.breaks, self.status = True, 0, None
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                server.answer(self)

            def log_message(self, *arguments):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, request):
        name = request.path[1:]
        self.requests.append((name, request.headers.get("Range")))
        if self.status or name not in self.files:
            return request.send_error(self.status or 404)
        content, start = self.files[name], 0
        if self.ranges and (asked := request.headers.get("Range")):
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            request.send_response(206 if start < len(content) else 416)
            span = f"{start}-{len(content) - 1}" if start < len(content) else "*"
            request.send_header("Content-Range", f"bytes {span}/{len(content)}")
        else:
            request.send_response(200)
        rest = content[start:]
        request.send_header("Content-Length", len(rest))
        request.end_headers()
        if self.breaks:
            self.breaks -= 1
            rest = rest[: len(rest) // 2]
        request.wfile.write(rest)
        return None

    def remote(self, name, content, holds, md5=None):
        self.files[name] = content
        return RemoteArchive(f"{self.url}/{name}", md5 or hashlib.md5(content).hexdigest(), holds)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(download, "PAUSE", 0.001)
    monkeypatch.setattr(download, "CHUNK", 4096)
    running = Server()
    yield running
    running.http.shutdown()
    running.http.server_close()


@pytest.fixture
def voc(server):
    return server.remote("VOCtrainval_11-May-2012.tar", packed(VOC), "VOCdevkit/VOC2012")


@pytest.fixture
def sbd(server):
    return server.remote("benchmark.tgz", packed(SBD, "w:gz"), "benchmark_RELEASE/dataset")


def test_both_archives_are_fetched_and_unpacked(server, voc, sbd, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "ARCHIVES", (voc, sbd))
    progress = []
    download_voc2012(tmp_path / "new" / "data", lambda *step: progress.append(step))
    expected = {name: content for name, content in {**VOC, **SBD}.items() if "code" not in name}
    archives = {remote.name: server.files[remote.name] for remote in (voc, sbd)}
    assert unpacked(tmp_path / "new" / "data") == {**expected, **archives}
    assert server.requests == [(voc.name, "bytes=0-"), (sbd.name, "bytes=0-")]
    for archive in archives:
        for work in ("Downloading", "Unpacking"):
            done, totals = zip(*(rest for text, *rest in progress if text == f"{work} {archive}"), strict=True)
            assert set(totals) == {len(archives[archive])}
            assert list(done) == sorted(done)
            assert work == "Unpacking" or done[-1] == totals[-1]


def test_existing_files_are_kept(server, voc, tmp_path):
    mine = tmp_path / "VOCdevkit/VOC2012/mine.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    fetch(voc, tmp_path)
    assert unpacked(tmp_path) == {"VOCdevkit/VOC2012/mine.txt": b"mine"}
    assert server.requests == []


def test_an_existing_archive_is_only_unpacked(server, voc, tmp_path):
    (tmp_path / voc.name).write_bytes(server.files[voc.name])
    (tmp_path / "VOCdevkit/VOC2007").mkdir(parents=True)  # a neighbour is no hindrance
    fetch(voc, tmp_path)
    assert server.requests == []
    assert unpacked(tmp_path / "VOCdevkit/VOC2012").keys() == {
        "JPEGImages/2007_000032.jpg",
        "ImageSets/Segmentation/train.txt",
    }


def test_a_download_that_breaks_off_goes_on_where_it_was(server, voc, tmp_path):
    server.breaks = 2
    fetch(voc, tmp_path)
    size = len(server.files[voc.name])
    half = size // 2 // 4096 * 4096  # what came in whole chunks
    threequarters = half + (size - half) // 2 // 4096 * 4096
    assert server.requests == [
        (voc.name, "bytes=0-"),
        (voc.name, f"bytes={half}-"),
        (voc.name, f"bytes={threequarters}-"),
    ]
    assert unpacked(tmp_path) == {**VOC, voc.name: server.files[voc.name]}


def test_a_later_call_goes_on_where_an_earlier_one_was(server, voc, tmp_path):
    part = tmp_path / f"{voc.name}.part"
    part.write_bytes(server.files[voc.name][:100_001])
    fetch(voc, tmp_path)
    assert server.requests == [(voc.name, "bytes=100001-")]
    assert unpacked(tmp_path) == {**VOC, voc.name: server.files[voc.name]}


def test_a_part_that_is_whole_already_is_taken(server, voc, tmp_path):
    (tmp_path / f"{voc.name}.part").write_bytes(server.files[voc.name])
    fetch(voc, tmp_path)
    assert unpacked(tmp_path) == {**VOC, voc.name: server.files[voc.name]}


def test_a_part_of_something_longer_is_removed(server, voc, tmp_path):
    (tmp_path / f"{voc.name}.part").write_bytes(bytes(len(server.files[voc.name]) + 1))
    assert "damaged" in refused(fetch, voc, tmp_path)
    fetch(voc, tmp_path)
    assert server.requests[-1] == (voc.name, "bytes=0-")
    assert unpacked(tmp_path) == {**VOC, voc.name: server.files[voc.name]}


def test_a_server_that_serves_no_parts_starts_again(server, voc, tmp_path):
    server.ranges, server.breaks = False, 1
    fetch(voc, tmp_path)
    assert len(server.requests) == 2
    assert unpacked(tmp_path) == {**VOC, voc.name: server.files[voc.name]}


def test_a_server_that_always_breaks_off_is_left_with_what_it_gave(server, voc, tmp_path):
    server.ranges, server.breaks = False, 99
    message = refused(fetch, voc, tmp_path)
    half = len(server.files[voc.name]) // 2 // 4096 * 4096
    assert f"resumes after the first {half:,} bytes" in message
    assert "downloaded (IncompleteRead(" in message
    assert voc.url in message
    assert unpacked(tmp_path) == {f"{voc.name}.part": server.files[voc.name][:half]}
    assert len(server.requests) == 1 + download.ATTEMPTS


def test_no_network(tmp_path, server, voc):
    server.http.shutdown()
    server.http.server_close()
    message = refused(fetch, voc, tmp_path)
    assert "Connection refused" in message
    assert "Is there a network?" in message


def test_a_missing_file_ends_the_download_at_once(server, voc, tmp_path):
    del server.files[voc.name]
    message = refused(fetch, voc, tmp_path)
    assert "404 Client Error: Not Found" in message
    assert f"put the file into {tmp_path}" in message
    assert len(server.requests) == 1
    assert unpacked(tmp_path) == {}


def test_a_busy_server_is_asked_again(server, voc, tmp_path):
    server.status = 503
    assert "503 Server Error: Service Unavailable" in refused(fetch, voc, tmp_path)
    assert len(server.requests) == download.ATTEMPTS


def test_damage_on_the_way_is_noticed_and_removed(server, voc, tmp_path):
    server.files[voc.name] = server.files[voc.name][:-1] + b"x"
    assert f"its checksum is not {voc.md5}" in refused(fetch, voc, tmp_path)
    assert unpacked(tmp_path) == {}


def test_a_damaged_archive_of_the_user_stays(server, voc, tmp_path):
    file = tmp_path / voc.name
    file.write_bytes(b"half an archive")
    message = refused(fetch, voc, tmp_path)
    assert message.endswith(f"Received: {file}")
    assert f"Remove {voc.name} if it is there" in message
    assert unpacked(tmp_path) == {voc.name: b"half an archive"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (packed(VOC)[:200_000], "unexpected end of data"),
        (packed({"other/file": b""}), "it holds no VOCdevkit/VOC2012"),
        (packed({**VOC, "../outside": b"evil"}), "outside"),
        (packed(SBD, "w:gz")[:100], "end-of-stream"),
    ],
    ids=["truncated", "of something else", "that reaches outside", "half unzipped"],
)
def test_nothing_half_unpacked_is_left(server, tmp_path, content, reason):
    bad = server.remote("bad.tar", content, "VOCdevkit/VOC2012")
    data_dir = tmp_path / "data"
    assert reason in refused(fetch, bad, data_dir)
    assert unpacked(tmp_path) == {"data/bad.tar": content}
    assert [path.name for path in data_dir.iterdir()] == ["bad.tar"]


def test_what_a_killed_process_left_is_cleared(server, voc, tmp_path):
    stale = tmp_path / f".unpacking-{voc.name}/VOCdevkit/VOC2012/half.jpg"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"ha")
    fetch(voc, tmp_path)
    assert unpacked(tmp_path) == {**VOC, voc.name: server.files[voc.name]}


@pytest.mark.parametrize("there", [False, True], ids=["to fetch", "to unpack"])
def test_a_full_disk_is_reported_before(server, voc, tmp_path, monkeypatch, there):
    size = len(server.files[voc.name])
    if there:
        (tmp_path / voc.name).write_bytes(server.files[voc.name])
    needed = int(1.2 * size) + (0 if there else size)
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(needed - 1))
    before = unpacked(tmp_path)
    assert "Make room" in refused(fetch, voc, tmp_path)
    assert unpacked(tmp_path) == before
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(needed))
    fetch(voc, tmp_path)


def test_a_folder_that_cannot_be_written(voc, tmp_path):
    (tmp_path / "file").write_text("no folder")
    message = refused(fetch, voc, tmp_path / "file" / "data")
    assert "cannot be made (Not a directory). Name another" in message
