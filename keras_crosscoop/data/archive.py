"""Zip files whose members are read in place, without extraction."""

import weakref
import zipfile
from pathlib import Path

from keras_crosscoop.errors import InputError, reason


def open_archive(path: Path) -> zipfile.ZipFile:
    """Opens a zip file, which any number of threads can read. It is closed once nothing refers to it.

    Raises:
        InputError: The file cannot be opened, or its list of members, at the end of the file, is missing.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, ValueError, RuntimeError, zipfile.BadZipFile) as error:
        raise InputError(
            f"The archive cannot be opened ({reason(error)}). Is it complete? Download it again. Received: {path}"
        ) from error
    weakref.finalize(archive, archive.fp.close)  # `ZipFile.__del__` may run after a warning about the open file
    return archive


def archive_files(archive: zipfile.ZipFile, folder: str, suffix: str) -> dict[str, zipfile.Path]:
    """Returns the members of a folder with a suffix, by their names without folder and suffix."""
    return {
        name.removeprefix(f"{folder}/").removesuffix(suffix): zipfile.Path(archive, name)
        for name in archive.namelist()
        if name.startswith(f"{folder}/") and name.endswith(suffix)
    }
