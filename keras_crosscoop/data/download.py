"""PASCAL VOC 2012 and SBD from their makers' servers: gigabytes, so a download that breaks off goes on where it was.

Neither `keras.utils.get_file` nor TensorFlow Datasets' download manager does that: both fetch from the start again.
"""

import errno
import gzip
import hashlib
import shutil
import tarfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import requests

from keras_crosscoop.errors import InputError

Progress = Callable[[str, int, int], None]  # what is being done, bytes done and bytes in all: 0 where nobody knows

CHUNK = 1 << 16  # bytes; less than this is lost when a download breaks off
ATTEMPTS = 5  # without a byte received between them
PAUSE = 2.0  # seconds before the second attempt; doubled before each later one
TIMEOUT = (10, 60)  # seconds, for a connection and for its next bytes
UNPACKED = 1.2  # bytes that a byte of an archive takes when it is unpacked: these hold pictures, which do not grow

_OK, _PARTIAL, _NOT_SATISFIABLE, _SERVER_ERRORS = 200, 206, 416, range(500, 600)
_BREAKS = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
_DAMAGE = (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error)


class Remote(NamedTuple):
    """An archive to fetch.

    Attributes:
        url: where it is.
        md5: its checksum.
        holds: the folder in it that is wanted.
    """

    url: str
    md5: str
    holds: str

    @property
    def name(self) -> str:
        """Its file name."""
        return self.url.rpartition("/")[2]


def download_voc2012(data_dir: Path, progress: Progress | None = None) -> None:
    """Fetches VOC 2012 and SBD, 3.4 GB, and unpacks them: `VOCdevkit/VOC2012/` and `benchmark_RELEASE/dataset/`.

    What is there already is neither fetched nor written again: not an unpacked folder, not an archive. An interrupted
    download lies in `{archive}.part`, where the next call goes on. The archives stay; they may be removed.

    Args:
        data_dir: the folder to write to; it is made.
        progress: called now and then.

    Raises:
        InputError: a server cannot be reached or lacks the file, the disk is full, or an archive is damaged.
    """
    for archive in voc_archives():
        fetch(archive, data_dir, progress)


def voc_archives() -> tuple[Remote, ...]:
    """The two archives, at keras-cv's addresses."""
    from keras_cv.src.datasets.pascal_voc.segmentation import SBD_URL, VOC_URL

    return (
        Remote(VOC_URL, "6cd6e144f989b92b3379bac3b3de84fd", "VOCdevkit/VOC2012"),
        Remote(SBD_URL, "82b4d87ceb2ed10f6038a1cba92111cb", "benchmark_RELEASE/dataset"),
    )


def fetch(archive: Remote, data_dir: Path, progress: Progress | None = None) -> None:
    """Fetches and unpacks one archive: see `download_voc2012`.

    Raises:
        InputError: of the same.
    """
    tell = progress or (lambda doing, done, total: None)
    if (data_dir / archive.holds).is_dir():
        return
    file = data_dir / archive.name
    with _told(data_dir):
        data_dir.mkdir(parents=True, exist_ok=True)
        if file.is_file():
            if _md5(file, tell) != archive.md5:
                raise InputError(
                    f"The archive is damaged: its checksum is not {archive.md5}. Remove it, and it is fetched anew. "
                    f"Received: {file}"
                )
        else:
            _download(archive, file, tell)
        _unpack(file, archive, data_dir, tell)


def _download(archive: Remote, file: Path, tell: Progress) -> None:
    part = file.with_name(f"{file.name}.part")
    failures = 0
    while True:
        before = _size(part)
        try:
            _go_on(archive, part, tell)
            break
        except _BREAKS as error:
            failures = 0 if _size(part) > before else failures + 1
            if failures == ATTEMPTS:
                raise InputError(
                    f"{archive.name} cannot be fetched ({_reason(error)}). Is there a network? The same command goes "
                    f"on after the {_size(part):,} bytes that are here; or put the file into {file.parent} yourself. "
                    f"Received: {archive.url}"
                ) from error
            time.sleep(PAUSE * 2 ** max(failures - 1, 0))
    if _md5(part, tell) != archive.md5:
        part.unlink()
        raise InputError(
            f"What was fetched is damaged, and was removed: its checksum is not {archive.md5}. Try again, or put the "
            f"file into {file.parent} yourself. Received: {archive.url}"
        )
    part.replace(file)


def _go_on(archive: Remote, part: Path, tell: Progress) -> None:
    """Fetches what `part` lacks, or everything, where the server does not serve parts."""
    have = _size(part)
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(archive.url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        if have and response.status_code == _NOT_SATISFIABLE:
            if response.headers.get("Content-Range") == f"bytes */{have}":
                return  # it is whole
            part.unlink()  # longer than the file: of another one
            raise requests.ConnectionError("what was here is no part of the file")
        if response.status_code in _SERVER_ERRORS:
            raise requests.ConnectionError(f"{response.status_code} {response.reason}")  # which may pass
        if response.status_code not in (_OK, _PARTIAL):
            raise InputError(
                f"The server does not give {archive.name} ({response.status_code} {response.reason}). Fetch it "
                f"elsewhere, and put it into {part.parent}. Received: {archive.url}"
            )
        if response.status_code == _OK:
            have = 0
        length = int(response.headers.get("Content-Length", 0))
        total = have + length if length else 0
        _check_room(part.parent, length + int(UNPACKED * total), archive.url)
        with part.open("ab" if have else "wb") as stream:
            for chunk in response.iter_content(CHUNK):
                stream.write(chunk)
                have += len(chunk)
                tell(f"Fetching {archive.name}", have, total)
    if have < total:  # which some versions of urllib3 do not mind
        raise requests.ConnectionError(f"the connection ended after {have:,} of {total:,} bytes")


def _unpack(file: Path, archive: Remote, data_dir: Path, tell: Progress) -> None:
    """Unpacks beside and renames, so that the folder is whole or not there."""
    size = file.stat().st_size
    _check_room(data_dir, int(UNPACKED * size), file)
    target = data_dir / archive.holds
    beside = data_dir / f".unpacking-{archive.name}"
    shutil.rmtree(beside, ignore_errors=True)  # of a process that was killed
    try:
        with file.open("rb") as stream, tarfile.open(fileobj=stream) as content:
            for member in content:
                content.extract(member, beside, filter="data")  # which keeps everything below `beside`
                tell(f"Unpacking {archive.name}", stream.tell(), size)
        if not (beside / archive.holds).is_dir():
            raise tarfile.TarError(f"it holds no {archive.holds}")
        target.parent.mkdir(parents=True, exist_ok=True)
        (beside / archive.holds).rename(target)
    except _DAMAGE as error:
        raise InputError(
            f"The archive cannot be unpacked ({_reason(error)}). Remove it, and it is fetched anew. Received: {file}"
        ) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _md5(file: Path, tell: Progress) -> str:
    digest, done, size = hashlib.md5(usedforsecurity=False), 0, _size(file)
    with file.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
            done += len(chunk)
            tell(f"Checking {file.name}", done, size)
    return digest.hexdigest()


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _reason(error: Exception) -> str:
    """The innermost message: `requests` wraps those of the system in three layers of its own."""
    while isinstance(inner := getattr(error, "reason", None) or next(iter(error.args), None), Exception):
        error = inner
    first = next(iter(error.args), None)
    return (first if isinstance(first, str) else str(error)) or type(error).__name__


def _check_room(folder: Path, needed: int, what: str | Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise InputError(
            f"The disk of {folder} has {free / 1e9:.1f} GB left, but {needed / 1e9:.1f} GB are needed to fetch and "
            f"unpack it. Make room, or name another folder. Received: {what}"
        )


@contextmanager
def _told(data_dir: Path) -> Iterator[None]:
    """Tells what the file system refuses; network errors were told before."""
    try:
        yield
    except requests.RequestException as error:  # an OSError, too
        raise InputError(
            f"The archive cannot be fetched ({_reason(error)}). Try again later. Received: {data_dir}"
        ) from error
    except OSError as error:
        remedy = "Make room" if error.errno == errno.ENOSPC else "Name a folder that is yours to write"
        raise InputError(
            f"The data set cannot be written ({error.strerror or error}). {remedy}; the same command goes on from "
            f"there. Received: {data_dir}"
        ) from error
