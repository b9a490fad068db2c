"""Every data set by name."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from keras_crosscoop.data import camvid, folder, street_scenes
from keras_crosscoop.data.spec import Dataset
from keras_crosscoop.errors import InputError, unknown


def dataset(name: str, data_dir: str | os.PathLike | None = None) -> Dataset:
    """Opens a data set of the catalogue.

    Args:
        name: one of `CATALOGUE`.
        data_dir: the folder that holds it. `street_scenes` is drawn into it if it is not there yet, and needs none:
            by default it lies among Keras's data sets.

    Raises:
        InputError: there is no such data set, or `data_dir` is needed and missing or not laid out as it must be.
    """
    if name not in CATALOGUE:
        raise unknown("data set", name, CATALOGUE)
    return CATALOGUE[name](None if data_dir is None else Path(data_dir))


def _from_disk(name: str, layout: str, open_: Callable[[Path], Dataset]) -> Callable[[Path | None], Dataset]:
    def opener(data_dir: Path | None) -> Dataset:
        if data_dir is None:
            raise InputError(f'Data set "{name}" needs --data-dir, a folder with {layout}. Received: no folder.')
        if not data_dir.is_dir():
            raise InputError(
                f'Data set "{name}" needs a folder with {layout}. Received: {data_dir}, which is no folder.'
            )
        return open_(data_dir)

    return opener


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


CATALOGUE: dict[str, Callable[[Path | None], Dataset]] = {
    "street_scenes": _street_scenes,
    "camvid": _from_disk("camvid", camvid.LAYOUT, camvid.open),
    "folder": _from_disk("folder", folder.LAYOUT, folder.open),
}
