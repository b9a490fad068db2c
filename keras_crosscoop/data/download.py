"""Download of PASCAL VOC 2012 and SBD.

The servers are slow and the archives have gigabytes, so interrupted downloads are resumed. Neither
`keras.utils.get_file` nor the download manager of TensorFlow Datasets can resume a download.
"""

import gzip
import shutil
import tarfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import requests

from keras_crosscoop.data.voc2012 import SBD_URL
from keras_crosscoop.errors import InputError, reason
from keras_crosscoop.system.files import file_digest, make_folder, remedy, require_free_space

Progress = Callable[[str, int, int], None]  # the current stage, bytes done, and total bytes (0 if unknown)

CHUNK = 1 << 16  # bytes
ATTEMPTS = 5  # consecutive attempts without a received byte
PAUSE = 2.0  # seconds before the second attempt, doubled before each later one
TIMEOUT = (10, 60)  # seconds, for a connection and for its next bytes
UNPACKED = 1.2  # bytes on the disk per byte of an archive: images are compressed already


class RemoteArchive(NamedTuple):
    """An archive to download: its address, its MD5 checksum, and the folder of it that is needed."""

    url: str
    md5: str
    folder: str

    @property
    def name(self) -> str:
        """The file name."""
        return self.url.rpartition("/")[2]


ARCHIVES = (
    RemoteArchive(
        "https://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
        "6cd6e144f989b92b3379bac3b3de84fd",
        "VOCdevkit/VOC2012",
    ),
    RemoteArchive(SBD_URL, "82b4d87ceb2ed10f6038a1cba92111cb", "benchmark_RELEASE/dataset"),
)


def download_voc2012(data_dir: Path, progress: Progress = lambda *_: None) -> None:
    """Downloads VOC 2012 and SBD, 3.4 GB, and unpacks `VOCdevkit/VOC2012/` and `benchmark_RELEASE/dataset/`.

    Existing folders and archives are kept. An interrupted download stays in `{archive}.part`, from where the next call
    resumes. The archives are not needed after unpacking. `data_dir` is made if necessary.

    Raises:
        InputError: A server cannot be reached or lacks the file, the disk is full, or an archive is damaged.
    """
    for archive in ARCHIVES:
        fetch(archive, data_dir, progress)


def fetch(archive: RemoteArchive, data_dir: Path, progress: Progress = lambda *_: None) -> None:
    """Downloads and unpacks one archive; see `download_voc2012`."""
    if (data_dir / archive.folder).is_dir():
        return
    make_folder(data_dir)
    file, part = data_dir / archive.name, data_dir / f"{archive.name}.part"
    try:
        source = file if file.is_file() else _download(archive, part, progress)
        if file_digest(source, "md5") != archive.md5:
            part.unlink(missing_ok=True)
            raise InputError(
                f"The archive is damaged: its checksum is not {archive.md5}. Remove {archive.name} if it is there, and "
                f"download it again. Received: {source}"
            )
        source.replace(file)
        _unpack(file, archive, data_dir, progress)
    except OSError as error:
        raise InputError(
            f"The data set cannot be written ({reason(error)}). {remedy(error)}, and run the command again: "
            f"it resumes the download. Received: {data_dir}"
        ) from error


def _download(archive: RemoteArchive, part: Path, progress: Progress) -> Path:
    failures = 0
    while True:
        before = _size(part)
        try:
            _append(archive, part, progress)
            return part
        except requests.RequestException as error:
            failures = 0 if _size(part) > before else failures + 1
            missing = error.response is not None and 400 <= error.response.status_code < 500
            if failures == ATTEMPTS or missing:
                raise InputError(
                    f"{archive.name} cannot be downloaded ({reason(_innermost(error))}). Is there a network? "
                    f"The same command resumes after the first {_size(part):,} bytes; or put the file into "
                    f"{part.parent} yourself. Received: {archive.url}"
                ) from error
        time.sleep(PAUSE * 2 ** max(failures - 1, 0))


def _append(archive: RemoteArchive, part: Path, progress: Progress) -> None:
    """Downloads the bytes that `part` lacks, or all bytes if the server does not support ranges."""
    start = _size(part)
    headers = {"Accept-Encoding": "identity", "Range": f"bytes={start}-"}
    with requests.get(archive.url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        if response.status_code == requests.codes.requested_range_not_satisfiable and start:
            return  # there are no more bytes; the checksum shows whether `part` is right
        response.raise_for_status()
        if response.status_code != requests.codes.partial_content:
            start = 0
        length = int(response.headers.get("Content-Length", 0))
        total = start + length if length else 0
        require_free_space(part.parent, length + int(UNPACKED * total))
        with part.open("ab" if start else "wb") as stream:
            for chunk in response.iter_content(CHUNK):
                stream.write(chunk)
                progress(f"Downloading {archive.name}", stream.tell(), total)


def _unpack(file: Path, archive: RemoteArchive, data_dir: Path, progress: Progress) -> None:
    """Unpacks into a temporary folder first, so that the final folder is complete or missing."""
    size = _size(file)
    require_free_space(data_dir, int(UNPACKED * size))
    target, partial = data_dir / archive.folder, data_dir / f".unpacking-{archive.name}"
    shutil.rmtree(partial, ignore_errors=True)  # left by a killed process
    try:
        with file.open("rb") as stream, tarfile.open(fileobj=stream) as content:
            for member in content:
                content.extract(member, partial, filter="data")  # refuses paths outside of `partial`
                progress(f"Unpacking {archive.name}", stream.tell(), size)
        if not (partial / archive.folder).is_dir():
            raise tarfile.TarError(f"it holds no {archive.folder}")
        target.parent.mkdir(parents=True, exist_ok=True)
        (partial / archive.folder).rename(target)
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(
            f"The archive cannot be unpacked ({error}). Remove it, and download it again. Received: {file}"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _innermost(error: BaseException) -> BaseException:
    """Returns the first cause: `requests` wraps the system's errors three times."""
    return _innermost(error.__context__) if error.__context__ else error
