"""The catalogue of data sets."""

import difflib
import os
from dataclasses import replace
from pathlib import Path

from keras_crosscoop.data import camvid, cityscapes, folder, street_scenes, tfds_source, voc2012
from keras_crosscoop.data.own.description import Description
from keras_crosscoop.data.own.discovery import describe, is_path, open_discovery, recognise
from keras_crosscoop.data.records.reader import find_records, open_records
from keras_crosscoop.data.spec import Dataset, Entry
from keras_crosscoop.errors import InputError, join_names, unknown_name
from keras_crosscoop.system.files import keras_home


def dataset(name: str | os.PathLike, data_dir: str | os.PathLike | None = None) -> Dataset:
    """Opens a data set of the catalogue, or your own.

    Args:
        name: One of `CATALOGUE`: "street_scenes", "camvid", "voc2012", "cityscapes" or "folder" (your own data). Or the
            folder of the data set, whose layout is then recognised; or a `dataset.yaml`. Or "tfds:" and the name of a
            data set of TensorFlow Datasets, such as "tfds:oxford_iiit_pet".
        data_dir: The folder of the data set, a folder with records of it, or TFDS's folder of all its data sets.
            "street_scenes" needs none: it is drawn on first use, by default into the data set folder of Keras.

    Returns:
        The data set: `pairs(split)` lists its files, `classes` and `palette` describe its labels.

    Raises:
        InputError: There is no such data set, or `data_dir` is missing or has the wrong layout.

    Example:
        >>> from keras_crosscoop import dataset
        >>> data = dataset("folder", data_dir="MY_DATA")
        >>> data.splits, data.classes
        (('train', 'val'), ('road', 'sky', 'car'))
        >>> len(data.pairs("train"))
        4
    """
    name, folder = locate(name, data_dir)
    if name.startswith(tfds_source.PREFIX):
        return tfds_source.open_tfds(name, folder)
    if name not in CATALOGUE:
        raise unknown_name("data set or folder", name, CATALOGUE)
    entry = CATALOGUE[name]
    if folder and not folder.exists() and entry.needs_folder:
        raise _no_folder(folder)
    if name == "folder" and folder and folder.is_file():  # a dataset.yaml
        return entry.open(folder)
    if entry.needs_folder and not (folder and folder.is_dir()):
        received = f"{folder}, which is a file." if folder else "no folder."
        raise InputError(f'Data set "{name}" needs --data-dir, a folder with {entry.layout}. Received: {received}')
    records = folder and find_records(name, folder)
    return open_records(name, records, entry.open) if records else entry.open(folder)


def locate(name: str | os.PathLike, data_dir: str | os.PathLike | None = None) -> tuple[str, Path | None]:
    """Returns the name and the folder of a data set that is given by either, see `dataset`.

    A name of the catalogue or of TFDS is no path, even if the current folder holds a folder of that name.
    """
    is_name = name in CATALOGUE or str(name).startswith(tfds_source.PREFIX)
    if data_dir is None and not is_name and is_path(name):
        return recognise(Path(name)), Path(name)
    return str(name), None if data_dir is None else Path(data_dir)


def _no_folder(path: Path) -> InputError:
    """Returns the error for a folder that does not exist, with the folders where it was expected."""
    parent = next((parent for parent in path.absolute().parents if parent.is_dir()), Path())
    try:
        names = sorted(entry.name for entry in parent.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    except OSError:
        names = []
    near = difflib.get_close_matches(path.name, names, n=1)
    hint = f'Did you mean "{parent / near[0]}"?' if near else f"{parent} holds: {join_names(names) or 'no folders'}."
    return InputError(f"There is no such folder of a data set. {hint} Received: {path}")


def _street_scenes(data_dir: Path | None) -> Dataset:
    # The number is the version of the drawings, so that drawings of different releases never mix.
    directory = data_dir or keras_home() / "datasets" / "keras_crosscoop" / "street_scenes-2"
    street_scenes.write(directory)
    drawn = describe(Description(path=directory, **street_scenes.DESCRIPTION))
    return replace(open_discovery(drawn), name="street_scenes", description=None)


CATALOGUE: dict[str, Entry] = {
    "street_scenes": Entry(
        _street_scenes,
        classes=len(street_scenes.CLASSES),
        splits=street_scenes.SPLITS,
        layout="not needed; drawings are written to it",
        source="drawn on first use",
        licence="Apache-2.0, like this package",
        needs_folder=False,
    ),
    "camvid": camvid.ENTRY,
    "voc2012": voc2012.ENTRY,
    "cityscapes": cityscapes.ENTRY,
    "folder": folder.ENTRY,
}
