"""Every data set by name."""

import os
from dataclasses import replace
from pathlib import Path

from keras_crosscoop.data import camvid, cityscapes, folder, street_scenes, voc2012
from keras_crosscoop.data.records.reading import find_records, open_records
from keras_crosscoop.data.spec import Dataset, Entry
from keras_crosscoop.errors import InputError, unknown_name


def dataset(name: str, data_dir: str | os.PathLike | None = None) -> Dataset:
    """Opens a data set of the catalogue.

    Args:
        name: one of `CATALOGUE`.
        data_dir: the folder that holds it. `street_scenes` is drawn into it if it is not there yet, and needs none:
            by default it lies among Keras's data sets. Of a folder with records of the data set, these are read.

    Raises:
        InputError: there is no such data set, or `data_dir` is needed and missing or not laid out as it must be.
    """
    if name not in CATALOGUE:
        raise unknown_name("data set", name, CATALOGUE)
    entry = CATALOGUE[name]
    if data_dir is None:
        if entry.needs_folder:
            raise InputError(f'Data set "{name}" needs --data-dir, a folder with {entry.layout}. Received: no folder.')
        return entry.open(None)
    data_dir = Path(data_dir)
    if entry.needs_folder and not data_dir.is_dir():
        raise InputError(
            f'Data set "{name}" needs a folder with {entry.layout}. Name it with --data-dir. '
            f"Received: {data_dir}, which is no folder."
        )
    if records := find_records(name, data_dir):
        return open_records(name, records, entry.open)
    return entry.open(data_dir)


def _street_scenes(data_dir: Path | None) -> Dataset:
    # The number counts the drawings' versions: a new one never mixes with files that an older release drew.
    directory = data_dir or _keras_home() / "datasets" / "keras_crosscoop" / "street_scenes-1"
    street_scenes.write(directory)
    return replace(folder.open(directory), name="street_scenes")


def _keras_home() -> Path:
    """Where Keras keeps its files, by the rule of `keras.utils.get_file`."""
    if "KERAS_HOME" in os.environ:
        return Path(os.environ["KERAS_HOME"]).expanduser()
    home = Path.home()
    return (home if os.access(home, os.W_OK) else Path("/tmp")) / ".keras"


CATALOGUE: dict[str, Entry] = {
    "street_scenes": Entry(
        _street_scenes,
        classes=len(street_scenes.CLASSES),
        splits=street_scenes.SPLITS,
        layout="nothing, or what was drawn there before",
        source="drawn on first use",
        licence="that of this package, Apache-2.0",
        needs_folder=False,
    ),
    "camvid": camvid.ENTRY,
    "voc2012": voc2012.ENTRY,
    "cityscapes": cityscapes.ENTRY,
    "folder": folder.ENTRY,
}
